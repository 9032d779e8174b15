// LoRA on the embedding and on the head, and rows that train beside its branches, against PEFT; the loss through a head of branches in parts; what a tied pair
// allows, and tables that the file holds beneath their branches.
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exportMerged } from "../../lib/adapters/export.js";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { parseLoraConfig } from "../../lib/adapters/lora-config.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { SafetensorsFile, saveSafetensors } from "../../lib/io/safetensors.js";
import { Case, caseFolder, caseNames, here, largest, near } from "../case.js";
import { holdCase, load, logitsOf } from "./cases.js";

const folder = (c: Case) => join(c.folder, "adapter");
const cases = caseNames(/^tables-/).map((name) => new Case(name));
const put = (adapter: LoraAdapter): LoraAdapter => {
  for (const [i, [, tensor]] of [...adapter.namedParameters()].entries())
    tensor.write(Float32Array.from({ length: tensor.size }, (_, k) => 0.1 * Math.sin(k + i)));
  return adapter;
};

for (const c of cases) {
  const config = parseLoraConfig(c.json("adapter/adapter_config.json"));
  holdCase(c, { folder, fresh: (_, model) => LoraAdapter.apply(model, config) });

  test(`${c.name}: merged and exported, or why not`, async () => {
    const mask = c.rows("in.attention_mask");
    const input = { inputIds: c.rows("in.input_ids"), attentionMask: mask };
    using model = load(c.base);
    const adapter = await loadAdapter(model, folder(c));
    const to = mkdtempSync(join(tmpdir(), "anymal-tables-"));
    try {
      const drift = await exportMerged(model, to, JSON.parse(readFileSync(join(c.base, "config.json"), "utf8")));
      assert.ok(drift.largest < 2e-5 * c.info.tensors["out.logits"].max_abs, JSON.stringify(drift));
      using again = load(to);
      await c.close("out.logits", noGrad(() => again.forward(input)).logits!, { mask, atol: 2 * c.atol("out.logits") });
    } finally {
      rmSync(to, { recursive: true });
    }
    if (c.has("out.merged.logits")) {
      adapter.merge();
      await c.close("out.merged.logits", noGrad(() => model.forward(input)).logits!, { mask });
    } else {
      assert.throws(() => adapter.merge(), /a tied one would change too/);
      await c.close("out.logits", noGrad(() => model.forward(input)).logits!, { mask });
    }
  });
}

for (const { dora, ...options } of [
  { dora: false },
  { dora: false, dtype: "bf16" },
  { dora: true, dtype: "bf16" },
  { dora: true, quantization: { format: "nf4" } },
] as const)
  test(`fresh on both tables ${JSON.stringify({ dora, ...options })}: no bit is another, and all of it learns; more rows than go through the head at once give the same loss`, async () => {
    using model = load(caseFolder("llama2"), options);
    const inputIds = Array.from({ length: 33 }, (_, b) =>
      Array.from({ length: 17 }, (_, t) => (7 * b + 11 * t * t + 1) % model.config.vocabSize),
    );
    const bare = await logitsOf(model, { inputIds });
    using loss = noGrad(() => model.forward({ inputIds }, { labels: inputIds, logits: false })).loss!;
    const adapter = LoraAdapter.apply(model, { r: 2, alpha: 4, dora, targetModules: ["embed_tokens", "lm_head"] });
    assert.equal(await logitsOf(model, { inputIds }), bare);
    const through = scope(() => model.forward({ inputIds }, { labels: inputIds, logits: false })).loss!;
    const want = await loss.item();
    assert.ok(Math.abs((await through.item()) - want) < ("dtype" in options ? 2e-3 : 1e-6) * want);
    put(adapter);
    const [parts, all] = ([false, "all"] as const).map((logits) => scope(() => model.forward({ inputIds }, { labels: inputIds, logits })));
    backward(parts!.loss!);
    for (const [key, { grad }] of adapter.namedParameters()) assert.ok(largest(await grad!.data()) > 0, key);
    const [rows, V] = [(await all!.logits!.data()) as Float32Array, model.config.vocabSize];
    let [sum, count] = [0, 0];
    for (const [b, row] of inputIds.entries())
      for (let t = 0; t + 1 < row.length; ++t, ++count) {
        const own = rows.subarray((b * row.length + t) * V, (b * row.length + t + 1) * V);
        const most = own.reduce((a, v) => Math.max(a, v), -Infinity);
        sum += most + Math.log(own.reduce((a, v) => a + Math.exp(v - most), 0)) - own[row[t + 1]!]!;
      }
    assert.is(count > 512, true);
    assert.ok(Math.abs((await parts!.loss!.item()) - sum / count) < 1e-5 * (sum / count));
    using none = scope(() => model.forward({ inputIds }, { labels: inputIds.map((row) => row.map(() => -100)), logits: false })).loss!;
    assert.is(await none.item(), 0);
    for (const one of [through, parts!.loss!, all!.loss!, all!.logits!]) one.dispose();
  });

test("beside others: branches on a table and rows of it, a head that is trained whole, in any order of taking off", async () => {
  using model = load(caseFolder("llama2"));
  const input = { inputIds: [[5, 17, 3, 29, 44, 8]] };
  const bare = await logitsOf(model, input);
  const branches = put(LoraAdapter.apply(model, { r: 2, targetModules: ["embed_tokens", "lm_head"] }, { name: "branches" }));
  const alone = await logitsOf(model, input);
  const rows = put(LoraAdapter.apply(model, { r: 2, targetModules: ["q_proj"], trainableTokens: [17, 3] }, { name: "rows" }));
  const whole = put(LoraAdapter.apply(model, { r: 2, targetModules: ["v_proj"], modulesToSave: ["lm_head"] }, { name: "whole" }));
  const all = await logitsOf(model, input);
  rows.enabled = false;
  whole.enabled = false;
  assert.equal(await logitsOf(model, input), alone);
  rows.enabled = true;
  whole.enabled = true;
  assert.equal(await logitsOf(model, input), all);
  branches.detach();
  whole.detach();
  rows.train(false);
  const only = await logitsOf(model, input);
  rows.merge();
  near(await logitsOf(model, input), only, 2e-5 * largest(only), "merged");
  using other = load(caseFolder("llama2"));
  put(LoraAdapter.apply(other, { r: 2, targetModules: ["embed_tokens", "lm_head"] })).detach();
  assert.equal(await logitsOf(other, input), bare);
});

test("tables beneath their branches, as PEFT writes them: those of the base are passed over, others count", async () => {
  const c = cases.find(({ name }) => name === "tables-lora") as Case;
  const to = mkdtempSync(join(tmpdir(), "anymal-tables-"));
  const input = { inputIds: c.rows("in.input_ids"), attentionMask: c.rows("in.attention_mask") };
  try {
    copyFileSync(join(folder(c), "adapter_config.json"), join(to, "adapter_config.json"));
    using file = new SafetensorsFile(join(folder(c), "adapter_model.safetensors"));
    using base = new SafetensorsFile(join(c.base, "model.safetensors"));
    for (const by of [1, 1.5]) {
      const all = new Map([...file.entries.keys()].map((key) => [key, file.load(key, here)] as const));
      for (const name of ["model.embed_tokens", "lm_head"]) {
        const values = Float32Array.from(base.values(`${name}.weight`), (v) => v * by);
        all.set(`base_model.model.${name}.base_layer.weight`, Tensor.from(values, base.entry(`${name}.weight`).shape, { device: here }));
      }
      await saveSafetensors(join(to, "adapter_model.safetensors"), all);
      for (const tensor of all.values()) tensor.dispose();
      using model = load(c.base);
      const adapter = await loadAdapter(model, to);
      assert.is(adapter.overlays.length, by === 1 ? 0 : 2);
      const got = await logitsOf(model, input);
      if (by === 1) near(got, c.values("out.logits"), c.atol("out.logits"), "the base's own", input.attentionMask.flat());
      else assert.ok(largest(got.map((v, i) => v - c.values("out.logits")[i]!)) > 0.1);
    }
  } finally {
    rmSync(to, { recursive: true });
  }
});

test("what cannot be is refused by name, and leaves nothing", () => {
  using model = load(caseFolder("llama2"));
  using tied = load(caseFolder("llama-tied"));
  const { tensors } = here.memory();
  const refused = (on: typeof model, options: object, why: RegExp) =>
    assert.throws(() => LoraAdapter.apply(on, { r: 2, ...options }), (e: { code?: string; message: string }) => e.code === "E_LORA" && why.test(e.message)); // biome-ignore format: one line
  refused(tied, { targetModules: ["q_proj", "lm_head"] }, /a head that is the embedding.*modulesToSave/);
  refused(tied, { targetModules: ["embed_tokens"], ensureWeightTying: true }, /ensureWeightTying/);
  refused(model, { targetModules: ["q_proj", "embed_tokens"], trainableTokens: [3] }, /which is to have both/);
  refused(model, { targetModules: ["q_proj"], trainableTokens: { q_proj: [3] } }, /the embedding or the head/);
  refused(model, { targetModules: ["q_proj"], trainableTokens: { tokens: [3] } }, /"tokens", which names none/);
  refused(model, { targetModules: ["q_proj"], trainableTokens: [1.5] }, /trainableTokens to be/);
  refused(model, { targetModules: ["q_proj"], trainableTokenIndices: [3] }, /did you mean "trainableTokens"/);
  refused(tied, { targetModules: ["q_proj"], trainableTokens: { embed_tokens: [3], lm_head: [4] } }, /the same trainableTokens/);
  assert.throws(() => LoraAdapter.apply(model, { r: 2, targetModules: ["q_proj"], trainableTokens: [1e6] }), /ids of tokens/);
  const json = { peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: ["q_proj"] };
  for (const [key, value, why] of [
    ["fan_in_fan_out", true, /other way round/],
    ["megatron_config", { a: 1 }, /whole/],
    ["layer_replication", [[0, 1]], /deeper/],
    ["lora_bias", true, /merge it with PEFT/],
    ["target_parameters", ["x"], /experts/],
    ["trainable_token_indices", "x", /list of ids/],
    ["use_dora", 1, /true or false/],
  ] as const)
    assert.throws(() => parseLoraConfig({ ...json, [key]: value }), (e: { code?: string; message: string }) => e.code === "E_LORA" && e.message.includes(key) && why.test(e.message)); // biome-ignore format: one line
  assert.is(here.memory().tensors, tensors);
});

test.run();
