// VideoMAE's encoder against transformers, with tokens taken away as in pre-training and without.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ConfigError } from "../../lib/models/config.js";
import { VideoMaeModel } from "../../lib/models/video-mae.js";
import { parseVideoMaeConfig, type VideoMaeConfig } from "../../lib/models/video-mae-config.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, caseNames, here } from "../case.js";
import { code, disposeAll, everyState, nearInBf16, noise, parameterGradients, reloaded, sameOneByOne, trainedOnce } from "./encoders.js";

const tiny: VideoMaeConfig = {
  imageSize: 8,
  patchSize: 4,
  channels: 3,
  hiddenSize: 8,
  intermediateSize: 12,
  layers: 2,
  heads: 2,
  activation: "gelu",
  layerNormEps: 1e-12,
  frames: 4,
  tubeletSize: 2,
  qvBias: true,
  meanPooling: false,
};
const fresh = (changes: Partial<VideoMaeConfig> = {}, trainable = false) =>
  new VideoMaeModel(Weights.fresh({ device: here, seed: 5, trainable }), { ...tiny, ...changes });

for (const name of caseNames(/^videomae/)) {
  const c = new Case(name);

  test(`${name}: every hidden state`, async () => {
    using model = VideoMaeModel.fromPretrained(c.folder, { device: here });
    await everyState(c, model, "out");
  });

  if (c.has("in.bool_masked_pos"))
    test(`${name}: with tokens taken away`, async () => {
      using model = VideoMaeModel.fromPretrained(c.folder, { device: here });
      using x = c.tensor("out.pixel_values");
      const out = model.forward(x, { masked: c.rows("in.bool_masked_pos") });
      await c.close("out.masked.last_hidden_state", out.hidden);
      disposeAll(out);
    });

  test(`${name}: bf16 stays near f32`, async () => {
    using model = VideoMaeModel.fromPretrained(c.folder, { device: here, dtype: "bf16" });
    await nearInBf16(c, model);
  });

  if (c.names("grad.").length)
    test(`${name}: gradients of the stated scalar`, async () => {
      using model = VideoMaeModel.fromPretrained(c.folder, { device: here, trainable: true });
      await trainedOnce(c, model);
    });
}

for (const changes of [{}, { meanPooling: true, qvBias: false }])
  test(`saved and read with the same bits: ${JSON.stringify(changes)}`, async () => {
    using model = fresh(changes);
    await reloaded(model, async (folder) => {
      using again = VideoMaeModel.fromPretrained(folder, { device: here });
      assert.equal(again.config, model.config);
      using x = noise([2, 4, 3, 8, 8], 1);
      const [a, b] = [model.forward(x), again.forward(x)];
      assert.equal(await b.hidden.data(), await a.hidden.data());
      assert.equal(await b.embeds.data(), await a.embeds.data());
      disposeAll(a, b);
    });
  });

test("a batch is its items one by one", async () => {
  using model = fresh();
  await sameOneByOne(noise([3, 4, 3, 8, 8], 2), (x) => model.forward(x));
});

test("gradients agree with central differences", async () => {
  using model = fresh({ layers: 1 }, true);
  using x = noise([2, 4, 3, 8, 8], 3);
  const masked = [
    [1, 0, 0, 0, 1, 0, 0, 0],
    [0, 0, 1, 1, 0, 0, 0, 0],
  ];
  await parameterGradients(model, () => ({ ...model.forward(x, { masked }) }), 7);
});

test("clips and masks that do not fit are refused in words", () => {
  using model = fresh();
  using x = noise([1, 4, 3, 8, 8], 1);
  for (const masked of [[], [[1, 0]], [[1, 1, 1, 1, 1, 1, 1, 1]]])
    assert.is(
      code(() => model.forward(x, { masked })),
      "E_SHAPE",
    );
  for (const shape of [
    [1, 2, 3, 8, 8],
    [1, 4, 3, 8, 12],
  ]) {
    using other = noise(shape, 1);
    assert.is(
      code(() => model.forward(other)),
      "E_SHAPE",
    );
  }
});

test("configurations that do not fit are refused in words", () => {
  using model = fresh();
  const json = model.configJson();
  const bad = {
    model_type: "vivit",
    num_attention_heads: 3,
    num_hidden_layers: 1e9,
    num_frames: 5,
    tubelet_size: 0,
    image_size: 1e9,
    patch_size: 9,
    hidden_size: -1,
  };
  for (const [key, value] of Object.entries(bad))
    assert.throws(
      () => parseVideoMaeConfig({ ...json, [key]: value }),
      (e: unknown) => e instanceof ConfigError && e.key === key,
      key,
    );
  assert.throws(
    () => parseVideoMaeConfig({ ...json, image_size: 2 ** 14, patch_size: 1, num_frames: 2 ** 16 }),
    (e: unknown) => e instanceof ConfigError && /tokens/.test(e.message),
  );
});

test.run();
