// Biases of ALiBi that would be too many to hold: made for a few queries at a time they give what one bias for all gives, forward and backward, and memory is bounded.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { MptForCausalLM } from "../../lib/models/mpt.js";
import { parseMptConfig } from "../../lib/models/mpt-config.js";
import { Alibi, alibiSlopes, causalAttention } from "../../lib/nn/alibi.js";
import { Weights } from "../../lib/nn/weights.js";
import { attention } from "../../lib/ops/index.js";
import { here, largest, near } from "../case.js";

const sines = (shape: readonly number[], by: number) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.from(
    Float32Array.from({ length: size }, (_, i) => Math.sin(by * (i + 1))),
    shape,
    { device: here },
  );
};

test("in stretches of queries, some behind others' keys and rows that see few of them: values and gradients are those of one bias", async () => {
  const [B, T, S, H, D] = [2, 450, 465, 24, 2];
  const slopes = alibiSlopes(H);
  using alibi = { made: new Alibi(here, slopes), [Symbol.dispose]: () => alibi.made.dispose() };
  const told = alibi.made.between(T, S);
  assert.ok(told.slopes && !told.bias, "is more held at once than before?");
  assert.ok(alibi.made.between(3, 5).bias, "a few are made at once");
  using whole = Tensor.from(
    Float32Array.from({ length: H * T * S }, (_, i) => {
      const [h, t, s] = [Math.floor(i / T / S), Math.floor(i / S) % T, i % S];
      return slopes[h]! * (s - (t + S - T));
    }),
    [1, H, T, S],
    { device: here },
  );
  using range = Tensor.from(Int32Array.from([0, S, 9, S - 40]), [B, 2], { device: here });
  const run = async (how: (q: Tensor, k: Tensor, v: Tensor) => Tensor) => {
    const all = [sines([B, T, H, D], 0.7), sines([B, S, H, D], 1.1), sines([B, S, H, D], 1.9)] as [Tensor, Tensor, Tensor];
    for (const one of all) one.requiresGrad = true;
    const y = how(...all);
    const value = await y.data();
    backward(y, sines(y.shape, 0.3));
    const gradients = await Promise.all(all.map(({ grad }) => grad!.data()));
    for (const one of [...all, y]) one.dispose();
    return [value, ...gradients];
  };
  const want = await run((q, k, v) => attention(q, k, v, { bias: whole, range, causal: true, scale: 0.4 }));
  const got = await run((q, k, v) => causalAttention(q, k, v, { ...told, range, scale: 0.4 }));
  for (const [i, one] of want.entries()) near(got[i]!, one, 2e-5 * largest(one), ["y", "q", "k", "v"][i]!);
});

test("a long prompt of an MPT holds no bias of all heads and places, and reads as in short pieces", async () => {
  const config = parseMptConfig({ model_type: "mpt", d_model: 32, n_heads: 16, n_layers: 1, max_seq_len: 1600, vocab_size: 60 });
  using model = new MptForCausalLM(Weights.fresh({ device: here, seed: 6, trainable: false }), config);
  const ids = Array.from({ length: 1500 }, (_, i) => (i * i + 3) % 60);
  await here.synchronize();
  here.resetPeak();
  const { bytesInUse } = here.memory();
  using at = noGrad(() => model.forward({ inputIds: [ids] }, { logits: "last" })).logits!;
  const last = await at.data();
  const taken = here.memory().bytesPeak - bytesInUse;
  assert.ok(taken < 16 * 1500 * 1500, `${taken} bytes: a quarter of what biases in f32 take`);
  using cache = model.createCache(1, 1500);
  let piecewise: ArrayLike<number> = [];
  for (let from = 0; from < 1500; from += 150) {
    using y = noGrad(() => model.forward({ inputIds: [ids.slice(from, from + 150)] }, { cache, logits: "last" })).logits!;
    piecewise = await y.data();
  }
  near(piecewise, last, 1e-5 * largest(last), "in pieces");
});

test.run();
