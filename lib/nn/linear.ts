import { checkOptions, optionNames } from "../core/options.js";
import { Tensor } from "../core/tensor.js";
import { linear } from "../ops/index.js";
import type { GroupMember } from "../ops/linear-group.js";
import { Module, matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import { fanIn, type Init, type Weights } from "./weights.js";

export interface LinearLayerOptions {
  bias?: boolean;
  init?: Init;
}
const OPTIONS = optionNames<LinearLayerOptions>({ bias: true, init: true });

/** A linear layer in any storage: what LoRA wraps and what a block calls. */
export interface LinearLayer extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  forward(x: Tensor): Tensor;
  /** What forward() computes of x, as one of several products; undefined where that is more than such a product. */
  member?(x: Tensor): LayerMember | undefined;
}

/** Of a layer; `behind` is done to its result. */
export interface LayerMember extends GroupMember {
  behind?: (y: Tensor) => Tensor;
}

/** y (N,O) = x (N,I) · weightᵀ + bias. */
export class Linear extends Module implements LinearLayer {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Tensor; // (O,I)
  bias: Tensor | undefined; // (O)

  /** `at` may be the weight itself, such as an embedding's that the layer shares; there is no bias then. */
  constructor(at: Weights | Tensor, inFeatures: number, outFeatures: number, options: LinearLayerOptions = {}) {
    super();
    checkOptions("Linear", options, OPTIONS);
    const { bias = true, init = fanIn(inFeatures) } = options;
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = at instanceof Tensor ? at : at.parameter("weight", [outFeatures, inFeatures], init);
    this.bias = bias && !(at instanceof Tensor) ? at.parameter("bias", [outFeatures], fanIn(inFeatures)) : undefined;
  }

  forward(x: Tensor): Tensor {
    return linear(x, matching(this.weight, x), this.bias && matching(this.bias, x));
  }
}

/** The linear layer that is stored at `at`: dense or quantised, or quantised now if the weights are asked for in that form. */
export function storedLinear(at: Weights, inFeatures: number, outFeatures: number, options: LinearLayerOptions = {}): LinearLayer {
  return QuantizedLinear.stored(at, inFeatures, outFeatures, options) ?? new Linear(at, inFeatures, outFeatures, options);
}
