// OpenAI's own Whisper files (github.com/openai/whisper), tiny.pt to large-v3.pt: {"dims": …, "model_state_dict": …}. Encoder and decoder become what
// WhisperForConditionalGeneration has, so that transformers reads the folder too.
import type { Json, KeyTable, Known } from "./table.js";

/** Of every model that was published; `dims` says it, where the file has them. */
const HEAD_WIDTH = 64;
const ENCODER = "model.encoder";
const DECODER = "model.decoder";
/** A row for every two frames of 10 ms. */
const ROWS_PER_SECOND = 50;

function config(known: Known): Json {
  const width = known.size(`${ENCODER}.conv1.weight`, 0);
  const heads = (which: string) => known.integer(`n_${which}_head`, width / HEAD_WIDTH);
  return {
    architectures: ["WhisperForConditionalGeneration"],
    model_type: "whisper",
    num_mel_bins: known.size(`${ENCODER}.conv1.weight`, 1),
    d_model: width,
    encoder_layers: known.count(`${ENCODER}.layers.*.fc1.weight`),
    encoder_attention_heads: heads("audio"),
    encoder_ffn_dim: known.size(`${ENCODER}.layers.0.fc1.weight`, 0),
    decoder_layers: known.count(`${DECODER}.layers.*.fc1.weight`),
    decoder_attention_heads: heads("text"),
    decoder_ffn_dim: known.size(`${DECODER}.layers.0.fc1.weight`, 0),
    max_source_positions: known.size(`${ENCODER}.embed_positions.weight`, 0),
    max_target_positions: known.size(`${DECODER}.embed_positions.weight`, 0),
    vocab_size: known.size(`${DECODER}.embed_tokens.weight`, 0),
    activation_function: "gelu",
    is_encoder_decoder: true,
    tie_word_embeddings: true,
    torch_dtype: known.dtype,
  };
}

const processor = (known: Known): Json => ({
  feature_extractor_type: "WhisperFeatureExtractor",
  feature_size: known.size(`${ENCODER}.conv1.weight`, 1),
  sampling_rate: 16000,
  hop_length: 160,
  n_fft: 400,
  chunk_length: known.size(`${ENCODER}.embed_positions.weight`, 0) / ROWS_PER_SECOND,
  padding_side: "right",
  padding_value: 0,
  return_attention_mask: false,
});

const BLOCK = /^(encoder|decoder)\.blocks\.(\d+)\./.source;
const HERE = "model.$1.layers.$2";
const block = (name: string): RegExp => new RegExp(`${BLOCK}${name}\\.(weight|bias)$`);
const attention = (theirs: string, ours: string) =>
  (
    [
      ["query", "q_proj"],
      ["key", "k_proj"],
      ["value", "v_proj"],
      ["out", "out_proj"],
    ] as const
  ).map(([from, to]) => ({ from: block(`${theirs}\\.${from}`), to: `${HERE}.${ours}.${to}.$3` }));

export const whisper: KeyTable = {
  name: "whisper",
  system: "OpenAI's Whisper",
  inside: "dims",
  marks: [/^encoder\.conv1\.weight$/, /^encoder\.blocks\.0\.attn\.query\.weight$/, /^decoder\.blocks\.0\.cross_attn\.query\.weight$/],
  rules: [
    ...attention("attn", "self_attn"),
    ...attention("cross_attn", "encoder_attn"),
    { from: block("attn_ln"), to: `${HERE}.self_attn_layer_norm.$3` },
    { from: block("cross_attn_ln"), to: `${HERE}.encoder_attn_layer_norm.$3` },
    { from: block("mlp_ln"), to: `${HERE}.final_layer_norm.$3` },
    { from: block("mlp\\.0"), to: `${HERE}.fc1.$3` },
    { from: block("mlp\\.2"), to: `${HERE}.fc2.$3` },
    { from: /^(encoder|decoder)\.positional_embedding$/, to: "model.$1.embed_positions.weight" },
    { from: /^encoder\.ln_post\.(weight|bias)$/, to: `${ENCODER}.layer_norm.$1` },
    { from: /^decoder\.ln\.(weight|bias)$/, to: `${DECODER}.layer_norm.$1` },
    { from: /^decoder\.token_embedding\.weight$/, to: `${DECODER}.embed_tokens.weight` },
    { from: /^encoder\.(conv[12]\.(?:weight|bias))$/, to: `${ENCODER}.$1` },
    { from: /^(decoder\.mask|alignment_heads)$/, to: null },
  ],
  files: (known) => ({ "config.json": config(known), "preprocessor_config.json": processor(known) }),
};
