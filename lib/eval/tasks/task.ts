// What an evaluation is made of: where a data set's questions lie, how each is put to a model, and how answers become numbers. Answering and scoring are
// two steps: a score needs the answers and each question's `doc`, and neither the model nor the media.
import type { Schema } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import type { DataError } from "../../data/row.js";
import type { Modality } from "../../media/part.js";
import type { TaskFolder } from "./folder.js";

/** Where the question's media go in a prompt. */
export const MEDIA: unique symbol = Symbol("media");
export type AskedPart = string | typeof MEDIA;

/** What a model is told. */
export interface Asked {
  system?: readonly AskedPart[];
  user: readonly AskedPart[];
}

/** A medium of a question, by where it may lie. */
export interface ItemMedium {
  modality: Modality;
  /** Paths in the data's folder; the first that is there. */
  places: readonly string[];
  /** Of the part, such as start and seconds. */
  options?: Readonly<Record<string, number>>;
}

/** One question. */
export interface Item<D extends object = object> {
  /** By the data set's own number, unlike all others of the task. */
  id: string;
  media: readonly ItemMedium[];
  /** All that prompt and score need, as JSON. */
  doc: D;
  /** The right answer in words. */
  target: string;
  /** Kind of question: within it media are exchanged. */
  kind?: string;
}

/** One question's answer. */
export interface TaskAnswer<D extends object = object> {
  id: string;
  doc: D;
  /** Without blanks around it. */
  answer: string;
  /** Of each of the convention's `options`, where it has some: log-probabilities of the whole option. */
  logProbabilities?: readonly number[] | undefined;
}

/** What answers come to. */
export interface TaskScores {
  /** The first is the one that the task is known by. Shares are from 0 to 1, CIDEr from 0 to 10. */
  metrics: Record<string, number>;
  /** Values of single answers, in their order; where their mean is a metric they have its name. The first is an answer's own score. */
  items: Record<string, number[]>;
  /** What was read out of each answer. */
  parsed: string[];
  /** What a reader of the numbers has to know. */
  notes?: string[];
}

/** Prompts, decoding and rule of one publication or tool. */
export interface Convention<D extends object = object> {
  /** The publication or tool. */
  source: string;
  ask(doc: D): Asked;
  /** Greedy, so many tokens at most. */
  maxNewTokens: number;
  /** In place of writing an answer: the log-probability of each of these. */
  options?: readonly string[];
  score(answers: readonly TaskAnswer<D>[]): TaskScores;
}

/** Names of conventions: AnyMAL's paper, and the harnesses. */
export const PROMPTS = ["anymal", "lmms-eval", "vlmevalkit"] as const;
export type PromptsName = (typeof PROMPTS)[number];

/** A data set of the hub, as `.eval_results` names it. */
export interface HubTask {
  id: string;
  task: string;
}

export interface EvalTask<D extends object = object> {
  name: string;
  /** In a line. */
  about: string;
  /** The publication of the data. */
  source: string;
  /** What has to lie in the data's folder. */
  layout: string;
  modality: Modality;
  /** The first is the default; without them the data has one. */
  splits?: readonly string[];
  /** What each `doc` has: predictions are read back from files. */
  doc: Schema;
  /** What is wrong with a doc whose fields are right one by one: what was expected, and what is there. */
  problem?(doc: D): [wanted: string, got: string] | undefined;
  /** Questions, or what is wrong with one. Throws E_DATA where the folder holds none. */
  read(folder: TaskFolder, split: string): AsyncIterable<Item<D> | DataError>;
  conventions: { anymal: Convention<D> } & Partial<Record<PromptsName, Convention<D>>>;
  /** Is more better? All but these. */
  lowerIsBetter?: readonly string[];
  hub?: HubTask;
  /** Of a benchmark that is a file, what that file says: predictions keep it, so that they are scored again without it. */
  spec?: object;
}

/** The convention of that name. Throws E_VALUE where the task has none. */
export function conventionOf(task: EvalTask, name: PromptsName = "anymal"): Convention {
  const found = Object.hasOwn(task.conventions, name) ? task.conventions[name] : undefined;
  if (found) return found;
  throw expected(
    "E_VALUE",
    `${task.name}: prompts`,
    `one of ${Object.keys(task.conventions).join(", ")}`,
    `"${name}"`,
    "take one of these",
  );
}

/** Checks of fields that many docs have. */
export const TEXT = { wanted: "a text", fits: (value: unknown) => typeof value === "string" };
/** At least one. */
export const TEXTS = {
  wanted: "a list of texts, at least one",
  fits: (value: unknown) => Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string"),
};

export const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Means of `values` by the group of each answer, in the order in which groups come. */
export function meansBy<T>(all: readonly T[], values: readonly number[], groupOf: (one: T) => string | undefined): Record<string, number> {
  const groups = new Map<string, number[]>();
  for (const [i, one] of all.entries()) {
    const group = groupOf(one);
    if (group === undefined) continue;
    const own = groups.get(group);
    if (own) own.push(values[i] as number);
    else groups.set(group, [values[i] as number]);
  }
  return Object.fromEntries(Array.from(groups, ([group, own]) => [group, meanOf(own)]));
}
