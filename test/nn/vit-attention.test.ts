// A block becomes what is stored, however its parts are spelled; q, k and v in one matrix are a layer that an adapter can name.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { noGrad } from "../../lib/core/autograd.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import type { Encoder } from "../../lib/models/encoder.js";
import { InProjection } from "../../lib/nn/in-projection.js";
import { concat } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest, near } from "../case.js";
import { disposeAll, noise, reloaded } from "../models/encoders.js";

const first = (pattern: RegExp) => new Case(caseNames(pattern)[0] as string);
const pictures = (c: Case, encoder: Encoder) => {
  const { imageSize, channels } = (encoder as unknown as { config: { imageSize: number; channels: number } }).config;
  return noise([2, channels, imageSize, imageSize], c.name.length);
};

async function hiddenOf(encoder: Encoder, x: Tensor): Promise<Float32Array> {
  const out = noGrad(() => encoder.forward(x));
  const hidden = (await out.hidden.data()) as Float32Array;
  disposeAll(out);
  return hidden;
}

test("the names of one family with the storage of another: the same numbers", async () => {
  const c = first(/^clip-vision/);
  using separate = await AutoEncoder.fromPretrained(c.folder, { device: here });
  using x = pictures(c, separate);
  const want = await hiddenOf(separate, x);
  await reloaded(separate, async (folder) => {
    using checkpoint = Checkpoint.open(folder);
    const stored = new Map(Array.from(checkpoint.names(), (name) => [name, checkpoint.load(name, here)] as const));
    for (const part of ["weight", "bias"])
      for (const place of new Set(Array.from(stored.keys()).flatMap((name) => name.match(/^.*self_attn\./)?.[0] ?? []))) {
        const names = ["q", "k", "v"].map((letter) => `${place}${letter}_proj.${part}`);
        stored.set(
          `${place}in_proj_${part}`,
          concat(
            names.map((name) => stored.get(name) as Tensor),
            0,
          ),
        );
        for (const name of names) stored.delete(name);
      }
    await saveSafetensors(`${folder}/model.safetensors`, [...stored]);
    using fused = await AutoEncoder.fromPretrained(folder, { device: here });
    assert.equal(fused.leftover, []);
    assert.ok(fused.modules().some((module) => module instanceof InProjection));
    assert.equal(await hiddenOf(fused, x), want);
    // … and back, in the names of the other family.
    await saveModel(folder, fused, fused.configJson());
    using again = await AutoEncoder.fromPretrained(folder, { device: here });
    assert.equal(await hiddenOf(again, x), want);
  });
});

test("LoRA names the layer of q, k and v in one matrix; merged it is the same matrix", async () => {
  for (const pattern of [/^open-clip/, /^siglip/]) {
    const c = first(pattern);
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    using x = pictures(c, encoder);
    const names = [...encoder.namedParameters()].map(([name]) => name);
    const embeds = async () => {
      const out = noGrad(() => encoder.forward(x));
      const values = (await out.embeds.data()) as Float32Array;
      disposeAll(out);
      return values;
    };
    const before = await embeds();
    const adapter = LoraAdapter.apply(encoder, { r: 2, alpha: 4, targetModules: ["in_proj"] }, { seed: 1 });
    const paths = [...adapter.layers.keys()];
    assert.ok(paths.length && paths.every((path) => path.endsWith(".in_proj")), String(paths));
    near(await embeds(), before, 1e-5 * largest(before), "with fresh branches");
    for (const path of paths)
      assert.ok(
        [...encoder.namedParameters()].some(([name]) => name === `${path}_weight`),
        path,
      );
    for (const [i, layer] of [...adapter.layers.values()].entries()) {
      using values = noise(layer.loraB.shape, 10 + i);
      layer.loraB.write((await values.data()) as Float32Array);
    }
    const adapted = await embeds();
    assert.ok(
      adapted.some((v, i) => Math.abs(v - before[i]!) > 1e-3 * largest(before)),
      "the branches change nothing",
    );
    for (const layer of adapter.layers.values()) layer.enabled = false;
    assert.equal(await embeds(), before, "switched off");
    for (const layer of adapter.layers.values()) layer.enabled = true;
    adapter.merge();
    near(await embeds(), adapted, 1e-4 * largest(adapted), "merged");
    assert.equal(
      [...encoder.namedParameters()].map(([name]) => name),
      names,
    );
  }
});

test("a matrix of q, k and v is found by its name, to be exchanged", async () => {
  using encoder = await AutoEncoder.fromPretrained(first(/^open-clip/).folder, { device: here });
  const [name, weight] = [...encoder.namedParameters()].find(([key]) => key.endsWith("in_proj_weight"))!;
  using other = noise(weight.shape, 3);
  assert.is(encoder.replace(name, other), weight);
  assert.is(new Map(encoder.namedParameters()).get(name), other);
  encoder.replace(name, weight);
});

test.run();
