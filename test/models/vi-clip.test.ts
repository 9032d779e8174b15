// ViCLIP's video tower against the reference, and what it does with other clips than its own.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { ConfigError } from "../../lib/models/config.js";
import { parseViClipConfig, type ViClipConfig, ViClipModel } from "../../lib/models/vi-clip.js";
import { Weights } from "../../lib/nn/weights.js";
import { sum } from "../../lib/ops/index.js";
import { Case, caseNames, here, near } from "../case.js";
import { code, disposeAll, noise, parameterGradients, reloaded, sameOneByOne, settles } from "./encoders.js";

const tiny: ViClipConfig = {
  imageSize: 8,
  patchSize: 4,
  width: 8,
  layers: 2,
  heads: 2,
  intermediateSize: 12,
  activation: "quick_gelu",
  layerNormEps: 1e-5,
  outputDim: 6,
  frames: 3,
};
const fresh = (trainable = false) => new ViClipModel(Weights.fresh({ device: here, seed: 6, trainable }), tiny);

for (const name of caseNames(/^viclip/)) {
  const c = new Case(name);

  test(`${name}: embeddings, last state and video embedding`, async () => {
    using model = ViClipModel.fromPretrained(c.folder, { device: here });
    using checkpoint = Checkpoint.open(c.folder);
    assert.equal([...model.namedParameters()].map(([n]) => n).sort(), [...checkpoint.names()].sort());
    using x = c.tensor("out.pixel_values");
    const [first, last] = [model.forward(x, { layer: 0 }), model.forward(x)];
    await c.close("out.embeddings", first.hidden);
    await c.close("out.last_hidden_state", last.hidden);
    await c.close("out.video_embeds", last.embeds);
    assert.equal([model.width, model.embedDim, model.classTokens], [last.hidden.shape[2], last.embeds.shape[1], 1]);
    assert.not(last.embeds.requiresGrad);
    disposeAll(first, last);
  });
}

test("saved and read with the same bits", async () => {
  using model = fresh();
  await reloaded(model, async (folder) => {
    using again = ViClipModel.fromPretrained(folder, { device: here });
    assert.equal(again.config, model.config);
    using x = noise([2, 3, 3, 8, 8], 1);
    const [a, b] = [model.forward(x), again.forward(x)];
    assert.equal(await b.hidden.data(), await a.hidden.data());
    assert.equal(await b.embeds.data(), await a.embeds.data());
    disposeAll(a, b);
  });
});

test("a batch is its items one by one", async () => {
  using model = fresh();
  await sameOneByOne(noise([3, 2, 3, 8, 8], 2), (x) => model.forward(x));
});

test("a single frame is at the mean of all moments", async () => {
  using model = fresh();
  const times = Float32Array.from({ length: 3 * 8 }, (_, i) => Math.sin(i));
  model.temporalPositionalEmbedding.write(times);
  using x = noise([1, 1, 3, 8, 8], 3);
  const one = model.forward(x);
  const mean = Float32Array.from({ length: 8 }, (_, c) => (times[c]! + times[8 + c]! + times[16 + c]!) / 3);
  model.temporalPositionalEmbedding.write(Float32Array.from({ length: 3 * 8 }, (_, i) => mean[i % 8]!));
  const same = model.forward(x);
  near(await one.embeds.data(), await same.embeds.data(), 2e-6, "one frame");
  disposeAll(one, same);
});

test("the order of frames counts once the table of moments is not zero", async () => {
  using model = fresh();
  using x = noise([1, 3, 3, 8, 8], 4);
  const reversed = noise([1, 3, 3, 8, 8], 4);
  const data = (await x.data()) as Float32Array;
  const frame = 3 * 8 * 8;
  reversed.write(Float32Array.from(data, (_, i) => data[(2 - Math.floor(i / frame)) * frame + (i % frame)]!));
  const [a, b] = [model.forward(x), model.forward(reversed)];
  near(await a.embeds.data(), await b.embeds.data(), 2e-6, "at the start there is no time");
  model.temporalPositionalEmbedding.write(Float32Array.from({ length: 3 * 8 }, (_, i) => Math.sin(i)));
  const [c, d] = [model.forward(x), model.forward(reversed)];
  const [u, v] = [await c.embeds.data(), await d.embeds.data()];
  assert.ok(u.some((value, i) => Math.abs(value - v[i]!) > 1e-3));
  disposeAll(a, b, c, d, { reversed });
});

test("gradients agree with central differences", async () => {
  using model = fresh(true);
  using x = noise([2, 2, 3, 8, 12], 5); // fewer frames and another grid than the tables
  await parameterGradients(model, () => ({ ...model.forward(x, { layer: 1 }) }), 8);
});

test("memory is what it was after inference, training and disposal", async () => {
  await settles(async () => {
    using model = fresh(true);
    using x = noise([2, 3, 3, 8, 8], 6);
    const loss = scope(() => sum(model.forward(x).embeds));
    backward(loss);
    for (const p of model.parameters()) {
      assert.ok(p.grad);
      p.grad?.dispose();
    }
    disposeAll({ loss });
  });
});

test("configurations and clips that do not fit are refused in words", () => {
  using model = fresh();
  const json = model.configJson();
  const bad = { model_type: "clip", heads: 3, num_frames: 0, width: "8", hidden_act: "swiglu", patch_size: 9 };
  for (const [key, value] of Object.entries(bad))
    assert.throws(
      () => parseViClipConfig({ ...json, [key]: value }),
      (e: unknown) => e instanceof ConfigError && e.key === key,
    );
  using long = noise([1, 4, 3, 8, 8], 1);
  using image = noise([1, 3, 8, 8], 1);
  assert.is(
    code(() => model.forward(long)),
    "E_SHAPE",
  );
  assert.is(
    code(() => model.forward(image)),
    "E_SHAPE",
  );
});

test.run();
