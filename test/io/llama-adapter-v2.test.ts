// LLaMA-Adapter V2's released files as an adapter's folder and a bridge: the cases, written under the published names, compute what they did.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { makeBridge } from "../../lib/models/bridges/index.js";
import type { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Weights } from "../../lib/nn/weights.js";
import { load } from "../adapters/cases.js";
import { Case, caseNames, here } from "../case.js";
import { folderOf, fresh, refusal, remove, type Stored, type Tensors, torchFile } from "./torch-case.js";

const test = suite("LLaMA-Adapter V2's names");
test.after(remove);

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^visual\./, ""],
  [/^model\.norm/, "llama.norm"],
  [/^model\.layers\.(\d+)\.input_layernorm/, "llama.layers.$1.attention_norm"],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, "llama.layers.$1.ffn_norm"],
  [/^model\.layers\.(\d+)\.self_attn\.(.)_proj/, "llama.layers.$1.attention.w$2"],
  [/^model\.layers\.(\d+)\.self_attn/, "llama.layers.$1.attention"],
  [/^model\.layers\.(\d+)\.mlp\.gate_proj/, "llama.layers.$1.feed_forward.w1"],
  [/^model\.layers\.(\d+)\.mlp\.down_proj/, "llama.layers.$1.feed_forward.w2"],
  [/^model\.layers\.(\d+)\.mlp\.up_proj/, "llama.layers.$1.feed_forward.w3"],
];
const f32 = (values: Float32Array | readonly number[], shape: readonly number[]): Stored => ({
  dtype: "F32",
  shape,
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});

/** Of each head numbers 0 and d/2, 1 and d/2 + 1, … side by side, as Meta's code turns them. */
function inPairs(values: Float32Array, heads: number): Float32Array {
  const d = values.length / heads;
  return values.map((_, i) => values[Math.floor(i / d) * d + ((i % d) >> 1) + (i % 2) * (d / 2)] as number);
}

function published(c: Case, heads: number, rename = (name: string) => name): Tensors {
  using file = Checkpoint.openIn(c.folder, "adapter.safetensors");
  const tensors: Tensors = new Map();
  for (const name of file.names()) {
    const { shape } = file.entry(name);
    const own = new Float32Array(file.bytes(name));
    const [from, to] = NAMES.find(([pattern]) => pattern.test(name)) ?? [/^/, ""];
    tensors.set(rename(name.replace(from, to)), f32(/[qk]_proj\.bias$/.test(name) ? inPairs(own, heads) : own, shape));
  }
  return tensors;
}
function written(tensors: Tensors, model: LlamaForCausalLM): string {
  const from = folderOf();
  torchFile(join(from, "BIAS-7B.pth"), tensors);
  const { hiddenSize: dim, heads: n_heads } = model.config;
  writeFileSync(join(from, "params.json"), JSON.stringify({ dim, n_heads }));
  return join(from, "BIAS-7B.pth");
}

for (const name of caseNames(/^llama-adapter-v2-multimodal/))
  test(`${name}: the adapter and the bridge compute what the case says`, async () => {
    const c = new Case(name);
    using model = load(c.base);
    const tensors = published(c, model.config.heads);
    const { heads: H, layers } = model.config;
    for (let i = 0; i < layers - c.info.generator_config.layers; ++i)
      tensors.set(`llama.layers.${i}.attention.gate`, f32(new Float32Array(H).fill(1), [1, H, 1, 1])); // of no prompts
    tensors.set("clip.visual.class_embedding", f32([1], [1]));
    const to = fresh();
    const done = await convertCheckpoint(written(tensors, model), to);
    assert.equal([done.table, done.files.toSorted()], ["llama-adapter-v2", ["adapter.safetensors", "projector.safetensors"]]);
    assert.equal(done.left, ["clip.visual.class_embedding"]);
    await loadAdapter(model, to);
    const { heads } = c.info.generator_config.visual;
    const setup = JSON.parse(readFileSync(join(to, "projector.json"), "utf8"));
    assert.is(setup.heads, 16);
    using file = Checkpoint.openIn(to, "projector.safetensors");
    const at = Weights.from(file, { device: here });
    using bridge = makeBridge(at, { ...setup, heads }, model.width);
    at.finish();
    const mask = c.rows("in.attention_mask");
    using logits = noGrad(() =>
      scope(() => {
        const rows = bridge.forward(c.tensor("in.clip_tokens"));
        return model.forward({ inputIds: c.rows("in.input_ids"), attentionMask: mask, beside: { rows } }).logits!;
      }),
    );
    await c.close("out.logits", logits, { mask });
  });

for (const name of caseNames(/^llama-adapter-v2-chat/))
  test(`${name}: without its prompts, in the names of 65B`, async () => {
    const c = new Case(name);
    using model = load(c.base);
    using again = load(c.base);
    const tensors = published(c, model.config.heads, (one) => one.replace(/^llama\./, "").replace(/(w.)\.(bias|scale)$/, "$1_$2"));
    const refused = await refusal(written(tensors, model));
    assert.match(refused.message, /norms, biases and scales alone.*prompts beside them/);
    tensors.delete("adapter_query.weight");
    const to = fresh();
    const done = await convertCheckpoint(written(tensors, model), to);
    assert.is(done.table, "llama-adapter-v2-chat");
    const adapter = await loadAdapter(model, to);
    // The case's own, with its prompts' gates shut.
    const own = await loadAdapter(again, c.folder);
    for (const [key, tensor] of own.namedParameters()) if (key.endsWith(".gate")) tensor.write(new Float32Array(tensor.size));
    const input = { inputIds: c.rows("in.input_ids") };
    const [got, want] = [model, again].map((one) => noGrad(() => one.forward(input)).logits!) as [never, never];
    assert.equal(await (got as { data(): Promise<unknown> }).data(), await (want as { data(): Promise<unknown> }).data());
    assert.is([...adapter.namedParameters()].length + c.info.generator_config.layers * 2, [...own.namedParameters()].length);
  });

test("what is computed otherwise, or half of it, is refused by name", async () => {
  const c = new Case(caseNames(/^llama-adapter-v2-multimodal/)[0]!);
  using model = load(c.base);
  const tensors = published(c, model.config.heads);
  const lora = new Map([...tensors, ["llama.layers.0.attention.lora_wq_l1.weight", f32([1], [1, 1])] as const]);
  assert.match((await refusal(written(lora, model))).message, /BIAS-7B\.pth.*prompts pass by the LoRA/);
  const caption = new Map([...tensors].filter(([name]) => !name.endsWith(".bias") || !name.startsWith("llama.")));
  assert.match((await refusal(written(caption, model))).message, /CAPTION-7B/);
  const place = written(tensors, model).replace(/[^/]+$/, "params.json");
  writeFileSync(place, JSON.stringify({ dim: 7, n_heads: 4 }));
  assert.is((await refusal(place.replace("params.json", "BIAS-7B.pth"))).code, "E_PICKLE");
});

test.run();
