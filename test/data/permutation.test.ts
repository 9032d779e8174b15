// Orders that are computed place by place: each row once an epoch, the same for the same seed, and as mixed as a shuffle.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Batches } from "../../lib/data/batches.js";
import { blockOrder, LISTED, type Order, shuffledOrder } from "../../lib/data/order.js";
import { Permutation } from "../../lib/data/permutation.js";

const listed = (length: number, at: (place: number) => number) => Array.from({ length }, (_, place) => at(place));
const epochOf = (order: Order, epoch: number) => listed(order.length, (place) => order.at(epoch, place));
const isPermutation = (rows: readonly number[]) => {
  const seen = new Uint8Array(rows.length);
  for (const row of rows) seen[row] = 1;
  return seen.every(Boolean);
};

test("a permutation has each number once, whatever their count", () => {
  for (const length of [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 4097])
    for (const seed of [0, 7]) assert.ok(isPermutation(listed(length, (i) => new Permutation(length, seed, "x").at(i))), `${length}`);
});

test("it is the seed's and the label's, and mixes: neighbours end far from each other, no place keeps its own", () => {
  const length = 30_000;
  const of = (seed: number, label: string) => {
    const permutation = new Permutation(length, seed, label);
    return listed(length, (i) => permutation.at(i));
  };
  const first = of(1, "a");
  assert.equal(of(1, "a"), first);
  for (const other of [of(2, "a"), of(1, "b")]) assert.ok(other.filter((row, i) => row === first[i]).length < 20);
  assert.ok(first.filter((row, i) => row === i).length < 20, "fixed points: one is expected");
  const steps = first.slice(1).map((row, i) => Math.abs(row - (first[i] as number)));
  const mean = steps.reduce((a, b) => a + b, 0) / steps.length / length;
  assert.ok(Math.abs(mean - 1 / 3) < 0.01, `mean distance of neighbours ${mean} of the length, 1/3 in a shuffle`);
  // Of each tenth of the places, a tenth of the rows comes from each tenth: chi-squared with 81 degrees of freedom.
  const counts = new Float64Array(100);
  for (const [i, row] of first.entries()) counts[Math.floor((i * 10) / length) * 10 + Math.floor((row * 10) / length)]! += 1;
  const chi = counts.reduce((sum, count) => sum + (count - length / 100) ** 2 / (length / 100), 0);
  assert.ok(chi > 40 && chi < 140, `chi-squared ${chi}`);
});

test("beyond a list's length an order needs none, and batches go on from any place at once", () => {
  const length = LISTED + 1000;
  const order = shuffledOrder(length, 3);
  const [first, second] = [epochOf(order, 0), epochOf(order, 1)];
  assert.ok(isPermutation(first) && isPermutation(second));
  assert.not.equal(first, second);
  const far = new Batches(10 ** 12, { batchSize: 4, seed: 3, last: "drop" });
  far.restore({ ...far.state, epoch: 5, position: 2 * 10 ** 11 });
  const batch = far.next();
  assert.is(new Set(batch).size, 4);
  assert.ok(batch.every((row) => row >= 0 && row < 10 ** 12));
  const again = new Batches(10 ** 12, { batchSize: 4, seed: 3, last: "drop" });
  again.restore({ ...far.state, position: far.state.position - 1 });
  assert.equal(again.next(), batch);
});

test("many rows by length: each once, neighbours of like length", () => {
  const length = 2037; // computed batch by batch, as beyond a list's length
  const lengths = Float64Array.from({ length }, (_, i) => (i * 7919) % 1009);
  const batches = new Batches(length, { batchSize: 8, seed: 2, lengths, order: shuffledOrder(length, 2) });
  const taken = Array.from({ length: batches.batchesPerEpoch }, () => batches.next());
  assert.ok(isPermutation(taken.flat()));
  const spread = taken.reduce((sum, rows) => sum + (lengths[rows[0] as number] as number) - (lengths[rows.at(-1) as number] as number), 0);
  assert.ok(spread / taken.length < 40, `mean spread ${spread / taken.length} of 1009`);
});

test("blocks: each row once, other blocks in other epochs, and a stretch of places meets few blocks", () => {
  const blocks = Array.from({ length: 60 }, (_, i) => (i % 7 ? 50 + i : 1 + i));
  const order = blockOrder(blocks, 5, 4);
  const starts = blocks.map((_, i) => blocks.slice(0, i).reduce((a, b) => a + b, 0));
  const blockOf = (row: number) => starts.findLastIndex((start) => start <= row);
  const [first, second] = [epochOf(order, 0), epochOf(order, 1)];
  for (const rows of [first, second]) assert.ok(isPermutation(rows));
  assert.not.equal(first, second);
  assert.equal(epochOf(blockOrder(blocks, 5, 4), 1), second);
  for (let from = 0; from + 32 <= first.length; from += 32) {
    const met = new Set(first.slice(from, from + 32).map(blockOf));
    assert.ok(met.size <= 8, `${met.size} blocks for 32 rows`);
  }
  const mixed = first.slice(0, 100).filter((row, i, all) => i && blockOf(row) !== blockOf(all[i - 1] as number)).length;
  assert.ok(mixed > 40, "rows of a window's blocks stand among each other");
  // One block, so one window: its rows are shuffled anew each epoch; and two of a length are not shuffled alike.
  const alone = blockOrder([64], 5);
  assert.not.equal(epochOf(alone, 0), epochOf(alone, 1));
  const two = epochOf(blockOrder([64, 64], 5, 1), 0);
  const place = (row: number) => row % 64;
  assert.not.equal(two.slice(0, 64).map(place), two.slice(64).map(place));
});

test.run();
