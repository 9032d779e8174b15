// LLaMA-Adapter V2 in its three forms: logits, gradients, greedy answers, files, quantised layers, what is folded, and pictures that are the row's own.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Adapter } from "../../lib/adapters/adapter.js";
import { exportMerged } from "../../lib/adapters/export.js";
import type { LlamaAdapterV2Config } from "../../lib/adapters/llama-adapter-v2.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { keep, scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import type { LlamaForCausalLM, LlamaInput } from "../../lib/models/llama.js";
import type { Plain } from "../../lib/nn/layer.js";
import { PromptedAttention } from "../../lib/nn/prompted-attention.js";
import { concat } from "../../lib/ops/index.js";
import { Case, caseNames, here, near } from "../case.js";
import { holdCase, load, logitsOf } from "./cases.js";

const rowsOf = (c: Case, adapter: Adapter, requiresGrad = false): Tensor | undefined =>
  adapter.shared && (adapter.shared as Plain).forward(c.tensor("in.clip_tokens", { requiresGrad }));
function beside(c: Case, adapter: Adapter): Partial<LlamaInput> {
  const rows = rowsOf(c, adapter);
  return rows ? { beside: { rows } } : {};
}
/** By the names of the file, where all prompts are one table and every gate is called so. */
function gradsOf(adapter: Adapter): Map<string, Tensor> {
  const grads = new Map<string, Tensor>();
  const prompts = [...adapter.wraps.values()].flatMap((wrap) => (wrap instanceof PromptedAttention ? [wrap.prompt.grad as Tensor] : []));
  if (prompts.length) grads.set("adapter_query.weight", keep(noGrad(() => concat(prompts, 0))));
  for (const [name, { grad }] of adapter.namedParameters())
    if (!name.endsWith("adapter_query")) grads.set(name.replace("early_gate", "gate"), grad as Tensor);
  return grads;
}
const optionsOf = (c: Case): Partial<LlamaAdapterV2Config> => {
  const { mode: form, prompts, layers, early = 0, clip_dim: clipDim, visual } = c.info.generator_config;
  return { form, prompts, layers, early, ...(clipDim && { clipDim }), ...(visual && { visual }) };
};
const inputOf = (c: Case) => ({ inputIds: c.rows("in.input_ids"), attentionMask: c.rows("in.attention_mask") });
const total = (adapter: Adapter) => [...adapter.namedParameters()].reduce((n, [, { size }]) => n + size, 0);

for (const name of caseNames(/^llama-adapter-v2/)) {
  const c = new Case(name);
  holdCase(c, {
    folder: ({ folder }) => folder,
    weights: "adapter.safetensors",
    grads: gradsOf,
    extra: beside,
    fresh: (_, model) => createAdapter(model, "llama-adapter-v2", optionsOf(c)),
  });

  test(`${name}: a fresh one trains as many numbers as the case's`, () => {
    using model = load(c.base);
    assert.is(total(createAdapter(model, "llama-adapter-v2", optionsOf(c))), c.info.trainable_parameters);
  });

  if (c.has("in.clip_tokens"))
    test(`${name}: gradients reach the picture`, async () => {
      using model = load(c.base);
      const adapter = await loadAdapter(model, c.folder, { trainable: true });
      const tokens = c.tensor("in.clip_tokens", { requiresGrad: true });
      const rows = (adapter.shared as Plain).forward(tokens);
      const { loss } = scope(() => model.forward({ ...inputOf(c), beside: { rows } }, { labels: c.rows("in.labels") }));
      backward(loss!);
      await c.close("grad.in.clip_tokens", tokens.grad!);
    });

  for (const options of [{ quantization: { format: "nf4" } }, { dtype: "bf16" }] as const)
    test(`${name}: over ${JSON.stringify(options)}, recorded steps answer as whole forwards do`, async () => {
      using model = load(c.base, options);
      const adapter = await loadAdapter(model, c.folder);
      using rows = noGrad(() => scope(() => rowsOf(c, adapter)))!;
      const more = rows ? { beside: { rows } } : {};
      const prompt = c.rows("in.input_ids").map((row) => row.slice(0, 4));
      const [first] = (await model.generate({ inputIds: prompt, ...more }, { maxNewTokens: 3, eosTokenId: [] })) as [number[]];
      const ids = [...prompt[0]!];
      for (let t = 0; t < 3; ++t) {
        using one = rows?.slice(0, 1);
        using best = noGrad(() => model.forward({ inputIds: [ids], ...(one && { beside: { rows: one } }), logits: "last" })).logits!;
        const values = await best.data();
        ids.push(values.indexOf(Math.max(...values)));
      }
      assert.equal(first, ids.slice(4));
    });
}

test("a row without a picture is what it is alone, beside one that has some, in reading and in writing", async () => {
  const c = new Case(caseNames(/^llama-adapter-v2$/)[0]!);
  using model = load(c.base);
  const adapter = await loadAdapter(model, c.folder);
  using rows = noGrad(() => scope(() => rowsOf(c, adapter)!));
  const S = rows.shape[1]!;
  const inputIds = c.rows("in.input_ids").map((row) => row.slice(0, 5));
  const seen = [S, 0].map((end) => Array.from({ length: 5 }, () => ({ start: 0, end })));
  const answer = async (input: LlamaInput) => (await model.generate({ ...input, inputIds: input.inputIds! }, { maxNewTokens: 4, eosTokenId: [] })) as number[][]; // biome-ignore format: one line
  const both = { inputIds, beside: { rows, seen } };
  const together = await logitsOf(model, both);
  const alone = await logitsOf(model, { inputIds: [inputIds[1]!] });
  assert.equal(together.slice(together.length / 2), alone);
  assert.equal((await answer(both))[1], (await answer({ inputIds: [inputIds[1]!] }))[0]);
  using first = rows.slice(0, 1);
  near(together.slice(0, alone.length), await logitsOf(model, { inputIds: [inputIds[0]!], beside: { rows: first } }), 1e-4, "with one");
  assert.is(model.sees, "row");
});

test("without prompts the form of 65B is part of the weights: merged it computes the same, over NF4 it is refused", async () => {
  const c = new Case(caseNames(/^llama-adapter-v2-chat/)[0]!);
  const moved = (model: LlamaForCausalLM) => {
    const adapter = createAdapter(model, "llama-adapter-v2", { form: "chat65b" });
    assert.not.ok([...adapter.namedParameters()].some(([name]) => /gate$|query/.test(name)));
    for (const [, tensor] of adapter.namedParameters()) tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => 1 + 0.2 * Math.sin(i))); // biome-ignore format: one line
    return adapter.train(false);
  };
  using model = load(c.base);
  const bare = await logitsOf(model, inputOf(c));
  const adapter = moved(model);
  const want = await logitsOf(model, inputOf(c));
  assert.not.equal(want, bare);
  const folder = mkdtempSync(join(tmpdir(), "anymal-v2-"));
  const config = JSON.parse(readFileSync(join(c.base, "config.json"), "utf8"));
  const { largest } = await exportMerged(model, folder, config).finally(() => rmSync(folder, { recursive: true }));
  assert.ok(largest < 1e-4, "exported, a LLaMA with biases");
  adapter.merge();
  assert.is(adapter.state, "merged");
  near(await logitsOf(model, inputOf(c)), want, 1e-4, "merged");
  using quantized = load(c.base, { quantization: { format: "nf4" } });
  assert.throws(() => moved(quantized).merge(), /a dense weight/);
});

test("a bias costs no command, a scale one, and a merge of what has prompts is refused", async () => {
  const c = new Case(caseNames(/^llama-adapter-v2-multimodal/)[0]!);
  using model = load(c.base);
  const ids = [c.rows("in.input_ids")[0]!.slice(0, 4)];
  const commands = () => {
    using cache = model.createCache(1, 8);
    noGrad(() => model.forward({ inputIds: ids }, { cache, logits: false }));
    using next = Tensor.from(Int32Array.from([1]), [1, 1], { device: here });
    using step = here.capture(() => noGrad(() => scope(() => model.forward({ inputIds: next }, { cache, logits: "last" }).logits!)));
    return step.commands;
  };
  const bare = commands();
  const { layers } = model.config;
  const biased = createAdapter(model, "llama-adapter-v2", { form: "multimodal7b", layers: 0, prompts: 0 });
  assert.is(commands(), bare);
  biased.detach();
  const late = layers - 1;
  const full = createAdapter(model, "llama-adapter-v2", { layers: late, early: 1, prompts: 3 });
  // All three stand around attention: what goes between its heads and its keys turns and writes them one by one, two commands more.
  const around = 1 + late;
  assert.is(commands() - bare, 7 * layers + 2 * around + 2 * late);
  assert.throws(() => full.merge(), (error: { code?: string }) => error.code === "E_ADAPTER"); // biome-ignore format: one line
});

test("what does not fit is refused by name, and leaves nothing", () => {
  const c = new Case(caseNames(/^llama-adapter-v2$/)[0]!);
  using model = load(c.base);
  const { tensors } = here.memory();
  const refused = (options: object, why: RegExp) =>
    assert.throws(() => createAdapter(model, "llama-adapter-v2", options), (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message)); // biome-ignore format: one line
  refused({}, /early and late layers among/);
  refused({ layers: 1, prompts: 0 }, /prompts for the layers/);
  refused({ form: "multimodal7b", early: 1, layers: 1 }, /early layers in the paper's form/);
  refused({ form: "multimodal7b", layers: 1, clipDim: 4 }, /visual beside clipDim/);
  refused({ form: "chat65b", clipDim: 4 }, /no picture/);
  refused({ form: "papers" }, /form to be/);
  refused({ layers: 1, visual: { dim: 4 } }, /visual to be/);
  assert.is(here.memory().tensors, tensors);
});

test.run();
