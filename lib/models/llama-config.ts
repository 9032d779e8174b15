// config.json of LLaMA and its close relatives, in both spellings: transformers 5 (`dtype`, `rope_parameters`) and the hub's older one
// (`torch_dtype`, `rope_theta`, `rope_scaling`, optional keys left out).

import type { RopeScaling } from "../nn/rope.js";
import type { ActivationKind } from "../ops/index.js";
import { activationKind, ConfigError, flag, id, type Json, number, size } from "./config.js";

export { ConfigError, readConfig, storedDType } from "./config.js";

export interface LlamaConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  activation: ActivationKind;
  rmsNormEps: number;
  maxPositions: number;
  ropeTheta: number;
  ropeScaling: RopeScaling;
  tieWordEmbeddings: boolean;
  /** Biases on q, k and v; on the attention's output; in the feed-forward. */
  qkvBias: boolean;
  outputBias: boolean;
  mlpBias: boolean;
  /** RMSNorm on each head of q and k (Qwen3). */
  headNorm: boolean;
  /** Token i sees i - window + 1 … i (Mistral); 0: all before it. */
  slidingWindow: number;
  bosTokenId: number | undefined;
  eosTokenIds: number[];
  padTokenId: number | undefined;
}

const FAMILIES = ["llama", "mistral", "qwen2", "qwen3"] as const;
export function parseLlamaConfig(json: Json): LlamaConfig {
  const family = json.model_type ?? "llama";
  if (!FAMILIES.some((name) => name === family)) throw new ConfigError("model_type", `one of ${FAMILIES.join(", ")}`, family);
  const hiddenSize = size(json, "hidden_size");
  const heads = size(json, "num_attention_heads");
  const kvHeads = size(json, "num_key_value_heads", heads);
  if (heads % kvHeads) throw new ConfigError("num_key_value_heads", `a divisor of num_attention_heads ${heads}`, kvHeads);
  const attentionBias = flag(json, "attention_bias", false);
  return {
    vocabSize: size(json, "vocab_size"),
    hiddenSize,
    intermediateSize: size(json, "intermediate_size"),
    layers: size(json, "num_hidden_layers"),
    heads,
    kvHeads,
    headDim: size(json, "head_dim", hiddenSize / heads),
    activation: activationKind(json, "hidden_act", "silu"),
    rmsNormEps: number(json, "rms_norm_eps", 1e-6),
    maxPositions: size(json, "max_position_embeddings", 2048),
    ...rope(json),
    tieWordEmbeddings: flag(json, "tie_word_embeddings", false),
    qkvBias: family === "qwen2" || attentionBias,
    outputBias: family !== "qwen2" && attentionBias,
    mlpBias: flag(json, "mlp_bias", false),
    headNorm: family === "qwen3",
    slidingWindow: window(json, family),
    bosTokenId: id(json.bos_token_id),
    eosTokenIds: [json.eos_token_id].flat().flatMap((value) => id(value) ?? []),
    padTokenId: id(json.pad_token_id),
  };
}

/** The outlier threshold of a checkpoint in LLM.int8; other quantisation methods than bitsandbytes' are refused here. */
export function int8Threshold(json: Json): number | undefined {
  const quantization = json.quantization_config as Json | undefined;
  if (!quantization) return undefined;
  if (quantization.quant_method !== "bitsandbytes") throw new ConfigError("quant_method", "bitsandbytes", quantization.quant_method);
  return typeof quantization.llm_int8_threshold === "number" ? quantization.llm_int8_threshold : undefined;
}

function rope(json: Json): { ropeTheta: number; ropeScaling: RopeScaling } {
  const parameters = (json.rope_parameters ?? json.rope_scaling ?? {}) as Json;
  const ropeTheta = number(json.rope_parameters ? parameters : json, "rope_theta", 10000);
  const type = String(parameters.rope_type ?? parameters.type ?? "default"); // the oldest files say `type`
  switch (type) {
    case "default":
      return { ropeTheta, ropeScaling: { type } };
    case "linear":
      return { ropeTheta, ropeScaling: { type, factor: number(parameters, "factor") } };
    case "llama3":
      return {
        ropeTheta,
        ropeScaling: {
          type,
          factor: number(parameters, "factor"),
          lowFreqFactor: number(parameters, "low_freq_factor"),
          highFreqFactor: number(parameters, "high_freq_factor"),
          originalMaxPositions: size(parameters, "original_max_position_embeddings"),
        },
      };
    default:
      throw new ConfigError("rope_type", "default, linear or llama3", type);
  }
}

function window(json: Json, family: unknown): number {
  if (family === "llama" || json.sliding_window == null) return 0;
  // Qwen names a window and switches it off; switched on, it holds from a certain layer on, which no released model uses.
  if (family !== "mistral") {
    if (flag(json, "use_sliding_window", false)) throw new ConfigError("use_sliding_window", "false", true);
    return 0;
  }
  return size(json, "sliding_window");
}
