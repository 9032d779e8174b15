import { test } from "uvu";
import * as assert from "uvu/assert";
import { Slots } from "../../lib/core/slots.js";

test("so many at once, in the order in which they came, and one that fails gives its place on", async () => {
  const slots = new Slots(2);
  const begun: number[] = [];
  let [now, most] = [0, 0];
  const ends: (() => void)[] = [];
  const all = [0, 1, 2, 3, 4].map((n) =>
    slots.run(async () => {
      begun.push(n);
      most = Math.max(most, ++now);
      await new Promise<void>((resolve) => (ends[n] = resolve));
      --now;
      if (n === 1) throw new Error("one");
      return n;
    }),
  );
  const outcome = Promise.allSettled(all);
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  await turn();
  assert.equal(begun, [0, 1]);
  for (const n of [1, 0, 2, 4, 3]) {
    for (let waits = 0; !ends[n] && waits < 100; ++waits) await turn();
    ends[n]!();
    await turn();
  }
  assert.equal(
    (await outcome).map((one) => (one.status === "fulfilled" ? one.value : one.reason.message)),
    [0, "one", 2, 3, 4],
  );
  assert.equal(begun, [0, 1, 2, 3, 4]);
  assert.is(most, 2);
  assert.is(await slots.run(async () => 5), 5);
});

test.run();
