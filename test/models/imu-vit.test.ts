// A vision transformer over motion: places by the rate of a recording, registers, and what its input may be.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { scope } from "../../lib/core/scope.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { processorOf } from "../../lib/media/auto-processor.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { ConfigError } from "../../lib/models/config.js";
import { type ImuVitConfig, ImuVitModel, parseImuVitConfig } from "../../lib/models/imu-vit.js";
import { Weights } from "../../lib/nn/weights.js";
import { sliceCopy, transposeCopy } from "../../lib/ops/index.js";
import { here, near } from "../case.js";
import { code, disposeAll, noise, parameterGradients, reloaded, sameOneByOne } from "./encoders.js";

const tiny: ImuVitConfig = {
  ...{ channels: 6, patchSize: 4, hiddenSize: 8, layers: 2, heads: 2, mlpRatio: 2, registers: 2, layerNormEps: 1e-6 },
  ...{ referenceRate: 100, samplingRate: 50, windowSamples: 16 },
};
const fresh = (changes: Partial<ImuVitConfig> = {}, trainable = false) =>
  new ImuVitModel(Weights.fresh({ device: here, seed: 5, trainable }), { ...tiny, ...changes });

/** hidden of one block less is the embedding alone: what the first block reads. */
async function embedded(model: ImuVitModel, x: Tensor, rates?: number[]): Promise<Float32Array> {
  const out = model.forward(x, { layer: 0, ...(rates && { rates }) });
  const data = (await out.hidden.data()) as Float32Array;
  disposeAll(out);
  return data;
}

for (const registers of [0, 2])
  test(`with ${registers} registers: saved and read with the same bits; class token, registers, patches`, async () => {
    using model = fresh({ registers });
    await reloaded(model, async (folder) => {
      using again = await AutoEncoder.fromPretrained(folder, { device: here });
      assert.equal((again as ImuVitModel).config, model.config);
      using x = noise([2, 6, 12], 1);
      const [a, b] = [model.forward(x), again.forward(x)];
      assert.equal([a.hidden.shape, a.pooled.shape, model.classTokens], [[2, 1 + registers + 3, 8], [2, 8], 1 + registers]);
      assert.equal(await b.hidden.data(), await a.hidden.data());
      disposeAll(a, b);
      const processor = processorOf(folder);
      assert.ok(processor instanceof ImuProcessor && processor.samplingRate === 50 && processor.windowSamples === 16);
      writeFileSync(join(folder, "config.json"), JSON.stringify({ ...model.configJson(), num_hidden_layers: 1 }));
      assert.throws(() => ImuVitModel.fromPretrained(folder, { device: here }), /a place for every weight/);
    });
  });

test("a place is a time: at twice the rate every second patch stands where one stood; at no rate of its own, the folder's", async () => {
  using model = fresh();
  using x = noise([1, 6, 32], 2);
  const still = x.shape[2]! / 4;
  using silent = scope(() => noise([1, 6, 32], 3));
  const at = async (rate: number) => {
    const rows = await embedded(model, silent, [rate]);
    using none = scope(() => transposeCopy(model.patchEmbed.forward(silent), 1, 2));
    const patches = await none.data();
    return Array.from({ length: still }, (_, p) => Array.from({ length: 8 }, (_, i) => rows[(3 + p) * 8 + i]! - patches[p * 8 + i]!));
  };
  const [slow, fast, own] = [await at(50), await at(100), await at(tiny.samplingRate)];
  for (let p = 0; p < still / 2; ++p) near(slow[p]!, fast[2 * p]!, 1e-5, `patch ${p}`);
  assert.equal(own, slow);
  near(fast[1]!.slice(0, 1), [Math.sin(1)], 1e-5, "one patch at the reference rate is a step of one");
  assert.equal(await embedded(model, silent), await embedded(model, silent, [50]));
});

test("each recording has its rate, and the channels may come last", async () => {
  using model = fresh();
  using x = noise([2, 6, 16], 4);
  using turned = scope(() => transposeCopy(x, 1, 2));
  const rates = [100, 37.5];
  const [a, b] = [model.forward(x, { rates }), model.forward(turned, { rates })];
  assert.equal(await b.hidden.data(), await a.hidden.data());
  for (const [n, rate] of rates.entries()) {
    using one = scope(() => sliceCopy(x, 0, n, 1));
    const out = model.forward(one, { rates: [rate] });
    const [own, whole] = [await out.hidden.data(), await a.hidden.data()];
    near(own, whole.slice(n * own.length, (n + 1) * own.length), 3e-6, `recording ${n}`);
    disposeAll(out);
  }
  disposeAll(a, b);
  await sameOneByOne(noise([3, 6, 8], 5), (y) => model.forward(y));
});

test("gradients agree with central differences", async () => {
  using model = fresh({}, true);
  using x = noise([2, 6, 8], 6);
  await parameterGradients(model, () => ({ ...model.forward(x, { layer: 1, rates: [80, 200] }) }), 7);
});

test("what is no recording, and no rate, is told", () => {
  using model = fresh();
  for (const shape of [
    [2, 6, 18],
    [2, 5, 16],
    [2, 6, 2],
    [6, 16],
    [2, 6, 0],
  ]) {
    using x = noise(shape, 1);
    assert.is(code(() => model.forward(x)), "E_SHAPE", `${shape}`); // biome-ignore format: one line
  }
  using x = noise([2, 6, 16], 1);
  for (const rates of [[], [100], [0, 100], [100, Number.NaN], [1e9, 1]]) assert.is(code(() => model.forward(x, { rates })), "E_VALUE", `${rates}`); // biome-ignore format: one line
  const json = model.configJson();
  const bad = {
    model_type: "imudino",
    hidden_size: 7,
    channels: 9,
    window_samples: 18,
    num_register_tokens: -1,
    sampling_rate: 0,
    num_attention_heads: 3,
  };
  for (const [key, value] of Object.entries(bad))
    assert.throws(
      () => parseImuVitConfig({ ...json, [key]: value }),
      (e: unknown) => e instanceof ConfigError && e.key === key,
      key,
    );
});

test.run();
