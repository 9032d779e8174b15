// What a training tells of its steps.
import type { DeviceMemory } from "../core/device.js";

/** What every training tells of a step. */
export interface StepReport {
  /** Counted from 1. */
  step: number;
  steps: number;
  /** The sum of the micro-batches' losses: a mean over what is scored. */
  loss: number;
  /** Before clipping. */
  gradNorm: number;
  /** Its gradient was dropped: onDiverged "skip". */
  skipped?: true;
  learningRate: number;
  /** What the loss was taken over: tokens, pairs. */
  items: number;
  itemsPerSecond: number;
  secondsElapsed: number;
  secondsLeft: number;
  memory: Pick<DeviceMemory, "bytesInUse" | "bytesPeak">;
  /** How long the device had nothing of the run to do before this step, because its data were not there yet. */
  secondsWaited: number;
}

/** Of a step of either stage: its items are tokens. */
export interface TrainStep extends Omit<StepReport, "items" | "itemsPerSecond"> {
  /** Passes over the rows so far. */
  epoch: number;
  /** Positions, media included, padding not. */
  tokens: number;
  /** Of all steps so far, those of earlier sittings among them. */
  totalTokens: number;
  scoredTokens: number;
  tokensPerSecond: number;
  /** Rows left out so far. */
  skippedRows: number;
  /** In the rows of this step. */
  media: number;
  /** Of these, the ones whose features were there already, in memory or in the cache's folder: of frozen encoders all from the second epoch on, if there is room. */
  mediaKept: number;
  /** Equal for equal rows in the same order: of what they say, and of the content of media whose encoders do not train. */
  rowsDigest: string;
}
