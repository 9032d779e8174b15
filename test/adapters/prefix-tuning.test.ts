// Prefix tuning against PEFT: keys and values that are learned as they are, and those that two layers make; files of both, and that only one thing stands
// before the rows.
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exportMerged } from "../../lib/adapters/export.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { PREFIX_TUNING } from "../../lib/adapters/prefix-tuning.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { AdamW } from "../../lib/train/optimizer.js";
import { memoryAtRest } from "../at-rest.js";
import { Case, caseNames, here, largest, near } from "../case.js";
import { holdCase, load, logitsOf } from "./cases.js";

const folder = (c: Case) => join(c.folder, "adapter");
const [plain] = caseNames(/^prefix-tuning$/) as [string];
const projected = caseNames(/^prefix-tuning-projection/).map((name) => new Case(name));
// PEFT's file of a projected prefix has what came of it, so the gradients of the case are not of that file.
for (const name of caseNames(/^prefix-tuning/)) holdCase(new Case(name), { folder, graded: name === plain });

/** The trained parameters of a case, as a folder of the adapter. */
async function withLayers<T>(c: Case, run: (folder: string) => Promise<T>): Promise<T> {
  const to = mkdtempSync(join(tmpdir(), "anymal-prefix-"));
  try {
    copyFileSync(join(folder(c), "adapter_config.json"), join(to, "adapter_config.json"));
    copyFileSync(join(c.folder, "trainable.safetensors"), join(to, "adapter_model.safetensors"));
    return await run(to);
  } finally {
    rmSync(to, { recursive: true });
  }
}

for (const c of projected) {
  const [inputIds, attentionMask, labels] = ["in.input_ids", "in.attention_mask", "in.labels"].map((name) => c.rows(name)) as number[][][];

  for (const gradientCheckpointing of [false, true])
    test(`${c.name}: through the layers that make it, logits, loss and gradients${gradientCheckpointing ? ", layers recomputed" : ""}`, () =>
      withLayers(c, async (from) => {
        using model = load(c.base);
        model.gradientCheckpointing = gradientCheckpointing;
        const adapter = await loadAdapter(model, from, { trainable: true });
        const { logits, loss } = scope(() => model.forward({ inputIds, attentionMask }, { labels, logits: "all" }));
        await c.close("out.logits", logits!, { mask: attentionMask });
        await c.close("out.loss", loss!);
        backward(loss!);
        const own = new Map(adapter.namedParameters());
        assert.equal([...own.keys()].map((name) => `grad.${name}`).sort(), c.names("grad."));
        for (const [name, { grad }] of own) await c.close(`grad.${name}`, grad!);
      }));

  test(`${c.name}: saved, PEFT finds what it looks for, and a run goes on from the layers, bit for bit`, () =>
    withLayers(c, async (from) => {
      using model = load(c.base);
      const adapter = await loadAdapter(model, from);
      const before = await logitsOf(model, { inputIds, attentionMask });
      adapter.train();
      assert.equal(await logitsOf(model, { inputIds, attentionMask }), before, "open, they give what stood still");
      const optimizer = new AdamW([{ parameters: adapter.namedParameters() }]);
      const loss = scope(() => model.forward({ inputIds, attentionMask }, { labels, logits: false })).loss!;
      backward(loss);
      optimizer.step(1e-2);
      const to = mkdtempSync(join(tmpdir(), "anymal-prefix-"));
      try {
        await adapter.save(to); // while it trains
        using ours = new SafetensorsFile(join(to, "adapter_model.safetensors"));
        using theirs = new SafetensorsFile(join(folder(c), "adapter_model.safetensors"));
        assert.equal(ours.entry("prompt_embeddings").shape, theirs.entry("prompt_embeddings").shape);
        assert.ok(largest(ours.values("prompt_embeddings").map((v, i) => v - theirs.values("prompt_embeddings")[i]!)) > 1e-3);
        adapter.train(false);
        const trained = await logitsOf(model, { inputIds, attentionMask });
        assert.not.equal(trained, before);
        using again = load(c.base);
        const resumed = await loadAdapter(again, to, { trainable: true });
        assert.equal(await logitsOf(again, { inputIds, attentionMask }), trained);
        assert.is(await resumed.fingerprint(), await adapter.fingerprint());
      } finally {
        rmSync(to, { recursive: true });
      }
    }));
}

test("batches padded on either side answer as rows alone, in f32, bf16 and over quantised weights", async () => {
  const c = new Case(plain);
  const ids = c.rows("in.input_ids");
  const short = ids[1]!.slice(0, 4);
  const options = { maxNewTokens: 6, eosTokenId: [] };
  for (const form of [{}, { dtype: "bf16" }, { quantization: { format: "nf4" } }, { quantization: { format: "int8" } }]) {
    using model = load(c.base, form);
    await loadAdapter(model, folder(c));
    const alone = [...(await model.generate({ inputIds: [ids[0]!] }, options)), ...(await model.generate({ inputIds: [short] }, options))];
    const pad = ids[0]!.length - short.length;
    const rows = (left: boolean, filler: number, own: number[]) =>
      left ? [...Array(pad).fill(filler), ...own] : [...own, ...Array(pad).fill(filler)];
    for (const left of [true, false]) {
      const inputIds = [ids[0]!, rows(left, 0, short)];
      const attentionMask = [ids[0]!.map(() => 1), rows(left, 0, short.map(() => 1))]; // biome-ignore format: one line
      assert.equal(await model.generate({ inputIds, attentionMask }, options), alone, JSON.stringify(form));
    }
  }
});

test("one stands before the rows at a time, with other adapters beside it, and it is no part of any weight", async () => {
  const c = new Case(plain);
  using model = load(c.base);
  const input = { inputIds: c.rows("in.input_ids") };
  const base = await logitsOf(model, input);
  const first = await loadAdapter(model, folder(c), { name: "first" });
  const alone = await logitsOf(model, input);
  const { tensors } = await memoryAtRest();
  const refused = (why: RegExp) => (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message);
  assert.throws(() => createAdapter(model, "prefix-tuning", { tokens: 2 }), refused(/"first"/));
  assert.throws(() => createAdapter(model, "prompt-tuning", { tokens: 2 }), refused(/"first"/));
  assert.throws(() => createAdapter(model, "prefix-tuning", { tokens: 0 }), refused(/tokens to be/));
  assert.throws(() => createAdapter(model, "prefix-tuning", { numVirtualTokens: 2 } as object), refused(/did you mean "tokens"/));
  assert.throws(() => createAdapter(model, "prefix-tuning", { tokens: 1_000_000 }), refused(/context/));
  assert.throws(() => first.merge(), refused(/adds up to weights/));
  assert.is(here.memory().tensors, tensors);
  const config = c.json(join("..", c.info.base, "config.json"));
  const error = await exportMerged(model, join(tmpdir(), "anymal-never"), config).catch((e) => e);
  assert.ok(error.code === "E_ADAPTER" && /adapters that add up to weights/.test(error.message), String(error));
  const lora = LoraAdapter.apply(model, { r: 2, dora: true, targetModules: ["q_proj", "k_proj"] }, { name: "lora" });
  for (const [key, tensor] of lora.namedParameters()) if (key.includes("lora_B")) tensor.write(new Float32Array(tensor.size).fill(0.1));
  const both = await logitsOf(model, input);
  assert.not.equal(both, alone);
  lora.merge();
  near(await logitsOf(model, input), both, 2e-5 * largest(both), "merged beside it");
  first.detach();
  assert.not.equal(await logitsOf(model, input), base);
  const prompts = createAdapter(model, "adaption-prompt", { layers: 1, prompts: 2 }, { name: "prompts" });
  const fresh = createAdapter(model, "prefix-tuning", { tokens: 2, projection: true, hidden: 5 }, { name: "second" });
  fresh.train(false);
  const led = await logitsOf(model, input);
  prompts.detach();
  near(await logitsOf(model, input), led, 1e-5 * largest(led), "prompts whose gate is closed");
});

test("a file's configuration: what is not taken is named", () => {
  const json = { peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 };
  const refused = (more: object, why: RegExp) =>
    assert.throws(() => PREFIX_TUNING.read({ ...json, ...more }), (e: { code?: string; message: string }) => e.code === "E_ADAPTER" && why.test(e.message)); // biome-ignore format: one line
  refused({ peft_type: "CARTRIDGE" }, /PREFIX_TUNING/);
  refused({ num_virtual_tokens: 1.5 }, /num_virtual_tokens/);
  refused({ num_transformer_submodules: 2 }, /a decoder alone/);
  refused({ modules_to_save: ["lm_head"] }, /modules_to_save/);
  refused({ prefix_projection: "yes" }, /prefix_projection/);
  refused({ prefix_projection: true, encoder_hidden_size: -1 }, /encoder_hidden_size/);
  assert.equal(PREFIX_TUNING.read(PREFIX_TUNING.write(PREFIX_TUNING.read({ ...json, prefix_projection: true, encoder_hidden_size: 9 })) as object as Record<string, unknown>), { tokens: 3, projection: true, hidden: 9, baseModel: undefined }); // biome-ignore format: one line
});

test("a model that goes takes what was made of the prefix along", async () => {
  const [c] = projected;
  if (!c) return;
  const { tensors } = await memoryAtRest();
  {
    using model = load(c.base);
    createAdapter(model, "prefix-tuning", { tokens: 2, projection: true, hidden: 4 }).train(false);
    noGrad(() => model.forward({ inputIds: [[1, 2]] })).logits!.dispose();
  }
  assert.is(here.memory().tensors, tensors);
});

test.run();
