// SigLIP's image tower against transformers: whole, alone, at other picture sizes, and inside of larger models.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ConfigError } from "../../lib/models/config.js";
import { parseSiglipVisionConfig, type SiglipVisionConfig } from "../../lib/models/siglip-config.js";
import { SiglipVisionModel } from "../../lib/models/siglip-vision.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, caseNames, here } from "../case.js";
import { disposeAll, everyState, nearInBf16, noise, parameterGradients, reloaded, sameOneByOne, trainedOnce } from "./encoders.js";

const tiny: SiglipVisionConfig = {
  imageSize: 8,
  patchSize: 4,
  channels: 3,
  hiddenSize: 8,
  intermediateSize: 12,
  layers: 2,
  heads: 2,
  activation: "gelu_tanh",
  layerNormEps: 1e-6,
  head: true,
};
const fresh = (changes: Partial<SiglipVisionConfig> = {}, trainable = false) =>
  new SiglipVisionModel(Weights.fresh({ device: here, seed: 5, trainable }), { ...tiny, ...changes });

for (const name of caseNames(/^siglip/)) {
  const c = new Case(name);
  const folders = [c.folder, ...(existsSync(join(c.folder, "vision_only")) ? [join(c.folder, "vision_only")] : [])];

  for (const folder of folders)
    test(`${folder === c.folder ? name : `${name}, the tower alone`}: every hidden state, and the head`, async () => {
      using model = SiglipVisionModel.fromPretrained(folder, { device: here });
      await everyState(c, model, "out");
      assert.is(model.leftover.length > 0, c.json().model_type === "siglip" && folder === c.folder);
      assert.ok(
        model.leftover.every((left) => /^(text_model\.|logit_)/.test(left)),
        `${model.leftover}`,
      );
    });

  if (c.has("in.other.pixel_values"))
    test(`${name}: a picture of another size`, async () => {
      using model = SiglipVisionModel.fromPretrained(c.folder, { device: here });
      using x = c.tensor("in.other.pixel_values");
      const out = model.forward(x);
      await c.close("out.other.last_hidden_state", out.hidden);
      await c.close("out.other.pooler_output", out.pooled);
      disposeAll(out);
    });

  test(`${name}: bf16 stays near f32`, async () => {
    using model = SiglipVisionModel.fromPretrained(c.folder, { device: here, dtype: "bf16" });
    await nearInBf16(c, model);
  });

  if (c.names("grad.").length)
    test(`${name}: gradients of the stated scalar`, async () => {
      using model = SiglipVisionModel.fromPretrained(c.folder, { device: here, trainable: true });
      const bare = !c.names("grad.vision_model.").length; // as a tower saved by itself has its names
      await trainedOnce(c, model, (key) => (bare ? key.replace("vision_model.", "") : key));
    });
}

for (const head of [true, false])
  test(`saved and read with the same bits, ${head ? "with" : "without"} a head`, async () => {
    using model = fresh({ head });
    await reloaded(model, async (folder) => {
      using again = SiglipVisionModel.fromPretrained(folder, { device: here });
      assert.equal(again.config, model.config);
      using x = noise([2, 3, 8, 12], 1);
      const [a, b] = [model.forward(x), again.forward(x)];
      assert.equal(await b.hidden.data(), await a.hidden.data());
      assert.equal(await b.embeds.data(), await a.embeds.data());
      disposeAll(a, b);
    });
  });

test("a batch is its items one by one", async () => {
  using model = fresh();
  await sameOneByOne(noise([3, 3, 8, 12], 2), (x) => model.forward(x));
});

test("gradients through a hidden state and a stretched position table agree with central differences", async () => {
  using model = fresh({}, true);
  using x = noise([2, 3, 8, 12], 3);
  await parameterGradients(model, () => ({ ...model.forward(x, { layer: 1 }) }), 7);
});

test("configurations that do not fit are refused in words", () => {
  using model = fresh();
  const json = model.configJson();
  const bad = { model_type: "clip", num_attention_heads: 3, num_hidden_layers: 1e9, hidden_size: -8, patch_size: 9, image_size: [8, 9] };
  for (const [key, value] of Object.entries(bad))
    assert.throws(
      () => parseSiglipVisionConfig({ ...json, [key]: value }),
      (e: unknown) => e instanceof ConfigError && e.key === key,
      key,
    );
  for (const naflex of [
    { model_type: "siglip2" },
    { model_type: "siglip2_vision_model" },
    { vision_config: { model_type: "siglip2_vision_model" } },
  ])
    assert.throws(
      () => parseSiglipVisionConfig(naflex),
      (e: unknown) => e instanceof ConfigError && /NaFlex/.test(e.message),
    );
});

test.run();
