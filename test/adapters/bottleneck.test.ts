// Bottleneck adapters against the published equations: logits, gradients, recomputed and answered; beside others, over quantised weights, and in a tower.
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BOTTLENECK } from "../../lib/adapters/bottleneck.js";
import { exportMerged } from "../../lib/adapters/export.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { noGrad } from "../../lib/core/autograd.js";
import type { BottleneckLinear } from "../../lib/nn/bottleneck.js";
import { Case, caseNames, here, largest, near } from "../case.js";
import { holdCase, load, logitsOf } from "./cases.js";

const weights = "adapter.safetensors";
const folder = (c: Case) => c.folder;
const [first] = caseNames(/^bottleneck-adapter/) as [string];
for (const name of caseNames(/^bottleneck-adapter/)) {
  const c = new Case(name);
  const config = BOTTLENECK.read(c.json("adapter_config.json"));
  holdCase(c, { folder, weights, fresh: (_, model) => createAdapter(model, "bottleneck", config) });
}

test("over weights in 4 and 8 bit and in bf16: what stands behind a layer is added to what that layer gives", async () => {
  const c = new Case(first);
  const input = { inputIds: c.rows("in.input_ids") };
  for (const form of [{ quantization: { format: "nf4" } }, { quantization: { format: "int8" } }, { dtype: "bf16" }]) {
    using model = load(c.base, form);
    const bare = await logitsOf(model, input);
    const fresh = createAdapter(model, "bottleneck", { hidden: 3 });
    assert.equal(await logitsOf(model, input), bare);
    for (const [key, tensor] of fresh.namedParameters())
      if (key.endsWith("up.bias")) tensor.write(new Float32Array(tensor.size).fill(0.25));
    fresh.train(false);
    for (const [, wrap] of fresh.wraps as ReadonlyMap<string, BottleneckLinear>) {
      const x = noGrad(() => model.embed(input.inputIds));
      if (wrap.inFeatures !== x.shape[2]) continue;
      using y = noGrad(() => wrap.forward(x));
      using inner = noGrad(() => wrap.inner.forward(x));
      const [got, want] = [await y.data(), await inner.data()];
      near(got, want.map((v) => v + 0.25), 0.01 * largest(want), wrap.constructor.name); // biome-ignore format: one line
    }
    assert.not.equal(await logitsOf(model, input), bare);
  }
});

test("beside LoRA on the same layers, in any order; it is no part of a weight, and says so", async () => {
  const c = new Case(first);
  using model = load(c.base);
  const input = { inputIds: c.rows("in.input_ids") };
  const bare = await logitsOf(model, input);
  const adapter = await loadAdapter(model, folder(c), { name: "behind" });
  const alone = await logitsOf(model, input);
  const lora = LoraAdapter.apply(model, { r: 2, targetModules: ["o_proj"] }, { name: "branch" });
  for (const [key, tensor] of lora.namedParameters()) if (key.includes("lora_B")) tensor.write(new Float32Array(tensor.size).fill(0.1));
  const both = await logitsOf(model, input);
  const refused = (why: RegExp) => (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message);
  assert.throws(() => adapter.merge(), refused(/adds up to a weight, got a BottleneckLinear/));
  assert.throws(() => lora.merge(), refused(/"behind"/));
  const error = await exportMerged(model, join(tmpdir(), "anymal-never"), JSON.parse(readFileSync(join(c.base, "config.json"), "utf8"))).catch((e) => e); // biome-ignore format: one line
  assert.ok(error.code === "E_ADAPTER" && /BottleneckLinear/.test(error.message), String(error));
  assert.equal(await logitsOf(model, input), both);
  lora.enabled = false;
  assert.equal(await logitsOf(model, input), alone);
  adapter.detach();
  lora.detach();
  assert.equal(await logitsOf(model, input), bare);
});

test("options out of range, tables, and names that mean nothing are refused, and leave nothing", () => {
  const c = new Case(first);
  using model = load(c.base);
  const { tensors } = here.memory();
  const refused = (options: object, why: RegExp) =>
    assert.throws(() => createAdapter(model, "bottleneck", options), (e: { code?: string; message: string }) => e.code === "E_ADAPTER" && why.test(e.message)); // biome-ignore format: one line
  refused({ hidden: 0 }, /hidden to be/);
  refused({ activation: "swish" }, /activation to be/);
  refused({ act: "gelu" }, /did you mean "activation"/);
  refused({ targetModules: ["nothing"] }, /matches none/);
  refused({ targetModules: ["o_proj", "embed_tokens"] }, /"model.embed_tokens", a Embedding/);
  refused({ targetModules: ["lm_head"] }, /below the head/);
  refused({ targetModules: ["self_attn"] }, /linear layers/);
  refused({ targetModules: "(" }, /regular expression/);
  assert.throws(() => BOTTLENECK.read({ kind: "pink" }), /bottleneck/);
  assert.is(here.memory().tensors, tensors);
});

test.run();
