// Random numbers are functions of (seed, offset, position) on the device; here live the seed and the running offset of this thread.

import { type Pieces, within } from "./turns.js";

export interface RandomState {
  seed: number;
  offset: number;
}

let state: RandomState = { seed: 0, offset: 0 };

/** Starts the sequence anew: the same seed gives the same dropout masks and initial weights. */
export function seed(value: number): void {
  state = { seed: value, offset: 0 };
}
/** One draw's place in the sequence; every call gives another. */
export function nextRandom(): RandomState {
  const { seed, offset } = state;
  state = { seed, offset: offset + 1 };
  return { seed, offset };
}
export function randomState(): RandomState {
  return state;
}
export function setRandomState(to: RandomState): void {
  state = to;
}

/** Work in pieces whose random numbers begin at `from`, and go on in its next piece whatever others draw between them. */
export function randomFrom<T>(from: RandomState, work: Pieces<T>): Pieces<T> {
  let own = from;
  return within(work, () => {
    const outer = state;
    state = own;
    return () => {
      own = state;
      state = outer;
    };
  });
}
