// The cache's own promises: rows go on where they are told to, what layers keep in it stays, goes and grows with it, and its bytes count all.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { KVCache } from "../../lib/nn/kv-cache.js";
import { Rope } from "../../lib/nn/rope.js";
import { begun, rowsBehind, type Sequence, type Span } from "../../lib/nn/sequence.js";
import { rope as rotated } from "../../lib/ops/index.js";
import { here } from "../case.js";

const SHAPE = { layers: 2, batch: 2, length: 6, kvHeads: 1, headDim: 4 };
const rope = () => new Rope(here, { headDim: 4, theta: 10000, scaling: { type: "default" } });
const spansOf = (...spans: [start: number, end: number][]): Span[] => spans.map(([start, end]) => ({ start, end }));
const whole = (...lengths: number[]): Span[] => lengths.map((end) => ({ start: 0, end }));
const random = (shape: number[], from: number) =>
  Tensor.from(
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.7 + from)),
    shape,
    { device: here },
  );

/** A step of `spans` through both layers; what the second one answers. */
function step(cache: KVCache, r: Rope, spans: Span[], count: number, from: number): Tensor {
  return noGrad(() =>
    scope(() => {
      const sequence = cache.next(spans, count, r);
      const heads = () => ({
        q: random([2, count, 1, 4], from),
        k: random([2, count, 1, 4], from + 1),
        v: random([2, count, 1, 4], from + 2),
      });
      const options = { scale: 0.5, window: 0 };
      cache.attend(0, heads(), sequence, options);
      const y = cache.attend(1, heads(), sequence, options);
      cache.done(sequence, rowsBehind(cache.rows, spans));
      return y;
    }),
  );
}
const positions = async ({ positions: at }: Sequence) => Array.from(await at.data());

test("a row goes on at the position that it is told, in every later step", async () => {
  using r = disposable(rope());
  using cache = new KVCache(here, SHAPE);
  const first = cache.next(whole(2, 2), 2, r.rope);
  cache.done(first, [
    { from: 0, end: 2, position: 7 },
    { from: 1, end: 2, position: 1 },
  ]);
  const decode = cache.next(whole(1, 1), 1, r.rope);
  assert.is(decode.step, "decode");
  assert.equal(await positions(decode), [7, 1]);
  assert.equal(Array.from(await decode.range!.data()), [0, 3, 1, 3]);
  cache.done(decode, rowsBehind(cache.rows, whole(1, 1)));
  const extend = cache.next(whole(2, 1), 2, r.rope);
  assert.is(extend.step, "extend");
  assert.equal(await positions(extend), [8, 9, 2, 3]);
  assert.equal(Array.from(await extend.range!.data()), [0, 5, 1, 4]);
  for (const { range } of [decode, extend]) range!.dispose();
  for (const { positions: at } of [first, extend]) at.dispose();
});

test("what a layer keeps is there in later steps, is exchanged by what it keeps next, and goes with the cache", async () => {
  using r = disposable(rope());
  r.rope.table(6); // grows to its final length
  const { tensors } = here.memory();
  const [a, b] = [{}, {}];
  {
    using cache = new KVCache(here, SHAPE);
    const bare = cache.bytes;
    assert.equal(cache.kept(a), []);
    scope(() => cache.keep(a, [random([2, 3], 1), random([5], 2)]));
    scope(() => cache.keep(b, [random([4], 3)]));
    assert.is(cache.bytes, bare + 4 * (6 + 5 + 4));
    const values = await Promise.all(cache.kept(a).map(async (t) => Array.from(await t.data())));
    scope(() => cache.keep(a, [random([2, 3], 9)]));
    assert.is(cache.bytes, bare + 4 * (6 + 4));
    assert.not.equal(Array.from(await cache.kept(a)[0]!.data()), values[0]);
    step(cache, r.rope, whole(2, 2), 2, 1).dispose();
    assert.is(cache.kept(b).length, 1);
    cache.reset();
    assert.equal([cache.kept(a), cache.kept(b)], [[], []]);
    assert.is(cache.bytes, bare);
    scope(() => cache.keep(b, [random([4], 3)]));
  }
  assert.is(here.memory().tensors, tensors);
});

test("truncate() drops what was kept, and whoever asks for it is told; a longer cache takes it along", async () => {
  using r = disposable(rope());
  const owner = {};
  using cache = new KVCache(here, SHAPE);
  step(cache, r.rope, whole(3, 3), 3, 1).dispose();
  scope(() => cache.keep(owner, [random([4], 3)]));
  using longer = cache.grown(9);
  assert.equal(await data(longer.kept(owner)[0]!), await data(cache.kept(owner)[0]!));
  cache.truncate(2);
  assert.is(longer.kept(owner).length, 1, "it has its own");
  using again = cache.grown(9);
  for (const short of [cache, again])
    assert.throws(
      () => short.kept(owner),
      (error: { code?: string }) => error.code === "E_CACHE_SHORTENED",
    );
  assert.equal(cache.kept({}), [], "who kept nothing lost nothing");
  scope(() => cache.keep(owner, [random([4], 4)]));
  assert.is(cache.kept(owner).length, 1);
});

test("a longer cache goes on as the one it came from, padded rows too", async () => {
  using r = disposable(rope());
  for (const spans of [
    whole(3, 3),
    [
      { start: 1, end: 3 },
      { start: 0, end: 3 },
    ],
    whole(3, 2),
  ]) {
    using cache = new KVCache(here, SHAPE);
    step(cache, r.rope, spans, 3, 1).dispose();
    using longer = cache.grown(9);
    assert.equal(longer.rows, cache.rows);
    for (const from of [20, 30]) {
      using want = step(cache, r.rope, whole(1, 1), 1, from);
      using got = step(longer, r.rope, whole(1, 1), 1, from);
      assert.equal(await data(got), await data(want));
    }
  }
});

test("rows that were chosen go on as those that they were copied from, and keep what is theirs and what all share", async () => {
  using r = disposable(rope());
  const owner = {};
  for (const type of ["f32", "int8"] as const) {
    using cache = new KVCache(here, { ...SHAPE, type });
    step(cache, r.rope, spansOf([0, 3], [1, 3]), 3, 1).dispose();
    scope(() => cache.keep(owner, [random([2, 3], 3)], [random([3], 4)]));
    using swapped = cache.chosen([1, 0], 9);
    const [own, shared] = await Promise.all(cache.kept(owner).map(data));
    assert.equal(await Promise.all(swapped.kept(owner).map(data)), [[...own!.slice(3), ...own!.slice(0, 3)], shared]);
    assert.equal(swapped.rows, [...cache.rows].reverse());
    using pair = cache.chosen([0, 0], 9);
    using other = cache.chosen([1, 1], 9);
    for (const from of [20, 30]) {
      // Each row of a step has heads of its own: a copy is compared where it stands in the place of its original.
      using want = step(cache, r.rope, whole(1, 1), 1, from);
      using first = step(pair, r.rope, whole(1, 1), 1, from);
      using second = step(other, r.rope, whole(1, 1), 1, from);
      const half = want.size / 2;
      assert.equal((await data(first)).slice(0, half), (await data(want)).slice(0, half));
      assert.equal((await data(second)).slice(half), (await data(want)).slice(half));
    }
  }
});

test("a row that forks takes over what the other has behind the place that they share, and nothing else moves", async () => {
  using r = disposable(rope());
  for (const type of ["f32", "bf16", "int8"] as const) {
    using cache = new KVCache(here, { ...SHAPE, type });
    step(cache, r.rope, whole(2, 2), 2, 1).dispose();
    using both = cache.chosen([0, 0], 9);
    for (const from of [20, 30]) step(both, r.rope, whole(1, 1), 1, from).dispose(); // rows differ from here on
    using right = both.chosen([0, 0], 9);
    using left = both.chosen([1, 1], 9);
    both.fork(0, 1, 2);
    const next = (one: KVCache) => step(one, r.rope, whole(1, 1), 1, 40);
    using got = next(both);
    using want = next(right);
    using old = next(left);
    const half = got.size / 2;
    assert.equal(await data(got), await data(want));
    assert.not.equal((await data(got)).slice(half), (await data(old)).slice(half), "the row was another before");
  }
});

test("what rows see of media, and what stands before them, goes along into a longer cache; what they see next takes its place", async () => {
  using r = disposable(rope());
  using cache = new KVCache(here, SHAPE);
  const lead = { length: 2, keys: random([1, 2, 4], 1) };
  const first = cache.next(whole(3, 3), 3, r.rope, { lead });
  const rows = [0, 1].map(() => ({ from: 0, end: 5, position: 5 })); // two keys, three tokens
  const seen = [
    { start: 0, end: 3 },
    { start: 1, end: 2 },
  ];
  cache.done(first, rows, seen);
  using longer = cache.grown(9);
  for (const one of [cache, longer]) {
    assert.equal([one.filled, one.held], [5, 3]);
    const next = one.next(whole(1, 1), 1, r.rope);
    assert.equal(await data(next.beside!.seen!), [0, 3, 1, 2]);
    next.range!.dispose();
    assert.equal(one.spansBehind([[1, 1, 1, 1], [1]], 1), whole(1, 1), "a mask of everything is of tokens alone");
    assert.throws(
      () => one.spansBehind([[1, 1, 1, 1, 1, 1], [1]], 1),
      (error: { code?: string }) => error.code === "E_MASK",
    );
  }
  const { tensors } = here.memory();
  const step = longer.next(whole(1, 1), 1, r.rope);
  longer.done(step, rowsBehind(longer.rows, whole(1, 1)), [seen[1]!, seen[0]!]);
  step.range!.dispose();
  assert.is(here.memory().tensors, tensors, "what was seen before is freed");
  const next = longer.next(whole(1, 1), 1, r.rope);
  assert.equal(await data(next.beside!.seen!), [1, 2, 0, 3]);
  for (const t of [next.range!, first.positions, first.range!, lead.keys]) t.dispose();
});

test("rows that are padded are not shortened, on whichever side the padding is", () => {
  using r = disposable(rope());
  for (const padded of [whole(3, 2), [{ start: 1, end: 3 }, ...whole(3)]]) {
    using cache = new KVCache(here, SHAPE);
    step(cache, r.rope, padded, 3, 1).dispose();
    assert.throws(
      () => cache.truncate(2),
      (error: { code?: string }) => error.code === "E_CACHE_FULL",
    );
    assert.equal(cache.rows, rowsBehind(begun(2), padded));
    cache.truncate(0);
    assert.is(cache.held, 0);
  }
});

test("a token whose key turns on its way into the cache is answered as one whose key was turned before; a cache of another type says no", async () => {
  using r = disposable(rope());
  const options = { scale: 0.5, window: 0 };
  const bias = random([1, 2, 1, 6], 50);
  for (const type of ["f32", "bf16", "int8"] as const)
    for (const biased of [false, true]) {
      using cache = new KVCache(here, { ...SHAPE, type });
      step(cache, r.rope, spansOf([0, 2], [1, 2]), 2, 1).dispose();
      using other = cache.grown(6);
      const answers = noGrad(() =>
        [cache, other].map((one, i) =>
          scope(() => {
            const sequence = { ...one.next(whole(1, 1), 1, r.rope), ...(biased && { bias }) };
            const [q, k, v] = [2, 1, 1].map((heads, j) => random([2, 1, heads, 4], 30 + j)) as [Tensor, Tensor, Tensor];
            if (i === 0) return one.attendTurning(0, { q, k, v }, sequence, options);
            const turned = (x: Tensor) => rotated(x, sequence.table, sequence.positions);
            return one.attend(0, { q: turned(q), k: turned(k), v }, sequence, options);
          }),
        ),
      );
      if (type === "f32") assert.equal(await data(answers[0]!), await data(answers[1]!), `with a bias: ${biased}`);
      else assert.is(answers[0], undefined, type);
      for (const y of answers) y?.dispose();
    }
  using cache = new KVCache(here, SHAPE);
  const first = cache.next(whole(2, 2), 2, r.rope);
  const [q, k, v] = [2, 1, 1].map((heads) => random([2, 2, heads, 4], 30)) as [Tensor, Tensor, Tensor];
  assert.is(cache.attendTurning(0, { q, k, v }, first, options), undefined, "several tokens see each other's keys");
  for (const t of [q, k, v, first.positions]) t.dispose();
});

const data = async (t: Tensor) => Array.from(await t.data());
const disposable = (r: Rope) => ({ rope: r, [Symbol.dispose]: () => r.dispose() });

test.run();
