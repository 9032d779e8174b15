// Answers as they are kept: JSONL, a line that says what was asked of whom, then one for each answer with all that its score needs. Lines come in the order of
// questions, so that a run that was cut goes on behind its last whole line.
import { existsSync } from "node:fs";
import { appendFile, readFile, truncate } from "node:fs/promises";
import { type Check, is, isObject, type Schema, shown } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { onFile } from "../../core/file-error.js";
import { parseShallow } from "../../core/json.js";
import { readPlain } from "../../core/plain-file.js";
import { writeWhole } from "../../io/whole-file.js";
import type { EvalTask } from "../tasks/task.js";
import { docProblem, type FoundMedium } from "./items.js";
import { SHOWN, type Shown } from "./shown.js";

export const PREDICTIONS = "predictions.jsonl";
/** Bytes: an answer has a few hundred, a benchmark 200 000 of them, times four. */
const MOST = 448 << 20;

/** What was asked of whom: two runs whose heads are alike answer alike. */
export interface PredictionHead {
  /** Of the file's form. */
  anymalEval: 1;
  task: string;
  /** Of a task that is a file: what it says. */
  spec?: object | undefined;
  prompts: string;
  split: string;
  model: string;
  /** Of the model's weights and settings, where they are known. */
  fingerprint?: string | undefined;
  shown: Shown[];
  seed: number;
  maxNewTokens: number;
  /** Questions, and how many more were left out for what is wrong with them. */
  questions: number;
  leftOut: number;
  /** SHA-256 of all questions. */
  data: string;
  /** When answering began. */
  date: string;
}

export interface Prediction {
  /** The question's place. */
  doc_id: number;
  id: string;
  shown: Shown;
  doc: object;
  target: string;
  /** As it was asked; media are <image> and so on. */
  input: string;
  input_media: readonly FoundMedium[];
  answer: string;
  logProbabilities?: readonly number[];
  /** Why there is no answer. */
  problem?: string;
}

export interface Predictions {
  head: PredictionHead;
  lines: readonly Prediction[];
}

/** That may be empty. */
const TEXT: Check = { wanted: "a text", fits: (value) => typeof value === "string" };
const HEAD: Schema = {
  task: is.text,
  spec: is.orAbsent(is.object),
  prompts: is.text,
  split: TEXT,
  model: is.text,
  fingerprint: is.orAbsent(TEXT),
  shown: is.listOf(is.oneOf(...SHOWN)),
  seed: is.integer(),
  maxNewTokens: is.integer(1),
  questions: is.integer(1),
  leftOut: is.integer(),
  data: TEXT,
  date: is.text,
};
const LINE: Schema = {
  doc_id: is.integer(),
  id: TEXT,
  shown: is.oneOf(...SHOWN),
  doc: is.object,
  target: TEXT,
  input: TEXT,
  input_media: is.listOf(is.object),
  answer: TEXT,
  logProbabilities: is.orAbsent(is.listOf({ wanted: "a number", fits: (value) => typeof value === "number" })),
  problem: is.orAbsent(TEXT),
};

/** Reads them. Rejects with E_DATA where the file holds something else, a line that is cut off included. */
export async function readPredictions(path: string, taskOf: (head: PredictionHead) => EvalTask): Promise<Predictions> {
  const text = (await readPlain(path, { most: MOST })).toString("utf8");
  const [head, ...lines] = text.split("\n").filter((line) => line.trim());
  const read = headOf(path, head);
  const task = taskOf(read);
  return { head: read, lines: lines.map((line, i) => lineOf(`${path}:${i + 2}`, line, task)) };
}

function headOf(path: string, line = ""): PredictionHead {
  const value = parsed(line);
  const other = (wanted: string, got: string) => expected("E_DATA", path, wanted, got, "name a predictions.jsonl that anymal eval wrote");
  if (!isObject(value) || value.anymalEval !== 1) throw other("predictions, whose first line says so", shown(line, 60) || "nothing");
  checked(value, HEAD, other);
  return value as unknown as PredictionHead;
}

function lineOf(where: string, line: string, task: EvalTask): Prediction {
  const value = parsed(line);
  const other = (wanted: string, got: string) =>
    expected("E_DATA", where, wanted, got, "run the evaluation again: it goes on behind the last whole line");
  if (!isObject(value)) throw other("an answer as one JSON object", shown(line, 60));
  checked(value, LINE, other);
  const problem = docProblem(task, value.doc as object);
  if (problem) throw other(...problem);
  return value as unknown as Prediction;
}

function checked(value: Record<string, unknown>, schema: Schema, other: (wanted: string, got: string) => Error): void {
  for (const [key, { wanted, fits }] of Object.entries(schema))
    if (!fits(value[key])) throw other(`${key} to be ${wanted}`, shown(value[key], 60));
}

function parsed(line: string): unknown {
  try {
    return parseShallow(line);
  } catch {
    return undefined;
  }
}

/** What two runs must have in common. */
const SAME: readonly (keyof PredictionHead)[] = [
  "task",
  "spec",
  "prompts",
  "split",
  "model",
  "fingerprint",
  "shown",
  "seed",
  "maxNewTokens",
  "questions",
  "data",
];

/** The file of a run that goes on. */
export class PredictionFile {
  private constructor(
    readonly path: string,
    readonly head: PredictionHead,
    /** Whole lines that were there. */
    readonly before: readonly Prediction[],
  ) {}

  /** Begins it, or cuts off what a killed run has left half written. Rejects with E_DATA where it is of another run. */
  static async open(path: string, head: PredictionHead, task: EvalTask): Promise<PredictionFile> {
    if (!existsSync(path)) {
      await writeWhole(path, `${JSON.stringify(head)}\n`);
      return new PredictionFile(path, head, []);
    }
    const bytes = await onFile("to be read", path, () => readFile(path));
    const end = bytes.lastIndexOf(10) + 1;
    const [first, ...lines] = bytes.subarray(0, end).toString("utf8").split("\n").slice(0, -1);
    const found = headOf(path, first);
    for (const key of SAME)
      if (JSON.stringify(found[key]) !== JSON.stringify(head[key]))
        throw expected(
          "E_DATA",
          path,
          `answers of this run, ${key} ${shown(head[key], 80)}`,
          shown(found[key], 80),
          "take another --output, or remove it",
        );
    if (end < bytes.length) await onFile("to be written", path, () => truncate(path, end));
    return new PredictionFile(
      path,
      found,
      lines.map((line, i) => lineOf(`${path}:${i + 2}`, line, task)),
    );
  }

  append(lines: readonly Prediction[]): Promise<void> {
    return onFile("to be written", this.path, () => appendFile(this.path, lines.map((line) => `${JSON.stringify(line)}\n`).join("")));
  }
}
