// LAION-CLAP's own checkpoints (github.com/LAION-AI/CLAP), whose audio tower transformers renamed when it took it over.
import type { Json, KeyTable, Known } from "./table.js";

const TOWER = "audio_model.audio_encoder";
const BLOCK = /^audio_branch\.layers\.(\d+)\.blocks\.(\d+)\./.source;
const HERE = `${TOWER}.layers.$1.blocks.$2`;
const block = (name: string): RegExp => new RegExp(`${BLOCK}${name}$`);

function config(known: Known): Json {
  const stages = Array.from(
    { length: known.count(`${TOWER}.layers.*.blocks.0.layernorm_before.weight`) },
    (_, i) => `${TOWER}.layers.${i}.blocks`,
  );
  const table = (stage: string) => `${stage}.0.attention.self.relative_position_bias_table`;
  const first = `${stages[0]}.0`;
  const fused = known.has(`${TOWER}.patch_embed.mel_conv2d.weight`);
  const patch = known.size(`${TOWER}.patch_embed.proj.weight`, 2);
  return {
    architectures: ["ClapAudioModelWithProjection"],
    model_type: "clap_audio_model",
    num_mel_bins: known.size(`${TOWER}.batch_norm.weight`, 0),
    spec_size: 256,
    patch_size: patch,
    patch_stride: [patch, patch],
    patch_embeds_hidden_size: known.size(`${TOWER}.patch_embed.proj.weight`, 0),
    depths: stages.map((stage) => known.count(`${stage}.*.layernorm_before.weight`)),
    num_attention_heads: stages.map((stage) => known.size(table(stage), 1)),
    window_size: (Math.sqrt(known.size(table(stages[0] as string), 0)) + 1) / 2,
    mlp_ratio: known.size(`${first}.intermediate.dense.weight`, 0) / known.size(`${first}.intermediate.dense.weight`, 1),
    hidden_act: "gelu",
    hidden_size: known.size(`${TOWER}.norm.weight`, 0),
    qkv_bias: known.has(`${first}.attention.self.query.bias`),
    enable_patch_layer_norm: known.has(`${TOWER}.patch_embed.norm.weight`),
    enable_fusion: fused,
    fusion_type: fused ? "aff_2d" : null,
    ...(fused && { aff_block_r: known.size(FUSED, 1) / known.size(FUSED, 0) }),
    projection_dim: known.size("audio_projection.linear2.weight", 0),
    projection_hidden_act: "relu",
  };
}
const FUSED = `${TOWER}.patch_embed.fusion_model.local_att.0.weight`;

/** Of the package's model_configs, which all towers share but for how long sounds are cut. */
const processor = (known: Known): Json => ({
  feature_extractor_type: "ClapFeatureExtractor",
  feature_size: known.size(`${TOWER}.batch_norm.weight`, 0),
  sampling_rate: 48000,
  hop_length: 480,
  fft_window_size: 1024,
  max_length_s: 10,
  frequency_min: 50,
  frequency_max: 14000,
  padding: "repeatpad",
  truncation: known.has(`${TOWER}.patch_embed.mel_conv2d.weight`) ? "fusion" : "rand_trunc",
});

export const clap: KeyTable = {
  name: "clap",
  system: "LAION-CLAP",
  marks: [
    /^audio_branch\.patch_embed\.proj\.weight$/,
    /^audio_branch\.layers\.0\.blocks\.0\.attn\.qkv\.weight$/,
    /^audio_projection\.0\.weight$/,
  ],
  rules: [
    { from: /^audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\..*$/, to: null }, // of its classifier and front end
    { from: /^audio_branch\..*\.(attn_mask|num_batches_tracked)$/, to: null },
    { from: block("attn\\.qkv\\.(weight|bias)"), to: ["query", "key", "value"].map((part) => `${HERE}.attention.self.${part}.$3`) },
    { from: block("attn\\.proj\\.(weight|bias)"), to: `${HERE}.attention.output.dense.$3` },
    { from: block("attn\\.(relative_position_\\w+)"), to: `${HERE}.attention.self.$3` },
    { from: block("mlp\\.fc1\\.(weight|bias)"), to: `${HERE}.intermediate.dense.$3` },
    { from: block("mlp\\.fc2\\.(weight|bias)"), to: `${HERE}.output.dense.$3` },
    { from: block("norm1\\.(weight|bias)"), to: `${HERE}.layernorm_before.$3` },
    { from: block("norm2\\.(weight|bias)"), to: `${HERE}.layernorm_after.$3` },
    { from: /^audio_branch\.bn0\.(.+)$/, to: `${TOWER}.batch_norm.$1` },
    { from: /^audio_branch\.(.+)$/, to: `${TOWER}.$1` },
    { from: /^(audio|text)_projection\.0\.(weight|bias)$/, to: "$1_projection.linear1.$2" },
    { from: /^(audio|text)_projection\.2\.(weight|bias)$/, to: "$1_projection.linear2.$2" },
    { from: /^text_branch\.(.+)$/, to: "text_model.$1" },
  ],
  files: (known) => ({ "config.json": config(known), "preprocessor_config.json": processor(known) }),
};
