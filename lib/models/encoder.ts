// What AnyMAL asks of an encoder, whatever it looks at or listens to.
import { noGrad } from "../core/autograd.js";
import type { Device } from "../core/device.js";
import { type AnymalError, expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Tensor } from "../core/tensor.js";
import type { Modality } from "../media/part.js";
import type { Module } from "../nn/module.js";
import type { Quantization } from "../nn/weights.js";
import type { FeatureLayer } from "./bridges/select.js";
import { OTHER_LOADING, quantizationOf } from "./loading.js";

export interface EncoderOutput {
  /**
   * (N,S,d): hidden state number `layer`, as Hugging Face counts: 0 the embedding, -2 what the last block reads. -1 is what it calls
   * last_hidden_state: after the final norm where the model has one over all tokens (SigLIP, DINOv2, VideoMAE, CLAP). Class token first where there is one.
   * Of several layers: (N,S,n·d), side by side in the order asked for, as LLaVA concatenates its vision_feature_layer; its -1 is the state before such
   * a norm, which has the number of the last block.
   */
  hidden: Tensor;
  /** (N,e): the embedding that is compared with text, after the projection, not normalised. */
  embeds: Tensor;
  /** (N,d): pooled before the projection. */
  pooled: Tensor;
  /** (N,n,d): the class token's row in each of the hidden states that `classRows` asked for. */
  classRows?: Tensor;
  /** (N,S,e): every row of the last block's output as `embeds` is made of the class token's, where it was asked for and the tower can. */
  projected?: Tensor;
}

export interface EncoderOptions {
  /** Which hidden state comes back, or which ones; default -1. */
  layer?: number | readonly number[];
  /** Hidden states of which the class token's row alone comes back, in towers that have one. */
  classRows?: readonly number[];
  /**
   * The one output that a gradient will come through; the others, and blocks that it does not need, are made without a tape then: what no backward walks
   * over would be kept until it is collected as garbage. Default: all of them.
   */
  through?: "hidden" | "pooled" | "embeds" | "projected";
  /** Asks for `projected`. */
  projected?: boolean;
  /** CLAP with fusion: which clips were longer than the window. */
  isLonger?: readonly boolean[];
  /** Of each chunk of a sound, the frames that are not padding. Default: all. */
  heard?: readonly number[];
}

export interface EncoderLoading {
  device: Device;
  /** Of the activations; default: what the checkpoint suggests. */
  dtype?: "f32" | "bf16";
  trainable?: boolean;
  /** Quantises dense linear layers of the blocks while they are loaded. */
  quantization?: Quantization | undefined;
}

const OPTIONS = optionNames<EncoderOptions>({ layer: true, classRows: true, through: true, projected: true, isLonger: true, heard: true });
const LOADING = optionNames<EncoderLoading>({ device: true, dtype: true, trainable: true, quantization: true });

/** Throws E_VALUE on an option of forward() that no encoder has, nor this one (`more`). */
export const checkForward = (encoder: string, options: EncoderOptions, more: readonly string[] = []): void =>
  checkOptions(`${encoder}.forward`, options, [...OPTIONS, ...more]);

/** The one hidden state that an encoder gives whose states differ in width, and have no class token. Throws E_VALUE where more is asked for. */
export function onlyLayer(encoder: string, { layer = -1, classRows }: EncoderOptions): number {
  const [one, ...others] = typeof layer === "number" ? [layer] : layer;
  if (one === undefined || others.length)
    throw expected("E_VALUE", `${encoder}: layer`, "one hidden state: they differ in width", `[${layer}]`);
  if (classRows?.length) throw noClassToken(encoder, classRows);
  return one;
}
export const noClassToken = (encoder: string, asked: readonly number[]): AnymalError =>
  expected("E_VALUE", `${encoder}: classRows`, "none, for it has no class token", `[${asked}]`, "take hidden, or an encoder such as CLIP");
export function checkLoading(loading: EncoderLoading): void {
  checkOptions("fromPretrained of an encoder", loading, LOADING, { others: OTHER_LOADING });
  quantizationOf(loading.quantization);
}

/** `make` gives this output, on the tape where a gradient may come through it. */
export function onTape<T>({ through }: EncoderOptions, output: NonNullable<EncoderOptions["through"]>, make: () => T): T {
  const passed = through === undefined || through === output || (output === "pooled" && through === "embeds");
  return passed ? make() : noGrad(make);
}

/** Blocks are run again in backward instead of keeping their activations, in encoders that have blocks. Returns what puts it back. */
export function recomputeIn(encoder: Module, on: boolean): () => void {
  const switched = encoder.modules().filter((module): module is Recomputing => "gradientCheckpointing" in module);
  const before = switched.map((module) => module.gradientCheckpointing);
  for (const module of switched) module.gradientCheckpointing = on;
  return () => {
    for (const [i, module] of switched.entries()) module.gradientCheckpointing = before[i] as boolean;
  };
}
type Recomputing = Module & { gradientCheckpointing: boolean };

export interface Encoder extends Module {
  readonly kind:
    | "clip-vision"
    | "siglip-vision"
    | "blip2-vision"
    | "dinov2"
    | "video-mae"
    | "vi-clip"
    | "clap-audio"
    | "whisper"
    | "qwen2-audio"
    | "imu2clip"
    | "imu-vit"
    | "own";
  readonly modality: Modality;
  /** d: of hidden and pooled. */
  readonly width: number;
  /** e: of embeds. */
  readonly embedDim: number;
  /** Rows at the head of `hidden` that are no place in the medium. */
  readonly classTokens: number;
  readonly device: Device;
  readonly dtype: "f32" | "bf16";
  /** Names of the checkpoint that this encoder has no place for: a text tower, the language model around it. Empty for fresh weights. */
  readonly leftover: readonly string[];
  /** x as the modality's processor makes it. */
  forward(x: Tensor, options?: EncoderOptions): EncoderOutput;
  /** Of a chunk that has so many frames before its padding: the rows of hidden state `layer` that are not padding. Of encoders that take chunks. */
  heardRows?(frames: number, layer: FeatureLayer): number;
  /** config.json of a folder that holds this encoder alone. */
  configJson(): Record<string, unknown>;
}
