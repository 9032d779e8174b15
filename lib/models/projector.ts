// From an encoder's features to rows in the language model's embedding space: one linear layer, or a resampler followed by one.
import { checkOptions, optionNames } from "../core/options.js";
import { built, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Linear } from "../nn/linear.js";
import { Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { ones, type Weights, zeros } from "../nn/weights.js";
import { add, mul } from "../ops/index.js";
import { Resampler, type ResamplerConfig } from "./resampler.js";

/** What is done to features before they are projected. AnyMAL leaves it open; without it an encoder's scale becomes the projection's problem. */
export type FeatureNormKind = "layernorm" | "standardize";

/** Anything that turns one modality's features into (B,R,C) rows. */
export interface Projector extends Module {
  readonly input: FeatureNorm | undefined;
  /** The layer whose scale is the scale of the rows. */
  readonly output: Linear;
  forward(features: Tensor): Tensor;
}

/** (x + shift) · scale per channel, two numbers that are measured and never trained. */
class Standardize extends Module {
  shift: Tensor; // (d): minus the mean
  scale: Tensor; // (d): one over the standard deviation

  constructor(at: Weights, dim: number) {
    super();
    this.shift = at.parameter("shift", [dim], zeros);
    this.scale = at.parameter("scale", [dim], ones);
    this.freeze();
  }
  freeze(): void {
    for (const tensor of [this.shift, this.scale]) tensor.requiresGrad = false;
  }
  forward(x: Tensor): Tensor {
    return mul(add(x, matching(this.shift, x)), matching(this.scale, x));
  }
}

export type FeatureNorm = Standardize | LayerNorm;

function featureNorm(at: Weights, dim: number, kind: FeatureNormKind | undefined): FeatureNorm | undefined {
  if (!kind) return undefined;
  return kind === "layernorm" ? new LayerNorm(at, dim) : new Standardize(at, dim);
}

export const isStandardize = (norm: FeatureNorm | undefined): norm is Standardize => norm instanceof Standardize;

/** Opens or freezes all that trains; what is measured stays frozen. */
export function openProjector(projector: Projector, on: boolean): void {
  projector.requiresGrad(on);
  if (isStandardize(projector.input)) projector.input.freeze();
}

/** AnyMAL says "Linear (1), 32 tokens" of audio and IMU and leaves open which: both readings are here. */
export interface LinearProjectorConfig {
  /** pooled: (B,d) → R rows at once. per_token: (B,R,d) → a row per encoder token. */
  mode: "pooled" | "per_token";
  dim: number;
  dimLlm: number;
  tokens: number;
  normalize?: FeatureNormKind | undefined;
}

const LINEAR = optionNames<LinearProjectorConfig>({ mode: true, dim: true, dimLlm: true, tokens: true, normalize: true });

export class LinearProjector extends Module implements Projector {
  input: FeatureNorm | undefined;
  proj: Linear;
  readonly config: LinearProjectorConfig;

  constructor(at: Weights, config: LinearProjectorConfig) {
    super();
    checkOptions("LinearProjector", config, LINEAR);
    const { mode, dim, dimLlm, tokens, normalize } = config;
    this.config = config;
    [this.input, this.proj] = built(() => [
      featureNorm(at.at("input"), dim, normalize),
      new Linear(at.at("proj"), dim, mode === "pooled" ? tokens * dimLlm : dimLlm),
    ]);
  }

  get output(): Linear {
    return this.proj;
  }

  /** (B,d) or (B,R,d), and (B,frames,R,d) frame after frame → (B,R,C). */
  forward(features: Tensor): Tensor {
    const { mode, dim, dimLlm, tokens } = this.config;
    return scope(() => {
      const B = features.shape[0] as number;
      const x = mode === "per_token" && features.rank > 3 ? features.reshape([B, -1, dim]) : features;
      const rows = this.proj.forward(this.input?.forward(x) ?? x);
      return mode === "pooled" ? rows.reshape([B, tokens, dimLlm]) : rows;
    });
  }
}

export interface ResamplerProjectorOptions {
  normalize?: FeatureNormKind | undefined;
}

/** A resampler at the encoder's width and a linear layer to the language model's. */
export class ResamplerProjector extends Module implements Projector {
  input: FeatureNorm | undefined;
  resampler: Resampler;
  linear: Linear;

  constructor(at: Weights, config: ResamplerConfig, dimLlm: number, options: ResamplerProjectorOptions = {}) {
    super();
    checkOptions("ResamplerProjector", options, ["normalize"]);
    const { normalize } = options;
    [this.input, this.resampler, this.linear] = built(() => [
      featureNorm(at.at("input"), config.dim, normalize),
      new Resampler(at.at("resampler"), config),
      new Linear(at.at("linear"), config.dim, dimLlm),
    ]);
  }

  get output(): Linear {
    return this.linear;
  }

  /** (B,frames,cells,d) or (B,cells,d) → (B,R,C). */
  forward(features: Tensor): Tensor {
    return scope(() => this.linear.forward(this.resampler.forward(this.input?.forward(features) ?? features)));
  }
}
