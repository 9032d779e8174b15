// A model assembled on the folder of a bridge, as `anymal convert` writes one of a published checkpoint.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { projectorKeys } from "../../lib/cli/training-flags.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { makeBridge } from "../../lib/models/bridges/index.js";
import { parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { Weights } from "../../lib/nn/weights.js";
import { modelRecipe } from "../../lib/train/recipe.js";
import { Case, here } from "../case.js";
import { type Tensors, tensorsOf, torchFile } from "../io/torch-case.js";
import { square, type Toy, toy } from "./toy.js";

const test = suite("a bridge's folder");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const assembled = (encoder: string, projector: string, more = {}) =>
  AnyMAL.assemble(world.options({ modalities: { image: { encoder, projector } }, ...more }));
const told = (encoder: string, projector: string, more = {}) =>
  assembled(encoder, projector, more).then(
    (model) => model.dispose() ?? "",
    (error) => error.message as string,
  );

/** A tower as wide as a bridge reads. */
async function tower(width: number): Promise<string> {
  const config = { model_type: "clip_vision_model", hidden_size: width, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2, image_size: 16, patch_size: 8, projection_dim: 8 }; // biome-ignore format: one line
  using clip = new ClipVisionModel(Weights.fresh({ device: here, seed: 3, trainable: false }), parseClipVisionConfig(config));
  const folder = world.path(`tower-${width}`);
  await saveModel(folder, clip, clip.configJson());
  copyFileSync(join(world.clip, "preprocessor_config.json"), join(folder, "preprocessor_config.json"));
  return folder;
}

test("its rows are what was stored, calibrated as it is; another width, another setup and no bridge at all are told", async () => {
  const llm = JSON.parse(readFileSync(join(world.llm, "config.json"), "utf8")).hidden_size as number;
  const setup = {
    type: "resampler",
    form: "flamingo",
    layers: 1,
    tokens: 3,
    heads: 2,
    dim: 24,
    frames: 0,
    normalize: "standardize",
  } as const;
  const folder = world.path("bridge");
  mkdirSync(folder);
  using bridge = makeBridge(Weights.fresh({ device: here, seed: 9 }), setup, llm);
  const stored: [string, { dtype: "F32"; shape: number[]; data: Uint8Array }][] = [];
  for (const [name, tensor] of bridge.namedParameters())
    stored.push([name, { dtype: "F32", shape: [...tensor.shape], data: new Uint8Array(await tensor.bytes()) }]);
  await saveSafetensors(join(folder, "projector.safetensors"), stored);
  const says = (change: object = {}) => writeFileSync(join(folder, "projector.json"), JSON.stringify({ ...setup, ...change }));
  says();
  const wide = await tower(24);
  using model = await assembled(wide, folder);
  assert.equal([[...model.calibrated], model.encoder("image").setup.projector], [["image"], setup]);
  const got = new Map(model.projector("image").namedParameters());
  for (const [name, { data }] of stored) assert.ok(Buffer.from(data).equals(Buffer.from(await got.get(name)!.bytes())), name);
  const [answer] = await model.generateAll([[square("red"), "a"]], { maxNewTokens: 4 });
  await model.save(world.path("saved"));
  using again = await AnyMAL.fromPretrained(world.path("saved"), { device: here });
  assert.equal(await again.generateAll([[square("red"), "a"]], { maxNewTokens: 4 }), [answer]);

  assert.match(await told(world.clip, folder), /a bridge with dim 16, as the encoder and the frames make it, got 24/);
  assert.match(await told(wide, world.clip), /projector\.json and projector\.safetensors, got a folder without them/);
  assert.match(await told(wide, world.path("nowhere")), /no such folder/);
  for (const [change, pattern] of [
    [{ type: "resamplers" }, /"type" that is one of/],
    [{ layers: 0 }, /"layers" to be/],
    [{ heads: 5 }, /"heads" to divide/],
    [{ dim: "24" }, /"dim" to be/],
    [{ tokens: 6 }, /of shape \[6,24\]/],
    [{ layers: 2 }, /resampler\.layers\.1/],
    [{ layers: undefined }, /"layers" to be.*got nothing/],
  ] as const) {
    says(change);
    assert.match(await told(wide, folder), pattern, JSON.stringify(change));
  }
});

test("OpenFlamingo's converted bridge stands beside the text of a model that is assembled on it", async () => {
  const perceiver = new Case("perceiver-openflamingo");
  const gated = new Case("gated-xattn");
  const all: Tensors = new Map();
  for (const [name, one] of tensorsOf(perceiver.folder)) all.set(`perceiver.${name}`, one);
  for (const [name, one] of tensorsOf(gated.folder)) all.set(`lang_encoder.gated_cross_attn_layers.0.${name}`, one);
  all.set("lang_encoder.transformer.wte.weight", { dtype: "F32", shape: [3, 24], bytes: new Uint8Array(288) });
  const from = world.path("published");
  mkdirSync(from);
  torchFile(join(from, "checkpoint.pt"), all);
  const to = world.path("converted");
  await convertCheckpoint(join(from, "checkpoint.pt"), to);
  const setup = JSON.parse(readFileSync(join(to, "projector.json"), "utf8"));
  const heads = { heads: 3, dimHead: 8 }; // of the case, which no shape shows
  writeFileSync(join(to, "projector.json"), JSON.stringify({ ...setup, ...heads }));
  assert.is(setup.gives, "beside");
  using model = await assembled(await tower(setup.dim), to, { system: "flamingo", adapters: { "gated-cross-attention": { every: 1 } } });
  assert.equal(model.projector("image").gives, "beside");
  const got = new Map(model.projector("image").namedParameters());
  for (const [name, { bytes }] of tensorsOf(perceiver.folder))
    if (got.has(`resampler.${name}`)) assert.ok(Buffer.from(bytes).equals(Buffer.from(await got.get(`resampler.${name}`)!.bytes())), name);
});

test("recipes and flags name such a folder too", () => {
  const model = { llm: world.llm, modalities: { image: { encoder: world.clip, projector: "./bridge" } } };
  assert.equal(modelRecipe(model).modalities.image!.projector, "./bridge");
  assert.equal([projectorKeys("./bridge"), projectorKeys("linear")], ["./bridge", { type: "linear" }]);
  assert.throws(() => modelRecipe({ ...model, modalities: { image: { encoder: world.clip, projector: 3 } } }), /projector/);
});

test.run();
