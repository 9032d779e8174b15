import type { Tensor } from "../core/tensor.js";
import { batchNormInference } from "../ops/index.js";
import { Module, matching } from "./module.js";
import { ones, type Weights, zeros } from "./weights.js";

/** With running statistics, in training too: they are set once, from data. x (B,C,...). */
export class BatchNorm extends Module {
  weight: Tensor; // (C)
  bias: Tensor; // (C)
  runningMean: Tensor; // (C) f32
  runningVar: Tensor; // (C) f32
  constructor(
    at: Weights,
    channels: number,
    readonly eps = 1e-5,
  ) {
    super();
    this.weight = at.parameter("weight", [channels], ones);
    this.bias = at.parameter("bias", [channels], zeros);
    this.runningMean = at.buffer("running_mean", [channels], zeros);
    this.runningVar = at.buffer("running_var", [channels], ones);
    if (at.has("num_batches_tracked")) at.take("num_batches_tracked");
  }
  protected override isBuffer(name: string): boolean {
    return name.startsWith("running_");
  }
  forward(x: Tensor): Tensor {
    return batchNormInference(x, this.runningMean, this.runningVar, matching(this.weight, x), matching(this.bias, x), this.eps);
  }
}
