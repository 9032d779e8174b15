// Keys of a config.json that change what a model computes and that its reader does not read. Such a key is refused unless it has a value under which the
// model is the plain one; passing over it would give other numbers without a word. Each reader says which keys it obeys and which change nothing it does;
// of all others, what the name says decides.
import { ConfigError, type Json } from "./config.js";

export interface KeyRules {
  /** Read, whatever they say. */
  obeyed: readonly string[];
  /** Of this family, without effect on what is computed here, or held against the weights. */
  harmless: readonly string[];
  /** What they must say. */
  neutral?: Readonly<Record<string, Neutral>>;
}

export interface Neutral {
  wanted: string;
  fits(value: unknown, json: Json): boolean;
}
export const only = (...values: readonly unknown[]): Neutral => ({
  wanted: values.map((value) => JSON.stringify(value)).join(" or "),
  fits: (value) => values.includes(value),
});

/** Of every config of transformers: of training, of the libraries, of the task on top. */
const COMMON = new Set([
  ...["_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "model_type", "quantization_config"],
  ...["id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params", "return_dict", "torchscript"],
  ...[
    "output_attentions",
    "output_hidden_states",
    "use_cache",
    "is_encoder_decoder",
    "is_decoder",
    "chunk_size_feed_forward",
    "pruned_heads",
  ],
  ...["initializer_range", "initializer_factor", "attention_dropout", "hidden_dropout", "hidden_dropout_prob", "dropout", "drop_path_rate"],
  ...[
    "attention_probs_dropout_prob",
    "embd_pdrop",
    "resid_pdrop",
    "attn_pdrop",
    "layerdrop",
    "_attn_implementation",
    "attn_implementation",
  ],
  ...["bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "tie_word_embeddings", "tie_encoder_decoder"],
]);

/** Names of what other families compute: attention that sees ahead or in pieces, capped or scaled logits, scaled sums, layers without positions, … */
const CHANGES =
  /soft_?cap|multiplier|bidirectional|causal|clip_(qkv|kqv)|(attn|attention|attn_logit|query_pre_attn)_(scalar|scale|scaling)$|^logits?_scal(e|ing)$|(emb|embed|embedding|embeddings|depth|residual|output)_scal(e|ing)$|(scale|scaling)_(emb|embedding|embeddings|depth|attn_by_inverse_layer_idx)$|no_?rope|nope_|qk_(layer_?)?norm|use_q_?norm|parallel_(attn|attention|residual)|(attention|attn)_chunk|temperature_tuning|attention_sinks?$|alibi|rotary_(pct|percent|dim|ndims)$|position_embedding_type|sliding_window|interleaved_sliding|window_attention|kv_shared|norm_before|post_norm|sandwich|scaled_cosine|^per_layer_config$|^mup_/;

/** Throws E_CONFIG, with the key, where `json` says of a model what `family`'s reader would not do. */
export function checkKeys(json: Json, family: string, { obeyed, harmless, neutral = {} }: KeyRules): void {
  const known = new Set([...obeyed, ...harmless]);
  for (const [key, value] of Object.entries(json)) {
    if (known.has(key) || isOff(value)) continue;
    const rule = Object.hasOwn(neutral, key) ? neutral[key] : undefined;
    if (rule ? rule.fits(value, json) : COMMON.has(key) || !CHANGES.test(key) || isPlain(value)) continue;
    throw new ConfigError(
      key,
      rule?.wanted ?? "left out, or off",
      value,
      `it would change what the model computes, and is not supported for ${family}: take a checkpoint without it`,
    );
  }
}

/** Has anybody said what this key does? */
export const isJudged = (key: string, { obeyed, harmless, neutral = {} }: KeyRules): boolean =>
  obeyed.includes(key) || harmless.includes(key) || Object.hasOwn(neutral, key) || COMMON.has(key);

/** null is what transformers writes for what is not there. */
const isOff = (value: unknown): boolean => value === null || value === undefined;
/** Off, or a factor of 1. */
function isPlain(value: unknown): boolean {
  if (value === false || value === 1 || value === "") return true;
  return typeof value === "object" && value !== null && Object.values(value).every((one) => isOff(one) || isPlain(one));
}
