// A CLAP audio tower of two stages with weights from a seed, and inputs for it.
import * as assert from "uvu/assert";
import type { AnymalError } from "../../lib/core/errors.js";
import { Tensor } from "../../lib/core/tensor.js";
import { ClapAudioModel } from "../../lib/models/clap-audio.js";
import { parseClapAudioConfig } from "../../lib/models/clap-config.js";
import { Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";
import { random } from "../harness.js";

// 16 × 16 with two segments of time, 8 × 8 patches, a shifted second block, 4 × 4 at the end.
export const TINY = {
  model_type: "clap_audio_model",
  spec_size: 16,
  num_mel_bins: 8,
  patch_size: 2,
  patch_stride: [2, 2],
  patch_embeds_hidden_size: 4,
  hidden_size: 8,
  depths: [2, 1],
  num_attention_heads: [2, 4],
  window_size: 4,
  aff_block_r: 2,
  projection_dim: 5,
};
export const tiny = (changes: object = {}, seed = 1) =>
  new ClapAudioModel(Weights.fresh({ device: here, seed }), parseClapAudioConfig({ ...TINY, ...changes }));
export const drawn = (shape: number[], seed: number) => {
  const draw = random(seed);
  return Tensor.from(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, draw), shape, { device: here });
};

export function throws(run: () => unknown, code: string, words: RegExp): void {
  assert.throws(run, (error: Error) => (error as AnymalError).code === code && words.test(error.message));
}
