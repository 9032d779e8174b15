// An evaluation in its two steps: questions are answered, into a file where there is one; answers are scored.
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { expected } from "../../core/errors.js";
import { onFile } from "../../core/file-error.js";
import { checkOptions, optionNames } from "../../core/options.js";
import type { BadRowOptions } from "../../data/records.js";
import { DataError } from "../../data/row.js";
import { FolderLock } from "../../io/folder-lock.js";
import { evalTask } from "../tasks/index.js";
import { conventionOf, type EvalTask, type PromptsName } from "../tasks/task.js";
import { Answerer, type Answering, digestOf, type Question } from "./answering.js";
import { type Items, readItems } from "./items.js";
import { PREDICTIONS, type Prediction, PredictionFile, type PredictionHead, type Predictions } from "./predictions.js";
import { CONTROLS, type Control, mediaShown, type Shown } from "./shown.js";

export interface AnswerTaskOptions extends BadRowOptions {
  /** The folder in which the data set was unpacked, or one of its files. */
  data: string;
  /** predictions.jsonl is kept here; a run that was ended goes on. */
  output?: string;
  /** Whose prompts, decoding and rule. Default "anymal", the paper's. */
  prompts?: PromptsName;
  /** What each question is asked with beside its own media. Default none. */
  controls?: readonly Control[];
  split?: string;
  /** Only the first so many questions. */
  limit?: number;
  /** Of exchanged media. Default 0. */
  seed?: number;
  /** Questions together. Default 8. No answer depends on it. */
  batch?: number;
  /** What the model is called in results. Default "model". */
  name?: string;
  /** Of the model's weights, so that a run does not go on with others. */
  fingerprint?: string;
  /** Told after each batch: answers of all. */
  onProgress?: (done: number, all: number) => void;
  signal?: AbortSignal;
}
const OPTIONS = optionNames<AnswerTaskOptions>({
  ...{ data: true, output: true, prompts: true, controls: true, split: true, limit: true, seed: true, batch: true },
  ...{ name: true, fingerprint: true, onProgress: true, onBadRow: true, onProblem: true, signal: true },
});

/**
 * Asks a model a task's questions. Rejects with E_DATA where the folder holds none or `output` answers of another run, with E_ROW on a question that cannot
 * be asked unless such are skipped.
 */
export async function answerTask(model: Answering, task: string | EvalTask, options: AnswerTaskOptions): Promise<Predictions> {
  checkOptions("answerTask", options, OPTIONS);
  const {
    data,
    output,
    prompts = "anymal",
    controls = [],
    split,
    limit,
    seed = 0,
    batch = 8,
    name = "model",
    fingerprint,
    signal,
  } = options;
  const asked = typeof task === "string" ? evalTask(task) : task;
  const convention = conventionOf(asked, prompts);
  checkNumbers({ batch, ...(limit !== undefined && { limit }) });
  for (const control of controls)
    if (!CONTROLS.includes(control)) throw expected("E_VALUE", "answerTask: controls", `some of ${CONTROLS.join(", ")}`, `"${control}"`);
  const badRows = { ...(options.onBadRow && { onBadRow: options.onBadRow }), ...(options.onProblem && { onProblem: options.onProblem }) };
  const found = await readItems(asked, data, { split, limit, signal, ...badRows });
  const shown: Shown[] = ["own", ...CONTROLS.filter((control) => controls.includes(control))];
  const head: PredictionHead = {
    anymalEval: 1,
    ...{
      task: asked.name,
      ...(asked.spec && { spec: asked.spec }),
      prompts,
      split: found.split,
      model: name,
      ...(fingerprint !== undefined && { fingerprint }),
    },
    ...{ shown, seed, maxNewTokens: convention.maxNewTokens, questions: found.items.length, leftOut: found.leftOut },
    ...{ data: digestOf(found.items), date: new Date().toISOString() },
  };
  const questions = questionsOf(found, shown, seed);
  const answerer = new Answerer(model, convention, found.root, { batch, signal });
  let lock: FolderLock | undefined;
  try {
    if (output !== undefined) {
      await onFile("to be written", output, () => mkdir(output, { recursive: true }));
      lock = await FolderLock.take(output, `the evaluation of ${asked.name}`);
    }
    const file = output === undefined ? undefined : await PredictionFile.open(join(output, PREDICTIONS), head, asked);
    const lines = file ? [...file.before] : [];
    for (let at = lines.length; at < questions.length; at += batch) {
      signal?.throwIfAborted();
      const made = await answerer.answer(questions.slice(at, at + batch));
      const bad = made.findIndex(({ problem }) => problem !== undefined);
      if (bad >= 0 && options.onBadRow !== "skip") {
        await file?.append(made.slice(0, bad)); // whoever mends it goes on from here
        throw problemOf(made[bad] as Prediction, data);
      }
      await file?.append(made);
      for (const line of made) if (line.problem !== undefined) options.onProblem?.(problemOf(line, data));
      lines.push(...made);
      options.onProgress?.(lines.length, questions.length);
    }
    return { head: file?.head ?? head, lines };
  } finally {
    answerer.dispose();
    await lock?.release();
  }
}

function questionsOf({ items }: Items, shown: readonly Shown[], seed: number): Question[] {
  return shown.flatMap((one) => {
    const media = mediaShown(items, one, seed);
    return items.map((item, place) => ({ place, item, shown: one, media: media[place] as Question["media"] }));
  });
}

function problemOf({ id, shown, input_media: media, problem = "" }: Prediction, data: string): DataError {
  const names = media.map(({ path }) => basename(path)).join(", ");
  return new DataError(
    "E_ROW",
    `${data}: ${id} (${shown})`,
    undefined,
    "an answer",
    problem,
    `see ${names}, or leave it out with onBadRow: 'skip'`,
  );
}

function checkNumbers(numbers: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(numbers))
    if (!(Number.isInteger(value) && value >= 1)) throw expected("E_VALUE", `answerTask: ${name}`, "an integer of at least 1", value);
}
