// config.json of the image tower of BLIP-2 and InstructBLIP, by itself or in a larger model's. Missing keys have transformers' defaults: EVA's ViT-g/14.
import { flag, type Json } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { type BlocksConfig, blocksJson, blocksOf, pictureOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { towerConfig } from "./tower.js";

export interface Blip2VisionConfig extends BlocksConfig {
  imageSize: number;
  patchSize: number;
  qkvBias: boolean;
}

export const BLIP2_TOWERS = ["blip_2_vision_model", "instructblip_vision_model"] as const;

/** Of a Blip2VisionModel, or of a BLIP-2 or InstructBLIP around it. Throws E_CONFIG on what would make another tower. */
export function parseBlip2VisionConfig(json: Json): Blip2VisionConfig {
  const { own: c } = towerConfig(json, { alone: BLIP2_TOWERS, section: "vision_config" });
  checkKeys(c, "BLIP-2's tower", ENCODER_KEYS.blip2Vision);
  return {
    ...blocksOf(c, { hiddenSize: 1408, intermediateSize: 6144, layers: 39, heads: 16, activation: "gelu", layerNormEps: 1e-6 }),
    ...pictureOf(c, 224, 14),
    qkvBias: flag(c, "qkv_bias", true),
  };
}

export function blip2VisionJson(c: Blip2VisionConfig): Json {
  return {
    architectures: ["Blip2VisionModel"],
    model_type: BLIP2_TOWERS[0],
    ...blocksJson(c),
    image_size: c.imageSize,
    patch_size: c.patchSize,
    qkv_bias: c.qkvBias,
  };
}
