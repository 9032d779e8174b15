// config.json of DINOv2, with registers or without. Missing keys have transformers' defaults.
import type { ActivationKind } from "../ops/index.js";
import { activationKind, activationName, flag, headsOf, type Json } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { channelsOf, epsOf, layersOf, pictureOf, ratioOf, widthOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { towerConfig } from "./tower.js";

export interface Dinov2Config {
  hiddenSize: number;
  layers: number;
  heads: number;
  /** Width of the feed-forward over hiddenSize, before SwiGLU's two thirds. */
  mlpRatio: number;
  activation: ActivationKind;
  layerNormEps: number;
  imageSize: number;
  patchSize: number;
  channels: number;
  qkvBias: boolean;
  swiGlu: boolean;
  /** Tokens after the class token that are no place; undefined: the model without registers, whose position table is stretched in another way. */
  registers: number | undefined;
}

const PLAIN = "dinov2";
const REGISTERS = "dinov2_with_registers";

/** Throws E_CONFIG on what is not DINOv2's, or could not be built. */
export function parseDinov2Config(json: Json): Dinov2Config {
  const { own: c } = towerConfig(json, { alone: [PLAIN, REGISTERS], section: "vision_config" });
  checkKeys(c, "DINOv2", ENCODER_KEYS.dinov2);
  const hiddenSize = widthOf(c, "hidden_size", 768);
  return {
    hiddenSize,
    layers: layersOf(c, "num_hidden_layers", 12),
    heads: headsOf(c, "num_attention_heads", hiddenSize, 12),
    mlpRatio: ratioOf(c, "mlp_ratio", 4),
    activation: activationKind(c, "hidden_act", "gelu"),
    layerNormEps: epsOf(c, "layer_norm_eps", 1e-6),
    ...pictureOf(c, 224, c.model_type === REGISTERS ? 16 : 14),
    channels: channelsOf(c, "num_channels", 3),
    qkvBias: flag(c, "qkv_bias", true),
    swiGlu: flag(c, "use_swiglu_ffn", false),
    registers: c.model_type === REGISTERS ? widthOf(c, "num_register_tokens", 4) : undefined,
  };
}

/** SwiGLU keeps two thirds of the width, up to a multiple of 8, so that it has about as many weights as the MLP. */
export function feedForwardWidth({ hiddenSize, mlpRatio, swiGlu }: Dinov2Config): number {
  const hidden = Math.trunc(hiddenSize * mlpRatio);
  return swiGlu ? Math.floor((Math.trunc((hidden * 2) / 3) + 7) / 8) * 8 : hidden;
}

export function dinov2Json(c: Dinov2Config): Json {
  const registers = c.registers !== undefined;
  return {
    architectures: [registers ? "Dinov2WithRegistersModel" : "Dinov2Model"],
    model_type: registers ? REGISTERS : PLAIN,
    hidden_size: c.hiddenSize,
    num_hidden_layers: c.layers,
    num_attention_heads: c.heads,
    mlp_ratio: c.mlpRatio,
    hidden_act: activationName(c.activation),
    layer_norm_eps: c.layerNormEps,
    image_size: c.imageSize,
    patch_size: c.patchSize,
    num_channels: c.channels,
    qkv_bias: c.qkvBias,
    use_swiglu_ffn: c.swiGlu,
    ...(registers ? { num_register_tokens: c.registers } : { use_mask_token: false }),
  };
}
