// A bottleneck in front of self-attention, between its norm and it: x + up(f(down(x))), as PINK has it in language models and in image towers. It begins
// as nothing, for `up` is zero.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { activation, add } from "../ops/index.js";
import { dropped } from "./dropped.js";
import { Wrap } from "./layer.js";
import { Linear } from "./linear.js";
import type { Module } from "./module.js";
import { type Weights, zeros } from "./weights.js";

export interface PreAdapterOptions {
  owner: string;
  width: number;
  hidden: number;
  /** silu between the two; none where it is false. */
  nonLinear: boolean;
  dropout: number;
}
/** Attention of either kind: that of a decoder is told its sequence too. */
export interface Attention<Told extends unknown[] = unknown[]> extends Module {
  forward(x: Tensor, ...told: Told): Tensor;
}

export class PreAdapter<Told extends unknown[] = unknown[]> extends Wrap<Attention<Told>> {
  down: Linear;
  up: Linear;
  readonly nonLinear: boolean;
  readonly dropout: number;

  constructor(at: Weights, base: Attention<Told>, { owner, width, hidden, nonLinear, dropout: p }: PreAdapterOptions) {
    super(base, owner);
    this.nonLinear = nonLinear;
    this.dropout = p;
    const [down, up] = [at.at(this.ownName("down")), at.at(this.ownName("up"))];
    this.down = new Linear(down, width, hidden, { init: { uniform: Math.sqrt(6 / (width + hidden)) } }); // Xavier
    this.up = new Linear(up.parameter("weight", [width, hidden], zeros), hidden, width);
    this.up.bias = up.parameter("bias", [width], zeros);
  }

  static stored(at: Weights): boolean {
    return at.has("tune_adapter_a.weight");
  }

  protected override ownName(field: string): string {
    return { down: "tune_adapter_a", up: "tune_adapter_b" }[field] ?? super.ownName(field);
  }

  forward(x: Tensor, ...told: Told): Tensor {
    return this.inner.forward(this.enabled ? this.#adapted(x) : x, ...told);
  }

  #adapted(x: Tensor): Tensor {
    return scope(() => {
      const low = this.down.forward(x);
      const h = this.nonLinear ? activation(low, "silu") : low;
      return add(x, this.up.forward(dropped(this, h, this.dropout)));
    });
  }
}
