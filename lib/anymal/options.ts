// What a model is put together from, and the defaults of AnyMAL's Table 12.
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import type { ResolveOptions } from "../io/hub.js";
import type { Modality } from "../media/part.js";
import { OTHER_LOADING, type QuantizationName } from "../models/loading.js";
import type { FeatureNormKind } from "../models/projector.js";
import type { ResamplerForm } from "../models/resampler.js";
import type { Quantization } from "../nn/weights.js";

export type { QuantizationName } from "../models/loading.js";

export const MODALITIES = ["image", "video", "audio", "imu"] as const satisfies readonly Modality[];

/**
 * patch: the rows of places. all: the class token too. pooled: one row for the whole medium, before the encoder's projection. embeds: the row that
 * is compared with text, after it, of length 1: what contrastive training has shaped, so attributes that came together can be told apart in it.
 */
export const SELECTS = ["patch", "all", "pooled", "embeds"] as const;
export type Select = (typeof SELECTS)[number];

/** Does one row stand for the whole medium? */
export const isOneRow = (select: Select): boolean => select === "pooled" || select === "embeds";

/** d of the features that a projection reads. */
export const featureWidth = (select: Select, { width, embedDim }: EncoderShape): number => (select === "embeds" ? embedDim : width);

export interface ResamplerOptions {
  type: "resampler";
  layers: number;
  /** Latents, which are the rows that the language model sees. */
  tokens: number;
  /** Default: heads of 64, or 8, 4, 2 or 1 of them where the encoder's width is no multiple of 64. */
  heads?: number;
  form?: ResamplerForm;
  normalize?: FeatureNormKind | false;
}
export interface LinearOptions {
  type: "linear";
  /** pooled: one row becomes `tokens` rows. per_token: a row per row of the encoder. Default per_token. */
  mode?: "pooled" | "per_token";
  /** For pooled. Default 32. */
  tokens?: number;
  normalize?: FeatureNormKind | false;
}
export type ProjectorOptions = ResamplerOptions | LinearOptions;

export interface ModalityOptions {
  /** A folder in Hugging Face layout (config.json, model.safetensors, preprocessor_config.json), or org/name or org/name@revision of the hub. */
  encoder: string;
  /** Default: Table 12's for the modality. */
  projector?: ProjectorOptions;
  /** Which hidden state: 0 the embedding, -1 (default) the last. */
  layer?: number;
  /** Default: patch, or pooled for a linear projection in pooled mode. */
  select?: Select;
  /** Video through an image encoder: how many frames are looked at. Default 4. */
  frames?: number;
}

export interface LoadOptions {
  /** Default: the CPU, or ANYMAL_DEVICE. */
  device?: Device | string;
  /** Of activations and frozen weights. Default: what the LLM's checkpoint suggests. */
  dtype?: "f32" | "bf16";
  /** Ends loading, downloads included; what has arrived is kept. */
  signal?: AbortSignal | undefined;
  /** Told of what arrives from the hub. */
  onProgress?: ResolveOptions["onProgress"];
  /** No request to the hub: what a name or a checkpoint asks for is on this machine, or E_HUB_OFFLINE. Default false. */
  localFilesOnly?: boolean;
}

export interface AssembleOptions extends LoadOptions {
  /** A folder in Hugging Face layout, a GGUF file, or org/name or org/name@revision of the hub. */
  llm: string;
  /** How the frozen LLM is held. Default nf4. */
  quantization?: QuantizationName | Quantization;
  modalities: Partial<Record<Modality, ModalityOptions>>;
  prompt?: PromptFormat;
  /** Of the fresh projections. Default 0. */
  seed?: number;
}

export interface PromptFormat {
  /** Put before a conversation that has no system turn of its own. */
  system?: string;
  /** Text that spells a control token, as `<s>` of HTML does, is letters; by default it is refused. */
  splitSpecialTokens?: boolean;
}

const LOAD_KEYS = ["device", "dtype", "signal", "onProgress", "localFilesOnly"];
const PROMPT_KEYS: readonly (keyof PromptFormat)[] = ["system", "splitSpecialTokens"];
export const FROM_PRETRAINED_KEYS: readonly string[] = [...LOAD_KEYS, "quantization", "llm", "encoders"];
const PROJECTOR_KEYS = {
  resampler: ["type", "layers", "tokens", "heads", "form", "normalize"],
  linear: ["type", "mode", "tokens", "normalize"],
};

/** Throws E_VALUE on an option that is not known, wherever it stands. */
export function checkAssembly(options: AssembleOptions): void {
  const at = "AnyMAL.assemble";
  checkOptions(at, options, [...LOAD_KEYS, "llm", "quantization", "modalities", "prompt", "seed"], { others: OTHER_LOADING });
  checkOptions(`${at} prompt`, options.prompt, PROMPT_KEYS);
  checkOptions(`${at} modalities`, options.modalities, MODALITIES);
  for (const [modality, one] of Object.entries(options.modalities ?? {})) {
    const where = `${at} modalities.${modality}`;
    checkOptions(where, one, ["encoder", "projector", "layer", "select", "frames"]);
    const known = one?.projector && Object.hasOwn(PROJECTOR_KEYS, one.projector.type) ? PROJECTOR_KEYS[one.projector.type] : undefined;
    if (known) checkOptions(`${where}.projector`, one?.projector, known);
  }
}

/** Table 12 of the paper; "Linear (1), 32 tokens" is read as one row per encoder token, of which CLAP and IMU2CLIP have 32. */
const PROJECTORS: Readonly<Record<Modality, ProjectorOptions>> = {
  image: { type: "resampler", layers: 6, tokens: 64 },
  video: { type: "resampler", layers: 4, tokens: 32 },
  audio: { type: "linear", mode: "per_token" },
  imu: { type: "linear", mode: "per_token" },
};

/** A modality with every default written out: what anymal.json keeps. */
export interface ModalitySetup {
  projector: CompleteProjector;
  layer: number;
  select: Select;
  /** undefined where the encoder takes the medium as it is. */
  frames: number | undefined;
}
export type CompleteProjector =
  | {
      type: "resampler";
      form: ResamplerForm;
      layers: number;
      tokens: number;
      heads: number;
      dim: number;
      frames: number;
      normalize: FeatureNormKind | false;
    }
  | { type: "linear"; mode: "pooled" | "per_token"; tokens: number; dim: number; normalize: FeatureNormKind | false };

/** Of an encoder, what a setup depends on. */
export interface EncoderShape {
  width: number;
  embedDim: number;
  modality: Modality;
}

export function completeSetup(modality: Modality, options: ModalityOptions, encoder: EncoderShape): ModalitySetup {
  const framewise = modality === "video" && encoder.modality === "image";
  if (encoder.modality !== modality && !framewise)
    throw expected(
      "E_MODALITY",
      `modalities.${modality}`,
      `an encoder of ${modality}`,
      `one of ${encoder.modality}`,
      "name another folder",
    );
  if (options.frames !== undefined && !framewise)
    throw expected("E_MODALITY", `modalities.${modality}.frames`, "frames only for video through an image encoder", options.frames);
  const frames = framewise ? (options.frames ?? 4) : undefined;
  const wanted = options.projector ?? PROJECTORS[modality];
  const pooled = wanted.type === "linear" && wanted.mode === "pooled";
  const select = options.select ?? (pooled ? "pooled" : "patch");
  const projector = completeProjector(wanted, featureWidth(select, encoder), frames ?? 0);
  if (pooled && (!isOneRow(select) || framewise))
    throw expected(
      "E_MODALITY",
      `modalities.${modality}`,
      "one row for a linear projection in pooled mode",
      framewise ? `${frames} frames` : `select "${select}"`,
      'set select to "pooled" or "embeds", mode to "per_token", or take a resampler',
    );
  return { projector, layer: options.layer ?? -1, select, frames };
}

function completeProjector(options: ProjectorOptions, dim: number, frames: number): CompleteProjector {
  const normalize = options.normalize ?? "standardize";
  if (options.type === "linear") return { type: "linear", mode: options.mode ?? "per_token", tokens: options.tokens ?? 32, dim, normalize };
  const { layers, tokens, form = "flamingo", heads = headsFor(dim) } = options;
  if (dim % heads)
    throw expected(
      "E_MODALITY",
      "projector.heads",
      `a divisor of the features' width ${dim}`,
      heads,
      `try ${headsFor(dim)} or leave it out`,
    );
  return { type: "resampler", form, layers, tokens, heads, dim, frames, normalize };
}

const headsFor = (dim: number): number => (dim % 64 === 0 ? dim / 64 : ([8, 4, 2].find((n) => dim % n === 0) ?? 1));
