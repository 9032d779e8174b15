// Attentional feature fusion (arXiv 2010.06825), as LAION-CLAP uses it: a long clip's whole, shrunk, and three crops of it meet after the
// patch embedding. Rows of channels throughout: a 1 × 1 convolution is a linear layer on them.
import type { Tensor } from "../core/tensor.js";
import { BatchNorm } from "../nn/batch-norm.js";
import { Module, matching } from "../nn/module.js";
import { fanIn, type Weights } from "../nn/weights.js";
import { activation, add, gatherRows, linear, meanPool, mul, scaleAdd, sub } from "../ops/index.js";

class PointwiseConv extends Module {
  weight: Tensor; // (O,I,1,1)
  bias: Tensor; // (O)
  constructor(
    at: Weights,
    private readonly inChannels: number,
    private readonly outChannels: number,
  ) {
    super();
    this.weight = at.parameter("weight", [outChannels, inChannels, 1, 1], fanIn(inChannels));
    this.bias = at.parameter("bias", [outChannels], fanIn(inChannels));
  }
  /** x (N,I) → (N,O). */
  forward(x: Tensor): Tensor {
    return linear(x, matching(this.weight, x).reshape([this.outChannels, this.inChannels]), matching(this.bias, x));
  }
}

/** conv, norm, ReLU, conv, norm: members of a Sequential, whose numbers are their names. */
class Branch extends Module {
  squeeze: PointwiseConv;
  squeezeNorm: BatchNorm;
  expand: PointwiseConv;
  expandNorm: BatchNorm;
  readonly #names: Readonly<Record<string, string>>;

  constructor(at: Weights, channels: number, inner: number, numbers: readonly [number, number, number, number]) {
    super();
    const [squeeze, squeezeNorm, expand, expandNorm] = numbers.map(String) as [string, string, string, string];
    this.#names = { squeeze, squeezeNorm, expand, expandNorm };
    this.squeeze = new PointwiseConv(at.at(squeeze), channels, inner);
    this.squeezeNorm = new BatchNorm(at.at(squeezeNorm), inner);
    this.expand = new PointwiseConv(at.at(expand), inner, channels);
    this.expandNorm = new BatchNorm(at.at(expandNorm), channels);
  }
  protected override stateName(field: string): string {
    return this.#names[field] ?? super.stateName(field);
  }
  forward(x: Tensor): Tensor {
    const inner = activation(this.squeezeNorm.forward(this.squeeze.forward(x)), "relu");
    return this.expandNorm.forward(this.expand.forward(inner));
  }
}

export class FeatureFusion extends Module {
  localAtt: Branch;
  globalAtt: Branch;

  constructor(at: Weights, channels: number, ratio: number) {
    super();
    const inner = Math.max(1, Math.trunc(channels / ratio));
    this.localAtt = new Branch(at.at("local_att"), channels, inner, [0, 1, 3, 4]);
    this.globalAtt = new Branch(at.at("global_att"), channels, inner, [1, 2, 4, 5]); // 0 is the pooling
  }

  /** x, y (M,P,C) → (M,P,C); `owner` (M·P) i32 says which of the M items a row belongs to. */
  forward(x: Tensor, y: Tensor, owner: Tensor): Tensor {
    const [M, P, C] = x.shape as [number, number, number];
    const both = add(x, y);
    const local = this.localAtt.forward(both.reshape([M * P, C]));
    const global = gatherRows(this.globalAtt.forward(meanPool(both, 1)), owner);
    const weight = activation(add(local, global), "sigmoid").reshape([M, P, C]);
    return scaleAdd(y, mul(sub(x, y), weight), 2, 2); // 2·x·w + 2·y·(1-w)
  }
}
