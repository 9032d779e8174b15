// config.json of the image tower of BLIP-2 and InstructBLIP, by itself or in a larger model's. Missing keys have transformers' defaults: EVA's ViT-g/14.
import type { ActivationKind } from "../ops/index.js";
import { activationKind, activationName, flag, headsOf, type Json } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { epsOf, layersOf, pictureOf, widthOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { towerConfig } from "./tower.js";

export interface Blip2VisionConfig {
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  activation: ActivationKind;
  layerNormEps: number;
  imageSize: number;
  patchSize: number;
  qkvBias: boolean;
}

export const BLIP2_TOWERS = ["blip_2_vision_model", "instructblip_vision_model"] as const;

/** Of a Blip2VisionModel, or of a BLIP-2 or InstructBLIP around it. Throws E_CONFIG on what would make another tower. */
export function parseBlip2VisionConfig(json: Json): Blip2VisionConfig {
  const { own: c } = towerConfig(json, { alone: BLIP2_TOWERS, section: "vision_config" });
  checkKeys(c, "BLIP-2's tower", ENCODER_KEYS.blip2Vision);
  const hiddenSize = widthOf(c, "hidden_size", 1408);
  return {
    hiddenSize,
    intermediateSize: widthOf(c, "intermediate_size", 6144),
    layers: layersOf(c, "num_hidden_layers", 39),
    heads: headsOf(c, "num_attention_heads", hiddenSize, 16),
    activation: activationKind(c, "hidden_act", "gelu"),
    layerNormEps: epsOf(c, "layer_norm_eps", 1e-6),
    ...pictureOf(c, 224, 14),
    qkvBias: flag(c, "qkv_bias", true),
  };
}

export function blip2VisionJson(c: Blip2VisionConfig): Json {
  return {
    architectures: ["Blip2VisionModel"],
    model_type: BLIP2_TOWERS[0],
    hidden_size: c.hiddenSize,
    intermediate_size: c.intermediateSize,
    num_hidden_layers: c.layers,
    num_attention_heads: c.heads,
    hidden_act: activationName(c.activation),
    layer_norm_eps: c.layerNormEps,
    image_size: c.imageSize,
    patch_size: c.patchSize,
    qkv_bias: c.qkvBias,
  };
}
