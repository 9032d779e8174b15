// What a model is put together from.

import { type Check, is, shown } from "../core/checks.js";
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import type { ResolveOptions } from "../io/hub.js";
import { FRAME_PICKS, type FramePicks } from "../media/clip.js";
import { BUILT_IN, type BuiltIn, type Kinds, kindsWith, MODALITIES, type OwnEncoder, type OwnKinds } from "../media/kinds/index.js";
import type { Modality } from "../media/part.js";
import {
  type BridgeOptions,
  type BridgeSetup,
  completeBridge,
  kindProblem,
  optionsSchema,
  readsVector,
  selects,
} from "../models/bridges/index.js";
import { type EncoderShape, type FeatureLayer, featureWidth, isOneRow, LAYER, type Select } from "../models/bridges/select.js";
import { OTHER_LOADING, type QuantizationName } from "../models/loading.js";
import type { Quantization } from "../nn/weights.js";
import { DEFAULT_SYSTEM, systemOf } from "../systems/index.js";
import type { System } from "../systems/system.js";
import { modalityIn } from "./system-options.js";
import { WRITTEN_KEYS, WRITTEN_SCHEMA, type Written } from "./written.js";

export type { LinearOptions } from "../models/bridges/linear.js";
export type { ResamplerOptions } from "../models/bridges/resampler.js";
export type { QuantizationName } from "../models/loading.js";

export { MODALITIES };

// biome-ignore lint/suspicious/noExplicitAny: of whatever load() makes
type AnyEncoder = OwnEncoder<any>;

/** How a modality reaches the language model; `type` names the kind of bridge. */
export type ProjectorOptions = BridgeOptions;

export interface ModalityOptions extends Omit<OwnModalityOptions, "encoder"> {
  encoder: string | AnyEncoder;
}
/** Of a kind of media of the user's own. */
export interface OwnModalityOptions {
  /**
   * A folder in Hugging Face layout (config.json, model.safetensors, preprocessor_config.json), or org/name or org/name@revision of the hub; or an
   * encoder of one's own. Default: the kind's, where it brings one.
   */
  encoder?: string | AnyEncoder;
  /** Default: the system's for the modality; of AnyMAL, Table 12's. Or a folder in which one lies that was trained: projector.json, projector.safetensors. */
  projector?: ProjectorOptions | string;
  /** Which hidden state: 0 the embedding, -1 the last. Of a list the rows stand side by side, as in LLaVA's vision_feature_layer. Default: the system's, -1 of AnyMAL. */
  layer?: FeatureLayer;
  /** Default: what the projector reads, patch for most, pooled for a linear one in pooled mode. */
  select?: Select;
  /** Video through an image encoder: how many frames are looked at. Default 4. */
  frames?: number;
  /** Which of them: middles of equal spans of its time, or between the first and the last frame, by number. Default: the system's, middles of AnyMAL. */
  picks?: FramePicks;
  /** A folder or an id of the hub: the tokenizer of a bridge that reads the question (InstructBLIP's: bert-base-uncased). */
  question?: string;
  /** Pictures are padded to squares with the processor's mean colour, not cropped. Default: the system's, false of AnyMAL. */
  pad?: boolean;
}

/** … with a bridge's folder as what it says. */
export type FreshModality = Omit<OwnModalityOptions, "projector"> & { projector?: ProjectorOptions };

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
  /** Which system of the literature: what the other options leave open is as it has it. `anymal systems` lists them. Default anymal. */
  system?: string;
  /**
   * Control tokens beside those of the language model and of the system, such as <answer>. Their rows of the embedding and the head train alone, as the
   * adapter "tokens"; all other rows keep their bits.
   */
  addedTokens?: readonly string[];
  /** How the LLM is held. Default: nf4, or dense where the system trains all of it. */
  quantization?: QuantizationName | Quantization;
  modalities: { [K in BuiltIn]?: ModalityOptions } & { [own: string]: OwnModalityOptions | undefined };
  /** Of media, the user's own that the model is to know beside those that are here. */
  kinds?: OwnKinds;
  prompt?: PromptFormat;
  /**
   * What the system puts into the language model, changed: { "llama-adapter-v1": { layers: 2 } }; and adapters of other kinds, put on behind it under the
   * names of their kinds: { "prefix-tuning": { tokens: 20 } }, which a stage trains that opens "adapters.prefix-tuning.*".
   */
  adapters?: Readonly<Record<string, object>>;
  /** Of the fresh projections and adapters. Default 0. */
  seed?: number;
}

export interface FromPretrainedOptions extends LoadOptions {
  /** How the LLM is held; default: as it was in training. "none" answers in full precision. */
  quantization?: AssembleOptions["quantization"];
  /** Where the LLM is now, if it moved: a folder or an id of the hub. Another one of the same shape may stand in. */
  llm?: string;
  /** Where the encoders are now, if they moved. */
  encoders?: Partial<Record<Modality, string | AnyEncoder>>;
  /** Of media, the user's own that it was trained with. */
  kinds?: OwnKinds;
}

export interface PromptFormat {
  /** Text around every medium. */
  written?: Written;
  /** Put before a conversation that has no system turn of its own; "" puts none. */
  system?: string;
  /** Text that spells a control token, as `<s>` of HTML does, is letters; by default it is refused. */
  splitSpecialTokens?: boolean;
}

export const LOAD_KEYS = ["device", "dtype", "signal", "onProgress", "localFilesOnly"];
const PROMPT_KEYS: readonly (keyof PromptFormat)[] = ["system", "splitSpecialTokens", "written"];
export const FROM_PRETRAINED_KEYS: readonly string[] = [...LOAD_KEYS, "quantization", "llm", "encoders", "kinds"];

/** Control tokens: a checkpoint cannot ask for tables of any size. */
export const WORDS: Check = {
  wanted: "a list of words, none of them blank, 4096 at most",
  fits: (v) => Array.isArray(v) && v.length <= 4096 && v.every((word) => typeof word === "string" && word.trim() && word.length <= 256),
};

/** The kinds of media that it may name. Throws E_VALUE on an option that is not known, wherever it stands. */
export function checkAssembly(options: AssembleOptions): Kinds {
  const at = "AnyMAL.assemble";
  checkOptions(
    at,
    options,
    [...LOAD_KEYS, "system", "llm", "quantization", "modalities", "kinds", "adapters", "addedTokens", "prompt", "seed"],
    {
      others: OTHER_LOADING,
    },
  );
  const system = systemOf(options.system ?? DEFAULT_SYSTEM, `${at} system`);
  if (options.addedTokens !== undefined && !WORDS.fits(options.addedTokens))
    throw expected("E_VALUE", `${at} addedTokens`, WORDS.wanted, shown(options.addedTokens));
  checkOptions(`${at} prompt`, options.prompt, PROMPT_KEYS);
  checkOptions(`${at} prompt.written`, options.prompt?.written, WRITTEN_KEYS);
  for (const key of ["place", "proxy"] as const) {
    const value = options.prompt?.written?.[key];
    if (value !== undefined && !WRITTEN_SCHEMA[key].fits(value))
      throw expected("E_VALUE", `${at} prompt.written.${key}`, `${WRITTEN_SCHEMA[key].wanted}, or left out`, shown(value));
  }
  const kinds = kindsWith(options.kinds);
  checkOptions(`${at} modalities`, options.modalities, [...kinds.keys()]);
  for (const [modality, one] of Object.entries(options.modalities ?? {})) {
    const where = `${at} modalities.${modality}`;
    checkOptions(where, one, ["encoder", "projector", "layer", "select", "frames", "picks", "pad", "question"]);
    if (one?.question !== undefined && !is.text.fits(one.question))
      throw expected("E_VALUE", `${where}.question`, "a folder, or an id of the hub", shown(one.question));
    if (one?.layer !== undefined && !LAYER.fits(one.layer)) throw expected("E_VALUE", `${where}.layer`, LAYER.wanted, shown(one.layer));
    if (typeof one?.projector === "string") continue; // its own file says
    modalityIn(system, modality as Modality, (one ?? {}) as FreshModality);
    if (one?.projector) checkProjector(`${where}.projector`, one.projector);
  }
  return kinds;
}

/** Throws E_VALUE on a kind of bridge that nobody knows, and on options that it does not take. */
export function checkProjector(where: string, asked: ProjectorOptions): void {
  const unknown = kindProblem(asked);
  if (unknown) throw expected("E_VALUE", `${where}.type`, unknown.wanted, unknown.got, unknown.next);
  const schema = optionsSchema(asked);
  checkOptions(where, asked, ["type", ...Object.keys(schema)]);
  for (const [key, value] of Object.entries(asked))
    if (key !== "type" && value !== undefined && !schema[key]?.fits(value))
      throw expected("E_VALUE", `${where}.${key}`, String(schema[key]?.wanted), shown(value));
}

const SQUARE = [...BUILT_IN.values()].flatMap(({ name, square }) => (square ? [name] : []));
/** "video through an encoder of image" */
const FRAMEWISE = [...BUILT_IN.values()].flatMap(({ name, framesOf }) => (framesOf ? [`${name} through an encoder of ${framesOf}`] : []));

/** A modality with every default written out: what anymal.json keeps. */
export interface ModalitySetup {
  projector: BridgeSetup;
  layer: FeatureLayer;
  select: Select;
  /** undefined where the encoder takes the medium as it is. */
  frames: number | undefined;
  /** Of these, where it is not the middles of equal spans. */
  picks?: FramePicks;
  /** Pictures are padded to squares first, with the processor's mean colour. */
  pad?: true;
}

export function completeSetup(modality: Modality, options: FreshModality, encoder: EncoderShape, system: System): ModalitySetup {
  const own = modalityIn(system, modality, options);
  const framewise = BUILT_IN.get(modality)?.framesOf === encoder.modality;
  if (encoder.modality !== modality && !framewise)
    throw expected(
      "E_MODALITY",
      `modalities.${modality}`,
      `an encoder of ${modality}`,
      `one of ${encoder.modality}`,
      "name another folder",
    );
  if (options.frames !== undefined && !framewise)
    throw expected("E_MODALITY", `modalities.${modality}.frames`, `frames only for ${FRAMEWISE.join(", ")}`, options.frames);
  if (options.picks !== undefined && !(framewise && FRAME_PICKS.includes(options.picks)))
    throw expected(
      "E_MODALITY",
      `modalities.${modality}.picks`,
      `${FRAME_PICKS.join(" or ")}, for ${FRAMEWISE.join(", ")}`,
      shown(options.picks),
    );
  if (options.pad && !BUILT_IN.get(modality)?.square)
    throw expected("E_MODALITY", `modalities.${modality}.pad`, `pad only for ${SQUARE.join(", ")}`, options.pad);
  const pad = options.pad ?? own.pad;
  const frames = framewise ? (options.frames ?? own.frames ?? 4) : undefined;
  const picks = framewise ? (options.picks ?? own.picks) : undefined;
  const wanted = options.projector ?? own.projector;
  const readable = selects(wanted);
  // The system's was meant for its own bridge; another may read something else.
  const suggested = own.select && readable.includes(own.select) ? own.select : readable[0];
  const select = options.select ?? (suggested as Select);
  if (!readable.includes(select) || (framewise && readsVector(wanted)))
    throw expected(
      "E_MODALITY",
      `modalities.${modality}`,
      readsVector(wanted) ? "one row for a projection that reads a single row" : `rows of places for ${wanted.type}`,
      framewise ? `${frames} frames` : `select "${select}"`,
      `set select to ${readable.map((one) => `"${one}"`).join(" or ")}, or take another projector`,
    );
  if (select === "class" && !encoder.classTokens)
    throw expected(
      "E_MODALITY",
      `modalities.${modality}.select`,
      "rows that the encoder has",
      '"class", and it has no class token',
      'take "patch"',
    );
  const layer = options.layer ?? own.layer ?? -1;
  if (typeof layer !== "number" && isOneRow(select))
    throw expected(
      "E_MODALITY",
      `modalities.${modality}.layer`,
      `one number with select "${select}"`,
      `[${layer}]`,
      'or select "patch", "all" or "class"',
    );
  const projector = completeBridge(wanted, featureWidth(select, encoder, layer), frames ?? 0);
  return { projector, layer, select, frames, ...(picks && picks !== "middles" && { picks }), ...(pad && { pad }) };
}
