// config.json of OPT (arXiv 2205.01068) as transformers' OPTConfig reads it.
import type { ActivationKind } from "../ops/index.js";
import { activationKind, flag, headsOf, id, type Json, size } from "./config.js";
import { checkKeys, type KeyRules, only } from "./config-keys.js";
import type { DecoderConfig } from "./decoder-config.js";
import { tokenIds } from "./llama-config.js";

export interface OptConfig extends DecoderConfig {
  activation: ActivationKind;
  /** Of an embedding, between which and the layers two projections stand where it is not their width (350M). */
  embedWidth: number;
  /** Norms before attention and feed-forward, or behind them (350M). */
  normBefore: boolean;
  /** A last norm behind all layers. */
  finalNorm: boolean;
  /** Have norms weights and biases? Have the linear layers of the blocks biases? */
  normAffine: boolean;
  bias: boolean;
}

export const OPT_KEYS: KeyRules = {
  obeyed: [
    ...[
      "vocab_size",
      "hidden_size",
      "num_hidden_layers",
      "ffn_dim",
      "max_position_embeddings",
      "do_layer_norm_before",
      "word_embed_proj_dim",
    ],
    ...["_remove_final_layer_norm", "num_attention_heads", "activation_function", "enable_bias", "layer_norm_elementwise_affine"],
  ],
  harmless: ["init_std", "activation_dropout", "prefix"], // the last is what a text once began with: the tokenizer says so itself
  neutral: { is_causal: only(true), position_embedding_type: only("absolute") }, // a default of old base classes that nobody reads
};

const MOST_LAYERS = 4096;

/** Throws E_CONFIG on what could not be built. */
export function parseOptConfig(json: Json): OptConfig {
  checkKeys(json, "opt", OPT_KEYS);
  const hiddenSize = size(json, "hidden_size", 768);
  const heads = headsOf(json, "num_attention_heads", hiddenSize, 12);
  const normBefore = flag(json, "do_layer_norm_before", true);
  const pad = id(json.pad_token_id === undefined ? 1 : json.pad_token_id);
  const vocabSize = size(json, "vocab_size", 50272);
  return {
    vocabSize,
    hiddenSize,
    intermediateSize: size(json, "ffn_dim", 3072),
    layers: size(json, "num_hidden_layers", 12, MOST_LAYERS),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    maxPositions: size(json, "max_position_embeddings", 2048),
    tieWordEmbeddings: flag(json, "tie_word_embeddings", true),
    bosTokenId: id(json.bos_token_id === undefined ? 2 : json.bos_token_id),
    eosTokenIds: tokenIds(json.eos_token_id === undefined ? 2 : json.eos_token_id),
    padTokenId: pad !== undefined && pad < vocabSize ? pad : undefined,
    activation: activationKind(json, "activation_function", "relu"),
    embedWidth: size(json, "word_embed_proj_dim", hiddenSize),
    normBefore,
    finalNorm: normBefore && !flag(json, "_remove_final_layer_norm", false),
    normAffine: flag(json, "layer_norm_elementwise_affine", true),
    bias: flag(json, "enable_bias", true),
  };
}
