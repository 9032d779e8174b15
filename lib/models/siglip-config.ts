// config.json of SigLIP's and SigLIP 2's image tower at a fixed resolution. Missing keys have transformers' defaults.
import { ConfigError, flag, type Json } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { type BlocksConfig, blocksJson, blocksOf, channelsOf, pictureOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { towerConfig } from "./tower.js";

export interface SiglipVisionConfig extends BlocksConfig {
  imageSize: number;
  patchSize: number;
  channels: number;
  /** The head that pools by attention. Language models' towers (PaliGemma, Gemma 3) come without. */
  head: boolean;
}

/** Of a SiglipVisionModel, of a whole SiglipModel, or of a larger model that sees through one. */
export function parseSiglipVisionConfig(json: Json): SiglipVisionConfig {
  for (const type of [json.model_type, (json.vision_config as Json | undefined)?.model_type])
    if (typeof type === "string" && type.startsWith("siglip2"))
      throw new ConfigError(
        "model_type",
        "siglip or siglip_vision_model",
        type,
        "NaFlex towers, which take pictures of any shape, are not read here: take a SigLIP 2 of one resolution, such as siglip2-base-patch16-256",
      );
  const { own: c, larger } = towerConfig(json, { alone: ["siglip_vision_model"], whole: "siglip", section: "vision_config" });
  checkKeys(c, "SigLIP", ENCODER_KEYS.siglipVision);
  return {
    ...blocksOf(c, { hiddenSize: 768, intermediateSize: 3072, layers: 12, heads: 12, activation: "gelu_pytorch_tanh", layerNormEps: 1e-6 }),
    ...pictureOf(c, 224, 16),
    channels: channelsOf(c, "num_channels", 3),
    head: flag(c, "vision_use_head", !larger),
  };
}

export function siglipVisionJson(c: SiglipVisionConfig): Json {
  return {
    architectures: ["SiglipVisionModel"],
    model_type: "siglip_vision_model",
    ...blocksJson(c),
    image_size: c.imageSize,
    patch_size: c.patchSize,
    num_channels: c.channels,
    ...(!c.head && { vision_use_head: false }),
  };
}
