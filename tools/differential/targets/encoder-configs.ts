// Random config.json files of small encoders, alone and inside of larger models.
import type { Random } from "../../fuzz/random.js";
import type { Json } from "./decoder-configs.js";

export interface EncoderCase {
  /** transformers' class. */
  architecture: string;
  config: Json;
  /** Of the input, as transformers takes it. */
  shape: number[];
  /** Keys that a reader may refuse, instead of doing what they say. */
  odd: string[];
  isLonger?: boolean[];
}

const ACTIVATIONS = ["gelu", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "gelu_new"];
const FOREIGN: Readonly<Record<string, readonly unknown[]>> = {
  is_causal: [true, false],
  position_embedding_type: ["absolute", "relative_key"],
  head_dim: [3, null],
  qk_norm: [true],
  use_qk_norm: [true, false],
  qk_layernorm: [true],
  attention_dropout: [0.1],
  hidden_dropout_prob: [0.1],
  drop_path_rate: [0.2],
  initializer_factor: [0.5],
  attn_logit_softcapping: [2],
  rope_theta: [100],
  logit_scale_init_value: [1.5],
  layer_scale_init_value: [0.1],
  layerscale_value: [0.5],
  mup_scale: [2],
  attention_bias: [false],
  mlp_bias: [false],
  embedding_multiplier: [3],
  num_image_tokens: [4],
  use_cache: [false],
};

/** Sizes of a tower; in a few the heads do not divide the width. */
function blocks(random: Random): Json {
  const heads = random.pick([1, 2, 3, 4]);
  const width = random.chance(0.05) ? random.pick([7, 10, 13]) : heads * random.pick([2, 4, 5, 8]);
  const config: Json = { hidden_size: width, num_attention_heads: heads, num_hidden_layers: 1 + random.below(3) };
  if (random.chance(0.7)) config.hidden_act = random.pick(ACTIVATIONS);
  if (random.chance(0.6)) config.layer_norm_eps = random.pick([1e-5, 1e-6, 1e-12, 0.01]);
  return config;
}

interface Picture {
  config: Json;
  channels: number;
  side: number;
  patch: number;
}
function picture(random: Random): Picture {
  const patch = random.pick([2, 3, 4, 7]);
  const side = patch * (1 + random.below(4)) + (random.chance(0.2) ? random.below(patch) : 0);
  const channels = random.chance(0.8) ? 3 : random.pick([1, 4]);
  const config: Json = { image_size: side, patch_size: patch };
  if (channels !== 3 || random.chance(0.5)) config.num_channels = channels;
  return { config, channels, side, patch };
}
/** Own size, or another that holds a patch. */
function pixels(random: Random, { channels, side, patch }: Picture): number[] {
  const other = random.chance(0.4);
  const length = () => (other ? patch + random.below(4 * patch) : side);
  return [1 + random.below(2), channels, length(), length()];
}
const listed = (random: Random, tower: Json, odd: string[], keys: readonly string[]) => {
  if (!random.chance(0.06)) return;
  const key = random.pick(keys);
  tower[key] = [tower[key], tower[key]];
  odd.push(key);
};

function foreign(random: Random, tower: Json, odd: string[]): void {
  for (let n = random.chance(0.3) ? 1 + random.below(2) : 0; n > 0; --n) {
    const key = random.pick(Object.keys(FOREIGN));
    tower[key] = random.pick(FOREIGN[key] as unknown[]);
    odd.push(key);
  }
}

const TEXT = { hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2, vocab_size: 20 };
const POSITIONS = { max_position_embeddings: 8 };
const LANGUAGE = { model_type: "llama", ...TEXT };

function clip(random: Random): EncoderCase {
  const own = picture(random);
  const tower: Json = { ...blocks(random), intermediate_size: 3 + random.below(20), ...own.config };
  const odd: string[] = [];
  foreign(random, tower, odd);
  listed(random, tower, odd, ["image_size", "patch_size"]);
  const shape = pixels(random, own);
  const projection = random.chance(0.8) ? { projection_dim: 3 + random.below(9) } : {};
  const architecture = random.pick(["CLIPVisionModel", "CLIPVisionModelWithProjection", "CLIPModel", "LlavaForConditionalGeneration"]);
  if (architecture === "CLIPModel") {
    if (random.chance(0.3)) tower.projection_dim = 5; // the model's own rules
    const config = { model_type: "clip", ...projection, vision_config: tower, text_config: { ...TEXT, ...POSITIONS } };
    return { architecture, config, shape, odd };
  }
  if (architecture.startsWith("Llava")) return { architecture, config: llava({ model_type: "clip_vision_model", ...tower }), shape, odd };
  return { architecture, config: { model_type: "clip_vision_model", ...tower, ...projection }, shape, odd };
}

const llava = (vision: Json): Json => ({
  model_type: "llava",
  vision_config: vision,
  text_config: LANGUAGE,
  vision_feature_layer: -1,
  image_token_index: 5,
});

function siglip(random: Random): EncoderCase {
  const own = picture(random);
  const tower: Json = { ...blocks(random), intermediate_size: 3 + random.below(20), ...own.config };
  const odd: string[] = [];
  foreign(random, tower, odd);
  listed(random, tower, odd, ["image_size", "patch_size"]);
  if (random.chance(0.3)) tower.vision_use_head = random.chance(0.5);
  const shape = pixels(random, own);
  const architecture = random.pick(["SiglipVisionModel", "SiglipModel", "LlavaForConditionalGeneration"]);
  if (architecture === "SiglipModel") {
    tower.vision_use_head = true; // a whole model has its head
    return { architecture, config: { model_type: "siglip", vision_config: tower, text_config: { ...TEXT, ...POSITIONS } }, shape, odd };
  }
  if (architecture.startsWith("Llava")) return { architecture, config: llava({ model_type: "siglip_vision_model", ...tower }), shape, odd };
  return { architecture, config: { model_type: "siglip_vision_model", ...tower }, shape, odd };
}

function dinov2(random: Random): EncoderCase {
  const own = picture(random);
  const config: Json = { ...blocks(random), ...own.config };
  const odd: string[] = [];
  foreign(random, config, odd);
  listed(random, config, odd, ["image_size", "patch_size"]);
  const registers = random.chance(0.5);
  config.model_type = registers ? "dinov2_with_registers" : "dinov2";
  if (registers && random.chance(0.8)) config.num_register_tokens = 1 + random.below(4);
  if (random.chance(0.7)) config.mlp_ratio = random.pick([2, 4, 3, 1]);
  if (random.chance(0.5)) config.qkv_bias = random.chance(0.5);
  if (random.chance(0.5)) config.use_swiglu_ffn = random.chance(0.6);
  if (!registers && random.chance(0.5)) config.use_mask_token = random.chance(0.5);
  if (random.chance(0.2)) config.apply_layernorm = random.chance(0.5);
  if (random.chance(0.2)) config.reshape_hidden_states = random.chance(0.5);
  const kind = random.chance(0.7) ? "Model" : "ForImageClassification";
  return { architecture: `Dinov2${registers ? "WithRegisters" : ""}${kind}`, config, shape: pixels(random, own), odd };
}

function videoMae(random: Random): EncoderCase {
  const own = picture(random);
  const tubelet = random.pick([1, 2, 3]);
  const frames = tubelet * (1 + random.below(3));
  const config: Json = {
    model_type: "videomae",
    ...blocks(random),
    intermediate_size: 3 + random.below(20),
    ...own.config,
    num_frames: frames,
    tubelet_size: tubelet,
  };
  const odd: string[] = [];
  foreign(random, config, odd);
  listed(random, config, odd, ["image_size", "patch_size"]);
  if (random.chance(0.5)) config.qkv_bias = random.chance(0.5);
  if (random.chance(0.5)) config.use_mean_pooling = random.chance(0.5);
  Object.assign(config, {
    decoder_hidden_size: 8,
    decoder_num_attention_heads: 2,
    decoder_num_hidden_layers: 1,
    decoder_intermediate_size: 8,
  });
  const architecture = random.pick(["VideoMAEModel", "VideoMAEModel", "VideoMAEForVideoClassification", "VideoMAEForPreTraining"]);
  return { architecture, config, shape: [1 + random.below(2), frames, own.channels, own.side, own.side], odd };
}

function clap(random: Random): EncoderCase {
  const depths = random.pick([[1], [1, 1], [2, 1], [1, 1, 2]]);
  const heads = depths.map(() => random.pick([1, 2, 2, 4]));
  const width = random.chance(0.05) ? 6 : random.pick([4, 8, 12]);
  const stride = random.pick([2, 4]);
  const window = random.pick([2, 3, 4]);
  const bins = stride * 2 ** (depths.length - 1) * random.pick([2, 4]);
  const fold = random.pick([1, 2, 4]);
  const odd: string[] = [];
  const tower: Json = {
    patch_embeds_hidden_size: width,
    depths,
    num_attention_heads: heads,
    window_size: window,
    num_mel_bins: bins,
    spec_size: bins * fold,
    patch_size: random.chance(0.8) ? stride : stride + 2,
    patch_stride: random.chance(0.3) ? stride : [stride, stride],
    hidden_size: width * 2 ** (depths.length - 1),
    num_hidden_layers: depths.length,
  };
  if (random.chance(0.7)) tower.hidden_act = random.pick(ACTIVATIONS);
  if (random.chance(0.5)) tower.layer_norm_eps = random.pick([1e-5, 1e-12, 0.01]);
  if (random.chance(0.5)) tower.mlp_ratio = random.pick([1, 2, 4]);
  if (random.chance(0.5)) tower.qkv_bias = random.chance(0.5);
  if (random.chance(0.3)) tower.enable_patch_layer_norm = random.chance(0.5);
  if (random.chance(0.3)) tower.projection_hidden_act = random.pick(ACTIVATIONS);
  const fusion = random.chance(0.4);
  if (fusion) Object.assign(tower, { enable_fusion: true, fusion_type: random.pick(["aff_2d", "aff_2d", "aff_2d", "channel_map", null]) });
  if (fusion && tower.fusion_type === "channel_map") odd.push("fusion_type");
  if (random.chance(0.3)) tower.aff_block_r = random.pick([1, 2, 4]);
  if (random.chance(0.05)) tower[odd[odd.push("flatten_patch_embeds") - 1] as string] = false;
  foreign(random, tower, odd);
  const architecture = random.pick(["ClapAudioModel", "ClapAudioModelWithProjection", "ClapModel"]);
  const clips = 1 + random.below(2);
  const time = Math.max(1, bins * fold * fold - random.below(bins));
  const projection = random.chance(0.8) ? { projection_dim: 3 + random.below(9) } : {};
  const whole = architecture === "ClapModel";
  const text = { model_type: "clap_text_model", ...TEXT, ...POSITIONS };
  const config = whole
    ? { model_type: "clap", ...projection, audio_config: tower, text_config: text }
    : { model_type: "clap_audio_model", ...tower, ...projection };
  if (whole && random.chance(0.3)) (config as Json).projection_hidden_act = random.pick(["relu", "gelu"]);
  const isLonger = Array.from({ length: clips }, () => fusion && random.chance(0.5));
  return { architecture, config, shape: [clips, fusion ? 4 : 1, time, bins], odd, isLonger };
}

const KINDS = [clip, clip, siglip, dinov2, dinov2, videoMae, clap, clap];

export function encoderConfig(random: Random): EncoderCase {
  const made = random.pick(KINDS)(random);
  const towers = [made.config, made.config.vision_config].filter(Boolean) as Json[];
  // DINOv2 with registers then drops what is left over.
  if (towers.some(({ hidden_size: width, num_attention_heads: heads }) => (width as number) % (heads as number)))
    made.odd.push("num_attention_heads");
  return made;
}
