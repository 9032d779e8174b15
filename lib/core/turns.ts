// Long work on JavaScript's thread, in pieces: between two of them the event loop gets its turn, so that a server in the same process keeps
// answering. A piece is what cannot be divided, and takes a millisecond or less.
import { setImmediate } from "node:timers/promises";

/** Work that yields between its pieces: run with inTurns(), or by who may wait, with atOnce(). */
export type Pieces<T> = Generator<void, T, void>;

/** How long pieces run on end. Tests set it to 0: then each piece has a turn of its own, and what a turn does can be counted. */
export const slice = { ms: 3 };

/** For loops that await anyway: `await turns.next()` once per piece. */
export class Turns {
  #start = performance.now();
  constructor(private readonly sliceMs = slice.ms) {}

  /** Goes on at once while the slice lasts, and then after a turn of the event loop. */
  async next(): Promise<void> {
    if (performance.now() - this.#start < this.sliceMs) return;
    await setImmediate();
    this.#start = performance.now();
  }
}

/** Runs the work to its end and hands the event loop back on the way. Aborting ends it between two pieces and throws the signal's reason. */
export async function inTurns<T>(
  work: Pieces<T>,
  { signal, sliceMs }: { signal?: AbortSignal | undefined; sliceMs?: number } = {},
): Promise<T> {
  const turns = new Turns(sliceMs);
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { done, value } = work.next();
      if (done) return value;
      await turns.next();
    }
  } finally {
    work.return(undefined as T); // an aborted one lets go of what it holds; one that has ended does nothing
  }
}

/**
 * The work with what `enter` sets up around each of its pieces; `enter` gives back what undoes it. What code in one piece finds in this thread's
 * state (an open scope, random numbers, dropout on or off) must not be there for others who run between two pieces.
 */
export function* within<T>(work: Pieces<T>, enter: () => () => void): Pieces<T> {
  try {
    for (;;) {
      const leave = enter();
      let step: IteratorResult<void, T>;
      try {
        step = work.next();
      } finally {
        leave();
      }
      if (step.done) return step.value;
      yield;
    }
  } finally {
    work.return(undefined as T);
  }
}

/** Runs the work without a break. */
export function atOnce<T>(work: Pieces<T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}
