// Rules by their names, for benchmarks that are files: what a question must hold, how an answer may be read, and how answers become numbers.
import { type Check, is, type Schema } from "../../core/checks.js";
import { isExact, scoreExact } from "../exact.js";
import { parseMme } from "../mme.js";
import { parsePope } from "../pope.js";
import { rocAuc } from "../roc-auc.js";
import { choiceIndex } from "../science-qa.js";
import { normalizeTextVqa, textVqaAccuracy, vqaAccuracy } from "../vqa.js";
import { countYesNo, ratio, type YesNo } from "../yes-no.js";
import { captionIn } from "./coco-captions.js";
import { shareOfYes } from "./hateful-memes.js";
import { mostGiven } from "./people.js";
import { inferred, letterFirst } from "./science-qa.js";
import {
  type ChoiceDoc,
  captionScores,
  choiceProblem,
  choiceScores,
  choiceTarget,
  namedChoice,
  type PeopleDoc,
  peopleScores,
} from "./scorers.js";
import { meanOf, meansBy, type TaskAnswer, type TaskScores, TEXT, TEXTS } from "./task.js";
import { mmmuChoice } from "./video-qa.js";

type Fields = Readonly<Record<string, unknown>>;

/** A rule over docs that have what it needs. */
export interface Rule {
  /** In a line. */
  about: string;
  /** What each doc must have. */
  needs: Schema;
  /** Ways to read an answer; the first is the default. */
  parsers: readonly string[];
  /** What a file writes for such a field, as docs have it: a list of one for a text, a place for a letter. */
  made(field: string, value: unknown, doc: Fields): unknown;
  problem?(doc: Fields): [wanted: string, got: string] | undefined;
  target(doc: Fields): string;
  score(answers: readonly TaskAnswer[], parser: string): TaskScores;
  /** Does it take probabilities of options? It has to be told them then: the first is yes. */
  options?: true;
}

const LABEL: Check = { wanted: "yes or no", fits: (value) => value === "yes" || value === "no" };
/** Of groups of questions, where docs have one. */
const groupOf = ({ doc }: TaskAnswer): string | undefined => {
  const { kind } = doc as Fields;
  return typeof kind === "string" && kind ? kind : undefined;
};
/** In the field that the rule reads a text is one of a list, and a number of a table a text. */
const listIn =
  (own: string): Rule["made"] =>
  (field, value) => {
    if (field !== own || value === undefined) return value;
    return [value].flat().map((one) => (typeof one === "number" ? String(one) : one));
  };

const READ: Readonly<Record<string, (answer: string) => string>> = {
  whole: (answer) => answer.trim(),
  line: (answer) => (answer.trim().split(/\r?\n/)[0] as string).trim(),
  json: captionIn,
};
const read = (answers: readonly TaskAnswer[], parser: string): TaskAnswer[] =>
  answers.map((one) => ({ ...one, answer: (READ[parser] as (answer: string) => string)(one.answer) }));

const exact: Rule = {
  about: "share of answers that are one of the right ones but for case, blanks and marks at the end",
  needs: { answers: TEXTS },
  parsers: Object.keys(READ),
  made: listIn("answers"),
  target: ({ answers }) => (answers as string[])[0] as string,
  score: (answers, parser) => {
    const given = read(answers, parser).map((one) => ({ answer: one.answer, correct: (one.doc as { answers: string[] }).answers }));
    const right = given.map((one) => Number(isExact(one)));
    const metrics = { exact: scoreExact(given).exact, ...meansBy(answers, right, groupOf) };
    return { metrics, items: { exact: right }, parsed: given.map(({ answer }) => answer) };
  },
};

const captions: Rule = {
  about: "CIDEr-D, BLEU 1 to 4 and ROUGE-L",
  needs: { references: TEXTS },
  parsers: Object.keys(READ),
  made: listIn("references"),
  target: ({ references }) => (references as string[])[0] as string,
  score: (answers, parser) => captionScores(answers as TaskAnswer<{ references: string[] }>[], READ[parser]),
};

const people = (accuracy: typeof vqaAccuracy, about: string): Rule => ({
  about,
  needs: { question: TEXT, answers: TEXTS },
  parsers: Object.keys(READ),
  made: listIn("answers"),
  target: ({ answers }) => mostGiven(answers as string[]),
  score: (answers, parser) => peopleScores(read(answers, parser) as unknown as TaskAnswer<PeopleDoc>[], accuracy),
});

const CHOOSE: Readonly<Record<string, (answer: string, doc: ChoiceDoc) => number>> = {
  named: namedChoice,
  letter: letterFirst,
  llava: (answer, { choices }) => choiceIndex(answer, choices.length),
  mmmu: mmmuChoice,
  vlmevalkit: inferred,
};
/** From 0, as a number or in digits; a letter; or a choice's own text. */
function placeOf(value: unknown, choices: readonly unknown[]): unknown {
  if (typeof value !== "string") return value;
  const said = value.trim();
  const own = choices.indexOf(said);
  if (own >= 0) return own;
  if (/^[A-Za-z]$/.test(said)) return said.toUpperCase().charCodeAt(0) - 65;
  return /^\d+$/.test(said) ? Number(said) : value;
}
const choice: Rule = {
  about: "share of right choices",
  needs: { choices: TEXTS, answer: { ...is.integer(), wanted: "a choice's place from 0, its letter or its text" } },
  parsers: Object.keys(CHOOSE),
  made: (field, value, { choices }) => {
    if (field === "choices" && Array.isArray(value))
      return value.filter((one) => one !== "" && one !== undefined && one !== null).map(String);
    return field === "answer" ? placeOf(value, Array.isArray(choices) ? choices : []) : value;
  },
  problem: (doc) => choiceProblem(doc as unknown as ChoiceDoc),
  target: (doc) => choiceTarget(doc as unknown as ChoiceDoc),
  score: (answers, parser) =>
    choiceScores(
      answers as unknown as TaskAnswer<ChoiceDoc>[],
      CHOOSE[parser] as (typeof CHOOSE)[string],
      ({ kind }: ChoiceDoc & { kind?: string }) => kind || undefined,
    ),
};

const isYes = (value: unknown): boolean => value === "yes" || value === 1;
/** Also of tables and of JSON. */
const yesOrNo = (field: string, value: unknown): unknown => {
  if (field !== "label") return value;
  const said = String(value).trim().toLowerCase();
  if (["yes", "true", "1"].includes(said)) return "yes";
  return ["no", "false", "0"].includes(said) ? "no" : value;
};
const SAID: Readonly<Record<string, (answer: string) => YesNo | "other">> = {
  word: (answer) => {
    const first = normalizeTextVqa(answer).split(/\s+/)[0];
    return first === "yes" || first === "no" ? first : "other";
  },
  pope: parsePope,
  mme: parseMme,
};
const yesNo: Rule = {
  about: "accuracy, precision, recall, F1, and how often yes is said; an answer that is neither is wrong",
  needs: { label: LABEL },
  parsers: Object.keys(SAID),
  made: yesOrNo,
  target: ({ label }) => (isYes(label) ? "yes" : "no"),
  score: (answers, parser) => {
    const said = answers.map(({ answer }) => (SAID[parser] as (typeof SAID)[string])(answer));
    const right = answers.map(({ doc }): YesNo => (isYes((doc as Fields).label) ? "yes" : "no"));
    const own = right.map((label, i) => Number(said[i] === label));
    const pairs = said.flatMap((given, i) => (given === "other" ? [] : [{ given, right: right[i] as YesNo }]));
    const { truePositives, falsePositives, precision } = countYesNo(pairs);
    const recall = ratio(truePositives, right.filter((label) => label === "yes").length);
    const metrics = {
      ...{ accuracy: meanOf(own), precision, recall, f1: ratio(2 * precision * recall, precision + recall) },
      "yes ratio": ratio(truePositives + falsePositives, said.length),
      ...meansBy(answers, own, groupOf),
    };
    return { metrics, items: { accuracy: own }, parsed: said };
  },
};

const auc: Rule = {
  about: "area under the ROC curve of the probability of the first option",
  needs: { label: LABEL },
  parsers: ["probability"],
  made: yesOrNo,
  target: yesNo.target,
  options: true,
  score: (answers) => {
    const shares = answers.map(shareOfYes);
    const labels = answers.map(({ doc }) => Number(isYes((doc as Fields).label)));
    const right = shares.map((share, i) => Number(share > 0.5 === (labels[i] === 1)));
    return {
      metrics: { "ROC-AUC": rocAuc(labels, shares), accuracy: meanOf(right) },
      items: { accuracy: right, probability: shares },
      parsed: shares.map((share) => (share > 0.5 ? "yes" : "no")),
    };
  },
};

export const RULES: Readonly<Record<string, Rule>> = {
  exact,
  captions,
  vqa: people(vqaAccuracy, "how far people agree with an answer, as VQA v2's tool counts"),
  textvqa: people(textVqaAccuracy, "how far people agree with an answer, as TextVQA's tool normalises"),
  choice,
  "yes-no": yesNo,
  "roc-auc": auc,
};
