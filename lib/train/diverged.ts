import { AnymalError } from "../core/errors.js";

/** Throws E_DIVERGED where what a step reports is no number. */
export function diverged(what: string, value: number, step: number): void {
  if (!Number.isFinite(value))
    throw new AnymalError("E_DIVERGED", `training: expected a finite ${what}, got ${value} at step ${step}; lower the learning rate`);
}
