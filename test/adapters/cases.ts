// What every kind of adapter is held to by a golden case of it.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Adapter } from "../../lib/adapters/adapter.js";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { LlamaForCausalLM, type LlamaInput } from "../../lib/models/llama.js";
import { memoryAtRest } from "../at-rest.js";
import { Case, caseFolder, here } from "../case.js";

export const load = (folder: string, options = {}) => LlamaForCausalLM.fromPretrained(folder, { device: here, ...options });
export const logitsOf = async (model: LlamaForCausalLM, input: LlamaInput) => {
  using y = noGrad(() => model.forward(input)).logits!;
  return y.data();
};

export interface Held {
  /** The folder of the adapter's two files. */
  folder: (c: Case) => string;
  weights?: string;
  /** Gradients and weights by the names that the case gives them. */
  grads?: (adapter: Adapter) => Map<string, Tensor>;
  /** false: the case's gradients are of other parameters than those of the file. */
  graded?: boolean;
  /** What the forward reads beside the ids. */
  extra?: (c: Case, adapter: Adapter) => Partial<LlamaInput>;
  /** Fresh, of the same shape: changes nothing. */
  fresh?: (c: Case, model: LlamaForCausalLM) => Adapter;
  /** Rows of logits that stand before those of the tokens. */
  lead?: (c: Case) => number;
}

/** Outputs, gradients, recomputed ones too, what is left when it is off, and its files. */
export function holdCase(c: Case, held: Held): void {
  const { folder, weights = "adapter_model.safetensors", grads, graded = true, extra, fresh, lead } = held;
  const mask = c.rows("in.attention_mask");
  const before = Array.from({ length: lead?.(c) ?? 0 }, () => 1);
  const rows = mask.map((row) => [...before, ...row]);
  const input = { inputIds: c.rows("in.input_ids"), attentionMask: mask };
  const options = { labels: c.rows("in.labels"), logits: "all" as const };

  for (const gradientCheckpointing of [false, true])
    test(`${c.name}: logits, loss and gradients${gradientCheckpointing ? ", layers recomputed" : ""}`, async () => {
      using model = load(c.base);
      model.gradientCheckpointing = gradientCheckpointing;
      const adapter = await loadAdapter(model, folder(c), { trainable: true });
      const { logits, loss } = scope(() => model.forward({ ...input, ...extra?.(c, adapter) }, options));
      await c.close("out.logits", logits!, { mask: rows });
      await c.close("out.loss", loss!);
      backward(loss!);
      if (!graded) return;
      const named = grads?.(adapter) ?? new Map(Array.from(adapter.namedParameters(), ([name, tensor]) => [name, tensor.grad as Tensor]));
      const wanted = c.names("grad.").filter((name) => !name.startsWith("grad.in."));
      assert.equal([...named.keys()].map((name) => `grad.${name}`).sort(), wanted);
      for (const [name, grad] of named) await c.close(`grad.${name}`, grad);
    });

  test(`${c.name}: switched off and taken off, the model is as it was, bit for bit`, async () => {
    using model = load(c.base);
    const base = await logitsOf(model, input);
    const adapter = await loadAdapter(model, folder(c));
    const full = { ...input, ...extra?.(c, adapter) };
    const on = await logitsOf(model, full);
    assert.not.equal(on, base);
    adapter.enabled = false;
    assert.equal(await logitsOf(model, full), base);
    adapter.enabled = true;
    assert.equal(await logitsOf(model, full), on);
    adapter.detach();
    assert.equal(await logitsOf(model, input), base);
  });

  test(`${c.name}: what save() writes is what was loaded`, async () => {
    using model = load(c.base);
    const to = mkdtempSync(join(tmpdir(), "anymal-adapter-"));
    try {
      const adapter = await loadAdapter(model, folder(c));
      await adapter.save(to);
      using ours = new SafetensorsFile(join(to, weights));
      using theirs = new SafetensorsFile(join(folder(c), weights));
      assert.equal([...ours.entries.keys()].sort(), [...theirs.entries.keys()].sort());
      for (const key of ours.entries.keys()) {
        assert.equal(ours.entry(key).shape, theirs.entry(key).shape);
        assert.equal(ours.values(key), theirs.values(key), key);
      }
      const config = (at: string) => adapter.kind.read(JSON.parse(readFileSync(join(at, "adapter_config.json"), "utf8")));
      assert.equal(config(to), config(folder(c)));
    } finally {
      rmSync(to, { recursive: true });
    }
  });

  if (fresh)
    test(`${c.name}: fresh, it changes nothing and then learns`, async () => {
      using model = load(c.base);
      const base = await logitsOf(model, input);
      const adapter = fresh(c, model);
      const full = { ...input, ...extra?.(c, adapter) };
      assert.equal(await logitsOf(model, full), base);
      await c.close("out.base.logits", noGrad(() => model.forward(full)).logits!, { mask: rows });
      const step = () => {
        const { loss } = scope(() => model.forward({ ...full, ...extra?.(c, adapter) }, options));
        backward(loss!);
        return [...adapter.namedParameters()];
      };
      for (const [, tensor] of step()) tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => 1 + 0.3 * Math.sin(i)));
      for (const [name, tensor] of step())
        assert.ok(
          (await tensor.grad!.data()).some((v) => v !== 0),
          name,
        );
    });

  test(`${c.name}: a key that matches nothing, and one that is missing, are refused, and leave nothing`, async () => {
    using model = load(c.base);
    const base = await logitsOf(model, input);
    const to = mkdtempSync(join(tmpdir(), "anymal-adapter-"));
    try {
      using file = new SafetensorsFile(join(folder(c), weights));
      const all = new Map([...file.entries.keys()].map((key) => [key, file.load(key, here)] as const));
      const { saveSafetensors } = await import("../../lib/io/safetensors.js");
      const { copyFileSync } = await import("node:fs");
      copyFileSync(join(folder(c), "adapter_config.json"), join(to, "adapter_config.json"));
      const [key, tensor] = [...all][0]!;
      const { tensors } = await memoryAtRest();
      for (const odd of ["more", "less"]) {
        const some = odd === "more" ? [...all, [`${key}.odd`, tensor] as const] : [...all].slice(1);
        await saveSafetensors(join(to, weights), some);
        const error = await loadAdapter(model, to).catch((e) => e);
        assert.match(error.code, /^E_[A-Z]+$/, error.stack);
        assert.ok(error.message.includes(odd === "more" ? `${key}.odd` : key), error.message);
        assert.is(here.memory().tensors, tensors);
        assert.equal(await logitsOf(model, input), base);
      }
      for (const one of all.values()) one.dispose();
    } finally {
      rmSync(to, { recursive: true });
    }
  });

  test(`${c.name}: greedy answers through the recorded step are those of whole forwards`, async () => {
    using model = load(c.base);
    const adapter = await loadAdapter(model, folder(c));
    const known = new Case("adapters-greedy").info[c.name];
    const ours = known && dirname(c.folder) === dirname(caseFolder("adapters-greedy")); // another set has other weights
    const prompt: number[][] = ours ? known.prompt : input.inputIds.map((row) => row.slice(0, 5));
    const count = 10;
    const beside = extra?.(c, adapter) ?? {};
    const got = await model.generate({ inputIds: prompt, ...beside }, { maxNewTokens: count, eosTokenId: [] });
    if (ours) assert.equal(got, known.ids);
    const rows = prompt.map((row) => [...row]);
    for (let t = 0; t < count; ++t) {
      using best = noGrad(() => model.forward({ inputIds: rows, ...extra?.(c, adapter), logits: "last" })).logits!;
      const [all, V] = [await best.data(), best.shape[1] as number];
      for (const [b, row] of rows.entries()) {
        const own = all.subarray(b * V, (b + 1) * V);
        row.push(own.indexOf(Math.max(...own)));
      }
    }
    assert.equal(got, rows.map((row) => row.slice(5))); // biome-ignore format: one line
  });
}
