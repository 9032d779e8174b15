// A model put together as a system: what the system says, what options say instead, and what its folder remembers.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import { conversationOf } from "../../lib/anymal/prompt.js";
import { SYSTEMS } from "../../lib/systems/index.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { alignRecipe, instructRecipe, recipe } from "../../lib/train/recipe.js";
import { here } from "../case.js";
import { all, rejection } from "../train/stages.js";
import { captions, square, type Toy, toy } from "./toy.js";

const test = suite("systems");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const as = (system: string, more: Partial<AssembleOptions> = {}) =>
  AnyMAL.assemble({ llm: world.llm, device: here, system, modalities: { image: { encoder: world.clip } }, ...more });

test("what is left open is as the system has it; what is said goes before", async () => {
  using llava = await as("llava-1.5");
  const { projector, layer, select } = llava.encoder("image").setup;
  assert.equal(projector, { type: "mlp", activation: "gelu", bias: true, normalize: false, dim: 16 });
  assert.equal([layer, select, llava.quantization, llava.encoder("image").setup.pad], [-2, "patch", undefined, true]);
  assert.match(llava.prompt.system ?? "", /^A chat between a curious user/);

  const image = { encoder: world.clip, layer: -1, projector: { type: "concat-linear", patches: 2 } } as const;
  using other = await as("llava", { modalities: { image }, quantization: "int8", prompt: { system: "Look." } });
  const setup = other.encoder("image").setup;
  assert.equal([setup.projector.type, setup.layer, setup.select], ["concat-linear", -1, "patch"]);
  assert.equal([other.quantization?.format, other.prompt.system], ["int8", "Look."]);

  using mini = await as("minigpt4");
  assert.equal(mini.encoder("image").setup.projector, { type: "concat-linear", patches: 4, normalize: false, dim: 16 });
  assert.is(mini.quantization?.format, "nf4");
});

test("without a word it is AnyMAL, Table 12", async () => {
  using model = await AnyMAL.assemble(world.options({ modalities: { imu: { encoder: world.imu } } }));
  assert.is(model.system, "anymal");
  assert.equal(model.encoder("imu").setup.projector.type, "linear");
  assert.equal(model.prompt, {});
});

for (const [system, image, adapters] of [
  ["llama-adapter-v2", {}, { "llama-adapter-v2": { layers: 1, prompts: 2 } }],
  ["lavin", { layer: [1, 2] }, {}],
] as const)
  test(`${system}: trained, saved and read back it answers alike, and a question without a picture as alone`, async () => {
    using model = await as(system, { adapters, modalities: { image: { encoder: world.clip, ...image } } });
    const more = { steps: 3, batch: 4, warmupSteps: 0, learningRate: 3e-2, schedule: "constant", disjoint: [] } as const;
    await all(instruct(model, { data: captions(), ...more }));
    const ask = (of: AnyMAL) => of.generateAll([["see ", square("red")], ["what is it?"]], { maxNewTokens: 6 });
    const want = await ask(model);
    const alone = await Promise.all([model.generateAll([["see ", square("red")]], { maxNewTokens: 6 })]);
    assert.is(alone[0]![0], want[0]);
    assert.is((await model.generateAll([["what is it?"]], { maxNewTokens: 6 }))[0], want[1]);
    const folder = world.path(`saved-${system}`);
    await model.save(folder);
    using again = await AnyMAL.fromPretrained(folder, { device: here });
    assert.equal([...again.adapters.keys()], system === "lavin" ? ["lavin", "lavin-image"] : ["llama-adapter-v2"]);
    assert.equal(await ask(again), want);
  });

test("a system that is unknown, or takes no such medium is told", async () => {
  const cases: [Promise<AnyMAL>, string, RegExp][] = [
    [as("llava1.5"), "E_VALUE", /did you mean "llava-1\.5"\?/],
    [as("anymal", { adapters: { lora: {} } }), "E_VALUE", /options that are known, got "lora"/],
    [as("constructor"), "E_VALUE", /one of anymal, flamingo/],
    [as("llava", { modalities: { imu: { encoder: world.imu } } }), "E_MODALITY", /image, which llava takes, got imu/],
    [as("anymal", { prompt: { written: { befor: "x" } as object } }), "E_VALUE", /did you mean "before"\?/],
  ];
  for (const [made, code, words] of cases) {
    const error = await rejection(() => made);
    assert.is(error.code, code, error.message);
    assert.match(error.message, words);
  }
});

test("an adapter of any kind is put on, saved with the model and read as what it is", async () => {
  using model = await as("anymal", { quantization: "none" });
  const ask = (one: AnyMAL) => one.generateAll([["see ", square("red")]], { maxNewTokens: 6 });
  const before = await ask(model);
  const ia3 = model.addAdapter({}, { kind: "ia3", name: "scales" });
  const lora = model.addAdapter({ r: 2 }, { name: "branches" });
  assert.equal([ia3.kind.name, lora.kind.name], ["ia3", "lora"]);
  assert.equal(await ask(model), before, "both begin as nothing");
  for (const [, tensor] of ia3.namedParameters()) tensor.write(new Float32Array(tensor.size).fill(0.2));
  const scaled = await ask(model);
  assert.not.equal(scaled, before);
  const folder = world.path("kinds");
  await model.save(folder);
  const path = join(folder, "anymal.json");
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  assert.equal(
    manifest.adapters.map(({ name, kind }: { name: string; kind: string }) => `${name} ${kind}`),
    ["scales ia3", "branches lora"],
  );
  using again = await AnyMAL.fromPretrained(folder, { device: here });
  assert.equal(
    [...again.adapters].map(([name, { kind }]) => `${name} ${kind.name}`),
    ["scales ia3", "branches lora"],
  );
  assert.equal(await ask(again), scaled);
  manifest.adapters[0].kind = "lora";
  writeFileSync(path, JSON.stringify(manifest));
  const error = await rejection(() => AnyMAL.fromPretrained(folder, { device: here }));
  assert.is(error.code, "E_CHECKPOINT");
  assert.match(error.message, /of kind lora, as anymal\.json says, got ia3/);
});

test("Flamingo's gated layers and LLaMA-Adapter's prompts are there from the beginning, shut, and go with the model", async () => {
  const adapters = { "gated-cross-attention": { every: 1, heads: 2, dimHead: 4 } };
  using bare = await as("anymal", { quantization: "none" });
  const text = (one: AnyMAL) => one.generateAll(["see "], { maxNewTokens: 6 });
  using flamingo = await as("flamingo", { quantization: "none", adapters });
  const gated = flamingo.adapters.get("gated-cross-attention")!;
  assert.equal([gated.kind.name, (gated.config as { dimVisual: number }).dimVisual], ["gated-cross-attention", 16]);
  assert.is([...gated.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad).length, 0, "a stage opens it");
  assert.equal(await text(flamingo), await text(bare));
  assert.is(flamingo.projector("image").rows([4, 16]), 0);
  await flamingo.save(world.path("flamingo"));
  using again = await AnyMAL.fromPretrained(world.path("flamingo"), { device: here });
  const ask = (one: AnyMAL) => one.generateAll([["see ", square("red")]], { maxNewTokens: 6 });
  assert.equal(
    [again.system, [...again.adapters.keys()], await ask(again)],
    ["flamingo", ["gated-cross-attention", "tokens"], await ask(flamingo)],
  );
  using prompted = await as("llama-adapter", { quantization: "none", adapters: { "llama-adapter-v1": { layers: 1 } } });
  assert.equal(await text(prompted), await text(bare));
  const error = await rejection(() => as("llama-adapter", { adapters: { "llama-adapter-v1": { layer: 1 } } }));
  assert.match(error.message, /"layer"; did you mean "layers"/);
  assert.match((await rejection(() => as("flamingo", { adapters: { lora: {} } }))).message, /got "lora"/);
});

test("a medium is written as the system writes it, once, in training and in asking", async () => {
  const red = square("red");
  const content = (of: { content: readonly unknown[] }) => of.content.map((part) => (typeof part === "string" ? part : "·")).join("");
  const written = { before: "<Img>", after: "</Img>" };
  const said = (turn: string | Parameters<typeof conversationOf>[0], by = written) => content(conversationOf(turn, { written: by })[0]!);
  assert.is(said(["what is ", red, "?"]), "what is <Img>·</Img>?");
  assert.is(said([red, red]), "<Img>·</Img><Img>·</Img>");
  assert.is(said(["see <Img>", red, "</Img> there"]), "see <Img>·</Img> there");
  assert.is(said([red, "\nwhat?"], { before: "", after: "\n" }), "·\nwhat?");
  using model = await as("minigpt4");
  using plain = await as("minigpt4", { prompt: { written: {} } });
  const ask = (one: AnyMAL) => one.generateAll([["see ", red]], { maxNewTokens: 8 });
  const byHand = await plain.generateAll([["see <Img>", red, "</Img>"]], { maxNewTokens: 8 });
  assert.equal(await ask(model), byHand);
  assert.not.equal(await ask(plain), byHand);
});

test("its folder says what it is, and training goes on by the system's numbers", async () => {
  using model = await as("minigpt4", { quantization: "none" });
  const output = world.path("minigpt4");
  const rates: number[] = [];
  for await (const { learningRate } of align(model, { modality: "image", data: captions(), steps: 2, warmupSteps: 0, batch: 2, output }))
    rates.push(learningRate);
  assert.is(rates[0], 1e-4);
  const manifest = JSON.parse(readFileSync(join(output, "checkpoint", "anymal.json"), "utf8"));
  assert.equal([manifest.system, manifest.prompt.written], ["minigpt4", SYSTEMS.minigpt4.written]);
  using again = await AnyMAL.fromPretrained(output, { device: here });
  assert.is(again.system, "minigpt4");
  const [first] = await all(instruct(again, { data: captions(), steps: 1, warmupSteps: 0, batch: 2 }));
  assert.is(first!.learningRate, 3e-5);
  assert.is(again.adapter, undefined, "MiniGPT-4 has no LoRA");
});

test("recipes are completed by their system, each form of a stage by its own numbers", () => {
  const { batch, learningRate, steps, weightDecay, maxLength } = alignRecipe("image", {}, "align", "llava-1.5");
  assert.equal([batch, learningRate, steps, weightDecay, maxLength], [256, 1e-3, 2181, 0, 2048]);
  const whole = instructRecipe({}, "instruct", undefined, "llava-1.5");
  assert.equal([whole.lora, whole.learningRate, whole.batch], [false, 2e-5, 128]);
  const lora = instructRecipe({ lora: { dropout: 0 } }, "instruct", undefined, "llava-1.5");
  assert.equal([lora.lora, lora.learningRate], [{ r: 128, alpha: 256, dropout: 0, targetModules: "all-linear" }, 2e-4]);
  const read = recipe({ system: "llava", model: { llm: "x", modalities: { image: { encoder: "y" } } }, align: { image: { data: "z" } } });
  assert.equal([read.system, read.model?.system, read.align.image?.learningRate], ["llava", "llava", 2e-3]);
  assert.equal(recipe({ model: { llm: "x", system: "llava" }, instruct: { data: "z" } }).instruct?.lora, false);
  for (const [value, words] of [
    [{ system: "lava" }, /system to be one of .*got "lava"; did you mean "llava"\?/],
    [{ system: "llava", model: { llm: "x", system: "anymal" } }, /model\.system to be llava/],
    [{ system: "llama-adapter", align: { image: {} } }, /align\.image to be a stage that llama-adapter has, instruct/],
    [{ model: { llm: "x", prompt: { written: { before: 3 } } } }, /written\.before to be a text/],
  ] as const) {
    try {
      recipe(value);
      assert.unreachable(String(words));
    } catch (error) {
      assert.match((error as Error).message, words);
      assert.is((error as { code: string }).code, "E_RECIPE");
    }
  }
});

test.run();
