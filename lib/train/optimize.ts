// The loop that every training from nothing shares: loss, gradients, one AdamW update. The loss is read one step late, so that the device always
// has work while JavaScript waits for a number.
import { backwardAsync, freeTape } from "../core/autograd.js";
import type { Tensor } from "../core/tensor.js";
import { diverged } from "./diverged.js";
import { AdamW, decayMatricesOnly } from "./optimizer.js";
import { cosine, type Schedule } from "./schedule.js";

export interface OptimizeOptions {
  steps: number;
  learningRate: number;
  /** Factor of the rate per step. Default: warm-up over a twentieth of the steps, then cosine to a twentieth of the rate. */
  schedule?: Schedule;
  weightDecay?: number;
  betas?: readonly [number, number];
  maxGradNorm?: number;
  signal?: AbortSignal | undefined;
}

export interface OptimizeStep {
  /** Counted from 1. */
  step: number;
  steps: number;
  loss: number;
  /** Before clipping. */
  gradNorm: number;
  learningRate: number;
  /** What the loss was taken over (tokens, pairs), per second since the previous step. */
  perSecond: number;
}

/** The loss of one step (1) f32 with its tape, and what it was taken over. */
export interface StepLoss {
  loss: Tensor;
  items: number;
}

interface Pending {
  step: number;
  values: Promise<[number, number]>;
  learningRate: number;
  items: number;
}

/** Updates `parameters` once per call of `lossOf`. Leaving the loop early is fine: nothing is left allocated but the parameters. */
export async function* optimize(
  parameters: Iterable<readonly [string, Tensor]>,
  lossOf: (step: number) => StepLoss | Promise<StepLoss>,
  { steps, learningRate, schedule, weightDecay = 0.01, betas = [0.9, 0.98], maxGradNorm = 1, signal }: OptimizeOptions,
): AsyncGenerator<OptimizeStep> {
  const factor = schedule ?? cosine({ totalSteps: steps, warmupSteps: Math.ceil(steps / 20), floor: 0.05 });
  using optimizer = new AdamW(decayMatricesOnly(parameters, weightDecay), { betas, maxGradNorm });
  let last = performance.now();
  let pending: Pending | undefined;
  const settle = async ({ step, values, learningRate, items }: Pending): Promise<OptimizeStep> => {
    const [loss, gradNorm] = await values;
    diverged("loss", loss, step);
    diverged("norm of the gradient", gradNorm, step);
    const now = performance.now();
    const perSecond = (1000 * items) / (now - last);
    last = now;
    return { step, steps, loss, gradNorm, learningRate, perSecond };
  };
  try {
    for (let step = 0; step < steps; ++step) {
      signal?.throwIfAborted();
      const { loss, items } = await lossOf(step);
      const rate = learningRate * factor(step);
      let norm: Tensor | undefined;
      let values: Pending["values"];
      try {
        await backwardAsync(loss);
        norm = optimizer.step(rate);
        optimizer.zeroGrad();
        values = Promise.all([loss.item(), norm.item()]);
        values.catch(() => undefined); // told when it is awaited
      } finally {
        freeTape(loss);
        for (const tensor of [loss, norm]) tensor?.dispose();
      }
      const before = pending;
      pending = { step: step + 1, values, learningRate: rate, items };
      if (before) yield await settle(before);
    }
    if (pending) yield await settle(pending);
  } catch (error) {
    optimizer.recover();
    throw error;
  } finally {
    optimizer.zeroGrad();
    await pending?.values.catch(() => undefined);
  }
}
