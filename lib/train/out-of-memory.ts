// A training that did not fit: what held how much, and which settings to change.
import type { AnyMAL } from "../anymal/anymal.js";
import { AnymalError } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import type { TrainingRecipe } from "./recipe.js";

/** Bytes on the device when it was fullest. */
export interface MemoryBreakdown {
  /** The model as the stage found it. */
  weights: number;
  /** What training keeps from step to step: masters and branches, gradients, the optimiser's moments. */
  trained: number;
  /** What layers and encoders held on their way. */
  activations: number;
  /** What ops computed in. */
  scratch: number;
  peak: number;
  /** The device's memoryLimit; undefined where the system refused. */
  limit: number | undefined;
}

/** A setting as a recipe spells it, and what it does. */
export interface MemorySetting {
  key: string;
  value: string | number | boolean;
  why: string;
}

/** E_OUT_OF_MEMORY of a stage; `cause` is the device's own error, which names the op. */
export class TrainingMemoryError extends AnymalError {
  override readonly name = "TrainingMemoryError";
  constructor(
    stage: string,
    readonly breakdown: MemoryBreakdown,
    /** Three, the one that spares most first. */
    readonly settings: readonly MemorySetting[],
    cause: Error,
  ) {
    const { weights, trained, activations, scratch, peak, limit } = breakdown;
    const of = limit === undefined ? "" : ` of a memoryLimit of ${mb(limit)}`;
    const parts = `${mb(weights)} of weights, ${mb(trained)} of what trains, ${mb(activations)} of activations, ${mb(scratch)} to compute in`;
    const tries = settings.map(({ key, value, why }) => `${key}: ${value} (${why})`).join(", ");
    super(
      "E_OUT_OF_MEMORY",
      `${stage}: out of memory at ${mb(peak)}${of}: ${parts}; try ${tries}; anymal plan says what a recipe holds before it runs (${cause.message})`,
      { cause },
    );
  }
}

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** What a stage is told of, as it stood when its training began. */
export interface Standing {
  stage: string;
  recipe: TrainingRecipe;
  /** Bytes in use before anything was opened. */
  weights: number;
  parameters: readonly (readonly [string, Tensor])[];
}

/** The error as who trains should see it: any other than one of memory comes back as it is. */
export function outOfMemory(error: unknown, model: AnyMAL, { stage, recipe, weights, parameters }: Standing): unknown {
  if (!(error instanceof Error) || (error as { code?: unknown }).code !== "E_OUT_OF_MEMORY" || error instanceof TrainingMemoryError)
    return error;
  const { bytesPeak: peak, bytesScratch: scratch, memoryLimit: limit } = model.device.memory();
  const numbers = parameters.reduce((n, [, { size }]) => n + size, 0);
  const moments = recipe.optimizer === "adamw8bit" ? 2 : 8;
  const trained = Math.min(numbers * (4 + moments), Math.max(0, peak - scratch - weights));
  const activations = Math.max(0, peak - scratch - weights - trained);
  const breakdown = { weights, trained, activations, scratch, peak, limit };
  return new TrainingMemoryError(stage, breakdown, settingsFor(breakdown, model, recipe, numbers), error);
}

function settingsFor(
  { weights, trained, activations }: MemoryBreakdown,
  model: AnyMAL,
  recipe: TrainingRecipe,
  numbers: number,
): MemorySetting[] {
  const { microBatch, batch, gradientCheckpointing, optimizer, maxLength = model.llm.config.maxPositions } = recipe;
  const { lora } = recipe as { lora?: { r: number } | false };
  const whole = [recipe.opens ?? []].flat().some((pattern) => pattern.startsWith("llm."));
  const all: (MemorySetting & { spares: number; can: boolean })[] = [
    setting("microBatch", Math.ceil(microBatch / 2), "the same steps in smaller pieces", activations / 2, microBatch > 1),
    setting("gradientCheckpointing", true, "layers are run again in backward", activations * 0.45, !gradientCheckpointing),
    setting("quantization", "nf4", "the language model in 4 bit", weights * 0.6, !model.quantization && !whole),
    setting("dtype", "bf16", "half of what is computed with", (weights + activations) * 0.4, model.llm.dtype === "f32"),
    setting("optimizer", "adamw8bit", "a quarter of the moments", numbers * 6, optimizer === "adamw"),
    setting("lora.r", Math.ceil((lora ? lora.r : 0) / 2), "narrower branches", trained / 2, Boolean(lora) && (lora as { r: number }).r > 1),
    setting("maxLength", Math.max(2, Math.ceil(maxLength / 2)), "longer rows are cut", activations * 0.3, maxLength > 2),
    setting("batch", Math.ceil(batch / 2), "fewer rows wait for a step", 0, batch > 1),
  ];
  const useful = all.filter(({ can }) => can).sort((a, b) => b.spares - a.spares);
  return useful.slice(0, 3).map(({ key, value, why }) => ({ key, value, why }));
}

const setting = (key: string, value: MemorySetting["value"], why: string, spares: number, can: boolean) => ({
  key,
  value,
  why,
  spares,
  can,
});
