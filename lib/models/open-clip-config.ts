// open_clip_config.json, which stands beside OpenCLIP's own checkpoints, as a CLIP image tower's configuration.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isObject } from "../core/checks.js";
import type { ActivationKind } from "../ops/index.js";
import type { ClipVisionConfig } from "./clip-config.js";
import { ConfigError, flag, type Json, readJson, section, size } from "./config.js";
import { layersOf, pictureOf, ratioOf, widthOf } from "./encoder-config.js";

const CONFIG = "open_clip_config.json";

/** open_clip_config.json of a folder that has no config.json; undefined where there is one, or neither. */
export function readOpenClipConfig(folder: string): Json | undefined {
  const path = join(folder, CONFIG);
  return existsSync(path) && !existsSync(join(folder, "config.json")) ? readJson(path) : undefined;
}

/** What would make another tower than CLIP's, and what it must be. */
const PLAIN: Readonly<Record<string, readonly unknown[]>> = {
  timm_model_name: [undefined, null],
  attentional_pool: [undefined, false],
  ls_init_value: [undefined, null],
  pool_type: [undefined, "tok"],
  pos_embed_type: [undefined, "learnable"],
  no_ln_pre: [undefined, false],
  final_ln_after_pool: [undefined, false],
  block_type: [undefined, null, "default"],
  qk_norm: [undefined, false],
  input_patchnorm: [undefined, false],
  global_average_pool: [undefined, false],
  act_kwargs: [undefined, null],
  norm_kwargs: [undefined, null],
  scaled_cosine_attn: [undefined, false],
  scale_heads: [undefined, false],
  scale_attn_inner: [undefined, false],
  scale_attn: [undefined, false],
  scale_fc: [undefined, false],
};

const isEmpty = (value: unknown): boolean => isObject(value) && !Object.keys(value).length;

/** Throws E_CONFIG on towers that are no CLIP image tower, and on what could not be built. */
export function parseOpenClipConfig(json: Json): ClipVisionConfig {
  const model = section(json, "model_cfg");
  const c = section(model, "vision_cfg");
  for (const [key, allowed] of Object.entries(PLAIN))
    if (!allowed.includes(c[key]) && !isEmpty(c[key]))
      throw new ConfigError(
        `vision_cfg.${key}`,
        String(allowed.at(-1) ?? "left out"),
        c[key],
        "only CLIP's own transformer is read from OpenCLIP: take a ViT such as ViT-L-14 or ViT-bigG-14",
      );
  if (Array.isArray(c.layers)) throw new ConfigError("vision_cfg.layers", "a number: a ResNet is not read here", c.layers);
  const hiddenSize = widthOf(c, "width", 768);
  const headWidth = widthOf(c, "head_width", 64);
  if (hiddenSize % headWidth) throw new ConfigError("vision_cfg.head_width", `a divisor of the width ${hiddenSize}`, headWidth);
  const activation: ActivationKind = flag(model, "quick_gelu", false) ? "quick_gelu" : "gelu";
  return {
    hiddenSize,
    intermediateSize: Math.trunc(hiddenSize * ratioOf(c, "mlp_ratio", 4)),
    layers: layersOf(c, "layers", 12),
    heads: hiddenSize / headWidth,
    activation,
    layerNormEps: 1e-5,
    ...pictureOf(c, 224, 16),
    channels: 3,
    projectionDim: size(model, "embed_dim"),
  };
}
