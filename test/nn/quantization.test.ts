// The numbers of bitsandbytes: 4-bit codes, block maxima, double quantisation, the 8-bit dynamic maps, LLM.int8.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import {
  dequantize4bit,
  dequantizeAbsmax,
  dequantizeDynamic,
  dequantizeRowsInt8,
  quantize4bit,
  quantizeAbsmax,
  quantizeDynamic,
  quantizeRowsInt8,
} from "../../lib/ops/index.js";
import { Case, caseNames, here, largest, near } from "../case.js";

type Kind = "nf4" | "fp4";

/** One code per element; in FP4 the codes 0 and 8 both mean zero. */
function nibbles(packed: ArrayLike<number>, n: number, kind: Kind): number[] {
  return Array.from({ length: n }, (_, i) => (packed[i >> 1]! >> (i % 2 ? 0 : 4)) & 15).map((code) =>
    kind === "fp4" && code === 8 ? 0 : code,
  );
}

for (const name of caseNames(/^quant_4bit$/)) {
  const c = new Case(name);
  for (const { id, kind, blocksize, n } of c.info.subcases as { id: string; kind: Kind; blocksize: number; n: number }[]) {
    test(`${name}: ${id}`, async () => {
      const x = c.tensor(`in.${id}.x`);
      const { codes, absmax } = quantize4bit(x, kind, blocksize);
      assert.equal(nibbles(await codes.data(), n, kind), nibbles(c.values(`out.${id}.packed`), n, kind));
      assert.equal(await absmax.data(), c.values(`out.${id}.absmax`));
      for (const dtype of ["f32", "bf16"] as const) {
        const key = `out.${id}.deq_${dtype}`;
        if (c.has(key)) near(await dequantize4bit(codes, absmax, kind, blocksize, dtype, [n]).data(), c.values(key), 0, `${name}: ${key}`);
      }
    });
  }
}

for (const name of caseNames(/^quant_4bit_edge$/)) {
  const c = new Case(name);
  for (const { id, kind, blocksize, n, rule } of c.info.subcases as {
    id: string;
    kind: Kind;
    blocksize: number;
    n: number;
    rule: string;
  }[]) {
    test(`${name}: ${id} (${rule})`, async () => {
      const { codes, absmax } = quantize4bit(c.tensor(`in.${id}.x`), kind, blocksize);
      const values = await dequantize4bit(codes, absmax, kind, blocksize, "f32", [n]).data();
      const maxima = await absmax.data();
      const x = c.values(`in.${id}.x`);
      if (rule === "exact_or_alt") {
        const unpacked = (key: string) =>
          c.has(key) ? Array.from(c.values(key), (code) => (kind === "fp4" && code === 8 ? 0 : code)) : undefined;
        const first = unpacked(`out.${id}.codes`)!;
        const second = unpacked(`out.${id}.codes_alt`) ?? first;
        for (const [i, code] of nibbles(await codes.data(), n, kind).entries())
          assert.ok(code === first[i] || code === second[i], `element ${i} (${x[i]}): code ${code}, want ${first[i]} or ${second[i]}`);
        const zeroTail = (b: number) => maxima[b] === 0 && c.values(`out.${id}.absmax`)[b]! <= 1e-37;
        for (const [b, want] of c.values(`out.${id}.absmax`).entries())
          assert.ok(maxima[b] === want || zeroTail(b), `maximum ${b}: ${maxima[b]}, want ${want}`);
      }
      if (rule === "dequant_only") {
        for (let i = 0; i < n; ++i)
          assert.ok(
            Math.abs(values[i]!) <= maxima[Math.floor(i / blocksize)]! && (x[i] !== 0 || values[i] === 0),
            `element ${i} (${x[i]}): ${values[i]}`,
          );
      }
    });
  }
}

for (const name of caseNames(/^quant_double$/)) {
  const c = new Case(name);
  for (const { id, degenerate } of c.info.subcases as { id: string; degenerate: boolean }[]) {
    test(`${name}: ${id}`, async () => {
      const absmax = c.tensor(`out.${id}.absmax_plain`);
      const { codes, nestedAbsmax: nested, offset } = quantizeAbsmax(absmax);
      const want = (key: string) => c.values(`out.${id}.${key}`);
      near(await offset.data(), want("offset"), 1.2e-7 * largest(want("offset")), `${id}: offset`);
      if (!degenerate) {
        assert.equal(await codes.data(), want("absmax_codes"));
        // The offset may be one ulp away, and it is subtracted before the maxima are taken.
        near(await nested.data(), want("nested_absmax"), 2.4e-7 * largest(want("offset")), `${id}: nested maxima`);
      }
      const decoded = await dequantizeAbsmax(codes, nested, offset).data();
      near(
        decoded,
        want("absmax_decoded"),
        degenerate ? 1e-6 * largest(want("absmax_decoded")) : 3e-7 * largest(want("absmax_decoded")) + 1e-8,
        `${id}: decoded`,
      );
    });
  }
}

for (const name of caseNames(/^quant_8bit_blockwise$/)) {
  const c = new Case(name);
  for (const { id, signed, blocksize, rule } of [...c.info.subcases, ...c.info.edge] as {
    id: string;
    signed: boolean;
    blocksize: number;
    n: number;
    rule?: string;
  }[]) {
    test(`${name}: ${id}`, async () => {
      const { codes, absmax } = quantizeDynamic(c.tensor(`in.${id}.x`), blocksize, signed);
      const values = await dequantizeDynamic(codes, absmax, blocksize, signed).data();
      const got = await codes.data();
      if (c.has(`out.${id}.lower`)) {
        const [low, high] = [c.values(`out.${id}.lower`), c.values(`out.${id}.upper`)];
        for (const [i, code] of got.entries())
          assert.ok(code >= low[i]! && code <= high[i]!, `element ${i}: code ${code}, want ${low[i]}…${high[i]}`);
      } else if (id.startsWith("zeros")) {
        near(values, new Float32Array(values.length), 1e-38, id);
      } else {
        assert.equal(got, c.values(`out.${id}.codes`), rule);
        assert.equal(await absmax.data(), c.values(`out.${id}.absmax`));
        if (c.has(`out.${id}.deq_f32`)) near(values, c.values(`out.${id}.deq_f32`), 6e-8 * largest(values), id);
      }
    });
  }
}

for (const name of caseNames(/^quant_int8_llm$/)) {
  const c = new Case(name);
  for (const { id, M, N, K, bias } of c.info.subcases as { id: string; M: number; N: number; K: number; bias: boolean }[]) {
    test(`${name}: ${id}`, async () => {
      const W = c.tensor(`in.${id}.W`, { dtype: "f32" });
      const { codes, absmax: scale } = quantizeRowsInt8(W);
      assert.equal(new Int8Array(await codes.bytes()), new Int8Array(c.file.bytes(`out.${id}.CB`)));
      assert.equal(await scale.data(), c.values(`out.${id}.SCB`));
      const dense = c.values(`out.${id}.W_deq_f32`);
      near(await dequantizeRowsInt8(codes, scale, "f32").data(), dense, 1e-6 * largest(dense), `${id}: dequantised`);
      for (const threshold of [0, 6]) {
        const weight = QuantizedWeight.quantize(W, { format: "int8", threshold });
        const layer = new QuantizedLinear(weight, bias ? c.tensor(`in.${id}.bias`, { dtype: "f32" }) : undefined);
        const x = c.tensor(`in.${id}.X`, { dtype: "f32", requiresGrad: true });
        const y = layer.forward(x);
        backward(y, c.tensor(`in.${id}.dY`, { dtype: "f32" }));
        assert.equal(
          [y.shape, x.shape],
          [
            [M, N],
            [M, K],
          ],
        );
        for (const [key, tensor] of [
          [`out.${id}.t${threshold}.y_f32`, y],
          [`out.${id}.dX_f32`, x.grad!],
        ] as const) {
          near(await tensor.data(), c.values(key), 1e-5 * largest(c.values(key)), `${name}: ${key}`);
        }
      }
    });
  }
}

test("quantised without rounding where the weights are codes already", async () => {
  const W = Tensor.from(
    Float32Array.from({ length: 2 * 64 }, (_, i) => (i % 5) - 2),
    [2, 64],
    { device: here },
  );
  const weight = QuantizedWeight.quantize(W, { format: "int8" });
  near(await weight.dequantize().data(), await W.data(), 1e-2, "int8 of small integers");
});

test.run();
