// A bottleneck behind a linear layer (arXiv 1902.00751): y + up(f(down(y))) of what the layer gives. It begins as nothing, for `up` is zero.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, add } from "../ops/index.js";
import { dropped } from "./dropped.js";
import { Wrap } from "./layer.js";
import { Linear, type LinearLayer } from "./linear.js";
import { type Weights, zeros } from "./weights.js";

export interface BottleneckOptions {
  owner: string;
  hidden: number;
  activation: ActivationKind;
  /** Of what goes up again, in training. */
  dropout: number;
}

export class BottleneckLinear extends Wrap<LinearLayer> implements LinearLayer {
  down: Linear;
  up: Linear;
  readonly activation: ActivationKind;
  readonly dropout: number;

  constructor(at: Weights, base: LinearLayer, { owner, hidden, activation: kind, dropout: p }: BottleneckOptions) {
    super(base, owner);
    this.activation = kind;
    this.dropout = p;
    const { outFeatures: width } = base;
    const [down, up] = [at.at(this.ownName("down")), at.at(this.ownName("up"))];
    this.down = new Linear(down, width, hidden);
    this.up = new Linear(up.parameter("weight", [width, hidden], zeros), hidden, width);
    this.up.bias = up.parameter("bias", [width], zeros);
  }

  protected override ownName(field: string): string {
    return field === "down" || field === "up" ? `adapter.${field}` : super.ownName(field);
  }
  get inFeatures(): number {
    return this.base.inFeatures;
  }
  get outFeatures(): number {
    return this.base.outFeatures;
  }

  forward(x: Tensor): Tensor {
    const y = this.inner.forward(x);
    if (!this.enabled) return y;
    return scope(() => {
      const h = activation(this.down.forward(y), this.activation);
      return add(y, this.up.forward(dropped(this, h, this.dropout)));
    });
  }
}
