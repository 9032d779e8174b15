// An encoder whose adapter trains is part of the graph; what was kept of its features is never given for those of another state of it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { ConversationMemory } from "../../lib/anymal/conversation-memory.js";
import { FeatureCache } from "../../lib/data/feature-cache.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { captions, square, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { ALIGN, all, assembledIn, rejection } from "./stages.js";

let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const LORA = { r: 4, alpha: 16, targetModules: ["q_proj", "v_proj", "fc1"] };
const on = async (more = {}) => {
  const model = await assembledIn(world, more);
  model.addAdapter(LORA, { on: "image", seed: 5 });
  return model;
};
const steps = { ...ALIGN, steps: 6, seed: 3 };
const data = () => captions(2);
const eye = (model: AnyMAL) => model.encoder("image").encoder;
const adapter = (model: AnyMAL) => model.adapters.get("image")!;

async function bytes(parameters: Iterable<readonly [string, { bytes(): Promise<ArrayBuffer> }]>): Promise<Map<string, Uint8Array>> {
  const made = new Map<string, Uint8Array>();
  for (const [name, tensor] of parameters) made.set(name, new Uint8Array(await tensor.bytes()));
  return made;
}
const seen = async (model: AnyMAL) => (await model.features([square("red")]))[0]!.data;
async function answer(model: AnyMAL, memory?: ConversationMemory): Promise<string> {
  let text = "";
  for await (const piece of model.generate([red, "What is it?"], { maxNewTokens: 6, memory })) text += piece;
  return text;
}
const red = square("red");

test("aligned with LoRA on the encoder: the branches learn, the tower stays as it was, bit for bit", async () => {
  using model = await on();
  const pristine = await assembledIn(world);
  const before = await bytes(adapter(model).namedParameters());
  const tower = await bytes(pristine.encoder("image").encoder.namedParameters());
  const bare = await seen(pristine);
  const run = await all(align(model, { ...steps, steps: 24, data: data(), adapters: ["image"] }));
  assert.ok(run.at(-1)!.loss < 0.5 * run[0]!.loss, `${run[0]!.loss} to ${run.at(-1)!.loss}`);
  for (const [name, was] of before)
    assert.not.equal(new Uint8Array(await new Map(adapter(model).namedParameters()).get(name)!.bytes()), was, name);
  for (const [name, is] of await bytes(eye(model).namedParameters())) if (!name.includes("lora_")) assert.equal(is, tower.get(name), name);
  assert.equal(eye(model).trainable(), [], "it is closed again");
  const adapted = await seen(model);
  assert.not.equal(adapted, bare);
  adapter(model).enabled = false;
  assert.equal(await seen(model), bare);
  adapter(model).enabled = true;
  assert.equal(await seen(model), adapted);

  // Saved and loaded it sees and says the same, with the adapter on and off.
  const said = await answer(model);
  await model.save(world.path("adapted"));
  using again = await AnyMAL.fromPretrained(world.path("adapted"), { device: model.device });
  assert.equal(await seen(again), adapted);
  assert.is(await answer(again), said);
  for (const one of [model, again]) adapter(one).enabled = false;
  assert.equal(await seen(again), bare);
  assert.is(await answer(again), await answer(model));
  pristine.dispose();
});

test("PINK's adapters in the tower and LoRA on the language model, instructed together, saved, loaded and taken up again", async () => {
  const pink = async () => {
    const model = await assembledIn(world);
    model.addAdapter({ hidden: 3, dropout: 0 }, { kind: "pink", on: "image", seed: 2 });
    return model;
  };
  using model = await pink();
  const bare = await seen(model);
  const before = await bytes(adapter(model).namedParameters());
  const options = { batch: 4, steps: 4, learningRate: 1e-2, lora: { r: 2 }, seed: 1, data: data(), adapters: ["image"] };
  await all(instruct(model, options));
  for (const [name, tensor] of adapter(model).namedParameters())
    assert.not.equal(new Uint8Array(await tensor.bytes()), before.get(name), name);
  const [adapted, said] = [await seen(model), await answer(model)];
  assert.not.equal(adapted, bare);
  await model.save(world.path("pink"));
  using again = await AnyMAL.fromPretrained(world.path("pink"), { device: model.device });
  assert.equal([...again.adapters.keys()], ["image", "default"]);
  assert.equal(await seen(again), adapted);
  assert.is(await answer(again), said);
  for (const one of [model, again]) adapter(one).enabled = false;
  assert.equal(await seen(again), bare);
  assert.is(await answer(again), await answer(model));

  using first = await pink();
  const stop = new AbortController();
  const output = world.path("pink-broken");
  for await (const { step } of instruct(first, { ...options, output, signal: stop.signal })) if (step === 1) stop.abort();
  using second = await pink();
  await all(instruct(second, { ...options, output, resume: true }));
  assert.equal(await bytes(adapter(second).namedParameters()), await bytes(adapter(model).namedParameters()));
});

test("instructed, with LoRA on both sides and blocks that are run again: the same numbers as without running them again", async () => {
  const losses: number[][] = [];
  const states: Map<string, Uint8Array>[] = [];
  for (const gradientCheckpointing of [false, true]) {
    using model = await on();
    const options = { batch: 4, microBatch: 2, steps: 4, learningRate: 1e-2, lora: { r: 2, dropout: 0.1 }, gradientCheckpointing, seed: 1 };
    losses.push((await all(instruct(model, { ...options, data: data(), adapters: ["image"] }))).map(({ loss }) => loss));
    states.push(await bytes([...adapter(model).namedParameters(), ...model.adapter!.namedParameters()]));
  }
  assert.equal(losses[1], losses[0]);
  assert.equal(states[1], states[0]);
});

test("a run that is stopped and taken up again ends where an unbroken one does", async () => {
  using whole = await on();
  const options = { ...steps, steps: 4, data: data(), adapters: ["image"] };
  await all(align(whole, options));
  using first = await on();
  const stop = new AbortController();
  const output = world.path("broken");
  for await (const { step } of align(first, { ...options, output, signal: stop.signal })) if (step === 1) stop.abort();
  using second = await on();
  const rest = await all(align(second, { ...options, output, resume: true }));
  assert.ok(rest.length && rest.length < 4, `${rest.length} steps after the stop`);
  assert.equal(await bytes(adapter(second).namedParameters()), await bytes(adapter(whole).namedParameters()));
});

test("a second run over the same cache reads nothing of the encoder as it was", async () => {
  const folder = world.path("cache");
  const cached = () => new FeatureCache({ folder });
  using model = await assembledIn(world);
  const pristine = cached();
  await all(align(model, { ...steps, data: data(), cache: pristine }));
  assert.ok(pristine.counts.made > 0);

  model.addAdapter(LORA, { on: "image", seed: 5 });
  const training = cached();
  await all(align(model, { ...steps, data: data(), cache: training, adapters: ["image"] }));
  assert.equal(training.counts, { memory: 0, disk: 0, made: 0 }, "features of an encoder that trains are nobody's");

  const adapted = cached();
  await all(align(model, { ...steps, data: data(), cache: adapted }));
  assert.is(adapted.counts.disk, 0, "stale features were read");
  assert.is(adapted.counts.made, pristine.counts.made);

  // The same encoder finds its own, and the bare one those of the first run.
  const again = cached();
  await all(align(model, { ...steps, data: data(), cache: again }));
  assert.equal([again.counts.made, again.counts.disk], [0, adapted.counts.made]);
  adapter(model).unload();
  const bare = cached();
  await all(align(model, { ...steps, data: data(), cache: bare }));
  assert.equal([bare.counts.made, bare.counts.disk], [0, pristine.counts.made]);
});

test("a conversation hears of an adapter that is switched between two turns", async () => {
  using model = await on();
  await all(align(model, { ...steps, data: data(), adapters: ["image"] }));
  using memory = new ConversationMemory();
  const withIt = await model.features([red], { memory });
  assert.is((await model.features([red], { memory }))[0], withIt[0], "it is not encoded again");
  adapter(model).enabled = false;
  const without = await model.features([red], { memory });
  assert.not.equal(without[0]!.data, withIt[0]!.data);
  assert.is(await answer(model, memory), await answer(model));
});

test("steps leave nothing on the tape, whichever rows of whichever layer are read", async () => {
  for (const [layer, select] of [
    [-2, "patch"],
    [[0, 2], "all"],
    [1, "class"],
    [-1, "pooled"],
    [-1, "embeds"],
  ] as const) {
    using model = await assembledIn(world, {
      modalities: { image: { encoder: world.clip, layer, select, projector: { type: "linear", mode: "per_token" } } },
    });
    model.addAdapter(LORA, { on: "image", seed: 5 });
    const held: number[] = [];
    for (const more of [0, 0, 4]) {
      await all(align(model, { ...steps, steps: 2 + more, data: data(), adapters: ["image"] }));
      await here.synchronize();
      held.push(here.memory().tensors);
    }
    assert.is(held[2], held[1], `${layer} ${select}`);
  }
});

test("names of adapters that stand on no encoder are refused, and the model is as it was", async () => {
  using model = await on();
  for (const adapters of [["images"], ["image", "default"]]) {
    const error = await rejection(() => all(align(model, { ...steps, data: data(), adapters })));
    assert.is(error.code, "E_ARGUMENT");
    assert.match(error.message, /image/);
  }
  for (const options of [{ on: "audio" as const }, { on: "image" as const, name: "default" }, { on: "image" as const }])
    assert.match((await rejection(async () => model.addAdapter(LORA, options))).code, /^E_(ARGUMENT|MODALITY)$/);
  const plain = await all(align(model, { ...steps, steps: 2, data: data() }));
  assert.is(plain.length, 2);
  for (const [, tensor] of adapter(model).namedParameters()) assert.is(tensor.grad, undefined, "a frozen adapter collects nothing");
});

test.run();
