// The loop of both stages: rows in micro-batches, gradients weighted by tokens, one AdamW update per step. What a step reports is read one step late,
// so that the device always has work while JavaScript waits for numbers.
import type { AnyMAL } from "../anymal/anymal.js";
import { batchOf } from "../anymal/prompt.js";
import { backwardInPieces, freeTape, noGrad } from "../core/autograd.js";
import type { DeviceMemory } from "../core/device.js";
import { paced } from "../core/pace.js";
import { type RandomState, randomFrom } from "../core/random.js";
import { scopeInPieces } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type Pieces, within } from "../core/turns.js";
import { gradNorm } from "../ops/index.js";
import { accumulate } from "./accumulation.js";
import { diverged } from "./diverged.js";
import { AdamW, decayMatricesOnly } from "./optimizer.js";
import type { TrainingRecipe } from "./recipe.js";
import type { RunFolder } from "./run-folder.js";
import { constant, cosine, linear, type Schedule } from "./schedule.js";
import type { ReadyRow, TrainingRows } from "./training-rows.js";

export interface TrainStep {
  /** Counted from 1. */
  step: number;
  steps: number;
  /** Mean over the scored tokens of the step. */
  loss: number;
  /** Before clipping. */
  gradNorm: number;
  learningRate: number;
  /** Passes over the rows so far. */
  epoch: number;
  /** Positions, media included, padding not. */
  tokens: number;
  scoredTokens: number;
  tokensPerSecond: number;
  secondsElapsed: number;
  secondsLeft: number;
  memory: Pick<DeviceMemory, "bytesInUse" | "bytesPeak">;
  /** Rows left out so far. */
  skippedRows: number;
}

export interface Job {
  model: AnyMAL;
  recipe: TrainingRecipe;
  rows: TrainingRows;
  /** What trains, by names that last. */
  parameters: readonly (readonly [string, Tensor])[];
  run: RunFolder | undefined;
  signal: AbortSignal | undefined;
  /** Called when all that an earlier sitting left has been read: from here on the model is the run's. */
  onBegin: () => void;
}

/** Draws of one step are numbered from here on, so that a resumed run draws what an unbroken one does. */
const DRAWS_PER_STEP = 2 ** 32;
const DRAWS_PER_MICRO_BATCH = 2 ** 16;
/** Steps that the estimate of the time left looks back over. */
const RECENT = 20;

interface Pending extends Update {
  /** Used up to this step. */
  batches: number;
}
interface Update {
  step: number;
  learningRate: number;
  tokens: number;
  scoredTokens: number;
  values: Promise<number[]>;
}

/** Trains from the run's step on. Aborting, or leaving the loop, finishes the step and saves; both end without an error. */
export async function* train(job: Job): AsyncGenerator<TrainStep> {
  const { model, recipe, rows, run, signal } = job;
  const { steps, saveEvery } = recipe;
  using optimizer = optimizerOf(job);
  const rate = scheduleOf(recipe);
  let step = (await run?.resume(optimizer)) ?? 0;
  job.onBegin();
  let saved = step;
  let batches = run?.batchesBefore ?? step;
  rows.seek(batches);
  const clock = new Clock(step, steps, run?.secondsBefore ?? 0);
  const save = async () => {
    if (run && step > saved) {
      await checkFinite(job, step);
      await run.save(model, optimizer, { step, batches }, clock.elapsed);
    }
    saved = step;
  };
  const report = async (pending: Pending): Promise<TrainStep> => {
    const [gradNorm = 0, ...losses] = await pending.values;
    const loss = losses.reduce((a, b) => a + b, 0);
    diverged("loss", loss, pending.step);
    diverged("norm of the gradient", gradNorm, pending.step);
    const { bytesInUse, bytesPeak } = model.device.memory();
    const { values: _, batches: used, ...rest } = pending;
    const done: TrainStep = {
      ...rest,
      steps,
      loss,
      gradNorm,
      epoch: used / rows.stepsPerEpoch,
      ...clock.tick(pending.step, pending.tokens),
      memory: { bytesInUse, bytesPeak },
      skippedRows: rows.skipped,
    };
    if (done.step % recipe.logEvery === 0 || done.step === steps) await run?.log(done);
    return done;
  };

  const prepare = () => {
    const window = rows.next(signal);
    window.catch(() => undefined); // told when it is awaited
    return window;
  };
  let pending: Pending | undefined;
  let failed = false;
  let next: ReturnType<TrainingRows["next"]> | undefined;
  try {
    next = step < steps ? prepare() : undefined;
    while (next && !signal?.aborted) {
      const window = await next;
      next = step + 1 < steps ? prepare() : undefined;
      const current = { ...(await update(job, optimizer, window.ready, step, recipe.learningRate * rate(step))), batches: window.batches };
      ++step;
      batches = window.batches;
      const before = pending;
      pending = current;
      if (before) yield await report(before);
      if (step % saveEvery === 0 || step === steps) {
        pending = undefined;
        yield await report(current);
        await save();
      }
    }
    const last = pending;
    pending = undefined;
    if (last) yield await report(last);
  } catch (error) {
    failed = !isAbort(error, signal);
    if (failed) optimizer.recover();
    if (failed) throw error;
  } finally {
    optimizer.zeroGrad();
    await next?.catch(() => undefined); // nothing goes on in the background once this has ended
    // A step that was made before the stop is saved, so it belongs into the log too; one that went wrong is not saved.
    if (pending) await (failed ? pending.values : report(pending)).catch(() => (failed = true));
    if (!failed) await save();
  }
}

/** An update may ruin weights although its loss and its gradient were numbers: what is about to take a good checkpoint's place is looked at. */
async function checkFinite({ parameters }: Job, step: number): Promise<void> {
  const tensors = parameters.map(([, tensor]) => tensor);
  if (!tensors.length) return;
  const norm = noGrad(() => gradNorm(tensors));
  diverged("norm of the weights", await norm.item().finally(() => norm.dispose()), step);
}

/** What a signal throws where it is looked at: to a training it is the wish to stop, not a failure. */
export const isAbort = (error: unknown, signal: AbortSignal | undefined): boolean => signal?.aborted === true && error === signal.reason;

async function update({ model, recipe }: Job, optimizer: AdamW, window: ReadyRow[], step: number, learningRate: number): Promise<Update> {
  const losses: Tensor[] = [];
  let tokens = 0;
  let scoredTokens = 0;
  const micros = microBatches(window, recipe.microBatch);
  const run = <T>(work: Pieces<T>) => paced(model.device, inTraining(model, work));
  try {
    for (const [k, { batch, windowTokens, tokens: own }] of [...accumulate(micros, micros.length, scoredOf)].entries()) {
      tokens += batch.reduce((n, { length }) => n + length, 0);
      scoredTokens += own;
      const random = { seed: recipe.seed, offset: step * DRAWS_PER_STEP + k * DRAWS_PER_MICRO_BATCH };
      const loss = await run(forward(model, batch, windowTokens, random));
      losses.push(loss);
      if (loss.requiresGrad) await run(backwardInPieces(loss)); // text alone has no gradient where only projections train
    }
    const norm = optimizer.hasGradients ? optimizer.step(learningRate) : undefined;
    optimizer.zeroGrad();
    const values = Promise.all([norm?.item() ?? 0, ...losses.map((loss) => loss.item())]);
    values.catch(() => undefined); // told when it is awaited
    norm?.dispose();
    return { step: step + 1, learningRate, tokens, scoredTokens, values };
  } finally {
    for (const loss of losses) {
      freeTape(loss); // of one that failed before backward
      loss.dispose();
    }
  }
}

/** Dropout is on while the training itself runs, and off for who asks the model between two of its pieces. */
function inTraining<T>({ adapter }: AnyMAL, work: Pieces<T>): Pieces<T> {
  const layers = [...(adapter?.layers.values() ?? [])];
  const set = (on: boolean) => {
    for (const layer of layers) layer.training = on;
  };
  return within(work, () => {
    set(true);
    return () => set(false);
  });
}

function forward(model: AnyMAL, rows: readonly ReadyRow[], windowTokens: number, random: RandomState): Pieces<Tensor> {
  function* loss(): Pieces<Tensor> {
    const batch = batchOf(
      rows,
      rows.map(({ features }) => features),
      model.device,
    );
    return (yield* model.network.forwardInPieces(batch, { windowTokens })).loss as Tensor;
  }
  return scopeInPieces(randomFrom(random, loss()));
}

const scoredOf = (rows: readonly ReadyRow[]): number => rows.reduce((n, { scored }) => n + scored, 0);

/** Rows of like length together, for less padding. */
function microBatches(window: readonly ReadyRow[], size: number): ReadyRow[][] {
  const sorted = window.length > size ? window.toSorted((a, b) => a.length - b.length) : window;
  return Array.from({ length: Math.ceil(window.length / size) }, (_, i) => sorted.slice(i * size, (i + 1) * size));
}

function optimizerOf({ recipe, parameters }: Job): AdamW {
  const { betas, maxGradNorm, optimizer, weightDecay } = recipe;
  return new AdamW(decayMatricesOnly(parameters, weightDecay), {
    betas,
    maxGradNorm: maxGradNorm || undefined,
    moments: optimizer === "adamw8bit" ? "8bit" : "f32",
  });
}

function scheduleOf({ schedule, warmupSteps, steps: totalSteps }: TrainingRecipe): Schedule {
  if (schedule === "constant") return constant({ warmupSteps });
  return (schedule === "linear" ? linear : cosine)({ warmupSteps, totalSteps });
}

class Clock {
  readonly #start = performance.now();
  #last = this.#start;
  readonly #recent: number[] = [];
  constructor(
    private readonly first: number,
    private readonly steps: number,
    private readonly before: number,
  ) {}

  get elapsed(): number {
    return this.before + (performance.now() - this.#start) / 1000;
  }
  tick(step: number, tokens: number): Pick<TrainStep, "tokensPerSecond" | "secondsElapsed" | "secondsLeft"> {
    const now = performance.now();
    const seconds = (now - this.#last) / 1000;
    this.#last = now;
    // The first step of a run also loads and encodes: it says little about the others.
    if (this.#recent.length === 1 && step === this.first + 2) this.#recent.pop();
    this.#recent.push(seconds);
    if (this.#recent.length > RECENT) this.#recent.shift();
    const usual = this.#recent.reduce((a, b) => a + b, 0) / this.#recent.length;
    return { tokensPerSecond: tokens / seconds, secondsElapsed: this.elapsed, secondsLeft: (this.steps - step) * usual };
  }
}
