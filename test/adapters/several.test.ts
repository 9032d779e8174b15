// Several adapters on one model, by name: each is switched, merged and taken off without regard to the others, and none leaves a trace.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { adaptersOn } from "../../lib/adapters/adapter.js";
import { exportMerged } from "../../lib/adapters/export.js";
import { createAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import type { LoraConfig } from "../../lib/adapters/lora-config.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { caseFolder, here, largest, near } from "../case.js";

const load = (folder: string, options = {}) => LlamaForCausalLM.fromPretrained(caseFolder(folder), { device: here, ...options });
const ids = [
  [5, 17, 3, 29, 44, 8],
  [11, 2, 90, 7, 7, 60],
];
const logits = async (model: LlamaForCausalLM) => {
  using y = noGrad(() => model.forward({ inputIds: ids })).logits!;
  return y.data();
};

type Options = Partial<LoraConfig>;
/** A fresh adapter whose every number does something. */
function put(model: LlamaForCausalLM, name: string, options: Options): LoraAdapter {
  const seed = name.charCodeAt(0);
  const adapter = LoraAdapter.apply(model, { r: 2, alpha: 4, ...options }, { name, seed });
  for (const [key, tensor] of adapter.namedParameters())
    if (!key.includes("lora_A")) tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => 0.05 * Math.sin(i + seed)));
  return adapter;
}

const SETS: [string, string, Record<string, Options>, object?][] = [
  ["the same linears", "llama2", { a: { targetModules: "all-linear" }, b: { targetModules: "all-linear" }, c: { targetModules: ["q_proj", "down_proj"] } }], // biome-ignore format: a table
  ["NF4 below", "llama2", { a: { targetModules: "all-linear" }, b: { targetModules: ["v_proj", "o_proj"] } }, { quantization: { format: "nf4" } }], // biome-ignore format: a table
  ["biases of all", "llama-bias", { a: { targetModules: ["q_proj"], bias: "all" }, b: { targetModules: ["q_proj", "down_proj"], bias: "lora_only" }, c: { targetModules: ["v_proj"], bias: "all" } }], // biome-ignore format: a table
  ["norms and head", "llama2", { a: { targetModules: ["q_proj"], modulesToSave: ["norm"] }, b: { targetModules: ["q_proj"], modulesToSave: ["lm_head", "input_layernorm"] } }], // biome-ignore format: a table
  ["a tied pair, apart and together", "llama-tied", { a: { targetModules: ["q_proj"], modulesToSave: ["lm_head"] }, b: { targetModules: ["q_proj"], modulesToSave: ["embed_tokens"] }, c: { targetModules: ["v_proj"], modulesToSave: ["embed_tokens"], ensureWeightTying: true } }], // biome-ignore format: a table
];

for (const [what, base, adapters, options] of SETS)
  test(`${what}: taken off, and switched off, in any order; what stays computes what it does alone, bit for bit`, async () => {
    const names = Object.keys(adapters);
    await here.synchronize();
    const empty = here.memory();
    {
      using model = load(base, options);
      const bare = await logits(model);
      const tied = model.lmHead === undefined;
      const alone: Record<string, unknown> = {};
      const memory: number[] = [];
      for (const name of names) {
        const adapter = put(model, name, adapters[name]!);
        alone[name] = await logits(model);
        assert.not.equal(alone[name], bare);
        adapter.detach();
        await here.synchronize();
        memory.push(here.memory().bytesInUse);
      }
      assert.is(new Set(memory).size, 1, "bytes are left behind");
      for (const last of names)
        for (const order of [names, names.toReversed()]) {
          const on = order.map((name) => put(model, name, adapters[name]!));
          const all = await logits(model);
          const others = on.filter(({ name }) => name !== last);
          for (const one of others) one.enabled = false;
          assert.equal(await logits(model), alone[last], `${last} with the others switched off`);
          for (const one of others) one.enabled = true;
          assert.equal(await logits(model), all);
          for (const one of on) one.enabled = false;
          assert.equal(await logits(model), bare, "all switched off");
          for (const one of on.toReversed()) one.enabled = true;
          assert.equal(await logits(model), all);
          for (const one of others) one.detach();
          assert.equal(await logits(model), alone[last], `${last} after the others were taken off`);
          on.find(({ name }) => name === last)!.detach();
          assert.equal(await logits(model), bare);
          assert.is(model.lmHead === undefined, tied);
          assert.is(adaptersOn(model).size, 0);
          await here.synchronize();
          assert.is(here.memory().bytesInUse, memory[0]);
        }
      for (const name of names) put(model, name, adapters[name]!).enabled = name === names[0]; // goes with the model, on or off
    }
    await here.synchronize();
    const { tensors, bytesInUse } = here.memory();
    assert.equal([tensors, bytesInUse], [empty.tensors, empty.bytesInUse]);
  });

test("one that does not fit is refused half way, and leaves the others and no bytes", async () => {
  using model = load("llama-tied");
  const a = put(model, "a", { targetModules: "all-linear", modulesToSave: ["lm_head"] });
  const b = put(model, "b", { targetModules: ["q_proj"], modulesToSave: ["embed_tokens"] });
  const both = await logits(model);
  await here.synchronize();
  const before = here.memory();
  const refusals: [Options, string, object][] = [
    [{ targetModules: "all-linear", modulesToSave: ["lm_head", "score"] }, "E_LORA", {}], // after all branches and the head were made
    [{ targetModules: ["q_proj", "self_attn"] }, "E_LORA", {}],
    [{ targetModules: ["q_proj"] }, "E_ADAPTER", { name: "a" }],
    [{ targetModules: ["q_proj"] }, "E_ADAPTER", { name: "a.b" }],
    [{ targetModules: ["q_proj"] }, "E_ADAPTER", { name: "weight" }], // q_proj.weight is there already
  ];
  for (const [options, code, drawing] of refusals) {
    assert.throws(() => LoraAdapter.apply(model, options, drawing), (error: { code?: string }) => error.code === code); // biome-ignore format: one line
    await here.synchronize();
    assert.equal([here.memory().tensors, here.memory().bytesInUse], [before.tensors, before.bytesInUse]);
    assert.equal(await logits(model), both);
    assert.equal([...adaptersOn(model).keys()], ["a", "b"]);
  }
  a.detach();
  using other = load("llama-tied");
  put(other, "b", { targetModules: ["q_proj"], modulesToSave: ["embed_tokens"] });
  assert.equal(await logits(model), await logits(other));
  b.detach();
});

test("names: the first that is free, in the model's tensors but in no file, and files of several load together", async () => {
  using model = load("llama2");
  const folder = mkdtempSync(join(tmpdir(), "anymal-several-"));
  try {
    const [a, b] = [put(model, "style", { targetModules: ["q_proj"] }), put(model, "facts", { targetModules: ["q_proj", "v_proj"] })];
    const path = "model.layers.0.self_attn.q_proj";
    const own = [...model.namedParameters()].map(([name]) => name).filter((name) => name.startsWith(path));
    assert.equal(own.sort(), [...["facts", "style"].flatMap((name) => [`${path}.${name}.lora_A.weight`, `${path}.${name}.lora_B.weight`]), `${path}.weight`]); // biome-ignore format: one line
    const first = LoraAdapter.apply(model, { r: 1, targetModules: ["o_proj"] });
    const second = LoraAdapter.apply(model, { r: 1, targetModules: ["o_proj"] });
    assert.equal([first.name, second.name], ["default", "default_1"]);
    first.detach();
    second.detach();
    const both = await logits(model);
    for (const one of [a, b]) await one.save(join(folder, one.name));
    using file = new SafetensorsFile(join(folder, "style", "adapter_model.safetensors"));
    assert.ok(file.entries.has(`base_model.model.${path}.lora_A.weight`));
    assert.ok([...file.entries.keys()].every((key) => !key.includes("style")));
    using again = load("llama2");
    for (const { name } of [a, b]) await LoraAdapter.load(again, join(folder, name), { name });
    assert.equal(await logits(again), both);
    assert.equal([...adaptersOn(again).keys()], ["style", "facts"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("merged below another, above another, and exported together, the model computes what it did", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-several-"));
  try {
    using model = load("llama2");
    const both = () =>
      [put(model, "a", { targetModules: "all-linear" }), put(model, "b", { targetModules: ["q_proj", "up_proj"] })] as const;
    const [a, b] = both();
    const all = await logits(model);
    const config = JSON.parse(readFileSync(join(caseFolder("llama2"), "config.json"), "utf8"));
    const drift = await exportMerged(model, folder, config);
    assert.ok(drift.largest < 2e-5 * largest(all), JSON.stringify(drift));
    b.enabled = false;
    const one = await exportMerged(model, join(folder, "one"), config);
    assert.ok(one.largest < 2e-5 * largest(all), `what is switched off went along: ${JSON.stringify(one)}`);
    b.enabled = true;
    a.merge();
    near(await logits(model), all, 2e-5 * largest(all), "merged below");
    assert.is(a.state, "merged");
    b.detach();
    const merged = await logits(model);
    const [c, d] = [put(model, "c", { targetModules: ["q_proj"] }), put(model, "d", { targetModules: ["q_proj"] })];
    const three = await logits(model);
    d.merge();
    near(await logits(model), three, 2e-5 * largest(three), "merged above");
    c.detach();
    assert.not.equal(await logits(model), merged);
    assert.throws(() => d.merge(), /merged/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a table of one's own is merged lowest first; a head that was trained apart becomes the model's, and the embedding stays", async () => {
  for (const base of ["llama2", "llama-tied"]) {
    using model = load(base);
    const [a, b] = ["a", "b"].map((name) => put(model, name, { targetModules: ["q_proj"], modulesToSave: ["lm_head"] })) as [
      LoraAdapter,
      LoraAdapter,
    ];
    const all = await logits(model);
    assert.throws(() => b.merge(), /no other adapter's "lm_head.weight" below/);
    assert.equal(await logits(model), all);
    a.merge();
    near(await logits(model), all, 2e-5 * largest(all), `${base}: the lower one`);
    b.merge();
    near(await logits(model), all, 2e-5 * largest(all), `${base}: both`);
    assert.not.ok(model.lmHead === undefined || model.headWeight === model.model.embedding.weight);
  }
});

test("merged, weights and biases have the type that they had, and those that were open are open", () => {
  for (const [dtype, quantization] of [["f32"], ["bf16"], ["bf16", { format: "nf4" }]] as const) {
    using model = load("llama-bias", { dtype, ...(quantization && { quantization }) });
    const state = () => Array.from(model.namedParameters(), ([name, p]) => [name, p.dtype, String(p.shape), p.requiresGrad]);
    model.requiresGrad(true, (name) => /layers\.0\..*(q_proj|down_proj)\.bias/.test(name));
    const before = state();
    assert.ok(before.some(([, , , open]) => open) && before.some(([, type]) => type === "bf16") === (dtype === "bf16"));
    put(model, "a", { targetModules: "all-linear" }).merge();
    if (!quantization) createAdapter(model, "ia3", { targetModules: ["q_proj", "k_proj"] }, { name: "b" }).merge();
    assert.equal(state(), before);
  }
});

test("what is trained is neither switched nor merged nor taken off; what is switched off is not merged", () => {
  using model = load("llama2");
  const adapter = put(model, "a", { targetModules: ["q_proj"], dropout: 0.1 });
  const version = adapter.version;
  adapter.train();
  const refused = (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && /train\(false\)/.test(error.message);
  assert.throws(() => (adapter.enabled = false), refused);
  assert.throws(() => adapter.merge(), refused);
  assert.throws(() => adapter.detach(), refused);
  assert.ok([...adapter.layers.values()].every(({ training }) => training));
  assert.ok([...adapter.namedParameters()].every(([, tensor]) => tensor.requiresGrad));
  adapter.train(false);
  assert.ok([...adapter.layers.values()].every(({ training }) => !training));
  assert.ok([...adapter.namedParameters()].every(([, tensor]) => !tensor.requiresGrad));
  assert.ok(adapter.version > version);
  adapter.enabled = false;
  assert.throws(() => adapter.merge(), (error: { code?: string }) => error.code === "E_ADAPTER"); // biome-ignore format: one line
  adapter.enabled = true;
  adapter.detach();
  assert.throws(() => adapter.train(), (error: { code?: string }) => error.code === "E_LORA"); // biome-ignore format: one line
});

test("switched, attached or taken off between a forward and the backward of recomputed layers: refused, not computed with another function", () => {
  using model = load("llama2");
  const changes: [string, (a: LoraAdapter) => void][] = [
    ["switched", (a) => (a.enabled = false)],
    ["attached", () => put(model, "b", { targetModules: ["up_proj"] })],
    ["taken off", (a) => a.detach()],
    ["norms exchanged", () => put(model, "c", { targetModules: ["q_proj"], modulesToSave: ["input_layernorm"] })],
  ];
  for (const [what, change] of changes)
    for (const gradientCheckpointing of [true, false]) {
      model.gradientCheckpointing = gradientCheckpointing;
      const adapter = put(model, "a", { targetModules: ["q_proj"], modulesToSave: ["input_layernorm"] });
      using loss = model.forward({ inputIds: ids }, { labels: ids, logits: false }).loss!;
      change(adapter);
      const back = () => backward(loss);
      if (gradientCheckpointing)
        assert.throws(back, (error: { code?: string }) => error.code === "E_ADAPTER", what); // biome-ignore format: one line
      else if (what !== "taken off") back(); // the tape has what ran; what was taken off takes no gradients any more
      for (const one of adaptersOn(model).values()) one.detach();
    }
});

test("a conversation is read anew where an adapter was switched meanwhile", async () => {
  using model = load("llama2");
  const adapter = put(model, "a", { targetModules: "all-linear" });
  using past = new PrefixCache();
  const prompt = { inputIds: [[5, 17, 3, 29, 44]] };
  const options = { maxNewTokens: 4, eosTokenId: [] };
  const first = await model.generate(prompt, { ...options, past });
  const longer = { inputIds: [[...prompt.inputIds[0]!, ...first[0]!, 9, 11]] };
  adapter.enabled = false;
  const bare = await model.generate(longer, options);
  assert.equal(await model.generate(longer, { ...options, past }), bare);
  adapter.enabled = true;
  const on = await model.generate(longer, options);
  assert.not.equal(on, bare);
  assert.equal(await model.generate(longer, { ...options, past }), on);
});

test("a fingerprint tells weights and switches apart", async () => {
  using model = load("llama2");
  const adapter = put(model, "a", { targetModules: ["q_proj"] });
  const first = await adapter.fingerprint();
  assert.is(await adapter.fingerprint(), first);
  adapter.enabled = false;
  assert.is.not(await adapter.fingerprint(), first);
  adapter.enabled = true;
  assert.is(await adapter.fingerprint(), first);
  adapter.train();
  const open = await adapter.fingerprint();
  const [, tensor] = [...adapter.namedParameters()].at(-1)!;
  tensor.write(new Float32Array(tensor.size).fill(0.5));
  assert.is.not(await adapter.fingerprint(), open, "while it trains, it is read anew");
  adapter.train(false);
  assert.is.not(await adapter.fingerprint(), first);
});

test.run();
