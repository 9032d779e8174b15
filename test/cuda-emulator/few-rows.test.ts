// Few rows before a weight in 4 bit on a card: their kernel sums each row as if it were alone, in one launch, and leaves its counters as it found them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { device, noGrad, type Tensor as T, Tensor } from "../../lib/index.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import * as ops from "../../lib/ops/index.js";
import { random } from "../harness.js";
import { bytes, replays } from "./replays.js";

const d = device("emulated");
const draw = random(5);
const [INPUTS, OUTPUTS, MOST] = [1088, 40, 16]; // inputs that are cut into parts, and half a tile over
const uniform = (rows: number, dtype: "f32" | "bf16") => {
  const values = Float32Array.from({ length: rows * INPUTS }, () => draw() - 0.5);
  return Tensor.from(values, [rows, INPUTS], { device: d, dtype });
};

for (const dtype of ["bf16", "f32"] as const)
  for (const format of ["nf4", "fp4"] as const)
    test(`${format} in ${dtype}: a row has the bits that it has among others, and after a replay`, async () => {
      using w = uniform(OUTPUTS, "f32");
      const weight = QuantizedWeight.quantize(w, { format, doubleQuant: format === "nf4" });
      using x = uniform(MOST, dtype);
      const product = (rows: T) => noGrad(() => ops.linearQuantized(rows, weight));
      using all = product(x);
      const want = await bytes(all);
      const row = want.length / MOST;
      for (const [from, to] of [
        [0, 1],
        [3, 10],
        [7, 15],
        [6, 15],
        [0, 16],
      ] as const) {
        using some = ops.sliceCopy(x, 0, from, to - from);
        using y = product(some);
        assert.ok((await bytes(y)).equals(want.subarray(from * row, to * row)), `rows ${from} to ${to}`);
      }
      await replays(d, () => product(x), want);
    });

test("some more rows, whose sums are cut too, have the same bits in every replay", async () => {
  using w = uniform(OUTPUTS, "f32");
  const weight = QuantizedWeight.quantize(w, { format: "nf4", doubleQuant: true });
  using x = uniform(3 * MOST, "bf16");
  const product = () => noGrad(() => ops.linearQuantized(x, weight));
  using y = product();
  await replays(d, product, await bytes(y));
});

test.run();
