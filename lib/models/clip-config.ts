// config.json of CLIP, of one tower or of both, as Hugging Face writes it. Missing keys have transformers' defaults.
import type { VitBlockConfig } from "../nn/vit-block.js";
import { ConfigError, id, type Json, number, section, size } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { type BlocksConfig, blocksJson, blocksOf, channelsOf, pictureOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { ideficsTower } from "./idefics-config.js";
import { towerConfig } from "./tower.js";

/** Of both towers. */
const DEFAULTS = { layers: 12, activation: "quick_gelu", layerNormEps: 1e-5 };

export interface ClipVisionConfig extends BlocksConfig {
  imageSize: number;
  patchSize: number;
  channels: number;
  /** Of embeds; undefined: there is no projection, and embeds are the pooled state. */
  projectionDim: number | undefined;
}

export interface ClipTextConfig extends BlocksConfig {
  vocabSize: number;
  maxPositions: number;
  /** Whose first place is pooled. 2 means the highest id instead: OpenAI's files say 2 where their tokenizer's is 49407. */
  eosTokenId: number;
  projectionDim: number;
}

export interface ClipConfig {
  vision: ClipVisionConfig & { projectionDim: number };
  text: ClipTextConfig;
  /** ln of what cosines are multiplied by, at the start of training. */
  logitScaleInit: number;
}

/**
 * Of a CLIPVisionModel(WithProjection), of a whole CLIPModel, or of a larger model that sees through one, such as LLaVA. Without `architectures`
 * it is not said whether there is a projection.
 */
export function parseClipVisionConfig(json: Json): ClipVisionConfig {
  const { own: c, larger } = towerConfig(json.model_type === "idefics" ? ideficsTower(json) : json, {
    alone: ["clip_vision_model"],
    whole: "clip",
    section: "vision_config",
  });
  checkKeys(c, "CLIP", ENCODER_KEYS.clipVision);
  const plain = larger || json.model_type === "idefics" || [json.architectures].flat().includes("CLIPVisionModel");
  return {
    ...blocksOf(c, { ...DEFAULTS, hiddenSize: 768, intermediateSize: 3072, heads: 12 }),
    ...pictureOf(c, 224, 32),
    channels: channelsOf(c, "num_channels", 3),
    projectionDim: plain ? undefined : size(json, "projection_dim", 512),
  };
}

/** Of a CLIPTextModelWithProjection, or of a whole CLIPModel. */
export function parseClipTextConfig(json: Json): ClipTextConfig {
  const c = tower(json, "clip_text_model", "text_config");
  checkKeys(c, "CLIP", ENCODER_KEYS.clipText);
  const vocabSize = size(c, "vocab_size", 49408);
  const eosTokenId = id(c.eos_token_id ?? vocabSize - 1);
  if (eosTokenId === undefined || eosTokenId >= vocabSize)
    throw new ConfigError("eos_token_id", `an id below ${vocabSize}`, c.eos_token_id);
  return {
    ...blocksOf(c, { ...DEFAULTS, hiddenSize: 512, intermediateSize: 2048, heads: 8 }),
    vocabSize,
    maxPositions: size(c, "max_position_embeddings", 77),
    eosTokenId,
    projectionDim: size(json, "projection_dim", 512),
  };
}

/** Of a whole CLIPModel. */
export function parseClipConfig(json: Json): ClipConfig {
  if (json.model_type !== "clip") throw new ConfigError("model_type", "clip", json.model_type);
  const projectionDim = size(json, "projection_dim", 512);
  return {
    vision: { ...parseClipVisionConfig(json), projectionDim },
    text: parseClipTextConfig(json),
    logitScaleInit: number(json, "logit_scale_init_value", 2.6592),
  };
}

export function clipVisionJson(c: ClipVisionConfig): Json {
  const own = { num_channels: c.channels, image_size: c.imageSize, patch_size: c.patchSize };
  return { model_type: "clip_vision_model", ...blocksJson(c), ...own, ...(c.projectionDim && { projection_dim: c.projectionDim }) };
}

export function clipTextJson(c: ClipTextConfig): Json {
  const own = { vocab_size: c.vocabSize, max_position_embeddings: c.maxPositions, eos_token_id: c.eosTokenId };
  return { model_type: "clip_text_model", ...blocksJson(c), ...own, projection_dim: c.projectionDim };
}

export function clipJson({ vision, text, logitScaleInit }: ClipConfig): Json {
  return {
    architectures: ["CLIPModel"],
    model_type: "clip",
    projection_dim: vision.projectionDim,
    logit_scale_init_value: logitScaleInit,
    vision_config: clipVisionJson(vision),
    text_config: clipTextJson(text),
  };
}

export function vitBlock(c: BlocksConfig): VitBlockConfig {
  const { hiddenSize: width, intermediateSize: hidden, heads, activation, layerNormEps: eps, layers } = c;
  return { width, hidden, heads, activation, eps, layers };
}

// projection_dim is read from the outer config: the one inside a whole model's towers may say something else, and nobody reads it.
function tower(json: Json, alone: string, inside: string): Json {
  if (json.model_type === "clip") return section(json, inside);
  if (json.model_type === alone) return json;
  throw new ConfigError("model_type", `clip or ${alone}`, json.model_type);
}
