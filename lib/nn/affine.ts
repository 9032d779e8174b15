// A linear layer with a vector before it, a vector added behind it and a vector that its outputs are multiplied by: y = out ⊙ (base(in ⊙ x) + bias), each
// left out where a method has none. (IA)³ (arXiv 2205.05638) has one of the two factors; LLaMA-Adapter V2 (arXiv 2304.15010) the bias and one factor.
import type { Tensor } from "../core/tensor.js";
import { roundsInputs } from "../ops/eight-bit.js";
import { add, linear, linearQuantized, mul, transposeCopy } from "../ops/index.js";
import type { Dense, Foldable } from "./fold.js";
import { Wrap } from "./layer.js";
import { type LayerMember, Linear, type LinearLayer } from "./linear.js";
import { matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import { ones, type Weights, zeros } from "./weights.js";

/** What a file calls a vector, and the shape it has there: that of I or O values, whatever sizes of 1 stand around. */
export interface Vector {
  name: string;
  shape: readonly number[];
}
export interface AffineOptions {
  owner?: string;
  in?: Vector;
  bias?: Vector;
  out?: Vector;
}

export class AffineLinear extends Wrap<LinearLayer> implements LinearLayer, Foldable {
  scaleIn: Tensor | undefined; // (I)
  bias: Tensor | undefined; // (O)
  scaleOut: Tensor | undefined; // (O)
  readonly commutes = false;
  readonly denseOnly = "rows and columns that are scaled no longer fit its codes and block maxima";
  readonly #names: Readonly<Record<string, string | undefined>>;

  constructor(at: Weights, base: LinearLayer, { owner = "default", in: before, bias, out }: AffineOptions) {
    super(base, owner);
    this.#names = { scaleIn: before?.name, bias: bias?.name, scaleOut: out?.name };
    this.scaleIn = before && at.parameter(before.name, before.shape, ones);
    this.bias = bias && at.parameter(bias.name, bias.shape, zeros);
    this.scaleOut = out && at.parameter(out.name, out.shape, ones);
  }

  protected override ownName(field: string): string {
    return this.#names[field] ?? super.ownName(field);
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
    const { scaleIn, scaleOut } = this;
    const y = this.#shifted(base, scaleIn ? mul(x, like(scaleIn, x)) : x);
    return scaleOut ? mul(y, like(scaleOut, y)) : y;
  }

  /** A bare layer without a bias has this one in its product, whatever form its weight has: no command is added. */
  #shifted(base: LinearLayer, x: Tensor): Tensor {
    if (!this.bias) return base.forward(x);
    const bias = like(this.bias, x);
    if (base instanceof Linear && !base.bias) return linear(x, matching(base.weight, x), bias);
    if (base instanceof QuantizedLinear && !base.bias && !roundsInputs()) return linearQuantized(x, base.weight, bias);
    return add(base.forward(x), bias);
  }

  member(x: Tensor): LayerMember | undefined {
    const base = this.inner;
    if (!this.enabled) return base.member?.(x);
    const { scaleIn, bias, scaleOut } = this;
    if (scaleIn || !(base instanceof QuantizedLinear) || (bias && base.bias)) return undefined;
    const own = { ...base.member(x), ...(bias && { bias: like(bias, x) }) };
    return scaleOut ? { ...own, behind: (y) => mul(y, like(scaleOut, y)) } : own;
  }

  fold(inside: Dense): Dense {
    const { scaleIn, bias, scaleOut } = this;
    const some = (scaleIn ?? scaleOut ?? bias) as Tensor; // f32
    let weight = matching(inside.weight, some);
    let shift = inside.bias && (bias ?? scaleOut) ? matching(inside.bias, some) : inside.bias;
    if (scaleIn) weight = mul(weight, like(scaleIn, weight));
    if (bias) shift = shift ? add(shift, like(bias, shift)) : like(bias, bias);
    if (!scaleOut) return { weight, bias: shift };
    const rows = mul(transposeCopy(weight, 0, 1), like(scaleOut, weight));
    return { weight: transposeCopy(rows, 0, 1), bias: shift && mul(shift, like(scaleOut, shift)) };
  }
}

/** A vector as the op takes it, whatever shape the file has. */
const like = (vector: Tensor, x: Tensor): Tensor => matching(vector, x).reshape([vector.size]);
