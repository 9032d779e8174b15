// Learning-rate schedules: the factor of the base rate for optimiser step k, counted from 0. The formulas are those of transformers'
// `get_*_schedule_with_warmup`, so that a recipe written for it gives the same rates.

export interface Warmup {
  /** Steps of linear growth from 0; the very first update then has rate 0. */
  warmupSteps?: number;
}
export interface Decay extends Warmup {
  totalSteps: number;
}
export type Schedule = (step: number) => number;

const warmup = (step: number, steps: number): number => step / Math.max(1, steps);
const progress = (step: number, warmupSteps: number, totalSteps: number): number =>
  (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);

export function constant({ warmupSteps = 0 }: Warmup = {}): Schedule {
  return (step) => (step < warmupSteps ? warmup(step, warmupSteps) : 1);
}

export function linear({ warmupSteps = 0, totalSteps }: Decay): Schedule {
  return (step) =>
    step < warmupSteps ? warmup(step, warmupSteps) : Math.max(0, (totalSteps - step) / Math.max(1, totalSteps - warmupSteps));
}

/** Cosine from 1 to `floor` (a share of the base rate); half a wave unless `cycles` says otherwise. */
export function cosine({ warmupSteps = 0, totalSteps, cycles = 0.5, floor = 0 }: Decay & { cycles?: number; floor?: number }): Schedule {
  return (step) => {
    if (step < warmupSteps) return warmup(step, warmupSteps);
    const wave = 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress(step, warmupSteps, totalSteps)));
    return Math.max(0, wave * (1 - floor) + floor);
  };
}

/** From 1 to `end` (a share of the base rate) by (1 - progress)^power, and `end` ever after. */
export function polynomial({ warmupSteps = 0, totalSteps, power = 1, end }: Decay & { power?: number; end: number }): Schedule {
  return (step) => {
    if (step < warmupSteps) return warmup(step, warmupSteps);
    if (step > totalSteps) return end;
    return (1 - end) * (1 - (step - warmupSteps) / (totalSteps - warmupSteps)) ** power + end;
  };
}
