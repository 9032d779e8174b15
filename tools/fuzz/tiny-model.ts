// The smallest trained model there is: a language model of one layer, an encoder of pictures of one layer, two projections and an adapter. It stands
// beside the input that is tried, and goes with it.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { AdapterOptions } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { defaultDevice } from "../../lib/core/device.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { Weights } from "../../lib/nn/weights.js";

export const LLM = {
  ...{ model_type: "llama", architectures: ["LlamaForCausalLM"], vocab_size: 32, hidden_size: 8, intermediate_size: 8 },
  ...{ num_hidden_layers: 1, num_attention_heads: 1, num_key_value_heads: 1, max_position_embeddings: 64, rms_norm_eps: 1e-5 },
  ...{ bos_token_id: 1, eos_token_id: 2 },
};
export const CLIP = {
  ...{ model_type: "clip_vision_model", architectures: ["CLIPVisionModelWithProjection"], hidden_size: 8, intermediate_size: 8 },
  ...{ num_hidden_layers: 1, num_attention_heads: 1, image_size: 8, patch_size: 8, projection_dim: 8 },
};
export const TOKENIZER = {
  added_tokens: [0, 1, 2].map((id) => ({ id, content: ["<unk>", "<s>", "</s>"][id], special: true })),
  ...{ normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null },
  model: {
    type: "BPE",
    unk_token: "<unk>",
    vocab: Object.fromEntries(["<unk>", "<s>", "</s>", "a", "b"].map((word, id) => [word, id])),
    merges: [],
  },
};

export interface TinyModel {
  /** Of the language model, and of a checkpoint over it. */
  llm: string;
  /** Of an encoder of pictures. */
  clip: string;
  checkpoint: string;
  /** One with an adapter of every kind, of added tokens, and of weights of the language model that were trained. */
  many: string;
}

// Only one thing stands before the rows of a model: prompts, here.
type Kind = Exclude<keyof AdapterOptions, "lora" | "trained-tokens" | "prefix-tuning" | "lavin">;
/** In the order in which they are put on: prompts stand next to the attention that they ask. */
export const MANY = {
  ia3: { targetModules: ["k_proj", "down_proj"], feedforwardModules: ["down_proj"] },
  "llama-adapter-v1": { prompts: 1, layers: 1, visualDims: [8], visualHidden: 2 },
  "llama-adapter-v2": { prompts: 1, layers: 1, early: 0, clipDim: 8 },
  "adaption-prompt": { prompts: 1, layers: 1 },
  "prompt-tuning": { tokens: 2 },
  pink: { hidden: 2 },
  bottleneck: { hidden: 2 },
  "gated-cross-attention": { every: 1, dimVisual: 8, heads: 1, dimHead: 4, ffMult: 1 },
} as const satisfies { [K in Kind]: Partial<AdapterOptions[K]> };
export const ADDED = "<x>";

/** Made at the first call for a folder. */
export async function tinyModel(path: string): Promise<TinyModel> {
  const folder = join(dirname(path), "tiny-model");
  const places = ["llm", "clip", "checkpoint", "many"].map((name) => join(folder, name)) as [string, string, string, string];
  const [llm, clip, checkpoint, many] = places;
  if (existsSync(join(many, "anymal.json"))) return { llm, clip, checkpoint, many };
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const device = defaultDevice();
  {
    const config = parseLlamaConfig(LLM);
    using language = new LlamaForCausalLM(Weights.fresh({ device, trainable: false, seed: 1 }), config);
    await saveModel(llm, language, LLM);
    using pictures = new ClipVisionModel(Weights.fresh({ device, trainable: false, seed: 2 }), parseClipVisionConfig(CLIP));
    await saveModel(clip, pictures, pictures.configJson());
  }
  const small = { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 8 }, crop_size: 8 };
  writeFileSync(join(clip, "preprocessor_config.json"), JSON.stringify(small));
  writeFileSync(join(llm, "tokenizer.json"), JSON.stringify(TOKENIZER));
  writeFileSync(join(llm, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" }));
  const model = await AnyMAL.assemble({
    ...{ llm, device, quantization: "none" },
    modalities: {
      image: { encoder: clip, projector: { type: "resampler", layers: 1, tokens: 2 } },
      video: { encoder: clip, frames: 2, projector: { type: "linear", mode: "per_token" } },
    },
  });
  try {
    model.adapter = LoraAdapter.apply(model.llm, { r: 1, alpha: 1, targetModules: ["q_proj"] });
    await model.save(checkpoint);
  } finally {
    model.dispose();
  }
  using second = await AnyMAL.assemble({
    ...{ llm, device, quantization: "none", addedTokens: [ADDED] },
    modalities: { image: { encoder: clip, projector: { type: "concat-linear", patches: 1 } } },
  });
  for (const [kind, options] of Object.entries(MANY)) second.addAdapter(options, { kind: kind as Kind, name: kind });
  second.trained.add("llm.model.norm.weight");
  await second.save(many);
  return { llm, clip, checkpoint, many };
}

export const fileOf = (folder: string, name: string): Buffer => readFileSync(join(folder, name));
