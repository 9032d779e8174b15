// Random config.json files of small decoders: every key that the readers obey, in every spelling, and keys of other families that change the numbers.
import type { Random } from "../../fuzz/random.js";

export type Json = Record<string, unknown>;
export interface DecoderCase {
  config: Json;
  /** Keys that a reader may refuse, instead of doing what they say. */
  odd: string[];
}

export const READ = ["llama", "mistral", "qwen2", "qwen3"] as const;
// biome-ignore format: a table
const ACTIVATIONS = ["silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "quick_gelu"];
// biome-ignore format: a table
const OTHER_ACTIVATIONS = ["relu2", "mish", "gelu_fast", "gelu_python", "tanh", "sigmoid", "linear", "leaky_relu", "gelu_10", "laplace", "relu6", "gelu_accurate", "SiLU", "none"];

/** Of other families; LLaMA's classes read some of them all the same. */
const FOREIGN: Readonly<Record<string, readonly unknown[]>> = {
  use_bidirectional_attention: [true, false, null],
  is_causal: [false, true],
  is_decoder: [false, true],
  final_logit_softcapping: [2, null],
  attn_logit_softcapping: [1.5, null],
  logit_softcapping: [3],
  embedding_multiplier: [12, 1],
  residual_multiplier: [0.22, 1],
  attention_multiplier: [0.5],
  logits_scaling: [8, 1],
  logit_scale: [0.0625, 1],
  query_pre_attn_scalar: [7],
  scale_emb: [12],
  scale_depth: [1.4],
  no_rope_layers: [[0, 1, 0]],
  no_rope_layer_interval: [2],
  attention_chunk_size: [2, null],
  use_qk_norm: [true, false],
  qk_layernorm: [true, false],
  clip_qkv: [0.5, null],
  rope_interleaved: [true, false],
  partial_rotary_factor: [0.5, 1],
  rotary_pct: [0.25, 1],
  rotary_dim: [2],
  alibi: [true, false],
  parallel_attn: [true, false],
  position_embedding_type: ["relative_key", "absolute", "rope"],
  pretraining_tp: [2, 1],
  attention_bias: [true, false],
  mlp_bias: [true, false],
  qkv_bias: [true],
  layer_norm_eps: [0.5],
  norm_eps: [0.5],
  hidden_activation: ["gelu", "silu"],
  num_experts: [4, 0],
  layer_types: [],
  sliding_window: [3, 4, 64, null],
  use_sliding_window: [true, false],
  max_window_layers: [0, 1, 5],
  sliding_window_pattern: [2],
  attention_dropout: [0.1],
  embd_pdrop: [0.1],
  moe_intermediate_size: [8],
  cross_attention_layers: [[0]],
  add_cross_attention: [true],
  tie_encoder_decoder: [true],
  chunk_size_feed_forward: [2],
  num_logits_to_keep: [1],
  output_hidden_states: [true],
  use_cache: [false],
  layerdrop: [0.5],
  head_dim: [null],
  qk_norm: [true],
  kv_shared_layers: [1],
  mup_scale: [2],
  rope_theta: [10000.5],
  temperature: [2],
  repetition_penalty: [2],
  min_length: [3],
};

export function decoderConfig(random: Random): DecoderCase {
  const odd: string[] = [];
  const family = random.pick(READ);
  const heads = random.pick([1, 2, 2, 3, 4, 6]);
  const own = random.chance(0.4);
  const headDim = random.pick([2, 4, 6, 8, 10, 16]);
  const hidden = own && family !== "llama" && random.chance(0.5) ? random.pick([7, 12, 18, 25]) : heads * headDim;
  const layers = 1 + random.below(3);
  const config: Json = {
    model_type: family,
    vocab_size: 11 + random.below(50),
    hidden_size: hidden,
    intermediate_size: 5 + random.below(40),
    num_hidden_layers: layers,
    num_attention_heads: heads,
  };
  const maybe = (share: number, key: string, values: () => unknown) => {
    if (random.chance(share)) config[key] = values();
  };
  const divisors = [1, 2, 3, 4, 6].filter((n) => heads % n === 0);
  // Absent, it is a number of the family's, which few of these sizes fit.
  if (family === "llama" ? random.chance(0.7) : random.chance(0.95)) config.num_key_value_heads = random.pick(divisors);
  else if (random.chance(0.5)) config.num_key_value_heads = null;
  if (own) config.head_dim = random.pick([2, 4, 6, 8, 12]);
  else if (family === "qwen3") config.head_dim = headDim;
  maybe(0.6, "hidden_act", () => random.pick(ACTIVATIONS));
  if (random.chance(0.03)) {
    config.hidden_act = random.pick(OTHER_ACTIVATIONS);
    odd.push("hidden_act");
  }
  maybe(0.8, "rms_norm_eps", () => random.pick([1e-5, 1e-6, 1e-2, 1e-12]));
  maybe(0.8, "max_position_embeddings", () => random.pick([4, 8, 16, 64, 2048]));
  maybe(0.7, "tie_word_embeddings", () => random.chance(0.5));
  maybe(0.5, "attention_bias", () => random.chance(0.5));
  maybe(0.3, "mlp_bias", () => random.chance(0.5));
  maybe(0.3, "pad_token_id", () => random.pick([0, 1, 2, -1, null]));
  maybe(0.3, random.pick(["dtype", "torch_dtype"]), () => random.pick(["float32", "float16", "bfloat16"]));
  rope(random, config, odd);
  windows(random, config, layers, odd);
  for (let n = random.chance(0.4) ? 1 + random.below(2) : 0; n > 0; --n) {
    const key = random.pick(Object.keys(FOREIGN));
    const value = key === "layer_types" ? types(random, layers) : random.pick(FOREIGN[key] as unknown[]);
    config[key] = value;
    odd.push(key);
    if (key === "head_dim") odd.push("num_attention_heads"); // a quotient then, which need not be whole
  }
  return { config, odd };
}

function types(random: Random, layers: number): string[] {
  const kinds = ["full_attention", "full_attention", "sliding_attention", "sliding_attention", "chunked_attention", "linear_attention"];
  return Array.from({ length: layers }, () => random.pick(kinds.slice(0, random.chance(0.9) ? 4 : 6)));
}

function windows(random: Random, config: Json, layers: number, odd: string[]): void {
  if (config.model_type === "llama") return;
  if (random.chance(0.6)) config.sliding_window = random.pick([1, 2, 3, 5, 4096, null]);
  if (config.model_type === "mistral") {
    if (!random.chance(0.1)) return;
    config.layer_types = types(random, layers);
    odd.push("layer_types");
    return;
  }
  if (random.chance(0.6)) config.use_sliding_window = random.chance(0.7);
  if (random.chance(0.5)) config.max_window_layers = random.below(layers + 2);
  if (random.chance(0.3)) {
    config.layer_types = types(random, layers);
    // Windows that are named where none is on, and kinds that nobody has here.
    odd.push("layer_types");
  }
}

function rope(random: Random, config: Json, odd: string[]): void {
  const theta = () => random.pick([10000, 500000, 100, 1e6, 10000.5]);
  if (random.chance(0.5)) config.rope_theta = theta();
  if (random.chance(0.35)) {
    if (random.chance(0.3)) config[random.pick(["rope_scaling", "rope_parameters"])] = random.pick([null, {}]);
    return;
  }
  const type = random.pick([
    "default",
    "linear",
    "dynamic",
    "llama3",
    "yarn",
    "yarn",
    random.chance(0.2) ? random.pick(["longrope", "proportional"]) : "linear",
  ]);
  const trained = (config.max_position_embeddings as number | undefined) ?? 2048;
  const parameters: Json = { ...scaling(random, type, trained) };
  for (const key of random.pick([["rope_type"], ["type"], ["rope_type", "type"]])) parameters[key] = type;
  const modern = random.chance(0.5);
  if (random.chance(modern ? 0.8 : 0.1)) parameters.rope_theta = theta();
  if (random.chance(0.05)) {
    parameters.partial_rotary_factor = random.pick([0.5, 1]);
    odd.push("partial_rotary_factor");
  }
  if (["longrope", "proportional"].includes(type)) odd.push("rope_type");
  if (type === "yarn" || type === "llama3")
    if (random.chance(0.4)) (random.chance(0.5) ? config : parameters).original_max_position_embeddings = random.pick([2, 4, 8, 32]);
  config[modern ? "rope_parameters" : "rope_scaling"] = parameters;
  if (random.chance(0.04)) {
    config[modern ? "rope_scaling" : "rope_parameters"] = { rope_type: "linear", factor: 2 };
    odd.push("rope_scaling", "rope_parameters");
  }
  if (random.chance(0.03)) {
    config.rope_parameters = { full_attention: parameters, sliding_attention: { rope_type: "default", rope_theta: 100 } };
    odd.push("rope_parameters");
  }
}

function scaling(random: Random, type: string, trained: number): Json {
  const factor = random.pick([1, 2, 4, 1.5, 8, 0.5]);
  const some = (all: Json): Json => Object.fromEntries(Object.entries(all).filter(() => random.chance(0.3)));
  switch (type) {
    case "linear":
    case "dynamic":
      return { factor };
    case "llama3":
      return { factor, low_freq_factor: random.pick([1, 2]), high_freq_factor: random.pick([4, 3]), original_max_position_embeddings: 8 };
    case "yarn":
      return {
        factor: random.chance(0.05) ? null : factor,
        ...some({
          beta_fast: random.pick([32, 4, 0]),
          beta_slow: random.pick([1, 2, 0]),
          mscale: random.pick([1, 0.7, 0]),
          mscale_all_dim: random.pick([1, 0.5, 0]),
          attention_factor: random.pick([1, 0.7, 2, null]),
          truncate: random.chance(0.5),
          finetuned: true,
        }),
      };
    case "longrope":
      return { factor, short_factor: [1], long_factor: [trained], original_max_position_embeddings: 8 };
    default:
      return {};
  }
}
