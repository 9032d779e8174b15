// The kinds of models that a config.json may name, by its model_type: what each is, and what it is called. Openers and inspect read it.
import type { Modality } from "../media/part.js";
import type { Json } from "./config.js";
import { LLAMA_FAMILIES } from "./llama-config.js";

/** decoder: a language model. encoder: a tower, or a pair of towers of which one is taken. whole: a language model with what it sees through. */
export type ModelType =
  | { readonly kind: "decoder" }
  | { readonly kind: "encoder"; readonly name: string; readonly takes: Modality }
  | { readonly kind: "whole"; readonly name: string };

const encoder = (name: string, takes: Modality): ModelType => ({ kind: "encoder", name, takes });
const whole = (name: string): ModelType => ({ kind: "whole", name });

/** Of language models. */
export const DECODER_TYPES: readonly string[] = [...LLAMA_FAMILIES, "opt", "mpt"];

export const MODEL_TYPES: Readonly<Record<string, ModelType>> = {
  ...Object.fromEntries(DECODER_TYPES.map((name): [string, ModelType] => [name, { kind: "decoder" }])),
  clip: encoder("CLIP", "image"),
  clip_vision_model: encoder("CLIP", "image"),
  siglip: encoder("SigLIP", "image"),
  siglip_vision_model: encoder("SigLIP", "image"),
  siglip2: encoder("SigLIP 2", "image"), // says what to take instead
  siglip2_vision_model: encoder("SigLIP 2", "image"),
  blip_2_vision_model: encoder("BLIP-2's EVA", "image"),
  instructblip_vision_model: encoder("InstructBLIP's EVA", "image"),
  dinov2: encoder("DINOv2", "image"),
  dinov2_with_registers: encoder("DINOv2 with registers", "image"),
  videomae: encoder("VideoMAE", "video"),
  viclip: encoder("ViCLIP", "video"),
  clap: encoder("CLAP", "audio"),
  clap_audio_model: encoder("CLAP", "audio"),
  whisper: encoder("Whisper", "audio"),
  qwen2_audio_encoder: encoder("Qwen2-Audio", "audio"),
  imu2clip: encoder("IMU2CLIP", "imu"),
  imu_vit: encoder("IMU ViT", "imu"),
  llava: whole("LLaVA"),
  llava_llama: whole("LLaVA"),
  idefics: whole("IDEFICS"),
  otter: whole("Otter"),
  flamingo: whole("OpenFlamingo"),
  "blip-2": whole("BLIP-2"),
  instructblip: whole("InstructBLIP"),
  qwen2_audio: whole("Qwen2-Audio"),
};

export const modelType = (json: Json): ModelType | undefined => {
  const name = json.model_type;
  return typeof name === "string" && Object.hasOwn(MODEL_TYPES, name) ? MODEL_TYPES[name] : undefined;
};
export const isWhole = (json: Json): boolean => modelType(json)?.kind === "whole";
