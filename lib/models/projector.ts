// From an encoder's features to rows in the language model's embedding space: one linear layer, or a resampler followed by one.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import type { Weights } from "../nn/weights.js";
import { Resampler, type ResamplerConfig } from "./resampler.js";

/** Anything that turns one modality's features into (B,R,C) rows. */
export interface Projector extends Module {
  forward(features: Tensor): Tensor;
}

/** AnyMAL says "Linear (1), 32 tokens" of audio and IMU and leaves open which: both readings are here. */
export interface LinearProjectorConfig {
  /** pooled: (B,d) → R rows at once. per_token: (B,R,d) → a row per encoder token. */
  mode: "pooled" | "per_token";
  dim: number;
  dimLlm: number;
  tokens: number;
}

export class LinearProjector extends Module implements Projector {
  proj: Linear;
  readonly config: LinearProjectorConfig;

  constructor(at: Weights, config: LinearProjectorConfig) {
    super();
    const { mode, dim, dimLlm, tokens } = config;
    this.config = config;
    this.proj = new Linear(at.at("proj"), dim, mode === "pooled" ? tokens * dimLlm : dimLlm);
  }

  forward(features: Tensor): Tensor {
    const { mode, dimLlm, tokens } = this.config;
    return scope(() => {
      const rows = this.proj.forward(features);
      return mode === "pooled" ? rows.reshape([features.shape[0] as number, tokens, dimLlm]) : rows;
    });
  }
}

/** A resampler at the encoder's width and a linear layer to the language model's. */
export class ResamplerProjector extends Module implements Projector {
  resampler: Resampler;
  linear: Linear;

  constructor(at: Weights, config: ResamplerConfig, dimLlm: number) {
    super();
    this.resampler = new Resampler(at.at("resampler"), config);
    this.linear = new Linear(at.at("linear"), config.dim, dimLlm);
  }

  /** (B,frames,cells,d) or (B,cells,d) → (B,R,C). */
  forward(features: Tensor): Tensor {
    return scope(() => this.linear.forward(this.resampler.forward(features)));
  }
}
