// What layers are told goes through recomputation whole: each tensor of it, wherever it stands, is there in backward and gets its gradient.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { keep, scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Module } from "../../lib/nn/module.js";
import { recomputed } from "../../lib/nn/recomputed.js";
import { begun, type LayerCache, layoutOf, rowsBehind, type Sequence } from "../../lib/nn/sequence.js";
import { add, mul, sum } from "../../lib/ops/index.js";
import { here } from "../case.js";

const N = 4;
const numbers = (from: number) => Tensor.from([from, from + 1, from + 2, from + 3], [N], { device: here, requiresGrad: true });

/** Reads whatever it is told, as a layer may that somebody writes later. */
type Reads = (sequence: Sequence) => Tensor[];
class Fake extends Module {
  readonly #forward: (x: Tensor, sequence: Sequence) => Tensor;
  constructor(forward: (x: Tensor, sequence: Sequence) => Tensor) {
    super();
    this.#forward = forward;
  }
  forward(x: Tensor, sequence: Sequence): Tensor {
    return this.#forward(x, sequence);
  }
}
const fake = (reads: Reads) => new Fake((x, sequence) => scope(() => reads(sequence).reduce((y, t) => add(mul(y, t), t), x)));

/** The leaves' gradients of two such layers, one after the other, where what they are told was made inside of a forward that is over. */
async function gradients(make: (told: Tensor[]) => Sequence, reads: Reads, recompute: boolean): Promise<number[][]> {
  const leaves = [1, 2, 3, 4, 5].map(numbers);
  const layer = fake(reads);
  const loss = scope(() => {
    const [first, ...told] = leaves.map((leaf) => mul(leaf, leaf)) as [Tensor, ...Tensor[]];
    const sequence = make(told);
    const through = (x: Tensor) => (recompute ? recomputed(layer, x, sequence) : layer.forward(x, sequence));
    return sum(through(through(first)));
  });
  backward(loss);
  loss.dispose();
  const got = await Promise.all(leaves.map(async ({ grad }) => (grad ? Array.from(await grad.data()) : [])));
  for (const leaf of leaves) {
    leaf.grad?.dispose();
    leaf.dispose();
  }
  return got;
}

const plain = (table: Tensor, positions: Tensor): Sequence => ({ table, positions, step: "first" });
const cases: Record<string, [make: (told: Tensor[]) => Sequence, reads: Reads]> = {
  "beside and lead": [
    ([a, b, c, d]) => ({ ...plain(a!, b!), beside: { rows: c!, seen: d! }, lead: { length: 1, rows: b! } }),
    ({ table, beside, lead }) => [table, beside!.rows!, beside!.seen!, lead!.rows!],
  ],
  "range and the keys of a lead": [
    ([a, b, c, d]) => ({ ...plain(a!, b!), range: c!, lead: { length: 2, keys: d! } }),
    ({ table, positions, range, lead }) => [table, positions, range!, lead!.keys!],
  ],
  "what nobody has thought of yet": [
    ([a, b, c, d]) => ({ ...plain(a!, b!), later: { deep: [{ in: new Map([["it", c!]]) }], also: [[d!]] } }) as Sequence,
    (sequence) => {
      const { table, positions, later } = sequence as Sequence & { later: { deep: { in: Map<string, Tensor> }[]; also: Tensor[][] } };
      return [table, positions, later.deep[0]!.in.get("it")!, later.also[0]![0]!];
    },
  ],
};
for (const [name, [make, reads]] of Object.entries(cases))
  test(`a recomputed layer is told all: ${name}`, async () => {
    const { tensors } = here.memory();
    const want = await gradients(make, reads, false);
    assert.ok(
      want.every((g) => g.length === N),
      "each tensor has a gradient",
    );
    assert.equal(await gradients(make, reads, true), want);
    assert.is(here.memory().tensors, tensors);
  });

test("what is no data travels as it is: the cache is the same object, and flags and lengths are there", () => {
  const cache = new (class {
    tensor = keep(numbers(1));
  })() as unknown as LayerCache;
  const seen: Sequence[] = [];
  const layer = new Fake((x, sequence) => {
    seen.push(sequence);
    return mul(x, sequence.table);
  });
  using w = numbers(3);
  scope(() => recomputed(layer, w, { ...plain(w, w), cache, step: "extend", lead: { length: 3, hidden: true }, range: undefined }));
  assert.is(seen[0]!.cache, cache);
  assert.is(seen[0]!.step, "extend");
  assert.equal([seen[0]!.lead, seen[0]!.range], [{ length: 3, hidden: true }, undefined]);
  (cache as unknown as { tensor: Tensor }).tensor.dispose();
});

test("positions go on from where a row is told to stand, whatever slot that is", () => {
  const spans = [
    { start: 0, end: 2 },
    { start: 1, end: 3 },
  ];
  const first = layoutOf(begun(2), spans, 3);
  assert.equal(
    [[...first.positions], [...first.range]],
    [
      [0, 1, 2, 0, 0, 1],
      [0, 2, 1, 3],
    ],
  );
  const rows = rowsBehind(begun(2), spans);
  assert.equal(rows, [
    { from: 0, end: 2, position: 2 },
    { from: 1, end: 3, position: 2 },
  ]);
  const told = rows.map((row, b) => ({ ...row, position: 10 + b }));
  const next = layoutOf(
    told,
    [
      { start: 0, end: 1 },
      { start: 0, end: 2 },
    ],
    2,
  );
  assert.equal(
    [[...next.positions], [...next.range]],
    [
      [10, 11, 11, 12],
      [0, 3, 1, 5],
    ],
  );
});

test.run();
