// config.json of VideoMAE. Missing keys have transformers' defaults.
import { ConfigError, flag, type Json } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { type BlocksConfig, blocksJson, blocksOf, channelsOf, pictureOf, widthOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { towerConfig } from "./tower.js";

export interface VideoMaeConfig extends BlocksConfig {
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
  const config: VideoMaeConfig = {
    ...blocksOf(c, { hiddenSize: 768, intermediateSize: 3072, layers: 12, heads: 12, activation: "gelu", layerNormEps: 1e-12 }),
    ...pictureOf(c, 224, 16),
    channels: channelsOf(c, "num_channels", 3),
    frames: widthOf(c, "num_frames", 16),
    tubeletSize: channelsOf(c, "tubelet_size", 2),
    qvBias: flag(c, c.qkv_bias === undefined ? "qv_bias" : "qkv_bias", true), // the same under its older name
    meanPooling: flag(c, "use_mean_pooling", true),
  };
  const { frames, tubeletSize, hiddenSize } = config;
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
    ...blocksJson(c),
    image_size: c.imageSize,
    patch_size: c.patchSize,
    num_channels: c.channels,
    num_frames: c.frames,
    tubelet_size: c.tubeletSize,
    qkv_bias: c.qvBias,
    use_mean_pooling: c.meanPooling,
  };
}
