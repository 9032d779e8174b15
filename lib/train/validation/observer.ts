// A stage's validation: the rows that are held out, read and encoded as those that it trains on.
import type { AnyMAL } from "../../anymal/anymal.js";
import { type AnymalError, expected } from "../../core/errors.js";
import type { Row } from "../../data/row.js";
import { heldRows, type RowSource } from "../../data/sources/source.js";
import { askedIn } from "../../eval/held-out.js";
import type { FeatureSource } from "../feature-source.js";
import type { ModelInTraining } from "../model-in-training.js";
import type { PromptRows } from "../prompt-rows.js";
import type { TrainingRecipe } from "../recipe.js";
import type { Kept, RunFolder } from "../run-folder.js";
import type { ValidationReport } from "../run-log/reporter.js";
import { lossOf } from "../trainer.js";
import { TrainingRows } from "../training-rows.js";
import { someRows } from "./held-rows.js";
import { looksOf } from "./kept-looks.js";
import { metricOf } from "./metric.js";
import { validationRecipe } from "./options.js";
import { Validation } from "./validation.js";

export interface Observed {
  model: AnyMAL;
  trained: ModelInTraining;
  reader: PromptRows;
  source: FeatureSource;
  run: RunFolder | undefined;
  kept: Kept;
  /** Do the rows say what media show? */
  captions: boolean;
  /** Passes over the training's rows so far. */
  epoch: () => number;
  open: (data: string | readonly string[] | readonly Row[]) => Promise<RowSource>;
  options: {
    signal?: AbortSignal;
    onProblem?: (problem: AnymalError) => void;
    onValidation?: (report: ValidationReport) => void;
  };
}

/** Undefined where the recipe holds no rows out. */
export async function observerOf(training: TrainingRecipe, observed: Observed): Promise<Validation | undefined> {
  const { seed, steps, onBadRow, validation } = training;
  if (!validation) return undefined;
  const { model, trained, reader, source, run, kept, captions, epoch, open, options } = observed;
  const { signal, onProblem, onValidation } = options;
  const recipe = validationRecipe(validation, { at: "validation", steps });
  const files = await open(recipe.data);
  try {
    const some = await someRows(files, { rows: recipe.rows, onBadRow, onProblem, signal });
    const rows = new TrainingRows(reader, heldRows(some), source, { seed, batch: some.length, onBadRow, onProblem });
    const held = async () => {
      rows.seek(0); // in the same order each time: sums round alike
      const made = await rows.finish(rows.begin(signal));
      if (!made.ready.length)
        throw expected("E_DATA", "validation", "a row that can be used", `none of ${some.length}`, "mend those that were reported");
      const usable = new Set(made.ready.map(({ where }) => where));
      const window = { ...made, batches: 1, skipped: rows.skipped };
      return { rows: some.filter(({ where }) => usable.has(where)), loss: await lossOf(trained, window, model.device, signal) };
    };
    const looks = await looksOf(run, kept, async (report) => onValidation?.(report), signal);
    const metric =
      recipe.metric ??
      metricOf(
        some.map((row) => askedIn(row).answer),
        captions,
      );
    return new Validation({ model, recipe: { ...recipe, metric }, held, epoch, looks, signal, close: () => files.close() });
  } catch (error) {
    await files.close();
    throw error;
  }
}
