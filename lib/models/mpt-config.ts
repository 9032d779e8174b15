// config.json of MPT, in two readings of the same keys: that of transformers' class, which has but one form of the model whatever some keys say, and that of the
// code that MosaicML published with its checkpoints, which obeys them. A file says by its class name which code wrote it.
import { notice } from "../core/notice.js";
import { ConfigError, flag, headsOf, id, type Json, number, section, size } from "./config.js";
import { checkKeys, type KeyRules, type Neutral, only } from "./config-keys.js";
import type { DecoderConfig } from "./decoder-config.js";
import { tokenIds } from "./llama-config.js";

export interface MptConfig extends DecoderConfig {
  normEps: number;
  /** Queries, keys and values are cut off at ±clip. */
  clip: number | undefined;
  /** Of scores. Default 1/√headDim. */
  scale: number | undefined;
  /** Are queries and keys normed, each over all heads? MosaicML's code does so; transformers' does not, whatever the file says. */
  qkNorm: boolean;
  /** The steepest head's slope falls with 2^-most/H. */
  alibiMost: number;
}

const NORMS = ["layernorm", "low_precision_layernorm"];

/** What does nothing in transformers' class, whatever it says, and changes the model in MosaicML's. */
const ORIGINAL: Readonly<Record<string, Neutral>> = {
  logit_scale: only(1),
  // Low precision was a matter of speed there: norms are computed in f32 here, from what they are given.
  norm_type: only(...NORMS),
};
const ORIGINAL_ATTENTION: Readonly<Record<string, Neutral>> = {
  attn_type: only("multihead_attention"),
  prefix_lm: only(false),
  alibi: only(true),
};
const IGNORED = Object.keys({ ...ORIGINAL, ...ORIGINAL_ATTENTION });

export const MPT_KEYS: KeyRules = {
  obeyed: [
    ...["d_model", "n_heads", "n_layers", "expansion_ratio", "max_seq_len", "vocab_size", "layer_norm_epsilon", "attn_config"],
    ...["hidden_size", "num_attention_heads", "num_hidden_layers"], // transformers' other names for three of them
  ],
  // Positions are ALiBi's wherever that is on; biases are held against the file; a fraction is one of the embedding's gradient alone.
  harmless: [
    "learned_pos_emb",
    "no_bias",
    "embedding_fraction",
    "init_device",
    "init_config",
    "tokenizer_name",
    "emb_pdrop",
    "resid_pdrop",
  ],
  neutral: { ...ORIGINAL, is_causal: only(true), position_embedding_type: only("absolute") }, // a default of old base classes that nobody reads
};

const MOST_LAYERS = 4096;

/** Throws E_CONFIG on what could not be built. */
export function parseMptConfig(given: Json): MptConfig {
  const { hidden_size: d_model, num_attention_heads: n_heads, num_hidden_layers: n_layers, ...rest } = given;
  const json: Json = { ...defined({ d_model, n_heads, n_layers }), ...rest };
  const attention = json.attn_config == null ? {} : section(json, "attn_config");
  const original = isOriginal(json);
  if (original) checkOriginal(json, attention);
  else tellIgnored(json, attention);
  checkKeys(json, "mpt", original ? MPT_KEYS : { ...MPT_KEYS, harmless: [...MPT_KEYS.harmless, ...IGNORED] });
  const hiddenSize = size(json, "d_model", 2048);
  const heads = headsOf(json, "n_heads", hiddenSize, 16);
  const most = original ? number(attention, "alibi_bias_max", 8) : MOST;
  return {
    vocabSize: size(json, "vocab_size", 50368),
    hiddenSize,
    intermediateSize: Math.trunc(number(json, "expansion_ratio", 4) * hiddenSize),
    layers: size(json, "n_layers", 24, MOST_LAYERS),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    maxPositions: size(json, "max_seq_len", 2048),
    tieWordEmbeddings: flag(json, "tie_word_embeddings", true),
    bosTokenId: id(json.bos_token_id),
    eosTokenIds: tokenIds(json.eos_token_id),
    padTokenId: id(json.pad_token_id),
    normEps: positive(json, "layer_norm_epsilon") ?? 1e-5,
    clip: attention.clip_qkv === 0 ? undefined : positive(attention, "clip_qkv"),
    scale: attention.softmax_scale == null ? undefined : number(attention, "softmax_scale"),
    qkNorm: original && flag(attention, "qk_ln", false),
    alibiMost: most,
  };
}

/** Of transformers' class, whatever the key says. */
const MOST = 8;

/** Their class is MPTForCausalLM and comes with the folder; transformers' is MptForCausalLM. */
const isOriginal = (json: Json): boolean => json.auto_map != null || [json.architectures].flat().includes("MPTForCausalLM");

function checkOriginal(json: Json, attention: Json): void {
  const next = "it would change what the model computes, and is not supported for mpt: take a checkpoint without it";
  for (const [rules, object] of [
    [ORIGINAL, json],
    [ORIGINAL_ATTENTION, attention],
  ] as const)
    for (const [key, { wanted, fits }] of Object.entries(rules)) {
      const value = object[key];
      // Left out, ALiBi was off there.
      if (key === "alibi" ? fits(value ?? false, json) : value == null || fits(value, json)) continue;
      throw new ConfigError(key, wanted, value, next);
    }
}

/** As transformers' class computes; who wrote the file with other code has another model. */
function tellIgnored(json: Json, attention: Json): void {
  const ignored = [
    ...Object.entries(ORIGINAL).filter(([key, { fits }]) => json[key] != null && !fits(json[key], json)),
    ...Object.entries(ORIGINAL_ATTENTION).filter(([key, { fits }]) => attention[key] != null && !fits(attention[key], json)),
  ].map(([key]) => key);
  if (attention.qk_ln != null && attention.qk_ln !== false) ignored.push("qk_ln");
  if (attention.alibi_bias_max != null && attention.alibi_bias_max !== MOST) ignored.push("alibi_bias_max");
  if (!ignored.length) return;
  notice(
    "ANYMAL_MPT_IGNORED",
    `config.json: ${ignored.join(", ")} of MPT do nothing in transformers' MptForCausalLM, whose file this is, and nothing here; a file of MosaicML's own code says "architectures": ["MPTForCausalLM"]`,
  );
}

function positive(json: Json, key: string): number | undefined {
  if (json[key] == null) return undefined;
  const value = number(json, key);
  if (value <= 0) throw new ConfigError(key, "above 0", value);
  return value;
}

const defined = (json: Json): Json => Object.fromEntries(Object.entries(json).filter(([, value]) => value !== undefined));
