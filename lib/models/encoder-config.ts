// The sizes in an encoder's config.json, checked against what any encoder has: what is larger is a mistake or an attack, and is refused before
// anything is made of it.
import type { ActivationKind } from "../ops/index.js";
import { activationKind, activationName, ConfigError, headsOf, type Json, number, size } from "./config.js";

const MOST = { layers: 1024, width: 2 ** 16, side: 2 ** 14, channels: 64, ratio: 64 };

export const layersOf = (json: Json, key: string, fallback?: number): number => size(json, key, fallback, MOST.layers);
export const widthOf = (json: Json, key: string, fallback?: number): number => size(json, key, fallback, MOST.width);
export const channelsOf = (json: Json, key: string, fallback?: number): number => size(json, key, fallback, MOST.channels);

/** The blocks of a transformer, as Hugging Face's towers write them. */
export interface BlocksConfig {
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  activation: ActivationKind;
  layerNormEps: number;
}

/** What a missing key means. `activation` is a name of transformers'. */
type BlocksDefaults = Omit<BlocksConfig, "activation"> & { activation: string };

export function blocksOf(json: Json, otherwise: BlocksDefaults): BlocksConfig {
  const hiddenSize = widthOf(json, "hidden_size", otherwise.hiddenSize);
  return {
    hiddenSize,
    intermediateSize: widthOf(json, "intermediate_size", otherwise.intermediateSize),
    layers: layersOf(json, "num_hidden_layers", otherwise.layers),
    heads: headsOf(json, "num_attention_heads", hiddenSize, otherwise.heads),
    activation: activationKind(json, "hidden_act", otherwise.activation),
    layerNormEps: epsOf(json, "layer_norm_eps", otherwise.layerNormEps),
  };
}

export function blocksJson(c: BlocksConfig): Json {
  return {
    hidden_size: c.hiddenSize,
    intermediate_size: c.intermediateSize,
    num_hidden_layers: c.layers,
    num_attention_heads: c.heads,
    hidden_act: activationName(c.activation),
    layer_norm_eps: c.layerNormEps,
  };
}

/** What a norm adds to a variance. */
export function epsOf(json: Json, key: string, fallback: number): number {
  const eps = number(json, key, fallback);
  if (!(eps > 0 && eps <= 1)) throw new ConfigError(key, "above 0 and at most 1", eps);
  return eps;
}

/** Width of the feed-forward over the tower's own. */
export function ratioOf(json: Json, key: string, fallback: number): number {
  const ratio = number(json, key, fallback);
  if (!(ratio > 0 && ratio <= MOST.ratio)) throw new ConfigError(key, `above 0 and at most ${MOST.ratio}`, ratio);
  return ratio;
}

/** Side of the square pictures and of their patches. */
export function pictureOf(json: Json, imageSize?: number, patchSize?: number): { imageSize: number; patchSize: number } {
  const image = sideOf(json, "image_size", imageSize);
  const patch = sideOf(json, "patch_size", patchSize);
  if (patch > image) throw new ConfigError("patch_size", `at most image_size ${image}`, patch);
  return { imageSize: image, patchSize: patch };
}

/** A number, or a pair of equal ones: towers are square here, as their position tables are. */
export function sideOf(json: Json, key: string, fallback?: number): number {
  const value = json[key];
  if (!Array.isArray(value)) return size(json, key, fallback, MOST.side);
  if (value.length !== 2 || value[0] !== value[1]) throw new ConfigError(key, "one number, or two that are equal", value);
  return size({ [key]: value[0] }, key, undefined, MOST.side);
}
