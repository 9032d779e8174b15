// config.json of LAION-CLAP's audio tower: whole (ClapModel, whose text tower is left alone) or alone (ClapAudioModelWithProjection).
import type { ActivationKind } from "../ops/index.js";
import { activationKind, ConfigError, flag, type Json, activationName as name, number, size } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { epsOf, ratioOf, widthOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { towerConfig } from "./tower.js";

export interface ClapAudioConfig {
  /** Side of the square that the spectrogram is folded into. */
  specSize: number;
  melBins: number;
  patchSize: Pair;
  patchStride: Pair;
  /** Width of the first stage; each later one doubles it. */
  patchWidth: number;
  /** Blocks and heads of each stage. */
  depths: number[];
  heads: number[];
  windowSize: number;
  mlpRatio: number;
  activation: ActivationKind;
  qkvBias: boolean;
  patchNorm: boolean;
  layerNormEps: number;
  dropout: number;
  /** Forms of dropout that exist here in inference only, where they are nothing. */
  attentionDropout: number;
  dropPath: number;
  /** Clips longer than the window come with three crops beside the whole. */
  fusion: boolean;
  affRatio: number;
  /** Of embeds; undefined: there is no projection, and embeds are the pooled state. */
  projectionDim: number | undefined;
  projectionActivation: ActivationKind;
}
/** The grid of windows is computed, not stored: a config alone decides how large it is. */
const MOST_SPEC = 4096;
const MOST_PAIRS = 2 ** 25;
const MOST_STAGES = 8;
const MOST_BLOCKS = 1024;

export type Pair = [height: number, width: number];

/** Throws E_CONFIG on what is not CLAP's, or could not be built. */
export function parseClapAudioConfig(json: Json): ClapAudioConfig {
  const { own: audio, larger } = towerConfig(json, { alone: ["clap_audio_model"], whole: "clap", section: "audio_config" });
  checkKeys(audio, "CLAP", ENCODER_KEYS.clapAudio);
  const whole = json.model_type === "clap";
  const projection = whole ? { projection_dim: audio.projection_dim, ...json } : larger ? audio : json; // ClapModel's own key rules its towers
  const depths = sizes(audio, "depths", [2, 2, 6, 2]);
  const config: ClapAudioConfig = {
    specSize: size(audio, "spec_size", 256, MOST_SPEC),
    melBins: size(audio, "num_mel_bins", 64),
    patchSize: pair(audio, "patch_size", 4),
    patchStride: pair(audio, "patch_stride", 4),
    patchWidth: widthOf(audio, "patch_embeds_hidden_size", 96),
    depths,
    heads: sizes(audio, "num_attention_heads", [4, 8, 16, 32]),
    windowSize: size(audio, "window_size", 8),
    mlpRatio: ratioOf(audio, "mlp_ratio", 4),
    activation: activationKind(audio, "hidden_act", "gelu"),
    qkvBias: flag(audio, "qkv_bias", true),
    patchNorm: flag(audio, "enable_patch_layer_norm", true),
    layerNormEps: epsOf(audio, "layer_norm_eps", 1e-5),
    dropout: number(audio, "hidden_dropout_prob", 0.1),
    attentionDropout: number(audio, "attention_probs_dropout_prob", 0),
    dropPath: number(audio, "drop_path_rate", 0),
    fusion: flag(audio, "enable_fusion", false),
    affRatio: size(audio, "aff_block_r", 4),
    projectionDim: size(projection, "projection_dim", 512),
    projectionActivation: activationKind(projection, "projection_hidden_act", "relu"),
  };
  refuse(audio, config);
  checkGeometry(config, audio);
  return config;
}

function refuse(audio: Json, { fusion }: ClapAudioConfig): void {
  if (!flag(audio, "flatten_patch_embeds", true)) throw new ConfigError("flatten_patch_embeds", "true", false);
  const channels = audio.patch_embed_input_channels ?? 1;
  if (channels !== 1) throw new ConfigError("patch_embed_input_channels", "1", channels);
  const type = audio.fusion_type ?? "aff_2d";
  if (fusion && type !== "aff_2d") throw new ConfigError("fusion_type", '"aff_2d" or null', type);
}

/** Every sentence says what the number must fit, for folders made by hand and encoders trained from nothing. */
export function checkGeometry(c: ClapAudioConfig, given: Json = clapAudioJson(c)): void {
  const { depths, heads, specSize, patchSize, patchStride } = c;
  if (heads.length !== depths.length) throw new ConfigError("num_attention_heads", `${depths.length} numbers, one per stage`, heads);
  const at = heads.findIndex((h, i) => stageWidth(c, i) % h);
  if (at >= 0) throw new ConfigError("num_attention_heads", `a divisor of the width ${stageWidth(c, at)} at stage ${at}`, heads);
  const last = stageWidth(c, depths.length - 1);
  if ((given.hidden_size ?? last) !== last)
    throw new ConfigError("hidden_size", `${last}, patch_embeds_hidden_size doubled per stage`, given.hidden_size);
  if (specSize % c.melBins) throw new ConfigError("spec_size", `a multiple of num_mel_bins ${c.melBins}`, specSize);
  for (const i of [0, 1] as const) {
    const span = specSize + 2 * patchPadding(c)[i] - patchSize[i];
    if (patchSize[i] < patchStride[i] || 1 + Math.floor(span / patchStride[i]) !== Math.floor(specSize / patchStride[i]))
      throw new ConfigError("patch_size", `one that gives ${Math.floor(specSize / patchStride[i])} patches per side`, patchSize);
  }
  const halvings = 2 ** (depths.length - 1);
  const grid = stageGrid(c, depths.length - 1);
  if (stageGrid(c, 0).some((side) => side % halvings))
    throw new ConfigError("spec_size", `patch_stride · a multiple of ${halvings}, for ${depths.length} stages`, specSize);
  if (Math.min(...grid) < c.windowSize)
    throw new ConfigError("window_size", `at most ${Math.min(...grid)}, a side of the last stage's grid`, c.windowSize);
  const [high, wide] = stageGrid(c, 0);
  if (high * wide * c.windowSize ** 2 > MOST_PAIRS)
    throw new ConfigError("window_size", `one in which ${high} × ${wide} tokens make at most ${MOST_PAIRS} pairs`, c.windowSize);
  if (grid[0] % foldRatio(c))
    throw new ConfigError("spec_size", `one whose last grid has a multiple of spec_size / num_mel_bins = ${foldRatio(c)} rows`, specSize);
}

/** Segments of time that are stacked along frequency. */
export const foldRatio = (c: ClapAudioConfig): number => c.specSize / c.melBins;
export const stageWidth = (c: ClapAudioConfig, stage: number): number => c.patchWidth * 2 ** stage;
export const stageGrid = (c: ClapAudioConfig, stage: number): Pair =>
  c.patchStride.map((stride) => Math.floor(Math.floor(c.specSize / stride) / 2 ** stage)) as Pair;
export const patchPadding = (c: ClapAudioConfig): Pair => c.patchSize.map((side, i) => (side - (c.patchStride[i] as number)) >> 1) as Pair;

/** config.json of a ClapAudioModelWithProjection, or of a ClapAudioModel. */
export function clapAudioJson(c: ClapAudioConfig): Json {
  return {
    architectures: [c.projectionDim === undefined ? "ClapAudioModel" : "ClapAudioModelWithProjection"],
    model_type: "clap_audio_model",
    spec_size: c.specSize,
    num_mel_bins: c.melBins,
    patch_size: c.patchSize[0] === c.patchSize[1] ? c.patchSize[0] : c.patchSize,
    patch_stride: c.patchStride,
    patch_embed_input_channels: 1,
    patch_embeds_hidden_size: c.patchWidth,
    hidden_size: stageWidth(c, c.depths.length - 1),
    depths: c.depths,
    num_hidden_layers: c.depths.length,
    num_attention_heads: c.heads,
    window_size: c.windowSize,
    mlp_ratio: c.mlpRatio,
    hidden_act: name(c.activation),
    qkv_bias: c.qkvBias,
    enable_patch_layer_norm: c.patchNorm,
    flatten_patch_embeds: true,
    layer_norm_eps: c.layerNormEps,
    hidden_dropout_prob: c.dropout,
    attention_probs_dropout_prob: c.attentionDropout,
    drop_path_rate: c.dropPath,
    enable_fusion: c.fusion,
    fusion_type: c.fusion ? "aff_2d" : null,
    aff_block_r: c.affRatio,
    ...(c.projectionDim !== undefined && { projection_dim: c.projectionDim, projection_hidden_act: name(c.projectionActivation) }),
  };
}

function sizes(json: Json, key: string, fallback: number[]): number[] {
  const value = json[key] ?? fallback;
  const fits = Array.isArray(value) && value.length && value.length <= MOST_STAGES;
  if (fits && value.every((n) => Number.isInteger(n) && n >= 1 && n <= MOST_BLOCKS)) return value;
  throw new ConfigError(key, `a list of up to ${MOST_STAGES} integers from 1 to ${MOST_BLOCKS}`, value);
}
function pair(json: Json, key: string, fallback: number): Pair {
  const value = json[key] ?? fallback;
  const both = typeof value === "number" ? [value, value] : value;
  if (Array.isArray(both) && both.length === 2 && both.every((n) => Number.isInteger(n) && n >= 1)) return both as Pair;
  throw new ConfigError(key, "an integer >= 1 or two of them", value);
}
