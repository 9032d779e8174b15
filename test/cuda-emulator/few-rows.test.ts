// Few rows before a weight in 4 bit on a card: their kernel sums each row as if it were alone, in one launch, and leaves its counters as it found them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { native } from "../../lib/core/native.js";
import { device, noGrad, type Tensor as T, Tensor } from "../../lib/index.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import * as ops from "../../lib/ops/index.js";
import { formatCode } from "../../lib/ops/quantize.js";
import { made } from "../../lib/ops/result.js";
import { random } from "../harness.js";
import { bytes, replays } from "./replays.js";

const d = device("emulated");
const draw = random(5);
const [INPUTS, OUTPUTS, MOST] = [1088, 40, 16]; // inputs that are cut into parts, and half a tile over; as many outputs of gradients' weights
const uniform = (rows: number, dtype: "f32" | "bf16", columns = INPUTS) => {
  const values = Float32Array.from({ length: rows * columns }, () => draw() - 0.5);
  return Tensor.from(values, [rows, columns], { device: d, dtype });
};

/** Rows of `all` through `product` by themselves have the bits that they have among others. */
async function alike(all: T, product: (rows: T) => T): Promise<void> {
  using y = product(all);
  const want = await bytes(y);
  const row = want.length / MOST;
  for (const [from, to] of [
    [0, 1],
    [3, 10],
    [7, 15],
    [6, 15],
    [0, 16],
  ] as const) {
    using some = ops.sliceCopy(all, 0, from, to - from);
    using y = product(some);
    assert.ok((await bytes(y)).equals(want.subarray(from * row, to * row)), `rows ${from} to ${to}`);
  }
  await replays(d, () => product(all), want);
}

const through = (weight: QuantizedWeight) => (rows: T) => noGrad(() => ops.linearQuantized(rows, weight));
/** dy.W */
const back = (w: QuantizedWeight) => (dy: T) =>
  noGrad(() =>
    made(
      native().linear_quantized_dx(
        dy.handle,
        w.codes.handle,
        w.absmax.handle,
        w.nestedAbsmax?.handle,
        w.nestedOffset?.handle,
        formatCode(w.format),
        w.block,
        w.inFeatures,
      ),
      dy,
    ),
  );

for (const dtype of ["bf16", "f32"] as const)
  for (const format of ["nf4", "fp4"] as const) {
    test(`${format} in ${dtype}: a row has the bits that it has among others, and after a replay`, async () => {
      using w = uniform(OUTPUTS, "f32");
      const weight = QuantizedWeight.quantize(w, { format, doubleQuant: format === "nf4" });
      using x = uniform(MOST, dtype);
      await alike(x, through(weight));
    });

    test(`${format} in ${dtype}: so has a row's gradient`, async () => {
      using w = uniform(INPUTS, "f32", 192);
      const weight = QuantizedWeight.quantize(w, { format, doubleQuant: format === "nf4" });
      using dy = uniform(MOST, dtype);
      await alike(dy, back(weight));
    });
  }

test("some more rows, whose sums are cut too, have the same bits in every replay, and so have their gradients", async () => {
  using x = uniform(3 * MOST, "bf16");
  for (const [product, outputs, inputs] of [
    [through, OUTPUTS, INPUTS],
    [back, INPUTS, 192],
  ] as const) {
    using w = uniform(outputs, "f32", inputs);
    const weight = QuantizedWeight.quantize(w, { format: "nf4", doubleQuant: true });
    using y = product(weight)(x);
    await replays(d, () => product(weight)(x), await bytes(y));
  }
});

test.run();
