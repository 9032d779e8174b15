// By the model_type of config.json: how a published folder is taken apart.
import type { WeightSource } from "../../io/checkpoint.js";
import { ConfigError, type Json } from "../../models/config.js";
import { textConfig } from "../../models/decoder.js";
import { familyOf } from "../../models/decoder-families.js";
import type { Published } from "../published.js";
import { blip2Layout, blip2Pieces, blip2Text } from "./blip2.js";
import { ideficsLayout, ideficsPieces } from "./idefics.js";
import { llavaLayout, llavaPieces } from "./llava.js";
import { otterLayout, otterPieces } from "./otter.js";
import { qwen2AudioLayout, qwen2AudioPieces } from "./qwen2-audio.js";

interface Layouts {
  /** processor: its processor_config.json. */
  pieces(source: WeightSource, json: Json, processor: Json): Published;
  /** Which of them it is, by its names alone. */
  name(source: WeightSource, json: Json): string;
  /** Of its language model, as far as config.json says it. */
  text?(json: Json): Json;
}

const llava: Layouts = { pieces: llavaPieces, name: llavaLayout };
const idefics: Layouts = { pieces: ideficsPieces, name: ideficsLayout };
const otter: Layouts = { pieces: otterPieces, name: otterLayout, text: textConfig };
const blip2: Layouts = { pieces: blip2Pieces, name: blip2Layout, text: blip2Text };
const qwen2Audio: Layouts = { pieces: qwen2AudioPieces, name: qwen2AudioLayout };
const LAYOUTS: Readonly<Record<string, Layouts>> = {
  llava,
  llava_llama: llava,
  idefics,
  otter,
  flamingo: otter,
  "blip-2": blip2,
  instructblip: blip2,
  qwen2_audio: qwen2Audio,
};

const layoutsOf = (json: Json): Layouts => {
  const type = json.model_type;
  const found = typeof type === "string" && Object.hasOwn(LAYOUTS, type) ? LAYOUTS[type] : undefined;
  if (!found) throw new ConfigError("model_type", `one of ${Object.keys(LAYOUTS).join(", ")}`, type);
  return found;
};

export const publishedPieces = (source: WeightSource, json: Json, processor: Json): Published =>
  layoutsOf(json).pieces(source, json, processor);
export const layoutName = (source: WeightSource, json: Json): string => layoutsOf(json).name(source, json);
/** Throws E_CONFIG where the language model inside is of a family that is not here: known before any weight is looked for. */
export function checkText(json: Json): void {
  const text = layoutsOf(json).text?.(json);
  if (text) familyOf(text);
}
