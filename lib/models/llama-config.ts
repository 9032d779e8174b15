// config.json of LLaMA and its close relatives, in both spellings: transformers 5 (`dtype`, `rope_parameters`) and the hub's older one
// (`torch_dtype`, `rope_theta`, `rope_scaling`, optional keys left out). An absent key means what it means to transformers.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { RopeScaling } from "../nn/rope-frequencies.js";
import type { ActivationKind } from "../ops/index.js";
import { activationKind, ConfigError, flag, id, type Json, number, readConfig, readJson, size } from "./config.js";
import { checkKeys, type KeyRules } from "./config-keys.js";
import type { DecoderConfig } from "./decoder-config.js";
import { LLAMA_KEYS } from "./llama-keys.js";
import { parseRope } from "./rope-config.js";

export { ConfigError, readConfig, storedDType } from "./config.js";

export interface LlamaConfig extends DecoderConfig {
  activation: ActivationKind;
  rmsNormEps: number;
  /** max_position_embeddings, or what a scaling of RoPE stretches it to. */
  maxPositions: number;
  ropeTheta: number;
  ropeScaling: RopeScaling;
  /** Biases on q, k and v; on the attention's output; in the feed-forward. */
  qkvBias: boolean;
  outputBias: boolean;
  mlpBias: boolean;
  /** RMSNorm on each head of q and k (Qwen3). */
  headNorm: boolean;
  /** Token i sees i - window + 1 … i (Mistral); 0: all before it. */
  slidingWindow: number;
  /** By layer, whether the window holds (Qwen); absent: it holds in all. */
  slidingLayers?: readonly boolean[] | undefined;
  /** Whose embedding learns nothing from being looked up, as in transformers; often that is the token that ends a text. */
  padTokenId: number | undefined;
}

/** Where the families differ in what they have, and in what transformers takes an absent key for. */
interface Family {
  qkvBias: (asked: boolean) => boolean;
  outputBias: (asked: boolean) => boolean;
  mlpBias: (asked: boolean) => boolean;
  headNorm: boolean;
  /** Absent: as many as heads; absent head size: hidden_size / heads. */
  kvHeads?: number;
  headDim?: number;
  maxPositions: number;
  bosTokenId?: number;
  eosTokenId?: number;
}

const never = () => false;
const asked = (value: boolean) => value;
const FAMILIES: Readonly<Record<string, Family>> = {
  llama: { qkvBias: asked, outputBias: asked, mlpBias: asked, headNorm: false, maxPositions: 2048, bosTokenId: 1, eosTokenId: 2 },
  mistral: {
    qkvBias: never,
    outputBias: never,
    mlpBias: never,
    headNorm: false,
    kvHeads: 8,
    maxPositions: 2 ** 17,
    bosTokenId: 1,
    eosTokenId: 2,
  },
  qwen2: { qkvBias: () => true, outputBias: never, mlpBias: never, headNorm: false, kvHeads: 32, maxPositions: 32768 },
  qwen3: { qkvBias: asked, outputBias: asked, mlpBias: never, headNorm: true, kvHeads: 32, headDim: 128, maxPositions: 32768 },
};
/** `model_type` of what LlamaForCausalLM is. */
export const LLAMA_FAMILIES: readonly string[] = Object.keys(FAMILIES);

// Far above every model there is; what is above them is a mistake, and must not cost memory.
const MOST_LAYERS = 4096;
const MOST_HEADS = 2 ** 16;
const WIDEST_HEAD = 2 ** 14;

/** Throws E_CONFIG on a model_type of another family, and on what could not be built. */
export function parseLlamaConfig(json: Json): LlamaConfig {
  const name = json.model_type ?? "llama";
  const family = typeof name === "string" && Object.hasOwn(FAMILIES, name) ? FAMILIES[name] : undefined;
  if (!family)
    throw new ConfigError("model_type", `one of ${LLAMA_FAMILIES.join(", ")}`, name, "models of other families are not supported");
  if (flag(json, "rope_interleaved", false))
    throw new ConfigError("rope_interleaved", "false", true, "convert q_proj and k_proj to the order of halves");
  checkKeys(json, name as string, LLAMA_KEYS[name as string] as KeyRules);
  const layers = size(json, "num_hidden_layers", undefined, MOST_LAYERS);
  const split = heads(json, name as string, family);
  const rope = parseRope(json, family.maxPositions);
  if (rope.ropeScaling.type === "dynamic" && split.headDim < 4)
    throw new ConfigError("head_dim", "at least 4 for dynamic scaling", split.headDim);
  const attentionBias = flag(json, "attention_bias", false);
  return {
    vocabSize: size(json, "vocab_size"),
    hiddenSize: size(json, "hidden_size"),
    intermediateSize: size(json, "intermediate_size"),
    layers,
    ...split,
    activation: activationKind(json, "hidden_act", "silu"),
    rmsNormEps: epsilon(json),
    ...rope,
    tieWordEmbeddings: flag(json, "tie_word_embeddings", false),
    qkvBias: family.qkvBias(attentionBias),
    outputBias: family.outputBias(attentionBias),
    mlpBias: family.mlpBias(flag(json, "mlp_bias", false)),
    headNorm: family.headNorm,
    ...windows(json, name as string, layers),
    bosTokenId: id(json.bos_token_id === undefined ? family.bosTokenId : json.bos_token_id),
    eosTokenIds: tokenIds(json.eos_token_id === undefined ? family.eosTokenId : json.eos_token_id),
    padTokenId: padding(json),
  };
}

/** config.json of a folder, and what generation_config.json says in its place: after which tokens generation ends. */
export function readLlamaConfig(folder: string): LlamaConfig {
  const config = parseLlamaConfig(readConfig(folder));
  const ends = generationEnds(folder);
  return ends.length ? { ...config, eosTokenIds: ends } : config;
}

/** After which tokens generation_config.json of a folder ends an answer; none where there is no such file. */
export function generationEnds(folder: string): number[] {
  const file = join(folder, "generation_config.json");
  return existsSync(file) ? tokenIds(readJson(file).eos_token_id) : [];
}

/** The outlier threshold of a checkpoint in LLM.int8; other quantisation methods than bitsandbytes' are refused here. */
export function int8Threshold(json: Json): number | undefined {
  const quantization = json.quantization_config as Json | null | undefined;
  if (!quantization) return undefined;
  // Files of transformers before 4.36 do not name the method; as there, what loads in 4 or 8 bits is bitsandbytes'.
  const nameless = quantization.quant_method == null && (quantization.load_in_4bit === true || quantization.load_in_8bit === true);
  if (quantization.quant_method !== "bitsandbytes" && !nameless)
    throw new ConfigError(
      "quant_method",
      "bitsandbytes",
      quantization.quant_method,
      "take the checkpoint in full precision, and quantise it here",
    );
  return typeof quantization.llm_int8_threshold === "number" ? quantization.llm_int8_threshold : undefined;
}

function heads(json: Json, name: string, family: Family): Pick<LlamaConfig, "heads" | "kvHeads" | "headDim"> {
  const width = size(json, "hidden_size");
  const count = size(json, "num_attention_heads", undefined, MOST_HEADS);
  const kvHeads = size(json, "num_key_value_heads", json.num_key_value_heads === null ? count : (family.kvHeads ?? count), MOST_HEADS);
  if (count % kvHeads) throw new ConfigError("num_key_value_heads", `a divisor of num_attention_heads ${count}`, kvHeads);
  const given = json.head_dim ?? family.headDim;
  // LLaMA's class asks for it even where the head size is given.
  if (width % count && (name === "llama" || given === undefined))
    throw new ConfigError("num_attention_heads", `a divisor of hidden_size ${width}`, count);
  const headDim = size(json, "head_dim", family.headDim ?? width / count, WIDEST_HEAD);
  if (headDim % 2) throw new ConfigError("head_dim", "an even number, since rotary positions turn pairs", headDim);
  return { heads: count, kvHeads, headDim };
}

function epsilon(json: Json): number {
  const value = number(json, "rms_norm_eps", 1e-6);
  if (value <= 0) throw new ConfigError("rms_norm_eps", "above 0", value);
  return value;
}

/** A row of the table; counted from its end where it is negative, as torch counts it. */
function padding(json: Json): number | undefined {
  const given = json.pad_token_id;
  const row = id(typeof given === "number" && given < 0 ? size(json, "vocab_size") + given : given);
  return row !== undefined && row < size(json, "vocab_size") ? row : undefined;
}

/** A list of them may name each token of a vocabulary once; -1 is written for none. */
const MOST_ENDS = 4096;
export function tokenIds(value: unknown): number[] {
  const all: unknown[] = value === null || value === undefined ? [] : [value].flat();
  if (all.length > MOST_ENDS || !all.every(Number.isInteger))
    throw new ConfigError("eos_token_id", `at most ${MOST_ENDS} token ids`, value);
  return all.flatMap((one) => id(one) ?? []);
}

function windows(json: Json, name: string, layers: number): Pick<LlamaConfig, "slidingWindow" | "slidingLayers"> {
  const window = () => (json.sliding_window === null ? 0 : size(json, "sliding_window", 4096));
  if (name === "mistral") return { slidingWindow: window() };
  // Qwen names a window and switches it off.
  if (name === "llama") return { slidingWindow: 0 };
  if (!flag(json, "use_sliding_window", false) || window() === 0) {
    if ([json.layer_types ?? []].flat().some((type) => type !== "full_attention"))
      throw new ConfigError("layer_types", "full_attention for each layer where no window is on", json.layer_types);
    return { slidingWindow: 0 };
  }
  const slidingLayers = json.layer_types == null ? fromLayer(json, layers) : byType(json.layer_types, layers);
  return slidingLayers.includes(true) ? { slidingWindow: window(), slidingLayers } : { slidingWindow: 0 };
}

function fromLayer(json: Json, layers: number): boolean[] {
  const first = number(json, "max_window_layers", 28);
  if (!Number.isInteger(first) || first < 0) throw new ConfigError("max_window_layers", "an integer >= 0", first);
  return Array.from({ length: layers }, (_, layer) => layer >= first);
}

function byType(types: unknown, layers: number): boolean[] {
  if (!Array.isArray(types) || types.length !== layers)
    throw new ConfigError(
      "layer_types",
      `a list of num_hidden_layers ${layers} entries`,
      Array.isArray(types) ? `${types.length} entries` : types,
    );
  return types.map((type) => {
    if (type !== "sliding_attention" && type !== "full_attention")
      throw new ConfigError("layer_types", "full_attention or sliding_attention for each layer", type);
    return type === "sliding_attention";
  });
}
