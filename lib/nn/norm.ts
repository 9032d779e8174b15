import type { Tensor } from "../core/tensor.js";
import { add, addRmsNorm, groupNorm, layerNorm, pastRmsNorm, rmsNorm } from "../ops/index.js";
import type { Plain } from "./layer.js";
import { Module, matching } from "./module.js";
import { ones, type Weights, zeros } from "./weights.js";

/** y = x / sqrt(mean(x²) + eps) · weight over the last size. The kernel takes an f32 weight with any x: no cast. */
export class RMSNorm extends Module {
  weight: Tensor; // (C)
  constructor(
    at: Weights,
    size: number,
    readonly eps: number,
  ) {
    super();
    this.weight = at.parameter("weight", [size], ones);
  }
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, this.eps);
  }
}

/** Is it an RMSNorm and nothing else? What stands around one, or does something of its own, is asked for its forward(). */
const bare = (norm: Plain): norm is RMSNorm => norm instanceof RMSNorm && norm.forward === RMSNorm.prototype.forward;

/** x (…,C) for what goes past the norm, and the norm of it. */
export const withPast = (norm: Plain, x: Tensor): [past: Tensor, y: Tensor] =>
  bare(norm) ? pastRmsNorm(x, norm.weight, norm.eps) : [x, norm.forward(x)];

/** a + b (…,C), and the norm of that. */
export function withSum(norm: Plain, a: Tensor, b: Tensor): [sum: Tensor, y: Tensor] {
  if (bare(norm)) return addRmsNorm(a, b, norm.weight, norm.eps);
  const sum = add(a, b);
  return [sum, norm.forward(sum)];
}

/** y = (x - mean) / sqrt(variance + eps) · weight + bias over the last size. */
export class LayerNorm extends Module {
  weight: Tensor; // (C)
  bias: Tensor; // (C)
  constructor(
    at: Weights,
    size: number,
    readonly eps = 1e-5,
  ) {
    super();
    this.weight = at.parameter("weight", [size], ones);
    this.bias = at.parameter("bias", [size], zeros);
  }
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, this.eps);
  }
}

/** The same without a bias, or without either: y = (x - mean) / sqrt(variance + eps) · weight. */
export class BareLayerNorm extends Module {
  weight: Tensor | undefined; // (C)
  constructor(
    at: Weights,
    size: number,
    readonly eps = 1e-5,
    { weight = true }: { weight?: boolean } = {},
  ) {
    super();
    this.weight = weight ? at.parameter("weight", [size], ones) : undefined;
  }
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, undefined, this.eps);
  }
}

/** Over the channels of each group and all positions of x (B,C,...). */
export class GroupNorm extends Module {
  weight: Tensor; // (C)
  bias: Tensor; // (C)
  constructor(
    at: Weights,
    readonly groups: number,
    channels: number,
    readonly eps = 1e-5,
  ) {
    super();
    this.weight = at.parameter("weight", [channels], ones);
    this.bias = at.parameter("bias", [channels], zeros);
  }
  forward(x: Tensor): Tensor {
    return groupNorm(x, matching(this.weight, x), matching(this.bias, x), this.groups, this.eps);
  }
}
