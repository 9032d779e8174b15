// LLaMA-Adapter V1 as published, with a picture too, and as PEFT has it: logits, gradients, greedy answers, files, and what an untrained one leaves alone.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Adapter } from "../../lib/adapters/adapter.js";
import { exportMerged } from "../../lib/adapters/export.js";
import type { VisualProjection } from "../../lib/adapters/llama-adapter.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { keep, scope } from "../../lib/core/scope.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { LlamaForCausalLM, type LlamaInput } from "../../lib/models/llama.js";
import type { KVCache } from "../../lib/nn/kv-cache.js";
import type { PromptedAttention } from "../../lib/nn/prompted-attention.js";
import { Weights } from "../../lib/nn/weights.js";
import { concat } from "../../lib/ops/index.js";
import { memoryAtRest } from "../at-rest.js";
import { Case, caseNames, here, near } from "../case.js";
import { holdCase, load, logitsOf } from "./cases.js";

/** By the names of the published file, where all prompts are one table. */
function gradsOf(adapter: Adapter): Map<string, Tensor> {
  const layers = [...adapter.wraps] as [string, PromptedAttention][];
  const table = keep(noGrad(() => concat(layers.map(([, { prompt }]) => prompt.grad as Tensor), 0))); // biome-ignore format: one line
  const gates = layers.map(([path, { gate }]) => [`${path}.gate`, gate.grad as Tensor] as const);
  const shared = Array.from(adapter.shared?.namedParameters() ?? [], ([name, tensor]) => [name, tensor.grad as Tensor] as const);
  return new Map([["adapter_query.weight", table], ...gates, ...shared]);
}
const pictures = (c: Case, requiresGrad = false) => c.names("in.visual.").map((name) => c.tensor(name, { requiresGrad }));
const beside = (c: Case, adapter: Adapter, vectors = pictures(c)): Partial<LlamaInput> =>
  vectors.length && adapter.shared ? { beside: { rows: (adapter.shared as VisualProjection).forward(vectors) } } : {};

for (const name of caseNames(/^llama-adapter-v1/)) {
  const c = new Case(name);
  const { prompts, layers, visual_dims: visualDims, visual_hidden: visualHidden } = c.json("adapter_config.json");
  const options = { prompts, layers, ...(visualDims ? { visualDims, visualHidden } : {}) } as object;
  holdCase(c, {
    folder: ({ folder }) => folder,
    weights: "adapter.safetensors",
    grads: gradsOf,
    extra: beside,
    fresh: (_, model) => createAdapter(model, "llama-adapter-v1", options),
  });

  test(`${name}: a fresh one trains as many numbers as the published one`, () => {
    using model = load(c.base);
    const adapter = createAdapter(model, "llama-adapter-v1", options);
    assert.is([...adapter.namedParameters()].reduce((n, [, tensor]) => n + tensor.size, 0), c.info.trainable_parameters); // biome-ignore format: one line
  });
}

for (const name of caseNames(/^llama-adapter-v1-multimodal/)) {
  const c = new Case(name);
  test(`${name}: gradients reach the picture, and each row sees its own`, async () => {
    using model = load(c.base);
    const adapter = await loadAdapter(model, c.folder, { trainable: true });
    const vectors = pictures(c, true);
    const input = { inputIds: c.rows("in.input_ids"), attentionMask: c.rows("in.attention_mask") };
    const { loss } = scope(() => model.forward({ ...input, ...beside(c, adapter, vectors) }, { labels: c.rows("in.labels") }));
    backward(loss!);
    for (const [i, vector] of vectors.entries()) await c.close(`grad.in.visual.${i}`, vector.grad!);
    assert.throws(
      () => model.forward({ ...input, beside: { rows: (adapter.shared as VisualProjection).forward(vectors).reshape([1, 2, -1]) } }),
      (error: { code?: string }) => error.code === "E_SHAPE",
    );
  });
}

for (const name of caseNames(/^peft-adaption-prompt/)) {
  const c = new Case(name);
  const { adapter_len: prompts, adapter_layers: layers } = c.info.generator_config;
  holdCase(c, {
    folder: ({ folder }) => join(folder, "adapter"),
    fresh: (_, model) => createAdapter(model, "adaption-prompt", { prompts, layers }),
  });
}

test("over quantised layers, with LoRA on what makes the keys, and two of them around each other", async () => {
  const c = new Case(caseNames(/^llama-adapter-v1-gqa/)[0]!);
  const input = { inputIds: c.rows("in.input_ids"), attentionMask: c.rows("in.attention_mask") };
  for (const options of [{}, { quantization: { format: "int8" } }, { dtype: "bf16" }]) {
    using model = load(c.base, options);
    const one = await loadAdapter(model, c.folder, { name: "one" });
    const alone = await logitsOf(model, input);
    const lora = LoraAdapter.apply(model, { r: 2, targetModules: ["k_proj"] }, { name: "lora" });
    for (const [key, tensor] of lora.namedParameters()) if (key.includes("lora_B")) tensor.write(new Float32Array(tensor.size).fill(0.1));
    const under = await logitsOf(model, input);
    assert.not.equal(under, alone);
    const two = await loadAdapter(model, c.folder, { name: "two" });
    const both = await logitsOf(model, input);
    assert.not.equal(both, under);
    const greedy = await model.generate({ inputIds: input.inputIds.map((row) => row.slice(0, 4)) }, { maxNewTokens: 4, eosTokenId: [] });
    assert.is(greedy[0]!.length, 4);
    two.enabled = false;
    assert.equal(await logitsOf(model, input), under);
    two.enabled = true;
    one.detach();
    assert.equal(await logitsOf(model, input), under, "the same prompts");
    lora.detach();
    assert.equal(await logitsOf(model, input), alone);
    assert.throws(() => two.merge(), (error: { code?: string }) => error.code === "E_ADAPTER"); // biome-ignore format: one line
  }
});

test("what was loaded and taken off again leaves nothing on the device", async () => {
  const c = new Case(caseNames(/^llama-adapter-v1$/)[0]!);
  using model = load(c.base);
  const { tensors, bytesInUse } = await memoryAtRest();
  (await loadAdapter(model, c.folder)).detach();
  await here.synchronize();
  assert.equal([here.memory().tensors, here.memory().bytesInUse], [tensors, bytesInUse]);
});

test("a cache that was shortened and goes on with one token answers as a fresh one", async () => {
  const c = new Case(caseNames(/^llama-adapter-v1$/)[0]!);
  using model = load(c.base);
  await loadAdapter(model, c.folder);
  const [ids] = c.rows("in.input_ids") as [number[]];
  using cache = model.createCache(1, 16);
  noGrad(() => model.forward({ inputIds: [ids] }, { cache })).logits!.dispose();
  cache.truncate(4);
  using one = noGrad(() => model.forward({ inputIds: [[ids[4]!]] }, { cache, logits: "last" })).logits!;
  using whole = noGrad(() => model.forward({ inputIds: [ids.slice(0, 5)] }, { logits: "last" })).logits!;
  near(await one.data(), await whole.data(), 1e-4, "shortened");
});

test("with a picture: a new one steers from its step on, one that is kept all later steps; what went with a shortened cache comes again", async () => {
  const c = new Case(caseNames(/^llama-adapter-v1-multimodal/)[0]!);
  using model = load(c.base);
  const adapter = await loadAdapter(model, c.folder);
  const [ids] = c.rows("in.input_ids") as [number[]];
  using both = scope(() => noGrad(() => beside(c, adapter).beside!.rows!));
  using first = both.slice(0, 1);
  using second = both.slice(1, 1);
  const logits = async (from: number, to: number, rows: Tensor | undefined, cache?: KVCache) => {
    const input = { inputIds: [ids.slice(from, to)], ...(rows && { beside: { rows } }) };
    using y = noGrad(() => model.forward(input, { logits: "last", ...(cache && { cache }) })).logits!;
    return (await y.data()) as Float32Array;
  };
  const far = (a: Float32Array, b: Float32Array) => Math.max(...a.map((v, i) => Math.abs(v - b[i]!)));
  const after = async (...steps: [to: number, rows: Tensor | undefined][]) => {
    using cache = model.createCache(1, 16);
    let from = 0;
    let last: Float32Array | undefined;
    for (const [to, rows] of steps) {
      last = await logits(from, to, rows, cache);
      from = to;
    }
    return last!;
  };
  const want = await logits(0, 5, first);
  assert.ok(far(await after([3, first], [5, undefined]), want) < 1e-4, "several tokens");
  assert.ok(far(await after([4, first], [5, undefined]), want) < 1e-4, "one token");
  assert.ok(far(await after([3, first], [5, first]), want) < 1e-4, "the same again");
  const changed = await after([3, first], [5, second]);
  assert.ok(far(changed, want) > 1e-3, "another one is read");
  assert.ok(far(await after([3, first], [4, second], [5, undefined]), changed) < 1e-4, "and kept");
  using cache = model.createCache(1, 16);
  await logits(0, 5, first, cache);
  cache.truncate(4);
  for (const to of [5, 6])
    assert.throws(
      () => noGrad(() => model.forward({ inputIds: [ids.slice(4, to)] }, { cache })),
      (error: { code?: string }) => error.code === "E_CACHE_SHORTENED",
    );
  assert.ok(far(await logits(4, 5, first, cache), want) < 1e-4, "shortened");
  const { shared } = adapter;
  adapter.train();
  assert.ok(shared!.modules().every(({ training }) => training));
  adapter.train(false);
  assert.ok(shared!.modules().every(({ training }) => !training));
});

test("no folder of merged weights is written of what is no part of any weight", async () => {
  const c = new Case(caseNames(/^llama-adapter-v1$/)[0]!);
  using model = load(c.base);
  const adapter = await loadAdapter(model, c.folder, { name: "prompts" });
  const to = mkdtempSync(join(tmpdir(), "anymal-v1-"));
  try {
    const config = JSON.parse(readFileSync(join(c.base, "config.json"), "utf8"));
    const error = await exportMerged(model, to, config).catch((e) => e);
    assert.is(error.code, "E_ADAPTER");
    assert.match(error.message, /"prompts", a PromptedAttention/);
    assert.equal(readdirSync(to), []);
    adapter.enabled = false;
    await exportMerged(model, to, config);
  } finally {
    rmSync(to, { recursive: true });
  }
});

test("what does not fit is refused by name, and leaves nothing", () => {
  const c = new Case(caseNames(/^llama-adapter-v1$/)[0]!);
  using model = load(c.base);
  const { tensors } = here.memory();
  const refused = (options: object, why: RegExp) =>
    assert.throws(() => createAdapter(model, "llama-adapter-v1", options), (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message)); // biome-ignore format: one line
  refused({ layers: 40 }, /at most the \d+ layers.*40/);
  refused({ prompts: 0 }, /prompts to be/);
  refused({ propmts: 4 }, /did you mean "prompts"/);
  assert.throws(() => createAdapter(model, "adaption-prompt", { layers: 1, targetModules: "mlp" }), /GatedMlp/);
  assert.is(here.memory().tensors, tensors);
});

test("at LLaMA-7B's size it trains the paper's 1.2288 million numbers, and a gate a head", () => {
  const config = { vocabSize: 32000, hiddenSize: 4096, intermediateSize: 11008, layers: 32, heads: 32, kvHeads: 32, headDim: 128 };
  const [small] = caseNames(/^base-llama-mha$/).map((name) => load(new Case(name).folder)) as [LlamaForCausalLM];
  using model = new LlamaForCausalLM(Weights.outline({ device: here }), { ...small.config, ...config });
  small.dispose();
  const adapter = createAdapter(model, "llama-adapter-v1");
  const sizes = [...adapter.namedParameters()].map(([name, { size }]) => [name.split(".").at(-1), size] as const);
  const count = (of: string) => sizes.reduce((n, [name, size]) => n + (name === of ? size : 0), 0);
  assert.equal([count("adapter_query"), count("gate")], [1_228_800, 30 * 32]);
  assert.equal([...adapter.wraps.keys()][0], "model.layers.2.self_attn");
});

test.run();
