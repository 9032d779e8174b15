// What configurations of published size would make, counted without their memory, against what papers and published code say.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attach } from "../../lib/adapters/adapter.js";
import { LAVIN } from "../../lib/adapters/lavin.js";
import { LLAMA_ADAPTER } from "../../lib/adapters/llama-adapter.js";
import { LLAMA_ADAPTER_V2, type LlamaAdapterV2Config } from "../../lib/adapters/llama-adapter-v2.js";
import { PINK, type PinkConfig } from "../../lib/adapters/pink.js";
import { Tensor } from "../../lib/core/tensor.js";
import { type BridgeOptions, completeBridge, makeBridge } from "../../lib/models/bridges/index.js";
import { openBridge } from "../../lib/models/bridges/kind.js";
import { parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import type { Module } from "../../lib/nn/module.js";
import { Weights } from "../../lib/nn/weights.js";
import { add } from "../../lib/ops/index.js";
import { SYSTEMS } from "../../lib/systems/index.js";
import type { Stage, System, SystemModality } from "../../lib/systems/system.js";
import { speaksOf } from "../../lib/train/opens.js";
import { here } from "../case.js";

const count = (module: Module) => module.trainable().reduce((sum, { size }) => sum + size, 0);
function trained(asked: BridgeOptions, dim: number, dimLlm: number, frames = 0): number {
  const bridge = makeBridge(Weights.outline({ device: here }), completeBridge(asked, dim, frames), dimLlm);
  openBridge(bridge, true);
  return count(bridge);
}

test("projections of published size", () => {
  const before = here.memory().bytesInUse;
  // LLaVA-1.5 7B: CLIP ViT-L/14 at 336 to Vicuna; 20.98 M. 13B: 1024·5120 + 5120 + 5120² + 5120.
  assert.is(trained({ type: "mlp" }, 1024, 4096), 20_979_712);
  assert.is(trained({ type: "mlp", normalize: false }, 1024, 5120), 31_467_520);
  // LLaVA v1: one linear layer.
  assert.is(trained({ type: "linear" }, 1024, 4096), 4_198_400);
  // MiniGPT-4 with Llama-2: 5632 → 4096.
  assert.is(trained({ type: "concat-linear" }, 1408, 4096), 23_072_768);
  // BLIP-2's Q-Former is transformers' Blip2QFormerModel of 105 137 664 with 32 queries of 768, and the layer; InstructBLIP's reads text too (185 660 160):
  // with its queries and the layer to Vicuna-7B the 188 M that its paper names.
  const qFormer = (more: object, to = 4096) => trained({ type: "q-former", normalize: false, ...more }, 1408, to);
  assert.is(qFormer({}, 2560), 105_137_664 + 32 * 768 + 769 * 2560);
  assert.is(qFormer({ text: true }), 161_825_280 + 32 * 768 + 769 * 4096);
  assert.is(qFormer({ vocabulary: 30_523 }), 188_834_560);
  // MiniGPT-4 with a Q-Former trains its layer alone: 3.15 M.
  assert.is(qFormer({ frozen: true }), 3_149_824);
  assert.is(trained({ type: "q-former", frozen: true, normalize: "layernorm" }, 1408, 4096), 3_149_824);
  // LaVIN's: 1024 → 128 → 4096.
  assert.is(trained({ type: "mlp", hidden: 128, activation: "silu" }, 1024, 4096), 659_584);
  // AnyMAL, Table 12: of audio and IMU one linear layer, 512 wide features; both readings of "32 tokens".
  assert.is(trained({ type: "linear" }, 512, 4096), 2_101_248);
  assert.is(trained({ type: "linear", mode: "pooled" }, 512, 4096), 67_239_936);
  // Its resampler of six layers, 64 rows: per layer q, k, v and out of d², two norms, a feed-forward of four times the width and its norm (Flamingo's, no biases).
  const resampler = (d: number, layers: number, tokens: number, to: number) =>
    tokens * d + layers * (4 * d * d + 8 * d * d + 3 * 2 * d) + d * to + to;
  assert.is(trained({ type: "resampler", layers: 6, tokens: 64 }, 1024, 5120), resampler(1024, 6, 64, 5120));
  assert.is(trained({ type: "resampler", layers: 4, tokens: 32 }, 1024, 8192, 8), resampler(1024, 4, 32, 8192) + 8 * 1024);
  // OpenFlamingo's: 8 heads of 64, so an inner width of 512; spec of its code: q, kv and out of d·512 each way, four norms' vectors, feed-forward of 8 d².
  const layer = 4 * 1024 * 512 + 4 * 1024 + 8 * 1024 * 1024 + 2 * 1024;
  const openFlamingo = {
    type: "resampler",
    form: "openflamingo",
    layers: 6,
    tokens: 64,
    heads: 8,
    dimHead: 64,
    gives: "beside",
    normalize: false,
  } as const;
  assert.is(trained(openFlamingo, 1024, 4096), 6 * layer + 64 * 1024 + 2 * 1024);
  assert.is(here.memory().bytesInUse, before);
});

const LLAMA_7B = parseLlamaConfig({
  model_type: "llama",
  vocab_size: 32000,
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
});

test("a LLaMA of seven billion has the parameters that Llama-2's card names, and nobody's memory", () => {
  const before = here.memory().bytesInUse;
  const model = new LlamaForCausalLM(Weights.outline({ device: here }), LLAMA_7B);
  assert.is(count(model), 6_738_415_616);
  assert.ok(here.memory().bytesInUse - before < 2 ** 24);
  model.dispose();
});

test("LLaMA-Adapter's prompts in the upper 30 layers of 7 B are 1.2288 M numbers, and a gate a head", () => {
  const before = here.memory().bytesInUse;
  const model = new LlamaForCausalLM(Weights.outline({ device: here, trainable: false }), LLAMA_7B);
  const config = LLAMA_ADAPTER.complete({ prompts: 10, layers: 30 });
  const adapter = attach(LLAMA_ADAPTER, model, config, Weights.outline({ device: here }));
  const sizes = Array.from(adapter.namedParameters(), ([name, { size }]) => [name.includes("gate"), size] as const);
  const sum = (gates: boolean) => sizes.reduce((total, [gate, size]) => total + (gate === gates ? size : 0), 0);
  assert.equal([sum(false), sum(true)], [1_228_800, 30 * 32]);
  // With the published picture's path: 1.8 M.
  const { projector } = SYSTEMS["llama-adapter"].modalities.image as SystemModality;
  assert.is(((1_228_800 + trained(projector, 512, 4096)) / 1e6).toFixed(1), "1.8");
  assert.ok(here.memory().bytesInUse - before < 2 ** 24);
});

test("MMICL on 7 B trains queries and values, 1.07 B weights and the last layer of its bridge; through LoRA that layer alone beside the branches", () => {
  const before = here.memory().bytesInUse;
  const { modalities, stages }: System = SYSTEMS.mmicl;
  const llm = new LlamaForCausalLM(Weights.outline({ device: here, trainable: false }), LLAMA_7B);
  const { projector } = modalities.image as SystemModality;
  const bridge = makeBridge(Weights.outline({ device: here, trainable: true }), completeBridge(projector, 1408, 0), 4096);
  const named = [...llm.namedParameters("llm"), ...bridge.namedParameters("projectors.image")];
  const sized = (stage: string) => {
    const opens = speaksOf((stages[stage] as Stage).opens);
    return named.reduce((sum, [name, { size }]) => sum + (opens(name) ? size : 0), 0);
  };
  const last = 768 * 4096 + 4096;
  assert.is(sized("instruct"), 32 * 2 * 4096 * 4096 + last);
  assert.is(sized("instruct-lora"), last);
  assert.ok(here.memory().bytesInUse - before < 2 ** 24);
});

test("LLaMA-Adapter V2: what the paper calls 14 M is 65 B's norms, biases and scales; with pictures 7 B trains 2.6 M and their path of 60 M", () => {
  const before = here.memory().bytesInUse;
  const sized = (config: object, options: Partial<LlamaAdapterV2Config>) => {
    const model = new LlamaForCausalLM(Weights.outline({ device: here, trainable: false }), { ...LLAMA_7B, ...config });
    const adapter = attach(LLAMA_ADAPTER_V2, model, LLAMA_ADAPTER_V2.complete(options), Weights.outline({ device: here }));
    return [...adapter.namedParameters()].reduce((sum, [, { size }]) => sum + size, 0);
  };
  const [c, f] = [8192, 22_016];
  const large = { hiddenSize: c, intermediateSize: f, layers: 80, heads: 64, kvHeads: 64 };
  // Of a layer: a factor for each input, a bias for each output, two norms.
  const chat = sized(large, { form: "chat65b" });
  assert.is(chat, 80 * (6 * c + f + 5 * c + 2 * f + 2 * c) + c);
  assert.is((chat / 1e6).toFixed(0), "14");
  // Of 7 B: ten prompts in 31 layers, a gate a head, biases at q, o, gate, up and down, norms.
  const pictured = sized({}, { form: "multimodal7b" });
  assert.is(pictured, 31 * (10 * 4096 + 32) + 32 * (3 * 4096 + 2 * 11_008) + 65 * 4096);
  const path = trained({ type: "query-vit", normalize: false, gives: "beside" }, 768, 4096);
  const block = 12 * 768 * 768 + 13 * 768; // qkv, projection and a feed-forward of four times the width, with biases, and two norms
  assert.is(path, 8 * block + 769 * 768 + 2 * 768 + 10 * 768 + 769 * 4096 + 2 * 4096);
  assert.equal([(pictured / 1e6).toFixed(1), (path / 1e6).toFixed(0)], ["2.6", "60"]);
  // The paper's form on 7 B, with the picture's linear layer and norm.
  const paper = sized({}, {});
  assert.is(paper, 31 * (10 * 4096 + 32) + 32 + 32 * 2 * (5 * 4096 + 2 * 11_008) + 65 * 4096);
  assert.is(trained(SYSTEMS["llama-adapter-v2"].modalities.image!.projector, 768, 4096), 769 * 4096 + 2 * 4096);
  assert.ok(here.memory().bytesInUse - before < 2 ** 24);
});

test("LaVIN on 7 B trains the 3.78 M that its paper gives as 3.8, on 13 B 5.4 M", () => {
  const before = here.memory().bytesInUse;
  const outline = () => Weights.outline({ device: here, trainable: false });
  const clip = {
    hidden_size: 1024,
    intermediate_size: 4096,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    image_size: 224,
    patch_size: 14,
  };
  const { adapters, modalities } = SYSTEMS.lavin;
  const sized = (large: object, width: number) => {
    const towers = [
      new LlamaForCausalLM(outline(), { ...LLAMA_7B, ...large }),
      new ClipVisionModel(outline(), parseClipVisionConfig({ model_type: "clip_vision_model", ...clip })),
    ];
    const own = towers.map((tower, i) => {
      const adapter = attach(LAVIN, tower, LAVIN.complete(adapters[i]!.config), Weights.outline({ device: here }));
      return [...adapter.namedParameters()].reduce((sum, [, { size }]) => sum + size, 0);
    });
    return own[0]! + own[1]! + trained(modalities.image!.projector, 1024, width);
  };
  // Of a layer d wide: A and its bias, two grouped maps and theirs, a router of two.
  const mixture = (d: number) => 8 * d + 8 + 2 * (4 * d + d) + 2 * d + 2;
  const small = sized({}, 4096);
  assert.is(small, 32 * mixture(4096) + 24 * mixture(1024) + 2 * 4096 + 1024 * 128 + 128 + 128 * 4096 + 4096);
  assert.is((small / 1e6).toFixed(2), "3.78");
  assert.is((sized({ hiddenSize: 5120, intermediateSize: 13_824, layers: 40, heads: 40, kvHeads: 40 }, 5120) / 1e6).toFixed(1), "5.4");
  assert.ok(here.memory().bytesInUse - before < 2 ** 24);
});

test("Pink trains 6.83 M numbers on CLIP ViT-L/14 and a LLaMA of 7 B: bottlenecks in 32 layers and in the 23 blocks that are read, and the projection", () => {
  const before = here.memory().bytesInUse;
  const frozen = () => Weights.outline({ device: here, trainable: false });
  const clip = {
    model_type: "clip_vision_model",
    ...{ hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16, image_size: 224, patch_size: 14 },
    projection_dim: 768,
  };
  const [onLlm, onImage] = SYSTEMS.pink.adapters;
  const added = (model: Module, config: Partial<PinkConfig>) => {
    const adapter = attach(PINK, model, PINK.complete(config), Weights.outline({ device: here }));
    return Array.from(adapter.namedParameters(), ([, { size }]) => size).reduce((a, b) => a + b, 0);
  };
  const layers = Array.from({ length: 23 }, (_, i) => i);
  const llm = added(new LlamaForCausalLM(frozen(), LLAMA_7B), onLlm!.config);
  const tower = added(new ClipVisionModel(frozen(), parseClipVisionConfig(clip)), { ...onImage!.config, layers });
  const { projector } = SYSTEMS.pink.modalities.image as SystemModality;
  // Down and up with their biases: 2·8·d + 8 + d.
  assert.equal([llm, tower], [32 * (16 * 4096 + 8 + 4096), 23 * (16 * 1024 + 8 + 1024)]);
  assert.is(((llm + tower + trained(projector, 1024, 4096)) / 1e6).toFixed(2), "6.83");
  assert.ok(here.memory().bytesInUse - before < 2 ** 24);
});

test("an outline says its shape, and refuses to be computed with", () => {
  const outline = Tensor.outline([2, 3], { device: here, dtype: "bf16" });
  assert.equal([outline.shape, outline.dtype, outline.size, outline.disposed], [[2, 3], "bf16", 6, true]);
  assert.throws(() => add(outline, outline), /one with memory, got an outline of shape \[2,3\]/);
});

test.run();
