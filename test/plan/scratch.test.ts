// What plans say of the CPU's scratch, op by op, against what the device counts: products with weights of 4 and 8 bit at every level.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { device, Tensor } from "../../lib/index.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { linearQuantized } from "../../lib/ops/index.js";
import type { Level } from "../../lib/plan/cpu-products.js";
import { CpuScratch } from "../../lib/plan/cpu-scratch.js";
import type { OpCall } from "../../lib/plan/op-call.js";
import { levels } from "../harness.js";

type Format = "nf4" | "fp4" | "int8";
const CODES: Readonly<Record<Format, number>> = { nf4: 0, fp4: 1, int8: 2 };
interface Product {
  format: Format;
  dtype: "f32" | "bf16";
  rows: number;
  I: number;
  O: number;
}
const BLOCK = 64;

/** A call of linear_quantized as a plan is told of it. */
function callOf({ format, dtype, rows, I, O }: Product): OpCall {
  const numbers: Record<number, number> = { 6: CODES[format], 7: format === "int8" ? 0 : BLOCK, 8: O };
  return {
    at: () => ({ shape: [rows, I], dtype: dtype === "bf16" ? 1 : 0 }),
    all: () => [],
    numbers: () => [],
    n: (i) => numbers[i] as number,
    given: () => false,
    made: () => [],
  };
}

// Small weights, which f32 multiplies in place where no sums are scaled; blocks within a row and across two; many rows, and more than a slab has.
const PRODUCTS: readonly Product[] = (["nf4", "fp4", "int8"] as const).flatMap((format) =>
  (["f32", "bf16"] as const).flatMap((dtype) => [
    { format, dtype, rows: 9, I: 64, O: 96 },
    { format, dtype, rows: 70, I: 96, O: 40 },
    { format, dtype, rows: 300, I: 128, O: 130 },
    { format, dtype, rows: 40, I: 832, O: 72 },
    { format, dtype, rows: 1100, I: 64, O: 33 },
  ]),
);

for (const [level] of levels().filter(([, on]) => on.name === "cpu"))
  test(`${level}: scratch of a product is what the device counts`, async () => {
    for (const product of PRODUCTS) {
      const { format, dtype, rows, I, O } = product;
      const on = device("cpu", { level, threads: 1 });
      const planned = new CpuScratch(level as Level, 1);
      planned.take("linear_quantized", callOf(product));
      const w = QuantizedWeight.quantize(Tensor.full([O, I], 0.5, { device: on }), { format, block: BLOCK });
      await on.synchronize();
      const before = on.memory().bytesScratch;
      linearQuantized(Tensor.full([rows, I], 0.25, { device: on, dtype }), w);
      await on.synchronize();
      const { bytesScratch } = on.memory();
      await on.close();
      assert.is(before, 0);
      assert.is(bytesScratch, planned.bytes, JSON.stringify(product));
    }
  });

test.run();
