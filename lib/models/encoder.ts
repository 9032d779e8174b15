// What AnyMAL asks of an encoder, whatever it looks at or listens to.
import type { Device } from "../core/device.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Tensor } from "../core/tensor.js";
import type { Modality } from "../media/part.js";
import type { Module } from "../nn/module.js";
import { OTHER_LOADING } from "./loading.js";

export interface EncoderOutput {
  /**
   * (N,S,d): hidden state number `layer`, as Hugging Face counts: 0 the embedding, -2 what the last block reads. -1 is what it calls
   * last_hidden_state: after the final norm where the model has one over all tokens (SigLIP, DINOv2, VideoMAE, CLAP). Class token first where there is one.
   */
  hidden: Tensor;
  /** (N,e): the embedding that is compared with text, after the projection, not normalised. */
  embeds: Tensor;
  /** (N,d): pooled before the projection. */
  pooled: Tensor;
}

export interface EncoderOptions {
  /** Which hidden state comes back; default -1. */
  layer?: number;
  /** CLAP with fusion: which clips were longer than the window. */
  isLonger?: readonly boolean[];
}

export interface EncoderLoading {
  device: Device;
  /** Of the activations; default: what the checkpoint suggests. */
  dtype?: "f32" | "bf16";
  trainable?: boolean;
}

const OPTIONS = optionNames<EncoderOptions>({ layer: true, isLonger: true });
const LOADING = optionNames<EncoderLoading>({ device: true, dtype: true, trainable: true });

/** Throws E_VALUE on an option of forward() that no encoder has, nor this one (`more`). */
export const checkForward = (encoder: string, options: EncoderOptions, more: readonly string[] = []): void =>
  checkOptions(`${encoder}.forward`, options, [...OPTIONS, ...more]);
export const checkLoading = (loading: EncoderLoading): void =>
  checkOptions("fromPretrained of an encoder", loading, LOADING, { others: OTHER_LOADING });

export interface Encoder extends Module {
  readonly kind: "clip-vision" | "siglip-vision" | "dinov2" | "video-mae" | "vi-clip" | "clap-audio" | "imu2clip";
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
  /** config.json of a folder that holds this encoder alone. */
  configJson(): Record<string, unknown>;
}
