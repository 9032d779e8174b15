// DoRA and rank-stabilised LoRA against PEFT, and what no reference shows: over quantised weights the arithmetic of its own equation in double precision,
// a scale that stands still while nothing trains, and what may be merged below what.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Adapter } from "../../lib/adapters/adapter.js";
import { exportMerged } from "../../lib/adapters/export.js";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { type LoraConfig, parseLoraConfig } from "../../lib/adapters/lora-config.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import type { LlamaForCausalLM } from "../../lib/models/llama.js";
import { DoraLinear } from "../../lib/nn/dora.js";
import { DoraEmbedding } from "../../lib/nn/dora-embedding.js";
import { Embedding } from "../../lib/nn/embedding.js";
import { Linear } from "../../lib/nn/linear.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { Weights } from "../../lib/nn/weights.js";
import { cast } from "../../lib/ops/index.js";
import { AdamW } from "../../lib/train/optimizer.js";
import { Case, caseFolder, caseNames, here, largest, near } from "../case.js";
import { recordedCommands } from "../recorded.js";
import { holdCase, load, logitsOf } from "./cases.js";

const folder = (c: Case) => join(c.folder, "adapter");
/** The cases name the only tensor of what PEFT makes of the vector. */
const grads = (adapter: Adapter) =>
  new Map(Array.from(adapter.namedParameters(), ([name, { grad }]) => [name.replace(/magnitude_vector$/, "$&.weight"), grad as Tensor]));
const [first] = caseNames(/^dora/) as [string];

for (const name of caseNames(/^(dora|rslora)/)) {
  const c = new Case(name);
  const config = parseLoraConfig(c.json("adapter/adapter_config.json"));
  holdCase(c, { folder, grads, fresh: (_, model) => LoraAdapter.apply(model, config) });

  test(`${name}: merged, and exported`, async () => {
    const mask = c.rows("in.attention_mask");
    const input = { inputIds: c.rows("in.input_ids"), attentionMask: mask };
    using model = load(c.base);
    const adapter = (await loadAdapter(model, folder(c))) as unknown as LoraAdapter;
    assert.equal(Object.fromEntries([...adapter.layers].map(([path, { scaling }]) => [path, scaling])), c.info.scaling);
    const to = mkdtempSync(join(tmpdir(), "anymal-dora-"));
    try {
      const drift = await exportMerged(model, to, JSON.parse(readFileSync(join(c.base, "config.json"), "utf8")));
      assert.ok(drift.largest < 2e-5 * c.info.tensors["out.logits"].max_abs, JSON.stringify(drift));
    } finally {
      rmSync(to, { recursive: true });
    }
    adapter.merge();
    await c.close("out.merged.logits", noGrad(() => model.forward(input)).logits!, { mask });
    const weights = new Map(model.namedParameters());
    for (const key of c.names("merged.")) near(await weights.get(key.slice(7))!.data(), c.values(key), 2e-6 * largest(c.values(key)), key);
  });
}

const sines = (size: number, by: number, times = 0.1) => Float32Array.from({ length: size }, (_, i) => times * Math.sin(by * (i + 1)));
/** A fresh one, of which every number does something. */
function put(model: LlamaForCausalLM, name: string, options: Partial<LoraConfig> = {}): LoraAdapter {
  const adapter = LoraAdapter.apply(model, { r: 3, alpha: 6, dora: true, targetModules: "all-linear", ...options }, { name });
  for (const [key, tensor] of adapter.namedParameters())
    if (key.includes("lora_B") || key.includes("bias")) tensor.write(sines(tensor.size, name.charCodeAt(0)));
  return adapter;
}
/** Lengths that are others than those of the rows. */
async function lengthen(adapter: LoraAdapter): Promise<void> {
  for (const [key, tensor] of adapter.namedParameters())
    if (key.endsWith("magnitude_vector")) tensor.write((await tensor.data()).map((v, i) => v * (1 + 0.3 * Math.sin(i))) as Float32Array);
}

const FORMS = [["f32"], ["bf16"], ["nf4"], ["nf4", true], ["fp4"], ["int8"]] as const;
for (const [form, doubleQuant = false] of FORMS)
  test(`over ${form}${doubleQuant ? " with maxima in 8 bit" : ""}: the equation in double precision; fresh it changes no bit, and lengths learn`, async () => {
    const [O, I, r] = [37, 90, 3];
    const W = Tensor.from(sines(O * I, 1.7, 0.4), [O, I], { device: here });
    const at = Weights.fresh({ device: here, seed: 4 });
    const dtype = form === "bf16" ? "bf16" : "f32";
    const base =
      form === "f32" || form === "bf16"
        ? new Linear(Weights.fresh({ device: here, dtype, trainable: false }), I, O)
        : new QuantizedLinear(QuantizedWeight.quantize(W, { format: form, doubleQuant }), Tensor.from(sines(O, 3), [O], { device: here }));
    using layer = new DoraLinear(at, base, { r, scaling: 1.5 });
    using x = Tensor.from(sines(2 * I, 0.3, 1), [2, I], { device: here });
    using input = noGrad(() => cast(x, dtype));
    using bare = noGrad(() => base.forward(input));
    using fresh = noGrad(() => layer.forward(input));
    assert.equal(await fresh.data(), await bare.data());

    const b = sines(O * r, 2.1);
    layer.loraB.write(b);
    const before = await layer.magnitude.data();
    const m = before.map((v, i) => v * (1 + 0.2 * Math.cos(i))) as Float32Array;
    layer.magnitude.write(m);
    const dense = base instanceof QuantizedLinear ? noGrad(() => base.weight.dequantize("f32")) : base.weight.detach();
    const [w, a] = [await dense.data(), await layer.loraA.data()];
    dense.dispose();
    const want = new Float64Array(O * I);
    for (let o = 0; o < O; ++o) {
      let [squares, own] = [0, 0];
      for (let i = 0; i < I; ++i) {
        let v = w[o * I + i]!;
        own += v * v;
        for (let k = 0; k < r; ++k) v += 1.5 * b[o * r + k]! * a[k * I + i]!;
        want[o * I + i] = v;
        squares += v * v;
      }
      assert.ok(Math.abs(before[o]! - Math.sqrt(own)) < 1e-6 * Math.sqrt(own), "begins as the length of the row");
      for (let i = 0; i < I; ++i) want[o * I + i]! *= m[o]! / Math.sqrt(squares);
    }
    using merged = layer.merged();
    // In bf16 A is rounded for its product with W.
    near(await merged.data(), want, (dtype === "bf16" ? 1e-3 : 3e-6) * largest(want), form);
    const y = layer.forward(input);
    backward(y, Tensor.full(y.shape, 1, { device: here, dtype }));
    for (const tensor of [layer.loraA, layer.loraB, layer.magnitude]) assert.ok(largest(await tensor.grad!.data()) > 0);
    W.dispose();
  });

test("on a table: its columns have the lengths, measured in stretches, as in double precision; it trains, and what stands below is not merged away", async () => {
  const [V, C, r, scaling] = [5000, 260, 2, 1.5]; // more than one stretch
  const table = new Embedding(Weights.fresh({ device: here, seed: 3, trainable: false }), V, C, { padding: 4 });
  using layer = new DoraEmbedding(Weights.fresh({ device: here, seed: 4 }), table, { r, scaling, shape: [V, C], padding: 4 });
  const ids = Int32Array.from([0, 7, V - 1, 7, 4, 2500]);
  using asked = Tensor.from(ids, [2, 3], { device: here });
  using bare = noGrad(() => table.forward(asked));
  using fresh = noGrad(() => layer.forward(asked));
  assert.equal(await fresh.data(), await bare.data());

  const w = await table.weight.data();
  const length = (of: ArrayLike<number>) =>
    Float64Array.from({ length: C }, (_, c) => Math.sqrt(Array.from({ length: V }, (_, v) => of[v * C + c]! ** 2).reduce((p, q) => p + q)));
  const before = await layer.magnitude.data();
  near(before, length(w), 1e-6 * largest(before), "begins as the lengths of the columns");
  const [a, m] = [sines(r * V, 1.3), before.map((v, c) => v * (1 + 0.2 * Math.cos(c))) as Float32Array];
  layer.loraEmbeddingA.write(a);
  layer.magnitude.write(m);
  const b = await layer.loraEmbeddingB.data();
  const changed = Float64Array.from({ length: V * C }, (_, i) => {
    const [v, c] = [Math.floor(i / C), i % C];
    return w[i]! + scaling * Array.from({ length: r }, (_, k) => b[c * r + k]! * a[k * V + v]!).reduce((p, q) => p + q);
  });
  const now = length(changed);
  const want = Float64Array.from({ length: ids.length * C }, (_, i) => {
    const c = i % C;
    return (changed[ids[Math.floor(i / C)]! * C + c]! * m[c]!) / now[c]!;
  });
  const y = layer.forward(asked);
  near(await y.data(), want, 3e-6 * largest(want), "rows");
  backward(y, Tensor.full(y.shape, 1, { device: here }));
  for (const tensor of [layer.loraEmbeddingA, layer.loraEmbeddingB, layer.magnitude]) assert.ok(largest(await tensor.grad!.data()) > 0);
  assert.is(largest(await layer.loraEmbeddingA.grad!.slice(0, 1).data().then((row) => row.subarray(4, 5))), 0, "the row that learns nothing"); // biome-ignore format: one line

  // A table that trains has other lengths after each step, though it is the same tensor.
  table.weight.requiresGrad = true;
  layer.loraEmbeddingA.write(new Float32Array(r * V));
  layer.magnitude.write(before);
  const twice = async () => {
    using again = layer.forward(asked);
    return again.data();
  };
  const once = await twice();
  table.weight.write(w.map((value) => 2 * value) as Float32Array);
  near(await twice(), once, 1e-5 * largest(once), "twice as long, divided by twice as much");
  table.weight.requiresGrad = false;

  using model = load(caseFolder("llama2"));
  const below = LoraAdapter.apply(model, { r: 2, targetModules: ["embed_tokens"] }, { name: "below" });
  const above = put(model, "above", { targetModules: ["embed_tokens"] });
  assert.throws(() => below.merge(), /lengths of the weight's rows, got "above"/);
  assert.throws(() => above.merge(), /merge or take off "below" first/);
});

test("a weight in 4 bit is never made whole: neither put on, nor run, nor trained", async () => {
  const [O, I] = [4096, 2048];
  const whole = Weights.fresh({ device: here, trainable: false, quantization: { format: "nf4" } });
  const base = QuantizedLinear.stored(whole, I, O, { bias: false })!;
  await here.synchronize();
  here.resetPeak();
  const { bytesInUse: before } = here.memory();
  using layer = new DoraLinear(Weights.fresh({ device: here }), base, { r: 4, scaling: 1 });
  using x = Tensor.from(sines(I, 0.3), [1, I], { device: here });
  scope(() => {
    const y = layer.forward(x);
    backward(y, Tensor.full(y.shape, 1, { device: here }));
  });
  await here.synchronize();
  assert.ok(here.memory().bytesPeak - before < 0.6 * O * I * 4, `${here.memory().bytesPeak - before}`);
});

test("while nothing trains its scale stands still: a recorded step has one command more a layer than LoRA, and what trained counts at once", async () => {
  const c = new Case(first);
  const input = { inputIds: c.rows("in.input_ids") };
  const commandsOf = async (model: LlamaForCausalLM): Promise<number> => {
    const answer = () => model.generate({ inputIds: [input.inputIds[0]!] }, { maxNewTokens: 3, eosTokenId: [] });
    return (await recordedCommands(here, answer))[0]!;
  };
  using plain = load(c.base);
  const lora = LoraAdapter.apply(plain, { r: 4, targetModules: "all-linear" }).train(false);
  using model = load(c.base);
  const adapter = (await loadAdapter(model, folder(c))) as unknown as LoraAdapter;
  assert.is((await commandsOf(model)) - (await commandsOf(plain)), lora.layers.size);
  const still = await logitsOf(model, input);
  adapter.train();
  const open = await logitsOf(model, input);
  assert.equal(open, still);
  await lengthen(adapter);
  const moved = await logitsOf(model, input);
  assert.not.equal(moved, still);
  const answer = await model.generate({ inputIds: [input.inputIds[0]!] }, { maxNewTokens: 4, eosTokenId: [] }); // as evaluation does in training
  adapter.train(false);
  assert.equal(await logitsOf(model, input), moved);
  assert.equal(await model.generate({ inputIds: [input.inputIds[0]!] }, { maxNewTokens: 4, eosTokenId: [] }), answer);
  using file = Checkpoint.openIn(folder(c), "adapter_model.safetensors");
  adapter.restore(file);
  assert.equal(await logitsOf(model, input), still);
});

test("beside others on the same linears: any order of taking off; what it measures is not merged away below it", async () => {
  const base = caseFolder("llama-bias");
  using model = load(base);
  const input = { inputIds: [[5, 17, 3, 29, 44, 8]] };
  const bare = await logitsOf(model, input);
  const lora = put(model, "a", { dora: false, targetModules: ["q_proj", "down_proj"] });
  const alone = await logitsOf(model, input);
  const dora = put(model, "b", { targetModules: ["q_proj", "o_proj"], bias: "lora_only" });
  await lengthen(dora);
  const both = await logitsOf(model, input);
  const refused = (why: RegExp) => (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message);
  assert.throws(() => lora.merge(), refused(/lengths of the weight's rows, got "b"/));
  assert.throws(() => dora.merge(), refused(/merge or take off "a" first/));
  assert.equal(await logitsOf(model, input), both);
  dora.enabled = false;
  assert.equal(await logitsOf(model, input), alone);
  dora.enabled = true;
  lora.detach();
  const only = await logitsOf(model, input);
  dora.merge();
  near(await logitsOf(model, input), only, 2e-5 * largest(only), "merged");
  using other = load(base);
  const below = put(other, "b", { targetModules: ["q_proj", "o_proj"] });
  await lengthen(below);
  const above = put(other, "a", { dora: false, targetModules: ["q_proj"] });
  const two = await logitsOf(other, input);
  below.merge();
  near(await logitsOf(other, input), two, 2e-5 * largest(two), "what stands around goes on");
  above.merge();
  near(await logitsOf(other, input), two, 2e-5 * largest(two), "both merged");
  assert.not.equal(two, bare);
});

test("a run that goes on from its file makes the same steps, bit for bit", async () => {
  const c = new Case(first);
  const to = mkdtempSync(join(tmpdir(), "anymal-dora-"));
  const [inputIds, labels] = [c.rows("in.input_ids"), c.rows("in.labels")];
  const step = (model: LlamaForCausalLM, optimizer: AdamW) => {
    const { loss } = scope(() => model.forward({ inputIds }, { labels, logits: false }));
    backward(loss!);
    optimizer.step(1e-2);
    optimizer.zeroGrad();
    return loss!.item();
  };
  try {
    for (const quantization of [undefined, { format: "nf4" }] as const) {
      using model = load(c.base, { quantization });
      const adapter = put(model, "default").train();
      const optimizer = new AdamW([{ parameters: adapter.namedParameters() }]);
      const losses = [await step(model, optimizer), await step(model, optimizer)];
      assert.ok(losses[1]! < losses[0]!);
      await adapter.save(to);
      using again = load(c.base, { quantization });
      const resumed = await loadAdapter(again, to, { trainable: true });
      assert.is(await resumed.fingerprint(), await adapter.fingerprint());
      using loss = model.forward({ inputIds }, { labels, logits: false }).loss!;
      using other = again.forward({ inputIds }, { labels, logits: false }).loss!;
      assert.is(await other.item(), await loss.item());
    }
  } finally {
    rmSync(to, { recursive: true });
  }
});

test.run();
