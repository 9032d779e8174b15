// (IA)³ against PEFT: logits, gradients, greedy answers, files, and the merged model.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exportMerged } from "../../lib/adapters/export.js";
import { IA3 } from "../../lib/adapters/ia3.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { noGrad } from "../../lib/core/autograd.js";
import { Case, caseFolder, caseNames, here, largest, near } from "../case.js";
import { holdCase, load, logitsOf } from "./cases.js";

const folder = (c: Case) => join(c.folder, "adapter");
for (const name of caseNames(/^ia3/)) {
  const c = new Case(name);
  const config = IA3.read(JSON.parse(readFileSync(join(folder(c), "adapter_config.json"), "utf8")));
  holdCase(c, { folder, fresh: (_, model) => createAdapter(model, "ia3", config) });

  test(`${name}: merged, and a quantised weight is not`, async () => {
    const mask = c.rows("in.attention_mask");
    using model = load(c.base);
    const adapter = await loadAdapter(model, folder(c));
    adapter.merge();
    await c.close("out.merged.logits", noGrad(() => model.forward({ inputIds: c.rows("in.input_ids"), attentionMask: mask })).logits!, {
      mask,
    });
    const weights = new Map(model.namedParameters());
    for (const key of c.names("merged.")) near(await weights.get(key.slice(7))!.data(), c.values(key), 1e-6 * largest(c.values(key)), key);
    using quantised = load(c.base, { quantization: { format: "int8" } });
    const before = await logitsOf(quantised, { inputIds: c.rows("in.input_ids") });
    const over = await loadAdapter(quantised, folder(c));
    const on = await logitsOf(quantised, { inputIds: c.rows("in.input_ids") });
    assert.not.equal(on, before);
    assert.throws(() => over.merge(), (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && /codes and block maxima/.test(error.message)); // biome-ignore format: one line
    assert.equal(await logitsOf(quantised, { inputIds: c.rows("in.input_ids") }), on);
  });
}

test("exported, the folder computes what the model did, biases and all", async () => {
  for (const name of caseNames(/^ia3/)) {
    const c = new Case(name);
    const to = mkdtempSync(join(tmpdir(), "anymal-ia3-"));
    try {
      using model = load(c.base);
      await loadAdapter(model, folder(c));
      await exportMerged(model, to, JSON.parse(readFileSync(join(c.base, "config.json"), "utf8")));
      using again = load(to);
      const mask = c.rows("in.attention_mask");
      await c.close("out.merged.logits", noGrad(() => again.forward({ inputIds: c.rows("in.input_ids"), attentionMask: mask })).logits!, {
        mask,
      });
    } finally {
      rmSync(to, { recursive: true });
    }
  }
});

test("with LoRA on the same linears: any order of taking off, and only what lies lowest is merged", async () => {
  const c = new Case(caseNames(/^ia3$/)[0]!);
  using model = load(c.base);
  const input = { inputIds: c.rows("in.input_ids") };
  const ia3 = await loadAdapter(model, folder(c), { name: "scales" });
  const alone = await logitsOf(model, input);
  const lora = LoraAdapter.apply(model, { r: 2, targetModules: ["k_proj", "down_proj"] }, { name: "branch" });
  for (const [key, tensor] of lora.namedParameters()) if (key.includes("lora_B")) tensor.write(new Float32Array(tensor.size).fill(0.1));
  const both = await logitsOf(model, input);
  assert.not.equal(both, alone);
  assert.throws(() => lora.merge(), /merge or take off "scales" first/);
  assert.equal(await logitsOf(model, input), both);
  ia3.merge();
  near(await logitsOf(model, input), both, 2e-5 * largest(both), "merged below");
  lora.merge();
  near(await logitsOf(model, input), both, 2e-5 * largest(both), "merged both");
});

test("options out of range, tables as targets and other kinds are refused by name", async () => {
  const c = new Case(caseNames(/^ia3$/)[0]!);
  using model = load(c.base);
  const { tensors } = here.memory();
  const refused = (options: object, why: RegExp) =>
    assert.throws(() => createAdapter(model, "ia3", options), (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message)); // biome-ignore format: one line
  refused({ targetModules: ["nothing"] }, /matches none/);
  refused({ targetModules: ["k_proj"], feedforwardModules: ["up_proj"] }, /"up_proj"/);
  refused({ target_modules: ["k_proj"] }, /"targetModules"/);
  refused({ targetModules: 3 }, /targetModules to be/);
  refused({ targetModules: ["embed_tokens"] }, /modulesToSave/);
  refused({ targetModules: ["self_attn"] }, /linear layers/);
  refused({ targetModules: "(" }, /regular expression/);
  assert.throws(() => createAdapter(model, "ia4" as "ia3", {}), /did you mean "ia3"/);
  assert.is(here.memory().tensors, tensors);
  using tied = load(caseFolder("llama-tied"));
  for (const targetModules of [["lm_head"], ["k_proj", "lm_head"]])
    assert.throws(() => createAdapter(tied, "ia3", { targetModules }), /modulesToSave: \["lm_head"\]/);
});

test.run();
