// VQA accuracy: an answer is as right as people agree with it. Normalisation with all that the original evaluation does, what it hardly meant to
// included: published numbers contain it.
import { expected } from "../core/errors.js";

export interface VqaQuestion {
  prediction: string;
  /** What people answered, ten of them in the data sets. */
  answers: readonly string[];
  questionType?: string;
  answerType?: string;
}
export interface VqaScores {
  /** From 0 to 1, as all others here. */
  overall: number;
  perQuestion: number[];
  perQuestionType: Record<string, number>;
  perAnswerType: Record<string, number>;
}

const MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"];
const NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
const WORDS = new Map([...NUMBERS.map((word, i) => [word, String(i)] as const), ["none", "0"]]);
const ARTICLES = new Set(["a", "an", "the"]);
// Each is put right where one apostrophe is missing.
const CONTRACTIONS = `ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll
  how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
  shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's
  there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
  where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd
  you'd've you'll you're you've`;
const MENDED = new Map([["somebody'd", "somebodyd"]]);
for (const word of CONTRACTIONS.split(/\s+/))
  for (const [i, char] of [...word].entries()) if (char === "'") MENDED.set(word.slice(0, i) + word.slice(i + 1), word);
/** The original passes a flag where the number of replacements goes. */
const MOST_PERIODS = 32;
const PERIOD = /\.(?!\p{Nd})/gu;

const oneLine = (text: string) => text.replace(/[\n\t]/g, " ").trim();

/** A mark goes where a blank stands beside it anywhere in the text, and where the text has a comma between digits; else it becomes a blank. */
function withoutPunctuation(text: string, period = PERIOD): string {
  let out = text;
  const commaInNumber = /\p{Nd},\p{Nd}/u.test(text);
  for (const mark of MARKS) {
    const dropped = commaInNumber || text.includes(`${mark} `) || text.includes(` ${mark}`);
    out = out.replaceAll(mark, dropped ? "" : " ");
  }
  let periods = 0;
  return out.replace(period, (mark) => (++periods <= MOST_PERIODS ? "" : mark));
}

function withoutArticles(text: string): string {
  return text
    .toLowerCase()
    .split(/\s+/)
    .map((word) => WORDS.get(word) ?? word)
    .filter((word) => word && !ARTICLES.has(word))
    .map((word) => MENDED.get(word) ?? word)
    .join(" ");
}

/** As VQA v2 compares answers, where people did not all say the same. */
export function normalizeVqa(text: string): string {
  return withoutArticles(withoutPunctuation(oneLine(text)));
}

/** As VLMEvalKit compares answers, always: a period behind a digit stays too. */
export function normalizeVlmEvalKit(text: string): string {
  return withoutArticles(withoutPunctuation(oneLine(text), /(?<!\p{Nd})\.(?!\p{Nd})/gu));
}

/** As TextVQA compares answers, always. */
export function normalizeTextVqa(text: string): string {
  const words = text.toLowerCase().replace(/[,?]/g, "").replaceAll("'s", " 's").trim();
  return withoutArticles(withoutPunctuation(oneLine(words)));
}

/** The mean, over the people left out in turn, of min(1, how many of the others agree / 3): of texts that were normalised. */
export function agreement(given: string, answers: readonly string[]): number {
  const matches = answers.filter((answer) => answer === given).length;
  const sum = answers.reduce((total, answer) => total + Math.min(1, (matches - Number(answer === given)) / 3), 0);
  return sum / answers.length;
}

/** VQA v2. Where all people said the same, text is compared as it stands, capitals and all. */
export function vqaAccuracy({ prediction, answers }: VqaQuestion): number {
  if (!answers.length) throw expected("E_VALUE", "vqaAccuracy", "at least one person's answer", "none");
  const normalize = new Set(answers).size > 1 ? normalizeVqa : oneLine;
  return agreement(normalize(prediction), answers.map(normalize));
}

/** 0 to 1: how many people agree with the prediction, as TextVQA normalises and counts it. Throws E_VALUE without answers. */
export function textVqaAccuracy({ prediction, answers }: VqaQuestion): number {
  if (!answers.length) throw expected("E_VALUE", "textVqaAccuracy", "at least one person's answer", "none");
  return agreement(normalizeTextVqa(prediction), answers.map(normalizeTextVqa));
}

/** Means over questions, in all and by type of answer and question; textVqaAccuracy scores as TextVQA does. Throws E_VALUE without questions. */
export function scoreVqa(questions: readonly VqaQuestion[], accuracy: (question: VqaQuestion) => number = vqaAccuracy): VqaScores {
  if (!questions.length) throw expected("E_VALUE", "scoreVqa", "at least one question", "none");
  const perQuestion = questions.map(accuracy);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const by = (typeOf: (question: VqaQuestion) => string | undefined) => {
    const types = new Map<string, number[]>();
    for (const [i, question] of questions.entries()) {
      const type = typeOf(question);
      if (type !== undefined) types.set(type, [...(types.get(type) ?? []), perQuestion[i] as number]);
    }
    return Object.fromEntries(Array.from(types, ([type, values]) => [type, mean(values)]));
  };
  return {
    overall: mean(perQuestion),
    perQuestion,
    perQuestionType: by(({ questionType }) => questionType),
    perAnswerType: by(({ answerType }) => answerType),
  };
}
