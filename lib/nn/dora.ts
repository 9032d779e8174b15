// DoRA (arXiv 2402.09353): LoRA whose rows have lengths of their own, y = m / ‖W + s·B·A‖ ⊙ (W + s·B·A) x + bias. It needs no dense W + s·B·A: of a row w with b
// of B, its square is ‖w‖² + 2s·b·(A w) + s²·b·(A Aᵀ) b.
import type { Tensor } from "../core/tensor.js";
import { cast, mul, transposeCopy } from "../ops/index.js";
import { rowProducts, rowSquares } from "./dense-rows.js";
import { branchSquares, DoraScale, MAGNITUDE, magnitudeOf } from "./dora-scale.js";
import type { Dense } from "./fold.js";
import { innermost } from "./layer.js";
import type { LayerMember, Linear, LinearLayer } from "./linear.js";
import { LoraLinear, type LoraLinearOptions } from "./lora.js";
import { matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import type { Weights } from "./weights.js";

export class DoraLinear extends LoraLinear {
  override readonly commutes: boolean = false;
  /** Its divisor is of the layer's own weight, so nothing below may become part of that. */
  readonly measuresBase = true;
  magnitude: Tensor; // (O)
  readonly #scale = new DoraScale({
    magnitude: () => this.magnitude,
    branch: () => [this.loraA, this.loraB],
    weight: () => {
      const layer = this.#layer;
      return { of: layer.weight, trains: !(layer instanceof QuantizedLinear) && layer.weight.requiresGrad };
    },
    squares: () => rowSquares(this.#layer),
    more: () => {
      const [a, b] = [this.loraA, this.loraB].map(wide) as [Tensor, Tensor];
      return branchSquares(a, b, rowProducts(this.#layer, a), this.scaling);
    },
    bias: () => this.#layer.bias,
  });

  constructor(at: Weights, base: LinearLayer, options: LoraLinearOptions) {
    super(at, base, options);
    this.magnitude = magnitudeOf(at, options, base.outFeatures, this.loraA, this.#scale);
  }

  protected override ownName(field: string): string {
    return field === "magnitude" ? MAGNITUDE : super.ownName(field);
  }
  get #layer(): Linear | QuantizedLinear {
    return innermost(this.base) as Linear | QuantizedLinear;
  }

  override forward(x: Tensor): Tensor {
    const y = super.forward(x);
    return this.enabled ? this.#scale.scaled(y) : y;
  }
  override member(x: Tensor): LayerMember | undefined {
    const own = super.member(x);
    return own && this.enabled ? { ...own, behind: (y) => this.#scale.scaled(y) } : own;
  }
  /** Its numbers are others than before: the next forward looks at them anew. */
  settle(): void {
    this.#scale.settle();
  }

  override fold(inside: Dense): Dense {
    const { weight, bias } = super.fold(inside);
    const rows = mul(transposeCopy(weight, 0, 1), matching(this.#scale.factor(), weight));
    return { weight: transposeCopy(rows, 0, 1), bias };
  }

  override release(): void {
    super.release();
    this.#scale.dispose();
  }
  override dispose(): void {
    super.dispose();
    this.#scale.dispose();
  }
}

export const wide = (tensor: Tensor): Tensor => (tensor.dtype === "f32" ? tensor : cast(tensor, "f32"));
