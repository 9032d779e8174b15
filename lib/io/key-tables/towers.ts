// Encoders whose authors' checkpoints this library reads under their own names, or nearly so: what is left out, and the config.json that they lack.
import type { Json, KeyTable, Known, Rule } from "./table.js";

/** Of CLIP and its kin, from OpenAI on. */
const HEAD_WIDTH = 64;

function clipConfig(known: Known): Json {
  const width = known.size("visual.conv1.weight", 0);
  const patch = known.size("visual.conv1.weight", 2);
  return {
    architectures: ["CLIPVisionModelWithProjection"],
    model_type: "clip_vision_model",
    hidden_size: width,
    intermediate_size: known.size("visual.transformer.resblocks.0.mlp.c_fc.weight", 0),
    num_hidden_layers: known.count("visual.transformer.resblocks.*.ln_1.weight"),
    num_attention_heads: width / HEAD_WIDTH,
    image_size: patch * known.side("visual.positional_embedding", 0, 1),
    patch_size: patch,
    projection_dim: known.size("visual.proj", 1),
    hidden_act: "quick_gelu",
    layer_norm_eps: 1e-5,
    torch_dtype: known.dtype,
  };
}

/** OpenCLIP's files have the same names, and no such numbers; their activation is told by open_clip_config.json alone. */
const openai: KeyTable = {
  name: "openai-clip",
  system: "OpenAI's CLIP",
  marks: [/^visual\.class_embedding$/, /^visual\.proj$/, /^input_resolution$/],
  rules: [{ from: /^(input_resolution|context_length|vocab_size|attn_mask)$/, to: null }],
  files: (known) => ({ "config.json": clipConfig(known) }),
};

function viClipConfig(known: Known): Json {
  const at = known.has("vision_encoder.class_embedding") ? "vision_encoder." : "";
  const width = known.size(`${at}conv1.weight`, 0);
  const patch = known.size(`${at}conv1.weight`, 3);
  return {
    model_type: "viclip",
    image_size: patch * known.side(`${at}positional_embedding`, 0, 1),
    patch_size: patch,
    width,
    layers: known.count(`${at}transformer.resblocks.*.ln_1.weight`),
    heads: width / HEAD_WIDTH,
    intermediate_size: known.size(`${at}transformer.resblocks.0.mlp.c_fc.weight`, 0),
    hidden_act: "quick_gelu",
    layer_norm_eps: 1e-5,
    output_dim: known.size(`${at}proj`, 1),
    num_frames: known.size(`${at}temporal_positional_embedding`, 1),
    torch_dtype: known.dtype,
  };
}

const viclip: KeyTable = {
  name: "viclip",
  system: "ViCLIP",
  marks: [/^(vision_encoder\.)?temporal_positional_embedding$/, /^(vision_encoder\.)?transformer\.resblocks\.0\.attn\.in_proj_weight$/],
  rules: [],
  files: (known) => ({ "config.json": viClipConfig(known) }),
};

/** Five seconds at 200 Hz: its GRU takes a channel's 32 moments for features, and no other length leaves 32. */
const imuConfig = (known: Known): Json => ({
  model_type: "imu2clip",
  window_samples: 1000,
  sampling_rate: 200,
  channels: known.size("blocks.0.conv.weight", 1),
  width: known.size("blocks.0.conv.weight", 0),
  hidden: known.size("gru.weight_hh_l0", 1),
  batch_first_quirk: true,
});

/** Of the network that is a Sequential of six at `body`. */
const bodyRules = (body: string): Rule[] => [
  { from: new RegExp(`${body}\\.0\\.(weight|bias)$`), to: "norm_in.$1" },
  ...[0, 1, 2].map((i) => ({ from: new RegExp(`${body}\\.${i + 1}\\.net\\.0\\.weight$`), to: `blocks.${i}.conv.weight` })),
  { from: new RegExp(`${body}\\.4\\.(weight|bias)$`), to: "norm_out.$1" },
  { from: new RegExp(`${body}\\.5\\.(\\w+)$`), to: "gru.$1" },
];

/** Its training saves the encoder alone, and PyTorch Lightning's file of all that was trained around it. */
const IMU = "^(?:imu_encoder\\.)?net";
const imu2clip: KeyTable = {
  name: "imu2clip",
  system: "IMU2CLIP",
  marks: [/^(imu_encoder\.)?net\.1\.net\.0\.weight$/, /^(imu_encoder\.)?net\.3\.net\.0\.weight$/, /^(imu_encoder\.)?net\.5\.weight_ih_l0$/],
  rules: [...bodyRules(IMU), { from: /^(text_encoder|video_encoder|audio_encoder|loss)\..*$/, to: null }],
  files: (known) => ({ "config.json": imuConfig(known) }),
};

/**
 * PRIMUS (github.com/nokia-bell-labs/pretrained-imu-encoders) has IMU2CLIP's network, whose last pool leaves 32 moments of any window: five seconds of
 * EgoExo4D at 50 Hz. Of its two heads, that which was compared with video and text is the projection.
 */
const primusConfig = (known: Known): Json => ({
  ...imuConfig(known),
  window_samples: 250,
  sampling_rate: 50,
  last_pool: "adaptive",
  ...(known.has("projection.weight") && { projection_dim: known.size("projection.weight", 0) }),
});

const BACKBONE = "^(?:imu_encoder\\.)?backbone";
const primus: KeyTable = {
  name: "primus",
  system: "PRIMUS",
  marks: [/^(imu_encoder\.)?backbone\.1\.net\.0\.weight$/, /^(imu_encoder\.)?backbone\.5\.weight_ih_l0$/],
  rules: [
    ...bodyRules(BACKBONE),
    { from: /^(?:imu_encoder\.)?mmcl_head\.(weight|bias)$/, to: "projection.$1" },
    { from: /^((imu_encoder\.)?(ssl_head|mmcl_head)|text_encoder|video_encoder|audio_encoder|loss)\..*$/, to: null },
  ],
  files: (known) => ({ "config.json": primusConfig(known) }),
};

function dinoConfig(known: Known): Json {
  const width = known.size("embeddings.cls_token", 2);
  const patch = known.size("embeddings.patch_embeddings.projection.weight", 2);
  const registers = known.has("embeddings.register_tokens") ? known.size("embeddings.register_tokens", 1) : 0;
  const kind = registers ? "Dinov2WithRegisters" : "Dinov2";
  return {
    architectures: [`${kind}Model`],
    model_type: registers ? "dinov2_with_registers" : "dinov2",
    hidden_size: width,
    num_hidden_layers: known.count("encoder.layer.*.norm1.weight"),
    num_attention_heads: width / HEAD_WIDTH,
    mlp_ratio: 4,
    image_size: patch * known.side("embeddings.position_embeddings", 1, 1),
    patch_size: patch,
    hidden_act: "gelu",
    layer_norm_eps: 1e-6,
    qkv_bias: true,
    use_swiglu_ffn: known.has("encoder.layer.0.mlp.weights_in.weight"),
    ...(registers && { num_register_tokens: registers }),
    torch_dtype: known.dtype,
  };
}

const DINO = /^blocks\.(\d+)\./.source;
const LAYER = "encoder.layer.$1";
const dinov2: KeyTable = {
  name: "dinov2",
  system: "Meta's DINOv2",
  marks: [/^cls_token$/, /^pos_embed$/, /^blocks\.0\.ls1\.gamma$/, /^blocks\.0\.attn\.qkv\.weight$/],
  rules: [
    { from: /^(cls_token|mask_token|register_tokens)$/, to: "embeddings.$1" },
    { from: /^pos_embed$/, to: "embeddings.position_embeddings" },
    { from: /^patch_embed\.proj\.(weight|bias)$/, to: "embeddings.patch_embeddings.projection.$1" },
    {
      from: new RegExp(`${DINO}attn\\.qkv\\.(weight|bias)$`),
      to: ["query", "key", "value"].map((part) => `${LAYER}.attention.attention.${part}.$2`),
    },
    { from: new RegExp(`${DINO}attn\\.proj\\.(weight|bias)$`), to: `${LAYER}.attention.output.dense.$2` },
    { from: new RegExp(`${DINO}ls([12])\\.gamma$`), to: `${LAYER}.layer_scale$2.lambda1` },
    { from: new RegExp(`${DINO}mlp\\.w12\\.(weight|bias)$`), to: `${LAYER}.mlp.weights_in.$2` },
    { from: new RegExp(`${DINO}mlp\\.w3\\.(weight|bias)$`), to: `${LAYER}.mlp.weights_out.$2` },
    { from: new RegExp(`${DINO}(.+)$`), to: `${LAYER}.$2` },
    { from: /^norm\.(weight|bias)$/, to: "layernorm.$1" },
  ],
  files: (known) => ({ "config.json": dinoConfig(known) }),
};

export const TOWERS: readonly KeyTable[] = [openai, viclip, imu2clip, primus, dinov2];
