// Two layers in one weight: a product with some of its rows is one with a slice of it, values and gradients, and both uses add to one gradient.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, Tensor } from "../../lib/index.js";
import { add, linear, linearRows } from "../../lib/ops/index.js";
import { random } from "../harness.js";

const [N, I, FIRST, SECOND] = [5, 6, 3, 4];

/** y = x·W[FIRST rows]ᵀ·… as `of` has it, with the gradients of x and of the whole weight. */
async function run(of: (x: Tensor, w: Tensor, start: number, count: number) => Tensor): Promise<number[][]> {
  const draw = random(7);
  const drawn = (shape: number[]) => Tensor.from(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, draw), shape);
  const x = drawn([N, I]);
  const w = drawn([FIRST + SECOND, I]);
  x.requiresGrad = w.requiresGrad = true;
  const y = add(of(x, w, 0, FIRST), of(x, w, SECOND, FIRST)); // rows that overlap
  const z = of(x, w, FIRST, SECOND);
  backward(y, drawn([N, FIRST]));
  backward(z, drawn([N, SECOND]));
  return Promise.all([y, z, x.grad as Tensor, w.grad as Tensor].map(async (t) => [...(await t.data())]));
}

test("rows of a weight are a slice of it", async () => {
  const want = await run((x, w, start, count) => linear(x, w.slice(start, count)));
  const got = await run((x, w, start, count) => linearRows(x, w, start, count));
  for (const [i, values] of got.entries())
    for (const [j, v] of values.entries())
      assert.ok(Math.abs(v - (want[i]?.[j] as number)) <= 1e-6, `output ${i}, ${j}: ${v} in place of ${want[i]?.[j]}`);
});

test("rows that the weight does not have are refused", () => {
  const x = Tensor.zeros([1, 2]);
  assert.throws(() => linearRows(x, Tensor.zeros([3, 2]), 2, 2), /expected/);
});

test.run();
