// An RMSNorm and what goes past it: the ops that do both against those that do one after the other. Values to the bit; gradients in f32 against central
// differences, in bf16 against f32 on the same numbers, to one rounding.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, type Device, type DType, Tensor } from "../../lib/index.js";
import { add, addRmsNorm, concat, copy, mul, pastRmsNorm, rmsNorm } from "../../lib/ops/index.js";
import { here } from "../case.js";
import { checkGradients, levels, random } from "../harness.js";

const SEED = Number(process.env.ANYMAL_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`ANYMAL_SEED=${SEED}`);
const draw = random(SEED);
const EPS = 1e-5;

const drawn = (n: number) => Float32Array.from({ length: n }, draw);
const of = (values: Float32Array, shape: number[], dtype: DType, device: Device = here) => Tensor.from(values, shape, { device, dtype });
const numbers = async (t: Tensor) => Array.from((await t.data()) as Float32Array);

for (const [level, d] of levels())
  for (const dtype of ["f32", "bf16"] as const)
    for (const C of [1, 37, 64, 333])
      test(`${level}, ${dtype}, rows of ${C}: a sum and its norm have the bits that they have one after the other`, async () => {
        for (const weight of ["f32", dtype] as const) {
          const [a, b] = [0, 1].map(() => of(drawn(5 * C), [5, C], dtype, d)) as [Tensor, Tensor];
          const w = of(drawn(C), [C], weight, d);
          const wanted = add(a, b);
          const [sum, y] = addRmsNorm(a, b, w, EPS);
          assert.equal(await numbers(sum), await numbers(wanted));
          assert.equal(await numbers(y), await numbers(rmsNorm(wanted, w, EPS)));
        }
      });

const input = (...shape: number[]) => ({ shape, values: drawn(shape.reduce((a, b) => a * b)) });

test("gradients of a sum, of its norm and of both", async () => {
  const inputs = { a: input(3, 7), b: input(3, 7), w: input(7) };
  const both = ({ a, b, w }: Record<string, Tensor>) => addRmsNorm(a!, b!, w!, EPS);
  await checkGradients("both", here, inputs, (t) => concat(both(t), 0), SEED);
  await checkGradients("their product", here, inputs, (t) => mul(...both(t)), SEED + 1);
  await checkGradients("the norm", here, inputs, (t) => both(t)[1], SEED + 2);
  const { w: _, ...summed } = inputs;
  const w = of(drawn(7), [7], "f32");
  await checkGradients("the sum", here, summed, ({ a, b }) => addRmsNorm(a!, b!, w, EPS)[0], SEED + 3);
});

test("gradients of what goes past a norm, of the norm and of both", async () => {
  const inputs = { x: input(3, 7), w: input(7) };
  const both = ({ x, w }: Record<string, Tensor>) => pastRmsNorm(x!, w!, EPS);
  await checkGradients("both", here, inputs, (t) => concat(both(t), 0), SEED);
  await checkGradients("their product", here, inputs, (t) => mul(...both(t)), SEED + 1);
  await checkGradients("the norm", here, inputs, (t) => both(t)[1], SEED + 2);
  const w = of(drawn(7), [7], "f32");
  await checkGradients("what goes past", here, { x: inputs.x }, ({ x }) => copy(pastRmsNorm(x!, w, EPS)[0]), SEED + 3);
});

test("what needs no gradient gets none", async () => {
  const values = [0, 1, 2].map(() => drawn(7));
  const run = (wanted: number) => {
    const [a, b, w] = values.map((v, i) => {
      const t = of(v, [7], "f32");
      t.requiresGrad = i === wanted;
      return t;
    }) as [Tensor, Tensor, Tensor];
    const [sum, y] = addRmsNorm(a, b, w, EPS);
    backward(mul(sum, y), of(values[1]!, [7], "f32"));
    return [a, b, w].map(({ grad }) => grad);
  };
  const [first, second] = [run(0), run(1)];
  assert.equal(
    [first, second, run(2)].map((grads) => grads.map((g) => g !== undefined)),
    [0, 1, 2].map((wanted) => [0, 1, 2].map((i) => i === wanted)),
  );
  assert.equal(await numbers(first[0]!), await numbers(second[1]!));

  const x = of(values[0]!, [7], "f32");
  const w = of(values[2]!, [7], "f32");
  w.requiresGrad = true;
  const [past, y] = pastRmsNorm(x, w, EPS);
  assert.is(past, x);
  backward(y, of(values[1]!, [7], "f32"));
  assert.ok(w.grad && !x.grad);
});

test("bf16: what flows back by both ways is rounded once", async () => {
  const [N, C] = [9, 300];
  const rounded = await Promise.all([N * C, N * C, N * C, C].map(async (n) => (await of(drawn(n), [n], "bf16").data()) as Float32Array));
  const [values, past, dy, weight] = rounded as [Float32Array, Float32Array, Float32Array, Float32Array];
  const gradient = async (dtype: DType) => {
    const leaf = of(values, [N, C], dtype);
    leaf.requiresGrad = true;
    const x = mul(leaf, of(new Float32Array(C).fill(1), [C], dtype)); // an intermediate, whose gradient has its dtype
    backward(concat(pastRmsNorm(x, of(weight, [C], "f32"), EPS), 0), of(Float32Array.of(...past, ...dy), [2 * N, C], dtype));
    return numbers(leaf.grad!);
  };
  const [got, want] = [await gradient("bf16"), await gradient("f32")];
  for (const [i, v] of want.entries()) {
    const half = 2 ** (Math.floor(Math.log2(Math.abs(v))) - 8); // of the last place
    assert.ok(Math.abs((got[i] as number) - v) <= half + 1e-6, `${i}: ${got[i]} in place of ${v}`);
  }
});

test.run();
