// Learning-rate schedules: the factor of the base rate for optimiser step k, counted from 0. The formulas are those of transformers'
// `get_*_schedule_with_warmup`, so that a recipe written for it gives the same rates.
import { checkOptions } from "../core/options.js";

export interface Warmup {
  /** Steps of linear growth from 0; the very first update then has rate 0. */
  warmupSteps?: number;
}
export interface Decay extends Warmup {
  totalSteps: number;
}
export type Schedule = (step: number) => number;

const DECAY = ["warmupSteps", "totalSteps"];
/** What transformers calls them. */
const OTHERS = {
  numWarmupSteps: 'did you mean "warmupSteps"?',
  numTrainingSteps: 'did you mean "totalSteps"?',
  numCycles: 'did you mean "cycles"?',
};

const warmup = (step: number, steps: number): number => step / Math.max(1, steps);
const progress = (step: number, warmupSteps: number, totalSteps: number): number =>
  (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);

/** 1 after the warm-up. */
export function constant(options: Warmup = {}): Schedule {
  checkOptions("constant", options, ["warmupSteps"], { others: OTHERS });
  const { warmupSteps = 0 } = options;
  return (step) => (step < warmupSteps ? warmup(step, warmupSteps) : 1);
}

/** From 1 after the warm-up down to 0 at totalSteps, in a straight line. */
export function linear(options: Decay): Schedule {
  checkOptions("linear", options, DECAY, { others: OTHERS });
  const { warmupSteps = 0, totalSteps } = options;
  return (step) =>
    step < warmupSteps ? warmup(step, warmupSteps) : Math.max(0, (totalSteps - step) / Math.max(1, totalSteps - warmupSteps));
}

/** Cosine from 1 to `floor` (a share of the base rate); half a wave unless `cycles` says otherwise. */
export function cosine(options: Decay & { cycles?: number; floor?: number }): Schedule {
  checkOptions("cosine", options, [...DECAY, "cycles", "floor"], { others: OTHERS });
  const { warmupSteps = 0, totalSteps, cycles = 0.5, floor = 0 } = options;
  return (step) => {
    if (step < warmupSteps) return warmup(step, warmupSteps);
    const wave = 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress(step, warmupSteps, totalSteps)));
    return Math.max(0, wave * (1 - floor) + floor);
  };
}

/** From 1 to `end` (a share of the base rate) by (1 - progress)^power, and `end` ever after. */
export function polynomial(options: Decay & { power?: number; end: number }): Schedule {
  checkOptions("polynomial", options, [...DECAY, "power", "end"], { others: OTHERS });
  const { warmupSteps = 0, totalSteps, power = 1, end } = options;
  return (step) => {
    if (step < warmupSteps) return warmup(step, warmupSteps);
    if (step > totalSteps) return end;
    return (1 - end) * (1 - (step - warmupSteps) / (totalSteps - warmupSteps)) ** power + end;
  };
}
