// Resamplers, linear projections and gated cross-attention: outputs and all gradients; names as in the reference's checkpoints.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { GatedCrossAttention, type GatedCrossAttentionConfig } from "../../lib/adapters/gated-cross-attention.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { LinearProjector } from "../../lib/models/bridges/linear.js";
import { interpolationWeights, Resampler, type ResamplerConfig } from "../../lib/models/bridges/perceiver.js";
import type { Module } from "../../lib/nn/module.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, caseNames, here, near } from "../case.js";
import { some } from "../some.js";

function build(
  c: Case,
  at: Weights,
): { module: Module; forward: (x: Tensor, tag: string) => { y: Tensor; others: Record<string, Tensor> } } {
  // biome-ignore lint/suspicious/noExplicitAny: the reference's config differs by kind
  const config: any = c.json();
  const plain = (module: Module & { forward(x: Tensor): Tensor }) => ({
    module,
    forward: (x: Tensor) => ({ y: module.forward(x), others: {} }),
  });
  switch (config.projector) {
    case "linear":
      return plain(new LinearProjector(at, { mode: config.mode, dim: config.dim, dimLlm: config.dim_llm, tokens: config.tokens }));
    case "xattn": {
      const module = new GatedCrossAttention(at, xattnConfig(config));
      return {
        module,
        forward: (x, tag) => {
          const media = c.tensor(`${tag}in.media`, { requiresGrad: true });
          return { y: module.forward(x, media, c.rows(`${tag}in.media_locations`)), others: { media } };
        },
      };
    }
    default:
      return plain(new Resampler(at, resamplerConfig(config)));
  }
}

function resamplerConfig(c: Record<string, number>): ResamplerConfig {
  return {
    form: c.projector as unknown as ResamplerConfig["form"],
    dim: c.dim!,
    depth: c.depth!,
    heads: c.heads!,
    dimHead: c.dim_head!,
    latents: c.num_latents!,
    ffMult: c.ff_mult ?? 4,
    ffBias: Boolean(c.ffw_bias),
    headNorm: Boolean(c.qk_layer_norms),
    frames: c.num_frames ?? c.max_num_frames ?? 0,
    media: c.max_num_media ?? 0,
  };
}

function xattnConfig(c: Record<string, number>): GatedCrossAttentionConfig {
  return {
    dim: c.dim!,
    dimVisual: c.dim_visual!,
    heads: c.heads!,
    dimHead: c.dim_head!,
    ffMult: c.ff_mult ?? 4,
    onlyAttendImmediateMedia: Boolean(c.only_attend_immediate_media ?? true),
  };
}

for (const name of caseNames(/^(perceiver-|linear-|gated-xattn)/)) {
  const c = new Case(name);
  for (const tag of c.info.run_prefixes as string[]) {
    test(`${name}${tag && `, ${tag.slice(0, -1)}`}: output and gradients`, async () => {
      using checkpoint = Checkpoint.open(join(c.folder, "model.safetensors"));
      const at = Weights.from(checkpoint, { device: here, trainable: true });
      const { module, forward } = build(c, at);
      at.finish();
      assert.equal([...module.namedParameters()].map(([n]) => n).sort(), [...checkpoint.names()].sort());
      const x = c.tensor(`${tag}in.x`, { requiresGrad: true });
      const { y, others } = forward(x, tag);
      assert.equal(y.shape, c.shape(`${tag}out.y`));
      await c.close(`${tag}out.y`, y);
      backward(y, c.tensor(`${tag}in.grad_y`));
      const gradients = new Map<string, Tensor>([...module.namedParameters(), ["x", x], ...Object.entries(others)]);
      for (const key of some(c.names(`${tag}grad.`))) {
        const parameter = gradients.get(key.slice(`${tag}grad.`.length));
        assert.ok(parameter, `${key} has no counterpart`);
        if (parameter!.grad) await c.close(key, parameter!.grad);
        else near(c.values(key), new Float32Array(c.values(key).length), 0, `${key}: no gradient here, so none in the reference`);
      }
      module.dispose();
    });
  }
}

test("time embeddings are stretched as torch's linear interpolation does it", async () => {
  for (const name of caseNames(/^perceiver-flamingo/)) {
    const c = new Case(name);
    using checkpoint = Checkpoint.open(join(c.folder, "model.safetensors"));
    const table = await checkpoint.load("time_embeddings", here).data();
    const [rows, , d] = checkpoint.entry("time_embeddings").shape as [number, number, number];
    for (const key of some(c.names("ref.time_embeddings_"))) {
      const [length] = c.shape(key) as [number];
      const weights = interpolationWeights(rows, length, key.endsWith("align_corners_true"));
      const got = Float32Array.from({ length: length * d }, (_, i) => {
        let sum = 0;
        for (let r = 0; r < rows; ++r) sum += weights[Math.floor(i / d) * rows + r]! * table[r * d + (i % d)]!;
        return sum;
      });
      near(got, c.values(key), 1e-5, `${name}: ${key}`);
    }
  }
});

test("a clip longer than the table of time embeddings goes through, and its gradient reaches the table", async () => {
  const at = Weights.fresh({ device: here, seed: 3 });
  const resampler = new Resampler(at, { form: "flamingo", dim: 8, depth: 1, heads: 2, dimHead: 4, latents: 3, frames: 2 });
  const y = resampler.forward(
    Tensor.from(
      Float32Array.from({ length: 5 * 2 * 8 }, (_, i) => Math.sin(i)),
      [1, 5, 2, 8],
      { device: here },
    ),
  );
  backward(y, Tensor.full([1, 3, 8], 1, { device: here }));
  assert.ok((await resampler.frameTable!.grad!.data()).some((g) => g !== 0));
});

test("gated cross-attention with gates at 0 changes nothing, bit for bit", async () => {
  const module = new GatedCrossAttention(Weights.fresh({ device: here, seed: 5 }), { dim: 12, dimVisual: 6, heads: 2, dimHead: 4 });
  const x = Tensor.from(
    Float32Array.from({ length: 2 * 4 * 12 }, (_, i) => Math.cos(3 * i)),
    [2, 4, 12],
    { device: here },
  );
  const media = Tensor.from(
    Float32Array.from({ length: 2 * 1 * 3 * 6 }, (_, i) => Math.sin(i)),
    [2, 1, 3, 6],
    { device: here },
  );
  const y = noGrad(() =>
    module.forward(x, media, [
      [0, 1, 0, 0],
      [0, 0, 0, 0],
    ]),
  );
  assert.equal(await y.data(), await x.data());
});

test.run();
