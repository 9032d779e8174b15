// Low-rank adaptation (arXiv 2106.09685): y = base(x) + scaling · dropout(x)·Aᵀ·Bᵀ, with B = 0 at the start so that nothing changes.

import { noGrad } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { roundsInputs } from "../ops/eight-bit.js";
import { dropout, linear, linearQuantizedLora, scaleAdd, transposeCopy } from "../ops/index.js";
import { type Dense, dense, type Foldable } from "./fold.js";
import { Wrap } from "./layer.js";
import type { LayerMember, LinearLayer } from "./linear.js";
import { matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import { fanIn, type Weights, zeros } from "./weights.js";

export interface LoraLinearOptions {
  r: number;
  scaling: number;
  dropout?: number;
  /** Old PEFT files have the adapter's name in the keys: lora_A.default.weight. */
  adapterName?: string | undefined;
  /** Whose it is. Default: "default". */
  owner?: string;
}

export class LoraLinear extends Wrap<LinearLayer> implements LinearLayer, Foldable {
  readonly scaling: number;
  readonly dropout: number;
  /** Sums: in whatever order branches are added in, the weight is the same. */
  readonly commutes: boolean = true;
  loraA: Tensor; // (r,I)
  loraB: Tensor; // (O,r)

  constructor(at: Weights, base: LinearLayer, { r, scaling, dropout = 0, adapterName, owner = "default" }: LoraLinearOptions) {
    super(base, owner);
    this.scaling = scaling;
    this.dropout = dropout;
    // torch's kaiming_uniform_(a = sqrt(5)), PEFT's start, is uniform in ±1/sqrt(fan in).
    const infix = adapterName === undefined ? "" : `.${adapterName}`;
    this.loraA = at.parameter(`lora_A${infix}.weight`, [r, base.inFeatures], fanIn(base.inFeatures));
    this.loraB = at.parameter(`lora_B${infix}.weight`, [base.outFeatures, r], zeros);
  }

  protected override ownName(field: string): string {
    return field === "loraA" ? "lora_A.weight" : field === "loraB" ? "lora_B.weight" : super.ownName(field);
  }

  get inFeatures(): number {
    return this.base.inFeatures;
  }
  get outFeatures(): number {
    return this.base.outFeatures;
  }

  forward(x: Tensor): Tensor {
    const base = this.inner;
    if (!this.enabled) return base.forward(x);
    const { a, b, scaling, dropout: p } = this.#branch(x);
    if (base instanceof QuantizedLinear && !roundsInputs()) {
      const bias = base.bias && matching(base.bias, x);
      return linearQuantizedLora(x, base.weight, a, b, { bias, scaling, dropout: p });
    }
    const branch = linear(linear(p > 0 ? dropout(x, p) : x, a), b);
    return scaleAdd(branch, base.forward(x), scaling, 1);
  }
  /** In x's dtype, with the dropout of now. */
  #branch(x: Tensor) {
    const [a, b] = [matching(this.loraA, x), matching(this.loraB, x)];
    return { a, b, scaling: this.scaling, dropout: this.training ? this.dropout : 0 };
  }
  member(x: Tensor): LayerMember | undefined {
    const base = this.inner;
    if (!this.enabled) return base.member?.(x);
    return base instanceof QuantizedLinear ? { ...base.member(x), branch: this.#branch(x) } : undefined;
  }

  fold({ weight, bias }: Dense): Dense {
    const change = linear(this.loraB, transposeCopy(this.loraA, 0, 1));
    return { weight: scaleAdd(change, matching(weight, change), this.scaling, 1), bias };
  }

  /** The dense weight (O,I) with the branch added in: W + scaling · B·A. f32. */
  merged(): Tensor {
    return noGrad(() => scope(() => this.fold(dense(this.base)).weight));
  }
}
