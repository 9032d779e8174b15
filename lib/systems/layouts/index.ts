// By the model_type of config.json: how a published folder is taken apart.
import type { WeightSource } from "../../io/checkpoint.js";
import { ConfigError, type Json } from "../../models/config.js";
import type { Published } from "../published.js";
import { blip2Layout, blip2Pieces } from "./blip2.js";
import { ideficsLayout, ideficsPieces } from "./idefics.js";
import { llavaLayout, llavaPieces } from "./llava.js";

interface Layouts {
  /** processor: its processor_config.json. */
  pieces(source: WeightSource, json: Json, processor: Json): Published;
  /** Which of them it is, by its names alone. */
  name(source: WeightSource, json: Json): string;
}

const llava: Layouts = { pieces: llavaPieces, name: llavaLayout };
const idefics: Layouts = { pieces: ideficsPieces, name: ideficsLayout };
const blip2: Layouts = { pieces: blip2Pieces, name: blip2Layout };
const LAYOUTS: Readonly<Record<string, Layouts>> = { llava, llava_llama: llava, idefics, "blip-2": blip2, instructblip: blip2 };

const layoutsOf = (json: Json): Layouts => {
  const type = json.model_type;
  const found = typeof type === "string" && Object.hasOwn(LAYOUTS, type) ? LAYOUTS[type] : undefined;
  if (!found) throw new ConfigError("model_type", `one of ${Object.keys(LAYOUTS).join(", ")}`, type);
  return found;
};

export const publishedPieces = (source: WeightSource, json: Json, processor: Json): Published =>
  layoutsOf(json).pieces(source, json, processor);
export const layoutName = (source: WeightSource, json: Json): string => layoutsOf(json).name(source, json);
