// Batches: every row once an epoch, the same for the same seed, and a resumed run meets what an unbroken one would.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Batches, type BatchOptions, type BatchState } from "../../lib/data/batches.js";
import { inOrder } from "../../lib/data/order.js";
import { AnymalError } from "../../lib/index.js";

const take = (batches: Batches, n: number) => Array.from({ length: n }, () => batches.next());
const sorted = (rows: readonly number[]) => [...rows].sort((a, b) => a - b);
const all = (n: number) => Array.from({ length: n }, (_, i) => i);
const lengths = all(103).map((i) => (i * 37) % 101);
const KINDS: [string, BatchOptions][] = [
  ["shuffled", { batchSize: 8, seed: 5 }],
  ["in order", { batchSize: 8, seed: 5, shuffle: false }],
  ["by length", { batchSize: 2, seed: 5, lengths }],
  ["whole batches only", { batchSize: 8, seed: 5, last: "drop" }],
];

for (const [kind, options] of KINDS) {
  test(`${kind}: an epoch has every row once`, () => {
    const batches = new Batches(103, options);
    for (let epoch = 0; epoch < 3; ++epoch) {
      assert.is(batches.epoch, epoch);
      const taken = take(batches, batches.batchesPerEpoch);
      const rows = sorted(taken.flat());
      if (options.last === "drop") {
        assert.ok(taken.every(({ length }) => length === options.batchSize));
        assert.is(new Set(rows).size, Math.floor(103 / options.batchSize) * options.batchSize);
      } else {
        assert.equal(rows, all(103));
        assert.is(taken.filter(({ length }) => length !== options.batchSize).length, 1);
      }
    }
  });

  test(`${kind}: the order is the seed's, other in every epoch`, () => {
    const first = take(new Batches(103, options), 60);
    assert.equal(take(new Batches(103, options), 60), first);
    if (options.shuffle === false) return assert.equal(first.slice(0, 13).flat(), all(103));
    assert.not.equal(take(new Batches(103, { ...options, seed: 6 }), 60), first);
    const { batchesPerEpoch } = new Batches(103, options);
    assert.not.equal(first.slice(batchesPerEpoch, 2 * batchesPerEpoch), first.slice(0, batchesPerEpoch));
  });

  test(`${kind}: going on from any position, through a file, gives the same`, () => {
    const { batchesPerEpoch } = new Batches(103, options);
    const unbroken = take(new Batches(103, options), 2 * batchesPerEpoch + 5);
    for (const at of [0, 1, batchesPerEpoch - 1, batchesPerEpoch, batchesPerEpoch + 3, 2 * batchesPerEpoch]) {
      const before = new Batches(103, options);
      take(before, at);
      const resumed = new Batches(103, options);
      resumed.restore(JSON.parse(JSON.stringify(before.state)) as BatchState);
      assert.equal(take(resumed, unbroken.length - at), unbroken.slice(at), `from ${at}`);
    }
  });
}

test("by length: neighbours in a batch are of similar length", () => {
  const spread = (batches: number[][]) =>
    batches.reduce((sum, rows) => sum + Math.max(...rows.map((row) => lengths[row]!)) - Math.min(...rows.map((row) => lengths[row]!)), 0);
  const grouped = spread(take(new Batches(103, { batchSize: 4, lengths }), 26));
  const mixed = spread(take(new Batches(103, { batchSize: 4 }), 26));
  assert.ok(grouped < mixed / 5, `${grouped} against ${mixed}`);
});

test("by length, of rows that stand still: the same batches, in another order each epoch and each stretch", () => {
  const rows = 400;
  const batches = new Batches(rows, { batchSize: 4, seed: 3, lengths: all(rows).map((i) => (i * 37) % 101), order: inOrder(rows) });
  const [first, second] = [take(batches, 100), take(batches, 100)];
  const keys = (epoch: number[][]) => epoch.map(String);
  assert.equal(keys(second).sort(), keys(first).sort());
  assert.not.equal(second, first);
  /** Of the longest first: which place each batch of a stretch has. */
  const places = (stretch: number[][]) => {
    const longest = stretch.map((batch) => (batch[0]! * 37) % 101);
    return longest.map((own) => longest.filter((other) => other > own).length);
  };
  assert.not.equal(places(first.slice(0, 50)), places(first.slice(50)));
});

test("going back to an earlier epoch", () => {
  const batches = new Batches(20, { batchSize: 5 });
  const { state } = batches;
  const first = take(batches, 10);
  batches.restore(state);
  assert.equal(take(batches, 10), first);
});

test("a batch that was given out may be changed without harm", () => {
  const [changed, kept] = [new Batches(10, { batchSize: 5 }), new Batches(10, { batchSize: 5 })];
  const state = changed.state;
  changed.next().reverse();
  kept.next();
  assert.equal(changed.next(), kept.next());
  changed.restore(state);
  assert.equal(changed.next(), new Batches(10, { batchSize: 5 }).next());
});

test("options and states that do not fit", () => {
  const fails = (run: () => unknown, code: string, message: RegExp) =>
    assert.throws(
      run,
      (error: Error) => error instanceof AnymalError && error.code === code && message.test(error.message),
      String(message),
    );
  fails(() => new Batches(0, { batchSize: 1 }), "E_VALUE", /at least one row, got 0/);
  fails(() => new Batches(3, { batchSize: 0 }), "E_VALUE", /batchSize: expected a positive integer/);
  fails(() => new Batches(3, { batchSize: 1, seed: 0.5 }), "E_VALUE", /seed/);
  fails(() => new Batches(3, { batchSize: 1, lengths: [1, 2] }), "E_VALUE", /lengths: expected 3/);
  fails(() => new Batches(3, { batchSize: 4, last: "drop" }), "E_VALUE", /one whole batch of 4, got 3 rows/);
  const { state } = new Batches(30, { batchSize: 4 });
  for (const [change, message] of [
    [{ seed: 1 }, /seed: expected 0 as now, got 1/],
    [{ rows: 31 }, /rows: expected 30 as now, got 31; resume with the data/],
    [{ batchSize: 5 }, /batchSize/],
    [{ position: 8 }, /a position below 8, got epoch 0, position 8/],
    [{ position: -1 }, /position/],
    [{ epoch: 0.5 }, /position/],
  ] as const)
    fails(() => new Batches(30, { batchSize: 4 }).restore({ ...state, ...change }), "E_STATE", message);
});

test.run();
