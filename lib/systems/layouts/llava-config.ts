// What LLaVA's config.json says, in transformers' keys and in the original's, and where its processor must say the same: how many rows a picture has
// follows from both, and one that differs would put other rows where the prompt has places for them.
import type { WeightSource } from "../../io/checkpoint.js";
import { type BridgeSetup, completeBridge } from "../../models/bridges/index.js";
import type { FeatureLayer, Select } from "../../models/bridges/select.js";
import { activationKind, ConfigError, flag, type Json, section, size } from "../../models/config.js";
import { textConfig } from "../../models/decoder.js";

/** The original's configuration is its language model's, with keys of its own. */
export const isOriginal = (json: Json): boolean =>
  json.text_config === undefined && ("mm_projector_type" in json || "mm_vision_tower" in json || "mm_hidden_size" in json);

/** … without which it describes the language model alone. */
export function originalText(json: Json): Json {
  const own = Object.entries(json).filter(
    ([key]) => !/^(mm_|tune_|freeze_|unfreeze_|use_mm_|image_|vision_|tokenizer_|pretrain_)/.test(key),
  );
  return textConfig(Object.fromEntries(own));
}

interface Features {
  layer: FeatureLayer;
  select: Select;
  /** d of what the bridge reads. */
  dim: number;
  rows: number | undefined;
  pad: boolean;
  token: string;
  id: number | undefined;
}

const DIFFER = "config and processor are of different models: fetch both again, or correct the one that is wrong";

export function llavaFeatures(json: Json, processor: Json): Features {
  return isOriginal(json) ? originalFeatures(json) : hubFeatures(json, processor);
}

function originalFeatures(json: Json): Features {
  const feature = json.mm_vision_select_feature ?? "patch";
  if (feature !== "patch" && feature !== "cls_patch") throw new ConfigError("mm_vision_select_feature", '"patch" or "cls_patch"', feature);
  if (flag(json, "mm_use_im_start_end", false))
    throw new ConfigError(
      "mm_use_im_start_end",
      "false",
      true,
      "tokens around a picture are not read here: take a checkpoint without them",
    );
  const aspect = json.image_aspect_ratio ?? "square";
  if (aspect !== "square" && aspect !== "pad")
    throw new ConfigError("image_aspect_ratio", '"square" or "pad"', aspect, "pictures in tiles are LLaVA-NeXT's, which is not read here");
  return {
    layer: layerOf(json, "mm_vision_select_layer"),
    select: feature === "patch" ? "patch" : "all",
    dim: size(json, "mm_hidden_size"),
    rows: undefined,
    pad: aspect === "pad",
    token: "<image>",
    id: undefined, // it writes -200, which no table has
  };
}

function hubFeatures(json: Json, processor: Json): Features {
  const vision = section(json, "vision_config");
  const layer = layerOf(json, "vision_feature_layer");
  const strategy = json.vision_feature_select_strategy ?? "default";
  if (strategy !== "default" && strategy !== "full")
    throw new ConfigError("vision_feature_select_strategy", '"default" or "full"', strategy);
  const classTokens = vision.model_type === "clip_vision_model" ? 1 : 0;
  if (strategy === "default" && !classTokens)
    throw new ConfigError(
      "vision_feature_select_strategy",
      `"full" for ${JSON.stringify(vision.model_type)}, whose first row is a patch`,
      strategy,
      "it would lose that row",
    );
  const [image, patch] = [size(vision, "image_size", 224), size(vision, "patch_size", classTokens ? 32 : 16)];
  const patches = Math.floor(image / patch) ** 2;
  const rows = strategy === "full" ? patches + classTokens : patches;
  const same = (key: string, wanted: unknown, got: unknown, where: string) => {
    if (got !== undefined && got !== null && got !== wanted)
      throw new ConfigError(key, `${JSON.stringify(got)}, as in ${where}`, wanted, DIFFER);
  };
  same("vision_feature_select_strategy", strategy, processor.vision_feature_select_strategy, "processor_config.json");
  same("patch_size", patch, processor.patch_size, "processor_config.json");
  if (processor.patch_size !== undefined && processor.patch_size !== null) {
    const more = processor.num_additional_image_tokens ?? 0;
    if (!Number.isInteger(more)) throw new ConfigError("num_additional_image_tokens", "an integer, in processor_config.json", more);
    const counted = patches + (more as number) - (strategy === "default" ? 1 : 0);
    if (counted !== rows)
      throw new ConfigError(
        "vision_feature_select_strategy",
        `such that a picture has the ${counted} rows of processor_config.json`,
        `"${strategy}", of ${rows} rows`,
        `set num_additional_image_tokens to ${classTokens} in processor_config.json, which counts the tower's class tokens`,
      );
  }
  if (json.image_seq_length !== undefined && json.image_seq_length !== rows)
    throw new ConfigError(
      "image_seq_length",
      `${rows}, the rows of a picture of ${image} by ${image} in patches of ${patch}, "${strategy}"`,
      json.image_seq_length,
      DIFFER,
    );
  const token = processor.image_token ?? "<image>";
  if (typeof token !== "string" || !token || token.length > 64)
    throw new ConfigError("image_token", "a short text, in processor_config.json", token);
  const id = json.image_token_index ?? json.image_token_id ?? 32000;
  if (!Number.isInteger(id)) throw new ConfigError("image_token_index", "an integer", id);
  const widths = typeof layer === "number" ? 1 : layer.length;
  const dim = widths * size(vision, "hidden_size", 768);
  return {
    layer: towerLayer(layer, vision, classTokens),
    select: strategy === "full" ? "all" : "patch",
    dim,
    rows,
    pad: false,
    token,
    id: id as number,
  };
}

/** transformers takes states before a final norm, which the last by its number is here; by -1 it is the one after. */
function towerLayer(layer: FeatureLayer, vision: Json, classTokens: number): FeatureLayer {
  if (classTokens) return layer;
  const before = (one: number) => (one === -1 ? size(vision, "num_hidden_layers", 12) : one);
  return typeof layer === "number" ? before(layer) : layer.map(before);
}

function layerOf(json: Json, key: string): FeatureLayer {
  const layer = json[key] ?? -2;
  const fits = (one: unknown): one is number => Number.isInteger(one) && Math.abs(one as number) <= 1024;
  if (fits(layer)) return layer;
  if (Array.isArray(layer) && layer.length && layer.length <= 64 && layer.every(fits))
    return layer.length === 1 ? (layer[0] as number) : layer;
  throw new ConfigError(key, "a hidden state's number, or a list of them", layer);
}

interface LlavaBridge {
  setup: BridgeSetup;
  /** Of the names below the bridge's prefix. */
  renames(name: string): string;
}

export function llavaBridge(json: Json, weights: WeightSource, dim: number): LlavaBridge {
  const type = isOriginal(json) ? (json.mm_projector_type ?? "linear") : "mlp2x_gelu";
  if (type === "linear") return { setup: completeBridge({ type: "linear", normalize: false }, dim, 0), renames: (name) => `proj.${name}` };
  if (type !== "mlp2x_gelu")
    throw new ConfigError("mm_projector_type", '"linear" or "mlp2x_gelu"', type, "take a checkpoint of LLaVA 1 or 1.5");
  const original = isOriginal(json);
  const activation = original ? "gelu" : activationKind(json, "projector_hidden_act", "gelu");
  const bias = original || flag(json, "multimodal_projector_bias", true);
  const setup = completeBridge({ type: "mlp", normalize: false, activation: activation as "gelu", bias }, dim, 0);
  const first = original ? "0.weight" : "linear_1.weight";
  if (weights.has(first)) {
    const [, stored] = weights.entry(first).shape;
    if (stored !== dim)
      throw new ConfigError(
        original ? "mm_hidden_size" : "vision_feature_layer",
        `such that the bridge reads ${stored} numbers a row, as its weight does`,
        dim,
        DIFFER,
      );
  }
  return { setup, renames: (name) => (original ? name.replace(/^0\./, "linear_1.").replace(/^2\./, "linear_2.") : name) };
}
