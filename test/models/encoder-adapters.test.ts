// LoRA on every linear layer of every encoder that has some (a GRU has none): nothing at first, gradients in all branches through the features that a projection reads, nothing left when
// it is taken off; in both dtypes, plain and with blocks that run again.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { type Encoder, recomputeIn } from "../../lib/models/encoder.js";
import { cast, mul, sum } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest, near } from "../case.js";
import { noise } from "./encoders.js";

const KINDS = [
  /^clip-vision/,
  /^open-clip/,
  /^siglip/,
  /^dinov2/,
  /^videomae/,
  /^viclip/,
  /^clap$/,
  /^whisper-encoder/,
  /^qwen2-audio-encoder/,
];

function inputOf(encoder: Encoder): Tensor {
  const c = (encoder as unknown as { config: Record<string, number> }).config as Record<string, number>;
  const [side, channels] = [c.imageSize!, c.channels ?? 3];
  if (encoder.kind === "video-mae") return noise([2, c.frames!, channels, side, side], 1);
  if (encoder.kind === "vi-clip") return noise([2, 2, 3, side, side], 1);
  if (encoder.kind === "clap-audio") return noise([2, 1, 40, c.melBins!], 1);
  if (encoder.modality === "audio") return noise([2, c.melBins!, 2 * c.positions!], 1);
  return noise([2, channels, side, side], 1);
}
async function hiddenOf(encoder: Encoder, x: Tensor): Promise<Float32Array> {
  using hidden = noGrad(() => scope(() => encoder.forward(x, { through: "hidden" }).hidden));
  return (await hidden.data()) as Float32Array;
}

for (const pattern of KINDS)
  for (const dtype of ["f32", "bf16"] as const) {
    const c = new Case(caseNames(pattern)[0] as string);
    test(`${c.name} in ${dtype}`, async () => {
      using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here, dtype });
      using x = inputOf(encoder);
      const bare = await hiddenOf(encoder, x);
      const adapter = LoraAdapter.apply(encoder, { r: 2, alpha: 2, targetModules: "all-linear" }, { seed: 1 });
      near(await hiddenOf(encoder, x), bare, (dtype === "f32" ? 1e-5 : 2 ** -6) * largest(bare), "fresh branches");
      const grads: Float32Array[][] = [];
      for (const recompute of [false, true]) {
        const back = recomputeIn(encoder, recompute);
        const loss = scope(() => {
          const y = encoder.forward(x, { through: "hidden" }).hidden;
          return sum(mul(y, cast(noise([...y.shape], 2), y.dtype as "f32")));
        });
        backward(loss);
        loss.dispose();
        back();
        const own: Float32Array[] = [];
        for (const [path, { loraB }] of adapter.layers) {
          if (!loraB.grad) {
            assert.match(path, /projection|head/, `no gradient in ${path}`); // behind the features
            continue;
          }
          const values = (await loraB.grad.data()) as Float32Array;
          assert.ok(largest(values) > 0 && values.every(Number.isFinite), path);
          own.push(values);
        }
        for (const [, p] of adapter.namedParameters()) {
          p.grad?.dispose();
          p.grad = undefined;
        }
        assert.ok(own.length);
        grads.push(own);
      }
      assert.equal(grads[1], grads[0]);
      adapter.enabled = false;
      assert.equal(await hiddenOf(encoder, x), bare, "switched off");
      adapter.unload();
      assert.equal(await hiddenOf(encoder, x), bare, "taken off");
      assert.equal(
        [...encoder.namedParameters()].filter(([name]) => name.includes("lora")),
        [],
      );
    });
  }

test.run();
