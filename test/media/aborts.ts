// Aborting in the middle, without a clock: at the first, the second … time that a loader looks at its signal.
import * as assert from "uvu/assert";

/**
 * Runs `load` again and again, each time aborted one look later, until it gets through: all before must reject with the reason. It must have looked
 * at least `least` times: one that looks only at the beginning cannot be stopped.
 */
export async function abortedAtEveryLook(reason: Error, load: (signal: AbortSignal) => Promise<unknown>, least: number): Promise<void> {
  const looks = await looksOf(load);
  assert.ok(looks >= least, `looked at its signal ${looks} times`);
  const all = Array.from({ length: looks }, (_, i) => i + 1);
  const tried = looks > 12 ? all.filter((at) => at <= 4 || at > looks - 4 || at === looks >> 1) : all;
  for (const at of tried) {
    const { signal } = watched(at, reason);
    assert.is(await load(signal).catch((error) => error), reason, `aborted at look ${at} of ${looks}`);
  }
}

async function looksOf(load: (signal: AbortSignal) => Promise<unknown>): Promise<number> {
  const { signal, looks } = watched(Infinity, new Error("never"));
  await load(signal);
  return looks();
}

function watched(abortAt: number, reason: Error): { signal: AbortSignal; looks: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const look = () => {
    if (++count === abortAt) controller.abort(reason);
  };
  Object.defineProperty(signal, "throwIfAborted", {
    value: () => {
      look();
      AbortSignal.prototype.throwIfAborted.call(signal);
    },
  });
  return { signal, looks: () => count };
}
