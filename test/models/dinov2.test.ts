// DINOv2 against transformers: MLP and SwiGLU, with registers and without, position tables that are stretched and shrunk.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ConfigError } from "../../lib/models/config.js";
import { Dinov2Model } from "../../lib/models/dinov2.js";
import { type Dinov2Config, feedForwardWidth, parseDinov2Config } from "../../lib/models/dinov2-config.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, caseNames, here } from "../case.js";
import { disposeAll, everyState, nearInBf16, noise, parameterGradients, reloaded, sameOneByOne, trainedOnce } from "./encoders.js";

const tiny: Dinov2Config = {
  imageSize: 12,
  patchSize: 4,
  channels: 3,
  hiddenSize: 8,
  layers: 2,
  heads: 2,
  mlpRatio: 1.5,
  activation: "gelu",
  layerNormEps: 1e-6,
  qkvBias: true,
  swiGlu: false,
  registers: undefined,
};
const VARIANTS: [string, Partial<Dinov2Config>][] = [
  ["plain", {}],
  ["SwiGLU with registers", { swiGlu: true, registers: 2 }],
  ["no biases of q, k and v", { qkvBias: false }],
];
const fresh = (changes: Partial<Dinov2Config> = {}, trainable = false) =>
  new Dinov2Model(Weights.fresh({ device: here, seed: 5, trainable }), { ...tiny, ...changes });

for (const name of caseNames(/^dinov2/)) {
  const c = new Case(name);

  test(`${name}: every hidden state, and the class token`, async () => {
    using model = Dinov2Model.fromPretrained(c.folder, { device: here });
    assert.is(model.classTokens, 1 + (Number(c.json().num_register_tokens) || 0));
    assert.ok(
      model.leftover.every((left) => left.endsWith("mask_token")),
      `${model.leftover}`,
    );
    await everyState(c, model, "out");
  });

  if (c.has("in.other.pixel_values"))
    test(`${name}: a picture of another size`, async () => {
      using model = Dinov2Model.fromPretrained(c.folder, { device: here });
      using x = c.tensor("in.other.pixel_values");
      const out = model.forward(x);
      await c.close("out.other.last_hidden_state", out.hidden);
      await c.close("out.other.pooler_output", out.pooled);
      disposeAll(out);
    });

  test(`${name}: bf16 stays near f32`, async () => {
    using model = Dinov2Model.fromPretrained(c.folder, { device: here, dtype: "bf16" });
    await nearInBf16(c, model);
  });

  if (c.names("grad.").length)
    test(`${name}: gradients of the stated scalar`, async () => {
      using model = Dinov2Model.fromPretrained(c.folder, { device: here, trainable: true });
      await trainedOnce(c, model);
    });
}

for (const [what, changes] of VARIANTS) {
  test(`${what}: saved and read with the same bits`, async () => {
    using model = fresh(changes);
    await reloaded(model, async (folder) => {
      using again = Dinov2Model.fromPretrained(folder, { device: here });
      assert.equal(again.config, model.config);
      assert.equal(again.leftover, []);
      using x = noise([2, 3, 8, 16], 1);
      const [a, b] = [model.forward(x), again.forward(x)];
      assert.equal(await b.hidden.data(), await a.hidden.data());
      assert.equal(await b.embeds.data(), await a.embeds.data());
      disposeAll(a, b);
    });
  });

  test(`${what}: gradients through a stretched position table agree with central differences`, async () => {
    using model = fresh({ ...changes, layers: 1 }, true);
    using x = noise([2, 3, 8, 16], 3);
    await parameterGradients(model, () => ({ ...model.forward(x) }), 7);
  });
}

test("a batch is its items one by one", async () => {
  using model = fresh({ registers: 3 });
  await sameOneByOne(noise([3, 3, 8, 16], 2), (x) => model.forward(x));
});

test("the width of SwiGLU is that of the published g: 4096 of 1536", () => {
  assert.is(feedForwardWidth({ ...tiny, hiddenSize: 1536, mlpRatio: 4, swiGlu: true }), 4096);
});

test("configurations that do not fit are refused in words", () => {
  using model = fresh({ registers: 2 });
  const json = model.configJson();
  const bad = {
    model_type: "vit",
    num_attention_heads: 0,
    num_hidden_layers: 1e9,
    hidden_size: 2 ** 40,
    patch_size: 13,
    mlp_ratio: -1,
    num_register_tokens: -4,
    image_size: [12, 16],
    qkv_bias: "yes",
  };
  for (const [key, value] of Object.entries(bad))
    assert.throws(
      () => parseDinov2Config({ ...json, [key]: value }),
      (e: unknown) => e instanceof ConfigError && e.key === key,
      key,
    );
});

test.run();
