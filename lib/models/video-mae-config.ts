// config.json of VideoMAE. Missing keys have transformers' defaults.
import type { ActivationKind } from "../ops/index.js";
import { activationKind, activationName, ConfigError, flag, headsOf, type Json } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { channelsOf, epsOf, layersOf, pictureOf, widthOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { towerConfig } from "./tower.js";

export interface VideoMaeConfig {
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  activation: ActivationKind;
  layerNormEps: number;
  imageSize: number;
  patchSize: number;
  channels: number;
  frames: number;
  /** Frames of one token. */
  tubeletSize: number;
  /** Biases of q and v; k never has one. */
  qvBias: boolean;
  /** There is no final norm: the mean over the tokens is normed by whatever classifies. */
  meanPooling: boolean;
}

/** The table of positions is computed, not stored: a config alone decides how large it is. */
const MOST_POSITIONS = 2 ** 27;

/** Throws E_CONFIG on what is not VideoMAE's, or could not be built. */
export function parseVideoMaeConfig(json: Json): VideoMaeConfig {
  const { own: c } = towerConfig(json, { alone: ["videomae"], section: "vision_config" });
  checkKeys(c, "VideoMAE", ENCODER_KEYS.videoMae);
  const hiddenSize = widthOf(c, "hidden_size", 768);
  const config: VideoMaeConfig = {
    hiddenSize,
    intermediateSize: widthOf(c, "intermediate_size", 3072),
    layers: layersOf(c, "num_hidden_layers", 12),
    heads: headsOf(c, "num_attention_heads", hiddenSize, 12),
    activation: activationKind(c, "hidden_act", "gelu"),
    layerNormEps: epsOf(c, "layer_norm_eps", 1e-12),
    ...pictureOf(c, 224, 16),
    channels: channelsOf(c, "num_channels", 3),
    frames: widthOf(c, "num_frames", 16),
    tubeletSize: channelsOf(c, "tubelet_size", 2),
    qvBias: flag(c, c.qkv_bias === undefined ? "qv_bias" : "qkv_bias", true), // the same under its older name
    meanPooling: flag(c, "use_mean_pooling", true),
  };
  const { frames, tubeletSize } = config;
  if (frames % tubeletSize) throw new ConfigError("num_frames", `a multiple of tubelet_size ${tubeletSize}`, frames);
  if (tokensOf(config) * hiddenSize > MOST_POSITIONS)
    throw new ConfigError("image_size", `one of at most ${Math.floor(MOST_POSITIONS / hiddenSize)} tokens`, tokensOf(config));
  return config;
}

/** Tokens of a clip. */
export function tokensOf({ frames, tubeletSize, imageSize, patchSize }: VideoMaeConfig): number {
  return (frames / tubeletSize) * Math.floor(imageSize / patchSize) ** 2;
}

export function videoMaeJson(c: VideoMaeConfig): Json {
  return {
    architectures: ["VideoMAEModel"],
    model_type: "videomae",
    hidden_size: c.hiddenSize,
    intermediate_size: c.intermediateSize,
    num_hidden_layers: c.layers,
    num_attention_heads: c.heads,
    hidden_act: activationName(c.activation),
    layer_norm_eps: c.layerNormEps,
    image_size: c.imageSize,
    patch_size: c.patchSize,
    num_channels: c.channels,
    num_frames: c.frames,
    tubelet_size: c.tubeletSize,
    qkv_bias: c.qvBias,
    use_mean_pooling: c.meanPooling,
  };
}
