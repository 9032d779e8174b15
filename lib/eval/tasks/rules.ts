// Rules by their names, for benchmarks that are files: what a question must hold, how an answer may be read, and how answers become numbers.
import { type Check, is, type Schema } from "../../core/checks.js";
import { isExact } from "../exact.js";
import { parseMme } from "../mme.js";
import { parsePope } from "../pope.js";
import { choiceIndex } from "../science-qa.js";
import { normalizeTextVqa, textVqaAccuracy, vqaAccuracy } from "../vqa.js";
import type { YesNo } from "../yes-no.js";
import { captionIn } from "./coco-captions.js";
import { probabilityScores } from "./hateful-memes.js";
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
  type Said,
  yesNoScores,
} from "./scorers.js";
import { meanOf, meansBy, type TaskAnswer, type TaskScores, TEXT, TEXTS } from "./task.js";
import { mmmuChoice } from "./video-qa.js";

type Fields = Readonly<Record<string, unknown>>;

/** A rule over docs that have what it needs. */
export interface Rule {
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

/** Answers in words, held against the texts in one field. */
const written = (field: string, more: Pick<Rule, "score"> & Partial<Rule>): Rule => ({
  needs: { [field]: TEXTS },
  parsers: Object.keys(READ),
  made: listIn(field),
  target: (doc) => (doc[field] as string[])[0] as string,
  ...more,
});

/** The share of answers that are one of the right ones but for case, blanks and marks at the end. */
const exact = written("answers", {
  score: (answers, parser) => {
    const given = read(answers, parser).map(({ answer, doc }) => ({ answer, correct: (doc as { answers: string[] }).answers }));
    const right = given.map((one) => Number(isExact(one)));
    return {
      metrics: { exact: meanOf(right), ...meansBy(answers, right, groupOf) },
      items: { exact: right },
      parsed: given.map(({ answer }) => answer),
    };
  },
});

const captions = written("references", {
  score: (answers, parser) => captionScores(answers as TaskAnswer<{ references: string[] }>[], READ[parser]),
});

/** How far people agree with an answer. */
const people = (accuracy: typeof vqaAccuracy): Rule =>
  written("answers", {
    needs: { question: TEXT, answers: TEXTS },
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
const SAID: Readonly<Record<string, (answer: string) => Said>> = {
  word: (answer) => {
    const first = normalizeTextVqa(answer).split(/\s+/)[0];
    return first === "yes" || first === "no" ? first : "other";
  },
  pope: parsePope,
  mme: parseMme,
};
const yesNo: Rule = {
  needs: { label: LABEL },
  parsers: Object.keys(SAID),
  made: yesOrNo,
  target: ({ label }) => (isYes(label) ? "yes" : "no"),
  score: (answers, parser) => {
    const said = answers.map(({ answer }) => (SAID[parser] as (typeof SAID)[string])(answer));
    const right = answers.map(({ doc }): YesNo => (isYes((doc as Fields).label) ? "yes" : "no"));
    return yesNoScores({ said, right, groups: answers.map(groupOf) });
  },
};

const auc: Rule = {
  needs: { label: LABEL },
  parsers: ["probability"],
  made: yesOrNo,
  target: yesNo.target,
  options: true,
  score: (answers) => probabilityScores(answers, (doc) => isYes((doc as Fields).label)),
};

export const RULES: Readonly<Record<string, Rule>> = {
  exact,
  captions,
  vqa: people(vqaAccuracy),
  textvqa: people(textVqaAccuracy),
  choice,
  "yes-no": yesNo,
  "roc-auc": auc,
};
