// IMU2CLIP's encoder against the reference, with the original's walk over channels and with one over time.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { ConfigError } from "../../lib/models/config.js";
import { type Imu2ClipConfig, Imu2ClipModel, parseImu2ClipConfig } from "../../lib/models/imu2clip.js";
import { Weights } from "../../lib/nn/weights.js";
import { sum } from "../../lib/ops/index.js";
import { Case, caseNames, here } from "../case.js";
import { code, disposeAll, noise, parameterGradients, reloaded, sameOneByOne, settles } from "./encoders.js";

const tiny: Imu2ClipConfig = {
  channels: 6,
  width: 8,
  hidden: 5,
  windowSamples: 260,
  samplingRate: 50,
  batchFirstQuirk: true,
  projectionDim: 4,
};
const build = (config: Partial<Imu2ClipConfig> = {}, trainable = false) =>
  new Imu2ClipModel(Weights.fresh({ device: here, seed: 7, trainable }), { ...tiny, ...config });
const FORMS = [
  ["over channels", {}],
  ["over channels, with means of what is left", { lastPool: "adaptive", windowSamples: 200 }],
  ["over time, without a projection", { batchFirstQuirk: false, projectionDim: undefined }],
] as const;

for (const name of caseNames(/^imu2clip/)) {
  const c = new Case(name);

  for (const dtype of ["f32", "bf16"] as const)
    test(`${name}: all states and the embedding, asked for in ${dtype}`, async () => {
      using model = Imu2ClipModel.fromPretrained(c.folder, { device: here, dtype });
      using checkpoint = Checkpoint.open(c.folder);
      assert.equal([...model.namedParameters()].map(([n]) => n).sort(), [...checkpoint.names()].sort());
      using x = c.tensor("in.windows");
      const out = model.forward(x);
      await c.close("out.sequence", out.hidden);
      await c.close("out.embedding", out.embeds);
      assert.equal(await out.pooled.data(), await out.embeds.data());
      assert.equal([model.width, model.embedDim, model.classTokens], [out.hidden.shape[2], out.embeds.shape[1], 0]);
      disposeAll(out);
    });
}

for (const [what, config] of FORMS) {
  test(`${what}: saved and read with the same bits`, async () => {
    using model = build(config);
    await reloaded(model, async (folder) => {
      using again = Imu2ClipModel.fromPretrained(folder, { device: here });
      assert.equal(again.config, model.config);
      using x = noise([2, 6, 260], 1);
      const [a, b] = [model.forward(x), again.forward(x)];
      assert.equal(await b.hidden.data(), await a.hidden.data());
      assert.equal(await b.embeds.data(), await a.embeds.data());
      disposeAll(a, b);
    });
  });

  test(`${what}: a batch is its items one by one`, async () => {
    using model = build(config);
    await sameOneByOne(noise([3, 6, 260], 2), (x) => model.forward(x));
  });

  test(`${what}: gradients agree with central differences`, async () => {
    using model = build(config, true);
    using x = noise([2, 6, 260], 3);
    await parameterGradients(
      model,
      () => ({ ...model.forward(x) }),
      9,
      (name) => (/^(blocks|norm_in)/.test(name) ? 1 / 64 : 1),
    );
  });
}

test("over time, windows of other lengths go through, and hidden has one state per moment", () => {
  using model = build({ batchFirstQuirk: false });
  for (const [samples, moments] of [
    [141, 1],
    [400, 10],
  ] as const) {
    using x = noise([2, 6, samples], 4);
    const out = model.forward(x);
    assert.equal(out.hidden.shape, [2, moments, 5]);
    assert.equal(out.embeds.shape, [2, 4]);
    disposeAll(out);
  }
});

test("memory is what it was after inference, training and disposal", async () => {
  await settles(async () => {
    using model = build({}, true);
    using x = noise([2, 6, 260], 5);
    const loss = scope(() => sum(model.forward(x).embeds));
    backward(loss);
    for (const p of model.parameters()) {
      assert.ok(p.grad);
      p.grad?.dispose();
    }
    disposeAll({ loss });
  });
});

test("configurations and windows that do not fit are refused in words", () => {
  using model = build();
  const json = model.configJson();
  const bad = { model_type: "clap", channels: 5, width: 6, window_samples: 140, batch_first_quirk: "no", projection_dim: 0, hidden: 1.5 };
  for (const [key, value] of Object.entries(bad))
    assert.throws(
      () => parseImu2ClipConfig({ ...json, [key]: value }),
      (e: unknown) => e instanceof ConfigError && e.key === key,
    );
  for (const shape of [
    [1, 260],
    [1, 5, 260],
    [1, 6, 261],
  ]) {
    using x = noise(shape, 6);
    assert.is(
      code(() => model.forward(x)),
      "E_SHAPE",
    );
  }
  using x = noise([1, 6, 260], 6);
  assert.is(
    code(() => model.forward(x, { layer: 0 })),
    "E_VALUE",
  );
  using overTime = build({ batchFirstQuirk: false });
  using short = noise([1, 6, 140], 6);
  assert.is(
    code(() => overTime.forward(short)),
    "E_SHAPE",
  );
});

test.run();
