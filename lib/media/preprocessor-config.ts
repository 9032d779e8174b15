// Where a model's folder says what its pictures, clips and sounds go through: preprocessor_config.json and the files that newer and other
// libraries write in its place.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { shown } from "../core/checks.js";
import { parseJson } from "../core/json.js";
import { readPlainSync } from "../core/plain-file.js";
import { MediaError, reasonOf } from "./error.js";

export type ProcessorJson = Record<string, unknown>;
export interface PreprocessorConfig {
  config: ProcessorJson;
  /** The file it was read from. */
  where: string;
}

/** In the order they are looked for. The second is of video processors. */
const OWN = ["preprocessor_config.json", "video_preprocessor_config.json"];
/** A whole processor's file, with the parts inside; older ones name only the class. */
const WHOLE = "processor_config.json";
const PARTS = ["image_processor", "video_processor", "feature_extractor"];
const OPEN_CLIP = "open_clip_config.json";
export const PROCESSOR_FILES: readonly string[] = [...OWN, WHOLE, OPEN_CLIP, "config.json"];
/** No such file is longer. */
const LONGEST = 1 << 20;

/** Throws E_MEDIA_OPTION where a folder has none of them. */
export function preprocessorConfig(folder: string): PreprocessorConfig {
  for (const name of OWN) {
    const where = join(folder, name);
    if (existsSync(where)) return { config: readJsonFile(where), where };
  }
  const whole = join(folder, WHOLE);
  if (existsSync(whole)) {
    const config = readJsonFile(whole);
    const part = PARTS.find((key) => isObject(config[key]));
    if (part) return { config: config[part] as ProcessorJson, where: whole };
    if (typeOf(config)) return { config, where: whole };
  }
  const openClip = join(folder, OPEN_CLIP);
  if (existsSync(openClip)) return { config: fromOpenClip(readJsonFile(openClip), openClip), where: openClip };
  return fail(folder, `${OWN[0]} in the folder`, "no such file", "copy it from the model's repository");
}

/** The class of the processor, as its file names it; "" where it does not. */
export function typeOf(config: ProcessorJson): string {
  const type = config.image_processor_type ?? config.video_processor_type ?? config.feature_extractor_type;
  return type === undefined || type === null ? "" : typeof type === "string" ? type.slice(0, 200) : shown(type);
}

/** OpenCLIP's transform for inference, in a CLIPImageProcessor's words. */
function fromOpenClip(json: ProcessorJson, where: string): ProcessorJson {
  const model = isObject(json.model_cfg) && isObject(json.model_cfg.vision_cfg) ? json.model_cfg.vision_cfg : {};
  const {
    mean,
    std,
    interpolation,
    resize_mode: mode = "shortest",
    size,
    mode: pixels,
  } = isObject(json.preprocess_cfg) ? json.preprocess_cfg : {};
  const given = size ?? model.image_size ?? 224;
  const [height, width] = Array.isArray(given) ? given.slice(-2) : [given, given];
  const hint = "see the model's repository";
  if (height !== width) fail(where, "a square image_size", shown(given), hint);
  if (mode !== "shortest" && mode !== "squash") fail(where, 'resize_mode "shortest" or "squash"', shown(mode), hint);
  // OpenCLIP draws of two where it trains, and takes bicubic where it does not.
  if (
    !(interpolation === undefined || interpolation === null || ["bicubic", "bilinear", "random"].some((known) => known === interpolation))
  )
    fail(where, "interpolation bicubic, bilinear or random", shown(interpolation), hint);
  if (pixels !== undefined && pixels !== "RGB") fail(where, 'mode "RGB"', shown(pixels), hint);
  return {
    image_processor_type: "CLIPImageProcessor",
    size: mode === "squash" ? { height, width } : { shortest_edge: height },
    do_center_crop: mode !== "squash",
    crop_size: { height, width },
    crop_rounding: "half_even", // torchvision's CenterCrop, where transformers rounds down
    resample: interpolation === "bilinear" ? 2 : 3,
    ...(mean !== undefined && mean !== null && { image_mean: mean }),
    ...(std !== undefined && std !== null && { image_std: std }),
  };
}

export function readJsonFile(path: string): ProcessorJson {
  let json: unknown;
  try {
    json = parseJson(readPlainSync(path, { most: LONGEST, linksInside: true }).toString("utf8"));
  } catch (cause) {
    return fail(path, "JSON", reasonOf(cause), "copy it again from the model's repository");
  }
  return isObject(json) ? json : fail(path, "an object in JSON", typeof json, "copy it again from the model's repository");
}

const isObject = (value: unknown): value is ProcessorJson => typeof value === "object" && value !== null && !Array.isArray(value);

function fail(where: string, expected: string, got: string, remedy: string): never {
  throw new MediaError("E_MEDIA_OPTION", where, expected, got, remedy);
}
