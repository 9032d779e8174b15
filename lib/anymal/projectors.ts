// A modality's projection by its setup, fresh or from a checkpoint.
import { LinearProjector, type Projector, ResamplerProjector } from "../models/projector.js";
import type { Weights } from "../nn/weights.js";
import type { CompleteProjector } from "./options.js";

export function makeProjector(at: Weights, setup: CompleteProjector, dimLlm: number): Projector {
  const { dim, tokens } = setup;
  const normalize = setup.normalize || undefined;
  if (setup.type === "linear") return new LinearProjector(at, { mode: setup.mode, dim, dimLlm, tokens, normalize });
  const { form, layers, heads, frames } = setup;
  // Beside features of unit variance a table must be of their size to be seen.
  const spread = normalize ? { latentStd: 1, tableStd: 1 } : {};
  const config = { form, dim, depth: layers, heads, dimHead: dim / heads, latents: tokens, frames, ...spread };
  return new ResamplerProjector(at, config, dimLlm, { normalize });
}

/** How many rows the language model sees of a medium whose features have this shape. */
export function tokensOf(setup: CompleteProjector, shape: readonly number[]): number {
  if (setup.type === "resampler" || setup.mode === "pooled") return setup.tokens;
  return shape.slice(0, -1).reduce((a, b) => a * b, 1);
}
