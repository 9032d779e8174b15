// A frozen 4-bit layer with and without LoRA, through the public layers: y, dX, dA, dB in both precisions.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { LoraLinear } from "../../lib/nn/lora.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { Weights } from "../../lib/nn/weights.js";
import type { QuantFormat } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest, near } from "../case.js";
import { some } from "../some.js";

interface Subcase {
  id: string;
  M: number;
  N: number;
  K: number;
  kind: QuantFormat;
  blocksize: number;
  nested: boolean;
  bias: boolean;
  r: number;
  scale: number;
}

function stored(c: Case, { id, kind, blocksize, nested, N, K }: Subcase): QuantizedWeight {
  const form = { format: kind, block: blocksize, threshold: 0, outFeatures: N, inFeatures: K };
  return QuantizedWeight.fromCodes(form, () => ({
    codes: c.tensor(`in.${id}.packed`),
    absmax: c.tensor(`in.${id}.${nested ? "absmax_codes" : "absmax"}`),
    ...(nested && { nestedAbsmax: c.tensor(`in.${id}.nested_absmax`), nestedOffset: c.tensor(`in.${id}.offset`) }),
  }));
}

for (const name of caseNames(/^quant_linear4bit/)) {
  const c = new Case(name);
  for (const s of c.info.subcases as Subcase[]) {
    for (const dtype of ["f32", "bf16"] as const) {
      test(`${name}: ${s.id}, ${dtype}`, async () => {
        const at = Weights.fresh({ device: here, dtype, trainable: true });
        const base = new QuantizedLinear(stored(c, s), s.bias ? c.tensor(`in.${s.id}.bias`, { dtype }) : undefined);
        const x = c.tensor(`in.${s.id}.X`, { dtype, requiresGrad: true });
        const layer = s.r ? new LoraLinear(at, base, { r: s.r, scaling: s.scale }) : undefined;
        layer?.loadState(
          new Map([
            ["lora_A.weight", c.tensor(`in.${s.id}.lora_A`, { dtype: "f32" })],
            ["lora_B.weight", c.tensor(`in.${s.id}.lora_B`, { dtype: "f32" })],
          ]),
          { strict: false },
        );
        const y = (layer ?? base).forward(x);
        backward(y, c.tensor(`in.${s.id}.dY`, { dtype }));
        const got: Record<string, Tensor | undefined> = { y, dX: x.grad, dA: layer?.loraA.grad, dB: layer?.loraB.grad };
        for (const key of some(c.names(`out.${s.id}.${dtype}.`))) {
          const want = c.values(key);
          const tensor = got[key.split(".").at(-1) as string];
          assert.ok(tensor, key);
          near(await tensor!.data(), want, (dtype === "f32" ? 1e-5 : 2e-2) * largest(want), `${name}: ${key}`);
        }
      });
    }

    test(`${name}: ${s.id}, quantised here`, async () => {
      using dense = c.tensor(`in.${s.id}.W`, { dtype: "f32" });
      const weight = QuantizedWeight.quantize(dense, { format: s.kind, block: s.blocksize, doubleQuant: s.nested });
      const [got, want] = [await weight.dequantize().data(), await stored(c, s).dequantize().data()];
      // Thresholds are spelled with an ulp's difference by implementations, and weights of few bits stand on them often: there either neighbour is right.
      const values = await dense.data();
      const most = (all: ArrayLike<number>, i: number) => {
        const start = i - (i % s.blocksize);
        return largest(Array.prototype.slice.call(all, start, start + s.blocksize));
      };
      const same = 1e-6 * largest(want);
      let off = 0;
      for (let i = 0; i < got.length; ++i) {
        if (Math.abs(got[i]! - want[i]!) <= same) continue;
        const [place, threshold] = [values[i]! / most(values, i), (got[i]! + want[i]!) / 2 / most(got, i)];
        assert.ok(Math.abs(place - threshold) < 1e-6, `weight ${i}: ${got[i]} instead of ${want[i]}, of ${values[i]}`);
        ++off;
      }
      assert.ok(off <= got.length * 1e-2, `${off} of ${got.length} weights differ`);
    });
  }
}

test("dropout on the branch: off in evaluation, another mask with every call in training", async () => {
  const at = Weights.fresh({ device: here, trainable: true, seed: 4 });
  using dense = Tensor.from(
    Float32Array.from({ length: 64 * 32 }, (_, i) => Math.sin(i)),
    [32, 64],
    { device: here },
  );
  const layer = new LoraLinear(at, new QuantizedLinear(QuantizedWeight.quantize(dense, { format: "nf4" })), {
    r: 4,
    scaling: 2,
    dropout: 0.5,
  });
  layer.loadState(new Map([["lora_B.weight", Tensor.full([32, 4], 0.5, { device: here })]]), { strict: false });
  const x = Tensor.full([3, 64], 1, { device: here });
  assert.equal(await layer.forward(x).data(), await layer.forward(x).data());
  layer.train();
  assert.not.equal(await layer.forward(x).data(), await layer.forward(x).data());
});

test.run();
