// Adapters that are odd in one way: tables beside the factors, names of other tools, patterns without effect, a head that is tied to the embedding.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exportMerged } from "../../lib/adapters/export.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { SafetensorsFile, saveSafetensors } from "../../lib/io/safetensors.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { memoryAtRest } from "../at-rest.js";
import { Case, caseFolder, caseNames, here } from "../case.js";

const load = (folder: string, options = {}) => LlamaForCausalLM.fromPretrained(folder, { device: here, ...options });

/** Adapters around one base, each odd in one way. */
function oddAdapter(name: string, change: { config?: object; weights?: (all: Map<string, Tensor>) => void }): [string, Case] {
  const [lora] = caseNames(/^lora-some-layers$/) as [string];
  const c = new Case(lora);
  const folder = join(odd, name);
  mkdirSync(folder, { recursive: true });
  const json = JSON.parse(readFileSync(join(c.folder, "adapter", "adapter_config.json"), "utf8"));
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...json, ...change.config }));
  using file = new SafetensorsFile(join(c.folder, "adapter", "adapter_model.safetensors"));
  const all = new Map([...file.entries.keys()].map((key) => [key, file.load(key, here)] as const));
  change.weights?.(all);
  written.push(saveSafetensors(join(folder, "adapter_model.safetensors"), all).finally(() => [...all.values()].map((t) => t.dispose())));
  return [folder, c];
}
const odd = mkdtempSync(join(tmpdir(), "anymal-odd-adapters-"));
const written: Promise<unknown>[] = [];
const TABLES = ["model.embed_tokens.weight", "lm_head.weight"];

/** The base's tables, as PEFT's save_embedding_layers writes them. */
function withTables(base: string, change: (values: Float32Array) => Float32Array = (v) => v, rows = 0) {
  return (all: Map<string, Tensor>) => {
    using file = new SafetensorsFile(join(base, "model.safetensors"));
    for (const name of TABLES) {
      const [V, C] = file.entry(name).shape as [number, number];
      const values = new Float32Array((V + rows) * C);
      values.set(change(Float32Array.from(file.values(name))));
      all.set(`base_model.model.${name}`, Tensor.from(values, [V + rows, C], { device: here }));
    }
  };
}

test("tables that an adapter's file holds beside the factors: unchanged ones are passed over, others count, resized ones are named", async () => {
  const { base } = new Case(caseNames(/^lora-some-layers$/)[0]!);
  const [same, c] = oddAdapter("unchanged", { weights: withTables(base) });
  const [moved] = oddAdapter("moved", { weights: withTables(base, (v) => v.map((x, i) => x + 0.1 * Math.sin(i))) });
  const [grown] = oddAdapter("grown", { weights: withTables(base, (v) => v, 2) });
  await Promise.all(written);
  const input = { inputIds: c.rows("in.input_ids"), attentionMask: c.rows("in.attention_mask") };
  {
    using model = load(base);
    const adapter = await LoraAdapter.load(model, same);
    await c.close("out.adapter.logits", noGrad(() => model.forward(input)).logits!, { mask: input.attentionMask });
    assert.not([...adapter.namedParameters()].some(([key]) => /embed|lm_head/.test(key)));
  }
  {
    using model = load(base);
    const before = await noGrad(() => model.forward(input)).logits!.data();
    const adapter = await LoraAdapter.load(model, moved, { trainable: true });
    assert.not(
      [...adapter.namedParameters()].some(([key]) => /embed|lm_head/.test(key)),
      "they do not train",
    );
    const logits = await noGrad(() => model.forward(input)).logits!.data();
    await adapter.save(join(odd, "again"));
    using again = load(base);
    await LoraAdapter.load(again, join(odd, "again"));
    assert.equal(await noGrad(() => again.forward(input)).logits!.data(), logits);
    adapter.unload();
    assert.equal(await noGrad(() => model.forward(input)).logits!.data(), before);
  }
  using model = load(base);
  const error = await LoraAdapter.load(model, grown).catch((e) => e);
  const rows = model.config.vocabSize;
  assert.is(error.code, "E_LORA");
  assert.ok(error.message.includes(`${rows} rows`) && error.message.includes(`${rows + 2}`), error.message);
});

test("a table that the file of an adapter on a tied model holds is the embedding and the head, whichever name it has", async () => {
  const ids = [[5, 17, 3, 29, 44, 8]];
  const [embedding, head] = ["model.embed_tokens.weight", "lm_head.weight"];
  for (const name of [embedding, head]) {
    using model = load(caseFolder("llama-tied"));
    const logits = () => noGrad(() => model.forward({ inputIds: ids })).logits!.data();
    const bare = await logits();
    const own = model.headWeight;
    const to = join(odd, `tied-${name}`);
    const fresh = LoraAdapter.apply(model, { r: 2, targetModules: ["q_proj"] });
    await fresh.save(to);
    fresh.detach();
    const path = join(to, "adapter_model.safetensors");
    const values = Float32Array.from(await own.data(), (v, i) => v + 0.1 * Math.sin(i));
    {
      using file = new SafetensorsFile(path);
      const all = Array.from(file.entries.keys(), (key) => [key, file.load(key, here)] as const);
      const table = Tensor.from(values, own.shape, { device: here });
      await saveSafetensors(path, [...all, [`base_model.model.${name}`, table]]);
      for (const [, tensor] of [...all, ["", table] as const]) tensor.dispose();
    }
    const adapter = await LoraAdapter.load(model, to);
    assert.is(model.headWeight, model.model.embedding.weight, "still tied");
    assert.equal(await model.headWeight.data(), values);
    assert.not.equal(await logits(), bare);
    adapter.detach();
    assert.is(model.headWeight, own);
    assert.equal(await logits(), bare);
  }
});

test("tables of an adapter that fits nothing go again", async () => {
  const { base } = new Case(caseNames(/^lora-some-layers$/)[0]!);
  const tables = withTables(base, (v) => v.map((x, i) => x + 0.1 * Math.sin(i)));
  const [folder] = oddAdapter("tables-unfit", { config: { modules_to_save: ["score"] }, weights: tables });
  await Promise.all(written);
  using model = load(base);
  const { tensors } = await memoryAtRest();
  assert.is((await LoraAdapter.load(model, folder).catch((e) => e)).code, "E_LORA");
  assert.is(here.memory().tensors, tensors);
});

test("names of other tools are named, patterns without effect are told, modules that are not there are refused", async () => {
  const renamed = (to: (key: string) => string) => (all: Map<string, Tensor>) => {
    for (const [key, tensor] of [...all]) {
      all.delete(key);
      all.set(to(key), tensor);
    }
  };
  const cases: [string, (key: string) => string, RegExp][] = [
    ["mlx", (key) => key.replace("base_model.model.", "").replace(/lora_(A|B)\.weight/, (_, x) => `lora_${x.toLowerCase()}`), /mlx-lm/],
    ["twice", (key) => key.replace("base_model.model.", "base_model.model.base_model.model."), /wrapped twice/],
    ["named", (key) => key.replace(".weight", ".mia.weight"), /mia/],
    ["bare", (key) => key.replace("base_model.model.", ""), /begin with base_model\.model/],
    ["kohya", (key) => key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"), /kohya/],
  ];
  const folders = cases.map(([name, to]) => oddAdapter(name, { weights: renamed(to) })[0]);
  const [pattern, c] = oddAdapter("pattern", { config: { alpha_pattern: { "^gate_proj": 100 }, rank_pattern: { nothing: 3 } } });
  const [whole] = oddAdapter("whole", { config: { modules_to_save: ["score"] } });
  const [table] = oddAdapter("table", { config: { target_modules: ["o_proj", "embed_tokens"], layers_to_transform: null } });
  await Promise.all(written);
  using model = load(c.base);
  for (const [i, folder] of folders.entries()) {
    const error = await LoraAdapter.load(model, folder).catch((e) => e);
    assert.is(error.code, "E_LORA");
    assert.match(error.message, cases[i]![2]);
  }
  assert.match((await LoraAdapter.load(model, whole).catch((e) => e)).message, /modulesToSave.*"score"/);
  assert.match((await LoraAdapter.load(model, table).catch((e) => e)).message, /embed_tokens.lora_embedding_A/);
  const heard: string[] = [];
  const hear = (w: Error & { code?: string }) => w.code === "ANYMAL_LORA_UNMATCHED" && heard.push(w.message);
  process.on("warning", hear);
  await LoraAdapter.load(model, pattern);
  await new Promise((done) => setImmediate(done));
  process.off("warning", hear);
  assert.ok(heard.some((text) => text.includes("^gate_proj")) && heard.some((text) => text.includes("nothing")), heard.join());
});

test("a tied head: trained apart, merged and exported as an untied model, and no place for branches", async () => {
  const [name] = caseNames(/^lora-tied-embedding$/) as [string];
  const c = new Case(name);
  const folder = join(odd, "untied");
  const config = JSON.parse(readFileSync(join(c.base, "config.json"), "utf8"));
  const mask = c.rows("in.attention_mask");
  const input = { inputIds: c.rows("in.input_ids"), attentionMask: mask };
  for (const together of [false, true]) {
    const one = together ? new Case(caseNames(/^lora-tied-together$/)[0]!) : c;
    using model = load(c.base);
    await LoraAdapter.load(model, join(one.folder, "adapter"));
    await exportMerged(model, folder, config);
    assert.is(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")).tie_word_embeddings, together);
    using again = LlamaForCausalLM.fromPretrained(folder, { device: here });
    const own = { inputIds: one.rows("in.input_ids"), attentionMask: one.rows("in.attention_mask") };
    await one.close("out.merged.logits", noGrad(() => again.forward(own)).logits!, { mask: own.attentionMask });
  }
  using model = load(c.base);
  const before = await noGrad(() => model.forward(input)).logits!.data();
  const adapter = LoraAdapter.apply(model, { r: 2, targetModules: ["q_proj"], modulesToSave: ["lm_head"] });
  assert.equal(await noGrad(() => model.forward(input)).logits!.data(), before);
  adapter.unload();
  assert.is(model.lmHead, undefined);
  assert.is(adapter.state, "off");
  assert.throws(() => adapter.merge(), /taken off/);
  assert.throws(() => LoraAdapter.apply(model, { r: 2, targetModules: ["q_proj", "lm_head"] }), /modulesToSave/);
  assert.equal(await noGrad(() => model.forward(input)).logits!.data(), before);
});

test("what an adapter exchanged goes with the model: nothing is left", async () => {
  const [name] = caseNames(/^lora-tied-head$/) as [string];
  const c = new Case(name);
  const { tensors } = await memoryAtRest();
  for (const [modulesToSave, end] of [
    [["lm_head"], "no"],
    [["embed_tokens"], "merge"],
    [["embed_tokens", "lm_head"], "merge"],
    [["norm"], "unload"],
  ] as const) {
    const model = load(c.base);
    const adapter = LoraAdapter.apply(model, { r: 2, targetModules: ["q_proj"], modulesToSave });
    if (end !== "no") adapter[end]();
    model.dispose();
    assert.is(here.memory().tensors, tensors, `${modulesToSave} ${end}`);
  }
});

test.after(() => rmSync(odd, { recursive: true, force: true }));
test.run();
