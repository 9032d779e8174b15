// What a stage opens, by names: LLaVA's second stage in its three forms (all weights; LoRA with a rate of its own for the projection; LoRA over NF4), norms
// alone, the language model alone. Which tensors moved is said name by name; all others stay as they were, bit for bit.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import { weightsOf } from "../../lib/anymal/parts.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { align } from "../../lib/train/align.js";
import { type InstructOptions, instruct } from "../../lib/train/instruct.js";
import { openables, speaksOf } from "../../lib/train/opens.js";
import { readRecipe } from "../../lib/train/recipe.js";
import { captions, square, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { all, assembledIn, rejection } from "./stages.js";

const test = suite("what a stage opens");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const MLP = { image: { encoder: "", projector: { type: "mlp", normalize: false } } } as const;
function assembled(more: Partial<AssembleOptions> = {}): Promise<AnyMAL> {
  return assembledIn(world, { quantization: "none", modalities: { image: { ...MLP.image, encoder: world.clip } }, ...more });
}
const COMMON = { data: captions(), batch: 4, warmupSteps: 0, schedule: "constant", learningRate: 1e-3, steps: 2 } as const;
const LORA = { r: 4, alpha: 8, dropout: 0.1, targetModules: "all-linear" } as const;

/** Every tensor of the model by name: codes of quantised layers and the encoder among them. */
async function everything(model: AnyMAL): Promise<Map<string, Uint8Array>> {
  const tensors = [
    ...model.projector("image").namedParameters("projectors.image"),
    ...[...model.adapters].flatMap(([name, adapter]) =>
      Array.from(adapter.namedParameters(), ([key, tensor]) => [`adapters.${name}.${key}`, tensor] as const),
    ),
    ...weightsOf(model.llm),
    ...[...model.llm.namedModules("llm")].flatMap(([path, module]) =>
      module instanceof QuantizedLinear ? module.weight.tensors().map((tensor, i) => [`${path}.codes.${i}`, tensor] as const) : [],
    ),
    ...model.encoder("image").encoder.namedParameters("encoders.image"),
  ];
  return new Map(await Promise.all(tensors.map(async ([name, p]) => [name, new Uint8Array(await p.bytes())] as const)));
}

async function movedBy(model: AnyMAL, options: InstructOptions): Promise<{ moved: string[]; stayed: string[] }> {
  const before = await everything(model);
  await all(instruct(model, options));
  const after = await everything(model);
  for (const name of before.keys()) assert.ok(after.has(name), `${name} is gone`);
  const changed = (name: string) => String(after.get(name)) !== String(before.get(name));
  const names = [...after.keys()];
  return { moved: names.filter(changed).sort(), stayed: names.filter((name) => !changed(name)).sort() };
}
const within = (names: readonly string[], ...prefixes: string[]) => names.filter((name) => prefixes.some((one) => name.startsWith(one)));

test("a pattern speaks of whole names, * of any letters, and every other sign of itself", () => {
  const speaks = (pattern: string, name: string) => speaksOf([pattern])(name);
  assert.ok(speaks("llm.*norm.weight", "llm.model.layers.0.input_layernorm.weight"));
  for (const name of ["llm.model.normXweight", "an.llm.model.norm.weight", "llm.model.norm.weight.more"])
    assert.not.ok(speaks("llm.*norm.weight", name), name);
  assert.not.ok(speaks("llm.lm_head.weight", "llm.lm_head_weight"));
  assert.ok(speaks("adapters.a+b(c)|d.*", "adapters.a+b(c)|d.x") && !speaks("a|b", "a"));
  assert.ok(!speaksOf([])("llm.x") && speaksOf(["no", "yes.*"])("yes.x"));
});

test("statistics of features are measured and no stage opens them; a norm that is learned is opened", async () => {
  for (const normalize of ["standardize", "layernorm"] as const) {
    using model = await assembled({ modalities: { image: { encoder: world.clip, projector: { type: "mlp", normalize } } } });
    const names = Array.from(openables(model), ([name]) => name);
    const own = Array.from(model.projector("image").namedParameters("projectors.image"), ([name]) => name);
    const norm = own.filter((name) => !name.includes(".linear_"));
    assert.ok(norm.length > 0 && norm.length < own.length);
    assert.equal(own.filter((name) => names.includes(name)), normalize === "layernorm" ? own : own.filter((name) => !norm.includes(name))); // biome-ignore format: one line
  }
});

for (const optimizer of ["adamw", "adamw8bit"] as const)
  test(`all weights, ${optimizer}: projection and language model move, every tensor of them; the encoder stays`, async () => {
    using model = await assembled();
    const names = [...(await everything(model)).keys()];
    const { moved, stayed } = await movedBy(model, { ...COMMON, optimizer, lora: false, opens: ["projectors.*", "llm.*"] });
    assert.equal(moved, within(names, "projectors.", "llm.").sort());
    assert.equal(stayed, within(names, "encoders.").sort());
    assert.ok(model.llm.parameters().every((p) => !p.requiresGrad && !p.grad));
  });

test("LoRA with a rate of its own for the projection: each moves by its rate, the language model stays", async () => {
  using model = await assembled();
  model.calibrated.add("image"); // which would scale the projection
  const start = new Map<string, Float32Array>();
  for (const [name, p] of model.projector("image").namedParameters("projectors.image")) start.set(name, (await p.data()) as Float32Array);
  const names = [...(await everything(model)).keys()];
  const groups = [{ names: "projectors.*", learningRate: 2e-5, weightDecay: 0 }];
  const { moved, stayed } = await movedBy(model, { ...COMMON, lora: LORA, groups, learningRate: 2e-4, weightDecay: 0, steps: 1 });
  assert.equal(within(moved, "llm.", "encoders."), []);
  assert.equal(within(moved, "projectors."), within(names, "projectors.").sort());
  assert.equal(within(stayed, "llm."), within(names, "llm.").sort());
  // The first update of Adam is the rate, up or down, wherever the gradient is far from eps.
  let [slow, fast] = [0, 0];
  for (const [name, p] of model.projector("image").namedParameters("projectors.image"))
    for (const [i, v] of ((await p.data()) as Float32Array).entries()) slow = Math.max(slow, Math.abs(v - start.get(name)![i]!));
  for (const { loraB } of model.adapter!.layers.values())
    for (const v of (await loraB.data()) as Float32Array) fast = Math.max(fast, Math.abs(v));
  assert.ok(Math.abs(slow - 2e-5) < 1e-6, `the projection moved by ${slow}`);
  assert.ok(Math.abs(fast - 2e-4) < 1e-6, `the branches moved by ${fast}`);
});

test("a group at rate 0 stands still beside others that move", async () => {
  using model = await assembled();
  model.calibrated.add("image");
  const groups = [{ names: ["projectors.image.*"], learningRate: 0 }];
  const { moved } = await movedBy(model, { ...COMMON, lora: LORA, groups });
  assert.ok(moved.length > 0);
  assert.equal(within(moved, "adapters."), moved);
});

test("LoRA over NF4: projection and branches move, codes, embeddings and norms stay", async () => {
  using model = await assembled({ quantization: "nf4" });
  const names = [...(await everything(model)).keys()];
  assert.ok(names.filter((name) => name.includes(".codes.")).length > 10);
  const { moved, stayed } = await movedBy(model, { ...COMMON, lora: LORA });
  assert.equal(within(moved, "projectors.", "adapters."), moved);
  assert.equal(within(moved, "projectors."), within(names, "projectors.").sort());
  assert.ok(within(moved, "adapters.").filter((name) => name.includes("lora_B")).length > 10);
  assert.equal(within(stayed, "llm.", "encoders."), within(names, "llm.", "encoders.").sort());
});

test("norms alone, a layer alone, the language model without the projection", async () => {
  const cases: [readonly string[] | string, RegExp][] = [
    ["llm.*norm.weight", /^llm\..*norm\.weight$/],
    [["llm.model.layers.1.*"], /^llm\.model\.layers\.1\./],
    [["llm.*"], /^llm\./],
  ];
  for (const [opens, names] of cases) {
    using model = await assembled();
    const known = [...(await everything(model)).keys()].filter((name) => names.test(name)).sort();
    assert.ok(known.length > 1);
    assert.equal((await movedBy(model, { ...COMMON, lora: false, opens })).moved, known, String(opens));
    assert.equal([...model.trained].sort(), known);
    assert.equal([...model.calibrated], []);
  }
});

test("half of an adapter alone", async () => {
  using model = await assembled();
  model.addAdapter({ r: 2, targetModules: ["q_proj", "v_proj"] }, { name: "extra" }).train(false);
  const known = [...(await everything(model)).keys()].filter((name) => /^adapters\.extra\..*lora_B/.test(name)).sort();
  const { moved } = await movedBy(model, { ...COMMON, lora: false, opens: "adapters.extra.*lora_B*", steps: 3 });
  assert.ok(known.length > 1);
  assert.equal(moved, known);
});

test("in bf16 the weights are f32 masters while they train, and bf16 again afterwards; runs stop, go on and are loaded", async () => {
  const options = { ...COMMON, data: captions(2), lora: false, opens: ["projectors.*", "llm.*"], steps: 5 } as const;
  const more = { optimizer: "adamw8bit", gradientCheckpointing: true, groups: [{ names: "projectors.*", learningRate: 1e-4 }] } as const;
  using whole = await assembled({ dtype: "bf16" });
  await all(instruct(whole, { ...options, ...more }));
  assert.ok(whole.llm.parameters().every(({ dtype }) => dtype === "bf16"));
  assert.is(whole.llm.gradientCheckpointing, false, "as it was");

  const output = world.path("opened");
  {
    using first = await assembled({ dtype: "bf16" });
    for await (const { step } of instruct(first, { ...options, ...more, output })) if (step === 2) break;
  }
  using model = await assembled({ dtype: "bf16" });
  await all(instruct(model, { ...options, ...more, output, resume: true }));
  assert.equal(await everything(model), await everything(whole));
  assert.equal((await readRecipe(join(output, "recipe.yaml"))).instruct?.groups, more.groups);

  using back = await AnyMAL.fromPretrained(output, { device: here });
  assert.equal(await everything(back), await everything(model));
  const asked = [["see ", square("red")]];
  const answers = await model.generateAll(asked, { maxNewTokens: 5 });
  assert.equal(await back.generateAll(asked, { maxNewTokens: 5 }), answers);
  // What was loaded is saved with them too, over an older checkpoint as well.
  await back.save(world.path("saved-again"));
  await back.save(world.path("saved-again"));
  using again = await AnyMAL.fromPretrained(world.path("saved-again"), { device: here });
  assert.equal(await everything(again), await everything(model));

  // Another stage that opens less keeps what this one has trained.
  const norms = world.path("norms");
  await all(instruct(again, { ...COMMON, lora: false, opens: "llm.*norm.weight", output: norms }));
  using third = await AnyMAL.fromPretrained(norms, { device: here });
  assert.equal(await everything(third), await everything(again));
  assert.equal(await all(instruct(third, { ...COMMON, lora: false, opens: "llm.*norm.weight", output: norms, resume: true })), []);
  assert.equal(await everything(third), await everything(again));
  // So does one that begins from the folders again.
  using fresh = await assembled({ dtype: "bf16" });
  await all(instruct(fresh, { ...COMMON, lora: false, opens: "llm.*norm.weight", output: norms, resume: true }));
  assert.equal(await everything(fresh), await everything(again));
  assert.equal([...fresh.trained].sort(), [...again.trained].sort());
});

test("a trained weight that an adapter has put its own in the place of is kept below it: saved, gone on with, read back", async () => {
  const norm = "llm.model.norm.weight";
  const bytesOf = async (model: AnyMAL) => [...(await everything(model))].find(([name]) => name === norm)?.[1];
  using model = await assembled();
  const bare = await bytesOf(model);
  await all(instruct(model, { ...COMMON, lora: false, opens: "llm.*norm.weight" }));
  const trained = await bytesOf(model);
  assert.ok(trained);
  assert.not.equal(trained, bare);
  model.addAdapter({ r: 2, targetModules: ["q_proj"], modulesToSave: ["norm"] }, { name: "extra" });
  assert.is(await bytesOf(model), undefined); // the adapter's own stands there
  const output = world.path("below");
  const options = { ...COMMON, lora: false, opens: ["projectors.*", "adapters.*"], output } as const;
  await all(instruct(model, options));
  using again = await AnyMAL.fromPretrained(output, { device: here });
  assert.ok(again.trained.has(norm));
  assert.equal(await everything(again), await everything(model));
  assert.equal(await all(instruct(again, { ...options, resume: true })), []);
  again.adapters.get("extra")!.detach();
  assert.equal(await bytesOf(again), trained);
});

test("what a run leaves in memory is what it found", async () => {
  using model = await assembled({ dtype: "bf16" });
  const run = () => all(instruct(model, { ...COMMON, lora: false, opens: ["projectors.*", "llm.*"] }));
  await run();
  await here.synchronize();
  const { bytesInUse, tensors } = here.memory();
  await run();
  await here.synchronize();
  assert.equal([here.memory().bytesInUse, here.memory().tensors], [bytesInUse, tensors]);
});

test("a checkpoint whose trained weights are missing, left over, or cannot be laid over a quantised model is refused", async () => {
  const folder = world.path("whole");
  {
    using model = await assembled();
    await all(instruct(model, { ...COMMON, lora: false, opens: "llm.*", output: folder }));
  }
  const quantised = await rejection(() => AnyMAL.fromPretrained(folder, { device: here, quantization: "nf4" }));
  assert.is(quantised.code, "E_CHECKPOINT");
  assert.match(
    quantised.message,
    /trained\.safetensors: expected weights that the language model holds as they are, got "llm\..*quantised/,
  );
  const { tensors } = here.memory();
  await rejection(() => AnyMAL.fromPretrained(folder, { device: here, quantization: "nf4" }));
  assert.is(here.memory().tensors, tensors);
  const path = join(folder, "checkpoint", "anymal.json");
  const manifest = readFileSync(path, "utf8");
  const { trained: _, ...without } = JSON.parse(manifest);
  writeFileSync(path, JSON.stringify(without));
  const left = await rejection(() => AnyMAL.fromPretrained(folder, { device: here }));
  assert.is(left.code, "E_CHECKPOINT");
  assert.match(left.message, /expected no trained\.safetensors/);
  writeFileSync(path, manifest);
  {
    using plain = await assembled();
    await plain.save(join(folder, "checkpoint.copy"));
    using again = await AnyMAL.fromPretrained(folder, { device: here });
    await again.save(join(folder, "checkpoint.copy"));
    {
      using over = await AnyMAL.fromPretrained(join(folder, "checkpoint.copy"), { device: here }); // what was saved over one without them
      assert.equal(await everything(over), await everything(again));
    }
    await plain.save(join(folder, "checkpoint.copy")); // over one that had them
    using back = await AnyMAL.fromPretrained(join(folder, "checkpoint.copy"), { device: here });
    assert.equal(await everything(back), await everything(plain));
  }
  rmSync(join(folder, "checkpoint", "trained.safetensors"));
  const missing = await rejection(() => AnyMAL.fromPretrained(folder, { device: here }));
  assert.is(missing.code, "E_CHECKPOINT");
  assert.match(missing.message, /trained\.safetensors, got nothing/);
  assert.match(readFileSync(join(folder, "checkpoint", "anymal.json"), "utf8"), /"trained": true/);
});

test("what opens nothing, what cannot train, and groups that speak of nothing are refused before anything is touched", async () => {
  using nf4 = await assembled({ quantization: "nf4" });
  const before = await everything(nf4);
  const output = world.path("never");
  const refused: [Partial<InstructOptions>, RegExp][] = [
    [{ opens: ["llm.*"] }, /instruct\.opens to be patterns over weights that can train, got "llm\.\*"; "llm\..*" is quantised: .*"none"/],
    [
      { opens: ["proyectors.*"] },
      /instruct\.opens to be patterns that speak of a parameter, got "proyectors\.\*"; there are projectors\.image/,
    ],
    [{ opens: [] }, /something to train/],
    [{ groups: [{ names: "llm.*", learningRate: 1e-5 }] }, /instruct\.groups\.0\.names to be patterns over what trains, got "llm\.\*"/],
    [{ groups: [{ names: "projectors.*", rate: 1 } as never] }, /instruct\.groups\.0\.rate to be a known option/],
    [{ groups: [{ learningRate: 1 } as never] }, /instruct\.groups\.0\.names to be a text, or a list/],
    [{ learningRate: 0, groups: [{ names: "projectors.*", learningRate: 1e-5 }] }, /instruct\.learningRate to be above 0 beside groups/],
  ];
  for (const [options, message] of refused) {
    const error = await rejection(() =>
      all(instruct(nf4, { ...COMMON, lora: options.groups ? LORA : false, ...options, output, resume: true })),
    );
    assert.is(error.code, "E_RECIPE", error.message);
    assert.match(error.message, message);
    assert.is(nf4.adapter, undefined);
  }
  assert.equal(await everything(nf4), before);
  assert.ok(nf4.projector("image").parameters().every((p) => !p.requiresGrad)); // biome-ignore format: one line
});

test("LLaVA-1.5 says itself what opens: all weights, or LoRA of its own rank beside a projection that goes slower", async () => {
  const llava = () => assembledIn(world, { system: "llava-1.5", prompt: { system: "Hi" }, modalities: { image: { encoder: world.clip } } });
  const options = { data: captions(), batch: 4, steps: 1, warmupSteps: 0 } as const;
  {
    using model = await llava();
    const names = [...(await everything(model)).keys()];
    assert.equal((await movedBy(model, options)).moved, within(names, "projectors.", "llm.").sort());
  }
  using model = await llava();
  const output = world.path("llava-lora");
  const { moved } = await movedBy(model, { ...options, lora: {}, output });
  assert.equal(within(moved, "llm.", "encoders."), []);
  assert.ok(within(moved, "projectors.").length && within(moved, "adapters.").length);
  assert.equal([model.adapter!.config.r, model.adapter!.config.alpha], [128, 256]);
  const { instruct: told } = await readRecipe(join(output, "recipe.yaml"));
  assert.equal([told?.learningRate, told?.groups], [2e-4, [{ names: "projectors.*", learningRate: 2e-5 }]]);
});

test("stage 1 opens what it is told too", async () => {
  using model = await assembled();
  const before = await everything(model);
  await all(align(model, { ...COMMON, modality: "image", opens: ["projectors.image.*", "llm.model.norm.weight"] }));
  const after = await everything(model);
  const moved = [...after].filter(([name, bytes]) => String(bytes) !== String(before.get(name))).map(([name]) => name);
  assert.equal(moved.sort(), [...within([...before.keys()], "projectors."), "llm.model.norm.weight"].sort());
});

test.run();
