// The keys of a decoder's config.json, family by family, as transformers' classes read them.

import type { Json } from "./config.js";
import { type KeyRules, type Neutral, only } from "./config-keys.js";

const OBEYED = [
  ...["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"],
  ...["hidden_act", "rms_norm_eps", "max_position_embeddings", "original_max_position_embeddings", "rope_theta", "rope_scaling"],
  ...["rope_parameters", "rope_interleaved", "partial_rotary_factor"],
];
/** Biases are weights: the file is held against what the class has. pretraining_tp splits products into the same sums. */
const HARMLESS = ["attention_bias", "mlp_bias", "pretraining_tp"];

const full = (type: unknown) => type === "full_attention";
const layerTypes = (wanted: string, fits: (type: unknown, json: Json) => boolean): Neutral => ({
  wanted,
  fits: (types, json) => Array.isArray(types) && types.every((type) => fits(type, json)),
});

/** The class has no window; the key alone does nothing where the window is switched off, or wider than the context. */
const noWindow: Neutral = {
  wanted: "left out, or at least max_position_embeddings",
  fits: (window, json) => json.use_sliding_window === false || Number(window) >= Number(json.max_position_embeddings ?? 2048),
};
const COMMON: Readonly<Record<string, Neutral>> = {
  is_causal: only(true),
  use_bidirectional_attention: only(false),
  hidden_activation: { wanted: "the same as hidden_act", fits: (value, json) => value === (json.hidden_act ?? "silu") },
  position_embedding_type: only("rope", "rotary", "absolute"), // the last is a default of old base classes that nobody reads
  // Gemma's and Granite's names for what is 1 / √head_dim here.
  query_pre_attn_scalar: { wanted: "head_dim", fits: (value, json) => value === headDim(json) },
  attention_multiplier: { wanted: "1 / √head_dim", fits: (value, json) => Math.abs(Number(value) * Math.sqrt(headDim(json)) - 1) < 1e-6 },
  rotary_dim: { wanted: "head_dim", fits: (value, json) => value === headDim(json) },
  rotary_emb_base: { wanted: "rope_theta", fits: (value, json) => value === json.rope_theta },
};
const headDim = (json: Json): number => Number(json.head_dim ?? Number(json.hidden_size) / Number(json.num_attention_heads));

const QWEN: KeyRules = {
  obeyed: [...OBEYED, "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"],
  harmless: HARMLESS,
  neutral: COMMON,
};

export const LLAMA_KEYS: Readonly<Record<string, KeyRules>> = {
  llama: {
    obeyed: OBEYED,
    harmless: [...HARMLESS, "use_sliding_window", "max_window_layers"],
    neutral: { ...COMMON, layer_types: layerTypes("full_attention for each layer", full), sliding_window: noWindow },
  },
  mistral: {
    obeyed: [...OBEYED, "sliding_window"],
    harmless: [...HARMLESS, "use_sliding_window", "max_window_layers"],
    neutral: {
      ...COMMON,
      layer_types: layerTypes("sliding_attention for each layer, or full_attention where sliding_window is null", (type, json) =>
        json.sliding_window === null ? full(type) : type === "sliding_attention",
      ),
    },
  },
  qwen2: QWEN,
  qwen3: QWEN,
};
