// LLM.int8 (arXiv 2208.07339, section 3) in double precision: rows of x in 8 bit beside columns that hold outliers, few of them or hundreds, at every level.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/index.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { quantizeRowsInt8 } from "../../lib/ops/index.js";
import { levels, random } from "../harness.js";

const test = suite("LLM.int8");
const LIMIT = 6;

/** To the nearest integer, of two that are as near to the even one. */
function toEven(v: number): number {
  const low = Math.floor(v);
  return v - low === 0.5 ? low + (low % 2 === 0 ? 0 : 1) : Math.round(v);
}

/** codes and absmax: of W's rows. */
function product(x: Float32Array, codes: Int8Array, absmax: Float32Array, rows: number, I: number, O: number): number[] {
  const outlier = Array.from({ length: I }, (_, k) =>
    Array.from({ length: rows }, (_, n) => Math.abs(x[n * I + k]!)).some((a) => a >= LIMIT),
  );
  const y: number[] = [];
  for (let n = 0; n < rows; ++n) {
    const row = x.subarray(n * I, (n + 1) * I);
    const most = Math.max(0, ...row.map(Math.abs).filter((a) => a < LIMIT));
    const factor = most > 0 ? Math.fround(127 / most) : 0;
    for (let o = 0; o < O; ++o) {
      let [sum, beside] = [0, 0];
      for (let k = 0; k < I; ++k) {
        const code = codes[o * I + k]!;
        if (outlier[k]) beside += (row[k]! * code * absmax[o]!) / 127;
        else sum += toEven(Math.fround(row[k]! * factor)) * code;
      }
      y.push((sum * most * absmax[o]!) / 127 ** 2 + beside);
    }
  }
  return y;
}

for (const { rows, I, O, outliers } of [
  { rows: 1, I: 70, O: 37, outliers: 0 },
  { rows: 3, I: 70, O: 37, outliers: 1 },
  { rows: 19, I: 133, O: 65, outliers: 7 },
  { rows: 13, I: 610, O: 33, outliers: 520 },
])
  test(`${rows} rows of ${I} to ${O}, ${outliers} columns with outliers`, async () => {
    const draw = random(rows + I);
    const w = Float32Array.from({ length: O * I }, draw);
    const x = Float32Array.from({ length: rows * I }, () => 4 * draw());
    for (let i = 0; i < outliers; ++i) x[(i % rows) * I + Math.floor((i * I) / outliers)] = 6 + i / outliers;
    for (const [level, on] of levels()) {
      const W = Tensor.from(w, [O, I], { device: on });
      const { codes, absmax } = quantizeRowsInt8(W);
      const layer = new QuantizedLinear(QuantizedWeight.quantize(W, { format: "int8", threshold: LIMIT }), undefined);
      const want = product(x, new Int8Array(await codes.bytes()), (await absmax.data()) as Float32Array, rows, I, O);
      const y = (await layer.forward(Tensor.from(x, [rows, I], { device: on })).data()) as Float32Array;
      const most = Math.max(...want.map(Math.abs));
      const off = Math.max(...want.map((value, i) => Math.abs(value - y[i]!)));
      assert.is(y.length, want.length);
      assert.ok(off <= 3e-6 * most, `${level}: off by ${off} of ${most}`);
    }
  });

test.run();
