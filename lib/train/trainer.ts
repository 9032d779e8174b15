// The one loop of every training: losses in micro-batches, gradients that add up, one AdamW update per step. What a step reports is read one step late,
// so that the device always has work while JavaScript waits for numbers.
import { backwardInPieces, freeTape, noGrad } from "../core/autograd.js";
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { paced } from "../core/pace.js";
import { randomFrom } from "../core/random.js";
import { scopeInPieces } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { type Pieces, within } from "../core/turns.js";
import { gradNorm } from "../ops/index.js";
import { Clock, Idle, timeOf } from "./clock.js";
import { diverged, type Guard, guards, problemOf } from "./diverged.js";
import { AdamW, type AdamWOptions, decayMatricesOnly, type ParameterGroup } from "./optimizer.js";
import { constant, type Schedule } from "./schedule.js";
import type { StepReport } from "./step-report.js";
import type { Keeper, MicroLoss, Observer, Stateful, Trainee, Windows } from "./trainee.js";

export interface TrainOptions<W, R = StepReport> extends AdamWOptions {
  steps: number;
  learningRate: number;
  /** Factor of the rate per step, counted from 0. Default: 1. */
  schedule?: Schedule;
  /** Which parameters decay, and whose rate is another. Default: all at one rate, of which matrices decay. */
  groups?: (parameters: readonly (readonly [string, Tensor])[], weightDecay: number) => ParameterGroup[];
  /** Draws of step k begin at a place of their own, so that a resumed run draws what an unbroken one does. Default: they go on from seed(). */
  seed?: number;
  /** What is saved with the run beside the optimiser, and goes on with it. */
  state?: readonly Stateful[];
  /** Without one nothing is written. */
  keeper?: Keeper<R> | undefined;
  /** Steps between two saves; the last step is saved in any case. */
  saveEvery?: number;
  /** Steps between two lines of the log. */
  logEvery?: number;
  /** Finishes the step, saves, and ends the loop without an error. */
  signal?: AbortSignal | undefined;
  /** What becomes of a step whose loss or gradient is no number. Default: it ends the training, which finds it one step late. */
  guard?: Guard;
  /** Looks at what is trained between two steps; it may end the training. */
  observer?: Observer | undefined;
  /** Called when all that an earlier sitting left has been read: from here on the parameters are the run's. */
  onBegin?: () => void;
  /** Called when all gradients of a step have added up, before they are clipped and used. */
  gradientsReady?: (step: number) => void | Promise<void>;
  /** What a step's report says of its window; asked before the step, so that no window is held for it. */
  report?: (window: W) => (report: StepReport) => R;
}

/** Draws of one step are numbered from here on. */
const DRAWS_PER_STEP = 2 ** 32;
const DRAWS_PER_MICRO_BATCH = 2 ** 16;
const WEIGHT_DECAY = 0.01;

const KEYS = [
  ...[
    "steps",
    "learningRate",
    "schedule",
    "groups",
    "seed",
    "state",
    "keeper",
    "saveEvery",
    "logEvery",
    "signal",
    "guard",
    "observer",
    "onBegin",
  ],
  ...["gradientsReady", "report", "betas", "eps", "weightDecay", "maxGradNorm", "moments"],
];

interface Pending<R> {
  step: number;
  learningRate: number;
  items: number;
  values: Promise<number[]>;
  /** When they were there. */
  made: Promise<number>;
  /** Those of the step, as messages call them. */
  rows: readonly string[];
  /** Was it left out? */
  skipped: boolean;
  report: (report: StepReport) => R;
  secondsWaited: number;
}
type Parameters = readonly (readonly [string, Tensor])[];

/**
 * Trains whatever can say its parameters and its losses; align() and instruct() are this with AnyMAL as the trainee. Yields each step's report, one step
 * late. Goes on from the keeper's step. Aborting, or leaving the loop, finishes the step and saves; both end without an error. Rejects with E_DIVERGED
 * where a loss, a gradient or weights about to be saved are no numbers, E_ARGUMENT where there is nothing to train, and with what the trainee throws.
 */
export async function* train<W, R = StepReport>(trainee: Trainee<W>, windows: Windows<W>, options: TrainOptions<W, R>): AsyncGenerator<R> {
  checkOptions("train", options, KEYS, { others: { lr: 'did you mean "learningRate"?' } });
  const { steps, learningRate, keeper, observer, signal, schedule = constant(), saveEvery = Infinity, logEvery = 1 } = options;
  const parameters = [...trainee.parameters];
  const device = deviceOf(parameters);
  using optimizer = optimizerOf(parameters, options);
  const parts = [partOf(optimizer), ...(options.state ?? [])];
  let step = (await keeper?.resume(parts)) ?? 0;
  options.onBegin?.();
  let saved = step;
  const clock = new Clock(step, steps, keeper?.secondsBefore ?? 0);
  const save = async () => {
    if (keeper && step > saved) {
      await checkFinite(parameters, step);
      await keeper.save(step, parts, clock.elapsed);
    }
    saved = step;
  };
  const look = async () => {
    if (signal?.aborted || !observer?.due({ step, steps })) return;
    await observer.look({ step, steps, secondsElapsed: clock.elapsed, secondsLeft: clock.left });
    clock.skip();
  };
  const settle = async ({ values, made, report, rows, skipped, ...rest }: Pending<R>): Promise<R> => {
    const [gradNorm = 0, ...losses] = await values;
    const loss = losses.reduce((a, b) => a + b, 0);
    if (!skipped) diverged("loss", loss, rest.step, rows);
    if (!skipped) diverged("norm of the gradient", gradNorm, rest.step, rows);
    const { bytesInUse, bytesPeak } = device.memory();
    const told = report({
      ...rest,
      ...(skipped && { skipped: true as const }),
      steps,
      loss,
      gradNorm,
      ...clock.tick(rest.step, rest.items, await made),
      memory: { bytesInUse, bytesPeak },
    });
    if (rest.step % logEvery === 0 || rest.step === steps) await keeper?.log(told);
    return told;
  };

  let pending: Pending<R> | undefined;
  let failed = false;
  const idle = new Idle();
  try {
    await look();
    while (step < steps && !observer?.enough && !signal?.aborted) {
      const [window, secondsWaited] = await idle.during(windows.next(step, signal));
      const rate = learningRate * schedule(step);
      const report = options.report?.(window) ?? ((plain: StepReport) => plain as R);
      const items = trainee.items(window);
      const rows = trainee.names?.(window) ?? [];
      const { values, skipped } = await update(trainee, window, { step, rate, rows, device, optimizer, options });
      const before = pending;
      pending = { step: ++step, learningRate: rate, items, values, made: timeOf(values), rows, skipped, report, secondsWaited };
      idle.until(values);
      if (before) yield await settle(before);
      if (step % saveEvery === 0 || step === steps || observer?.due({ step, steps })) {
        const last = pending;
        pending = undefined;
        yield await settle(last);
        await look();
        await save();
      }
    }
    const last = pending;
    pending = undefined;
    if (last) yield await settle(last);
  } catch (error) {
    failed = !isAbort(error, signal);
    if (failed) optimizer.recover();
    if (failed) throw error;
  } finally {
    optimizer.zeroGrad();
    await windows.end?.();
    // A step that was made before the stop is saved, so it belongs into the log too; one that went wrong is not saved.
    if (pending) await (failed ? pending.values : settle(pending)).catch(() => (failed = true));
    if (!failed) await save();
  }
}

/** What a signal throws where it is looked at: to a training it is the wish to stop, not a failure. */
export const isAbort = (error: unknown, signal: AbortSignal | undefined): boolean => signal?.aborted === true && error === signal.reason;

interface Updating<W, R> {
  step: number;
  rate: number;
  rows: readonly string[];
  device: Device;
  optimizer: AdamW;
  options: TrainOptions<W, R>;
}

/** One step. The norm of its gradient and its losses, once the device has them, in a promise of their own: nobody waits for them here. */
async function update<W, R>(trainee: Trainee<W>, window: W, { step, rate, rows, device, optimizer, options }: Updating<W, R>) {
  const { seed, gradientsReady, guard = {} } = options;
  const losses: Tensor[] = [];
  const run = <T>(work: Pieces<T>) => paced(device, inTraining(trainee, work));
  try {
    for (const make of trainee.losses(window, step)) {
      const offset = step * DRAWS_PER_STEP + losses.length * DRAWS_PER_MICRO_BATCH;
      const work = inPieces(make);
      const loss = await run(scopeInPieces(seed === undefined ? work : randomFrom({ seed, offset }, work)));
      losses.push(loss);
      if (loss.requiresGrad) await run(backwardInPieces(loss)); // text alone has no gradient where only projections train
    }
    await gradientsReady?.(step);
    const problem = guards(guard) ? await lookedAt(optimizer, losses, step + 1, rows, guard) : undefined;
    if (problem && guard.onDiverged !== "skip") throw problem.error;
    if (problem) guard.onSkip?.(problem.error);
    if (problem) return { values: Promise.resolve(problem.values), skipped: true };
    const norm = optimizer.hasGradients ? optimizer.step(rate) : undefined;
    const values = Promise.all([norm?.item() ?? 0, ...losses.map((loss) => loss.item())]);
    values.catch(() => undefined); // told when it is awaited
    norm?.dispose();
    return { values, skipped: false };
  } finally {
    optimizer.zeroGrad();
    for (const loss of losses) {
      freeTape(loss); // of one that failed before backward
      loss.dispose();
    }
  }
}

/** The loss of a window as a step would have it, of which nothing is learned. Rejects with the signal's reason. */
export async function lossOf<W>(trainee: Trainee<W>, window: W, device: Device, signal?: AbortSignal): Promise<number> {
  let sum = 0;
  for (const make of trainee.losses(window, 0)) {
    signal?.throwIfAborted();
    const loss = await paced(device, scopeInPieces(forgotten(inPieces(make))));
    sum += await loss.item().finally(() => loss.dispose());
  }
  return sum;
}

function* forgotten<T>(work: Pieces<T>): Pieces<T> {
  try {
    for (;;) {
      const { done, value } = noGrad(() => work.next());
      if (done) return value;
      yield;
    }
  } finally {
    work.return(undefined as T);
  }
}

/** What is wrong with a step whose gradients are there, before they change anything, and its numbers. */
async function lookedAt(optimizer: AdamW, losses: readonly Tensor[], step: number, rows: readonly string[], guard: Guard) {
  const norm = optimizer.hasGradients ? optimizer.gradNorm() : undefined;
  const values = await Promise.all([norm?.item() ?? 0, ...losses.map((loss) => loss.item())]).finally(() => norm?.dispose());
  const loss = values.slice(1).reduce((a, b) => a + b, 0);
  const error = problemOf(loss, values[0] as number, step, rows, guard);
  return error && { error, values };
}

function* inPieces(make: MicroLoss): Pieces<Tensor> {
  const made = make();
  return made instanceof Tensor ? made : yield* made;
}

/** The trainee's switches are on while the training itself runs, and off for who asks the model between two of its pieces. */
const inTraining = <W, T>(trainee: Trainee<W>, work: Pieces<T>): Pieces<T> =>
  within(work, () => {
    trainee.training(true);
    return () => trainee.training(false);
  });

/** An update may ruin weights although its loss and its gradient were numbers: what is about to take a good checkpoint's place is looked at. */
async function checkFinite(parameters: Parameters, step: number): Promise<void> {
  const norm = noGrad(() => gradNorm(parameters.map(([, tensor]) => tensor)));
  diverged("norm of the weights", await norm.item().finally(() => norm.dispose()), step);
}

function deviceOf([first]: Parameters): Device {
  if (!first) throw expected("E_ARGUMENT", "train", "a parameter to train", "none", "open one with requiresGrad(true)");
  return first[1].device;
}

function optimizerOf<W, R>(parameters: Parameters, options: TrainOptions<W, R>): AdamW {
  const { weightDecay = WEIGHT_DECAY, groups = decayMatricesOnly, betas, eps, maxGradNorm, moments } = options;
  return new AdamW(groups(parameters, weightDecay), {
    maxGradNorm,
    ...(betas && { betas }),
    ...(eps !== undefined && { eps }),
    ...(moments && { moments }),
  });
}

const partOf = (optimizer: AdamW): Stateful => ({
  name: "optimizer",
  tensors: () => optimizer.state(),
  numbers: () => {
    const { steps: updates, fewerUpdates } = optimizer;
    return { updates, ...(Object.keys(fewerUpdates).length && { fewerUpdates }) };
  },
  restore: (tensors, { updates, fewerUpdates }) => optimizer.loadState(tensors, updates, fewerUpdates),
});
