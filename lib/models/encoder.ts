// What AnyMAL asks of an encoder, whatever it looks at or listens to.
import type { Device } from "../core/device.js";
import type { Tensor } from "../core/tensor.js";
import type { Modality } from "../media/part.js";
import type { Module } from "../nn/module.js";

export interface EncoderOutput {
  /** (N,S,d): hidden state number `layer` (as Hugging Face counts: 0 the embedding, -1 the last), class token first where there is one. */
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

export interface Encoder extends Module {
  readonly kind: "clip-vision" | "vi-clip" | "clap-audio" | "imu2clip";
  readonly modality: Modality;
  /** d: of hidden and pooled. */
  readonly width: number;
  /** e: of embeds. */
  readonly embedDim: number;
  /** Rows at the head of `hidden` that are no place in the medium. */
  readonly classTokens: number;
  readonly device: Device;
  readonly dtype: "f32" | "bf16";
  /** x as the modality's processor makes it. */
  forward(x: Tensor, options?: EncoderOptions): EncoderOutput;
  /** config.json of a folder that holds this encoder alone. */
  configJson(): Record<string, unknown>;
}
