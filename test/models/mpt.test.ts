// MPT against transformers.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { FusedSelfAttention } from "../../lib/nn/fused-attention.js";
import type { Sequence } from "../../lib/nn/sequence.js";
import { Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";
import { decoderCases } from "./decoder-cases.js";

decoderCases(/^mpt(-|$)/);

test("keys and values of rows that stand nowhere are those of rows that do, norms of keys included", async () => {
  using layer = new FusedSelfAttention(Weights.fresh({ device: here, seed: 3 }), 0, { width: 8, heads: 2, headDim: 4, normEps: 1e-5 });
  using x = Tensor.from(Float32Array.from({ length: 24 }, (_, i) => Math.sin(i)), [1, 3, 8], { device: here }); // biome-ignore format: one line
  const [there, alone] = noGrad(() => [layer.heads(x, {} as Sequence), layer.keysOf(x)]);
  assert.equal(await alone.k.data(), await there.k.data());
  assert.equal(await alone.v.data(), await there.v.data());
  for (const tensor of [there.q, there.k, there.v, alone.k, alone.v]) tensor.dispose();
});

test.run();
