// What validation adds to a stage: its rows are asked now and then by generation, with keys and values that training has none of.
import { existsSync } from "node:fs";
import type { AnyMAL } from "../anymal/anymal.js";
import { hubDataId } from "../data/hub-data.js";
import type { Row } from "../data/row.js";
import { filesOf, type RecipeData } from "../train/recipe-data.js";
import type { TrainStep } from "../train/step-report.js";
import type { ValidationRecipe } from "../train/validation/options.js";
import { cacheBytes } from "./generating.js";
import { mediaIn, textTokens } from "./rows.js";
import type { Traced } from "./traced.js";

export interface PlannedLooks {
  /** In the whole training, the one before the first step included. */
  count: number;
  /** Of one, and of all with the held-out media encoded, at the share that is counted on. */
  seconds: number;
  secondsInAll: number;
  /** Of the device's memory during a look, and of keys and values in it; without what ops compute in. */
  bytesPeak: number;
  cache: number;
}

/** Prompts that generateAll() answers together. */
const TOGETHER = 32;

/** The files of the held-out rows, where they are here or on the hub. */
export function heldFiles({ data }: Pick<RecipeData, "data">): string[] {
  const files = filesOf(data);
  return files.every((file) => existsSync(file) || hubDataId(file) !== undefined) ? files : [];
}

/** `run`: the stage over two steps with looks before the first and after the last, at `held`. */
export async function plannedLooks(
  traced: Traced,
  model: AnyMAL,
  held: readonly Row[],
  { every, maxNewTokens, steps, share }: Pick<ValidationRecipe, "every" | "maxNewTokens"> & { steps: number; share: number },
  run: (onValidation: () => void) => AsyncGenerator<TrainStep>,
): Promise<PlannedLooks> {
  const before = traced.costs.seconds;
  const marks: number[] = [];
  let from = 0;
  for await (const { step } of run(() => void marks.push(traced.costs.seconds)))
    if (step === 2) {
      await traced.memory();
      traced.device.resetPeak();
      from = traced.costs.seconds;
    }
  const { bytesPeak } = await traced.memory();
  const [first = 0, last = 0] = marks;
  const [longest] = held as [Row];
  const prompt = textTokens(model, { ...longest, turns: longest.turns.slice(0, -1) }) + (await mediaIn(model, longest)).positions;
  const count = 1 + Math.ceil(steps / every);
  const seconds = (last - from) / share;
  return {
    ...{ count, seconds, secondsInAll: (first - before) / share + (count - 1) * seconds, bytesPeak },
    cache: cacheBytes(model, Math.min(TOGETHER, held.length), prompt + maxNewTokens),
  };
}
