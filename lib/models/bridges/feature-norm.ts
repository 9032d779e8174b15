// What is done to features before a bridge reads them. AnyMAL leaves it open; without it an encoder's scale becomes the bridge's problem.
import { type Check, is } from "../../core/checks.js";
import type { Tensor } from "../../core/tensor.js";
import { Module, matching } from "../../nn/module.js";
import { LayerNorm } from "../../nn/norm.js";
import { ones, type Weights, zeros } from "../../nn/weights.js";
import { add, mul } from "../../ops/index.js";

export type FeatureNormKind = "layernorm" | "standardize";
export type FeatureNorm = Standardize | LayerNorm;

export const NORMALIZE: Check = is.either(is.oneOf("layernorm", "standardize"), is.not(false));

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

export function featureNorm(at: Weights, dim: number, kind: FeatureNormKind | false | undefined): FeatureNorm | undefined {
  if (!kind) return undefined;
  return kind === "layernorm" ? new LayerNorm(at, dim) : new Standardize(at, dim);
}

export const isStandardize = (norm: FeatureNorm | undefined): norm is Standardize => norm instanceof Standardize;
