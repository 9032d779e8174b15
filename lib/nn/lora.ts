// Low-rank adaptation (arXiv 2106.09685): y = base(x) + scaling · dropout(x)·Aᵀ·Bᵀ, with B = 0 at the start so that nothing changes.

import { noGrad } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { dropout, linear, linearQuantizedLora, scaleAdd, transposeCopy } from "../ops/index.js";
import type { Linear, LinearLayer } from "./linear.js";
import { Module, matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import { fanIn, type Weights, zeros } from "./weights.js";

export interface LoraOptions {
  r: number;
  scaling: number;
  dropout?: number;
  /** Old PEFT files have the adapter's name in the keys: lora_A.default.weight. */
  adapterName?: string | undefined;
}

export class LoraLinear extends Module implements LinearLayer {
  readonly base: LinearLayer;
  readonly scaling: number;
  readonly dropout: number;
  loraA: Tensor; // (r,I)
  loraB: Tensor; // (O,r)

  constructor(at: Weights, base: LinearLayer, { r, scaling, dropout = 0, adapterName }: LoraOptions) {
    super();
    this.base = base;
    this.scaling = scaling;
    this.dropout = dropout;
    // torch's kaiming_uniform_(a = sqrt(5)), PEFT's start, is uniform in ±1/sqrt(fan in).
    const infix = adapterName === undefined ? "" : `.${adapterName}`;
    this.loraA = at.parameter(`lora_A${infix}.weight`, [r, base.inFeatures], fanIn(base.inFeatures));
    this.loraB = at.parameter(`lora_B${infix}.weight`, [base.outFeatures, r], zeros);
  }

  protected override stateName(field: string): string {
    if (field === "base") return ""; // the wrapped layer keeps its own names
    return field === "loraA" ? "lora_A.weight" : field === "loraB" ? "lora_B.weight" : super.stateName(field);
  }

  get inFeatures(): number {
    return this.base.inFeatures;
  }
  get outFeatures(): number {
    return this.base.outFeatures;
  }

  forward(x: Tensor): Tensor {
    const a = matching(this.loraA, x);
    const b = matching(this.loraB, x);
    const p = this.training ? this.dropout : 0;
    if (this.base instanceof QuantizedLinear) {
      const bias = this.base.bias && matching(this.base.bias, x);
      return linearQuantizedLora(x, this.base.weight, a, b, { bias, scaling: this.scaling, dropout: p });
    }
    const branch = linear(linear(p > 0 ? dropout(x, p) : x, a), b);
    return scaleAdd(branch, this.base.forward(x), this.scaling, 1);
  }

  /** The dense weight (O,I) with the branch added in: W + scaling · B·A. f32. */
  merged(): Tensor {
    return noGrad(() =>
      scope(() => {
        const { base } = this;
        const w = base instanceof QuantizedLinear ? base.weight.dequantize("f32") : (base as Linear).weight;
        const change = linear(this.loraB, transposeCopy(this.loraA, 0, 1));
        return scaleAdd(change, matching(w, change), this.scaling, 1);
      }),
    );
  }
}
