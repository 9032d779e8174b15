// Rules that several tasks share: captions, people's answers, choices.
import { type CaptionScoring, scoreCaptions } from "../captions.js";
import { scoreVqa, type VqaQuestion } from "../vqa.js";
import { countYesNo, ratio, type YesNo } from "../yes-no.js";
import { meansBy, type TaskAnswer, type TaskScores } from "./task.js";

export interface CaptionDoc {
  references: string[];
}

const WITHOUT_JAVA = "METEOR and SPICE are the numbers of Java programs, and are left out; without SPICE there is no SPIDEr";

/** CIDEr-D, BLEU and ROUGE-L of what `parse` reads out of answers. */
export function captionScores<D extends CaptionDoc>(
  answers: readonly TaskAnswer<D>[],
  parse: (answer: string) => string = (answer) => answer.trim(),
  scoring: CaptionScoring = {},
): TaskScores {
  const parsed = answers.map(({ answer }) => parse(answer));
  const scores = scoreCaptions(
    answers.map(({ doc }, i) => ({ hypothesis: parsed[i] as string, references: doc.references })),
    scoring,
  );
  const metrics: Record<string, number> = { CIDEr: scores.ciderD };
  for (const [i, value] of scores.bleu.entries()) metrics[`Bleu_${i + 1}`] = value;
  metrics.ROUGE_L = scores.rougeL;
  const items = {
    CIDEr: scores.perItem.map(({ ciderD }) => ciderD),
    ROUGE_L: scores.perItem.map(({ rougeL }) => rougeL),
  };
  return { metrics, items, parsed, notes: [WITHOUT_JAVA] };
}

export interface PeopleDoc {
  question: string;
  /** Of people. */
  answers: string[];
  questionType?: string | undefined;
  answerType?: string | undefined;
}

/** How far people agree with an answer, in all and by type. */
export function peopleScores<D extends PeopleDoc>(answers: readonly TaskAnswer<D>[], accuracy: (q: VqaQuestion) => number): TaskScores {
  const parsed = answers.map(({ answer }) => answer.trim());
  const scores = scoreVqa(
    answers.map(({ doc }, i) => ({ ...doc, prediction: parsed[i] as string })),
    accuracy,
  );
  const metrics: Record<string, number> = { accuracy: scores.overall };
  for (const [type, value] of Object.entries(scores.perAnswerType)) metrics[`answer type ${type}`] = value;
  for (const [type, value] of Object.entries(scores.perQuestionType)) metrics[`question type ${type}`] = value;
  return { metrics, items: { accuracy: scores.perQuestion }, parsed };
}

export interface ChoiceDoc {
  question: string;
  choices: string[];
  /** The right one's place. */
  answer: number;
}

/** Is there a choice of the right one's place? */
export const choiceProblem = ({ choices, answer }: ChoiceDoc): [string, string] | undefined =>
  choices[answer] === undefined ? [`the right one of ${choices.length} choices`, String(answer)] : undefined;
export const letterOf = (index: number): string => String.fromCharCode(65 + index);
export const lettered = (choices: readonly string[], mark = "."): string[] =>
  choices.map((choice, i) => (mark === "()" ? `(${letterOf(i)}) ${choice}` : `${letterOf(i)}${mark} ${choice}`));
export const choiceTarget = ({ choices, answer }: ChoiceDoc): string => `${letterOf(answer)}. ${choices[answer]}`;

/** Shares of right choices, in all and by kind; what names none is wrong. */
export function choiceScores<D extends ChoiceDoc>(
  answers: readonly TaskAnswer<D>[],
  choose: (answer: string, doc: D) => number,
  groupOf: (doc: D) => string | undefined = () => undefined,
): TaskScores {
  const chosen = answers.map(({ answer, doc }) => choose(answer, doc));
  const right = answers.map(({ doc }, i) => Number(chosen[i] === doc.answer));
  const groups = meansBy(answers, right, ({ doc }) => groupOf(doc));
  const accuracy = right.reduce((a, b) => a + b, 0) / right.length;
  return { metrics: { accuracy, ...groups }, items: { accuracy: right }, parsed: chosen.map((i) => (i < 0 ? "" : letterOf(i))) };
}

const plain = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim();

/**
 * The choice that an answer names: the whole answer is a choice's text or its letter, a letter stands before it as "B." or "(B)", or one choice's text
 * alone occurs in it. -1 where none does, or several: nothing is drawn.
 */
export function namedChoice(answer: string, { choices }: Pick<ChoiceDoc, "choices">): number {
  const [said, texts] = [plain(answer), choices.map(plain)];
  const exact = texts.flatMap((text, i) => (text === said ? [i] : []));
  if (exact.length === 1) return exact[0] as number;
  const letter = /^\s*(?:\(([A-Z])\)|([A-Z])(?:[.):]|\s*$))/.exec(answer);
  const index = letter ? ((letter[1] ?? letter[2]) as string).charCodeAt(0) - 65 : -1;
  if (index >= 0 && index < choices.length) return index;
  const inside = texts.flatMap((text, i) => (text && ` ${said} `.includes(` ${text} `) ? [i] : []));
  // "a red ball" names no "red", where both are choices.
  const longest = inside.filter((i) => !inside.some((j) => j !== i && ` ${texts[j]} `.includes(` ${texts[i]} `)));
  return longest.length === 1 ? (longest[0] as number) : -1;
}

/** What an answer to a question of yes or no was read as. */
export type Said = YesNo | "other";

/**
 * Accuracy, precision, recall, F1 and share of yes, in all and by group. What is neither is wrong, and says no more "yes" than a "no" does. `labelsRatio`: as
 * lmms-eval counts, whose share is of the labels and whose recall leaves such answers out.
 */
export function yesNoScores(
  { said, right, groups }: { said: readonly Said[]; right: readonly YesNo[]; groups: readonly (string | undefined)[] },
  { labelsRatio = false } = {},
): TaskScores {
  const of = (places: readonly number[], prefix: string): Record<string, number> => {
    const pairs = places.map((i) => ({ given: said[i] as Said, right: right[i] as YesNo }));
    const { truePositives, falsePositives, precision } = countYesNo(
      pairs.filter((pair): pair is { given: YesNo; right: YesNo } => pair.given !== "other"),
    );
    const positives = pairs.filter((pair) => pair.right === "yes").length;
    const missed = labelsRatio ? pairs.filter((pair) => pair.right === "yes" && pair.given === "no").length : positives - truePositives;
    const recall = ratio(truePositives, truePositives + missed);
    const yes = labelsRatio ? positives : truePositives + falsePositives;
    return {
      [`${prefix}accuracy`]: ratio(pairs.filter((pair) => pair.given === pair.right).length, pairs.length),
      [`${prefix}precision`]: precision,
      [`${prefix}recall`]: recall,
      [`${prefix}f1`]: ratio(2 * precision * recall, precision + recall),
      [`${prefix}yes ratio`]: ratio(yes, pairs.length),
    };
  };
  const all = said.map((_, i) => i);
  const named = [...new Set(groups)].filter((group) => group !== undefined);
  const byGroup = named.map((group) => of(all.filter((i) => groups[i] === group), `${group} `)); // biome-ignore format: one line
  return {
    metrics: Object.assign(of(all, ""), ...byGroup),
    items: { accuracy: said.map((one, i) => Number(one === right[i])) },
    parsed: [...said],
  };
}
