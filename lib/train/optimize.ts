// Training from nothing: a loss per step and nothing else to keep; the loop is everybody's (trainer.ts).
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Tensor } from "../core/tensor.js";
import { cosine, type Schedule } from "./schedule.js";
import type { StepReport } from "./step-report.js";
import type { MicroLoss, Trainee, Windows } from "./trainee.js";
import { train } from "./trainer.js";

export interface OptimizeOptions {
  steps: number;
  learningRate: number;
  /** Factor of the rate per step. Default: warm-up over a twentieth of the steps, then cosine to a twentieth of the rate. */
  schedule?: Schedule;
  weightDecay?: number;
  betas?: readonly [number, number];
  maxGradNorm?: number;
  /** Ends the loop with its reason. */
  signal?: AbortSignal | undefined;
}

export const OPTIMIZE_KEYS = optionNames<OptimizeOptions>({
  ...({ steps: true, learningRate: true, schedule: true, weightDecay: true } as const),
  ...({ betas: true, maxGradNorm: true, signal: true } as const),
});

/** The loss of one step (1) f32 with its tape, and what it was taken over. */
export interface StepLoss {
  loss: Tensor;
  items: number;
}

type Parameters = Iterable<readonly [string, Tensor]>;

/** Updates `parameters` once per call of `lossOf`. Leaving the loop early is fine: nothing is left allocated but the parameters. */
export function optimize(
  parameters: Iterable<readonly [string, Tensor]>,
  lossOf: (step: number) => StepLoss | Promise<StepLoss>,
  options: OptimizeOptions,
): AsyncGenerator<StepReport> {
  checkOptions("optimize", options, OPTIMIZE_KEYS);
  return fromNothing(parameters, { next: lossOf }, { lossOf: ({ loss }: StepLoss) => loss, itemsOf: ({ items }) => items }, options);
}

interface Losses<W> {
  lossOf: (window: W) => Tensor;
  itemsOf: (window: W) => number;
}

/** One loss per window. A layer's own mode says whether its dropout is on. */
export async function* fromNothing<W>(
  parameters: Parameters,
  windows: Windows<W>,
  { lossOf, itemsOf }: Losses<W>,
  { schedule, steps, weightDecay = 0.01, betas = [0.9, 0.98], maxGradNorm = 1, ...options }: OptimizeOptions,
): AsyncGenerator<StepReport> {
  const { signal } = options;
  const trainee: Trainee<W> = {
    parameters,
    losses: (window): MicroLoss[] => [() => open(lossOf(window))],
    items: itemsOf,
    training: () => undefined,
  };
  const factor = schedule ?? cosine({ totalSteps: steps, warmupSteps: Math.ceil(steps / 20), floor: 0.05 });
  signal?.throwIfAborted();
  for await (const report of train(trainee, windows, { ...options, steps, schedule: factor, weightDecay, betas, maxGradNorm })) {
    yield report;
    signal?.throwIfAborted();
  }
}

/** Where all that there is depends on the loss, one without a gradient is a mistake. */
function open(loss: Tensor): Tensor {
  if (loss.requiresGrad) return loss;
  loss.dispose();
  throw expected("E_GRAD", "training", "a loss that depends on what trains", "one that does not", "make it outside of noGrad()");
}
