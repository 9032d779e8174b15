// What a fresh projection is given before it learns: features of mean 0 and spread 1, rows of the size of the LLM's embeddings.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { calibrate, channelStatistics } from "../../lib/anymal/calibrate.js";
import type { Features } from "../../lib/anymal/media-encoder.js";
import { stacked } from "../../lib/anymal/prompt.js";
import { noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { atOnce } from "../../lib/core/turns.js";
import { here, near } from "../case.js";
import { colors, square, type Toy, toy } from "./toy.js";

const test = suite("calibrate");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const rms = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((n, v) => n + v * v, 0) / values.length);

async function rows(model: AnyMAL, features: readonly Features[]): Promise<Float32Array> {
  const projected = noGrad(() => scope(() => model.projector("image").forward(stacked(features, here))));
  const data = (await projected.data()) as Float32Array;
  projected.dispose();
  return data;
}

test("statistics are those of all rows of all media", () => {
  const one = (data: number[]): Features => ({ modality: "image", data: Float32Array.from(data), shape: [data.length / 2, 2] });
  const { mean, std } = atOnce(channelStatistics([one([1, 10, 3, 10]), one([5, 10])], 2));
  near(mean, [3, 10], 1e-6, "mean");
  near(std, [Math.sqrt(8 / 3), 0], 1e-6, "spread");
});

for (const normalize of ["standardize", "layernorm", false] as const) {
  test(`rows come out in the scale of the embeddings: ${normalize || "features as they are"}`, async () => {
    const projector = { type: "resampler", layers: 1, tokens: 4, normalize } as const;
    using model = await AnyMAL.assemble(world.options({ modalities: { image: { encoder: world.clip, projector } } }));
    const features = await model.features(colors.map(square));
    const target = rms(await model.llm.model.embedding.weight.data());
    assert.ok(Math.abs(rms(await rows(model, features)) - target) > 0.2 * target, "there is nothing to calibrate");
    await calibrate(model, "image", features);
    assert.ok(Math.abs(rms(await rows(model, features)) - target) < 1e-3 * target);
    assert.ok(model.calibrated.has("image"));
    const { input } = model.projector("image");
    assert.is(input === undefined, normalize === false);
    if (normalize !== "standardize") return;
    const normal = noGrad(() => scope(() => input!.forward(stacked(features, here))));
    const values = (await normal.data()) as Float32Array;
    normal.dispose();
    const { mean, std } = atOnce(channelStatistics([{ modality: "image", data: values, shape: [values.length / 16, 16] }], 16));
    near(mean, new Float32Array(16), 1e-4, "mean");
    near(std, new Float32Array(16).fill(1), 1e-3, "spread");
  });
}

test.run();
