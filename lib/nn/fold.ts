// Wraps of a linear layer that can become part of the weight they stand around.
import { expected } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import { Wrap } from "./layer.js";
import type { Linear, LinearLayer } from "./linear.js";
import { QuantizedLinear } from "./quantized-linear.js";

/** A layer in full: y = x · weightᵀ + bias. */
export interface Dense {
  weight: Tensor; // (O,I)
  bias: Tensor | undefined; // (O)
}

export interface Foldable extends Wrap<LinearLayer> {
  /** Has the same been computed if another of its kind was folded in before, or after? */
  readonly commutes: boolean;
  /** The layer that computes what it makes of `inside`. Inside of noGrad() and a scope. */
  fold(inside: Dense): Dense;
}

export const isFoldable = (wrap: Wrap): wrap is Foldable => "fold" in wrap;

/** What a layer computes with all around it that takes part. Inside of noGrad() and a scope. Throws E_ADAPTER where a wrap is no part of any weight. */
export function dense(layer: LinearLayer): Dense {
  if (layer instanceof QuantizedLinear) return { weight: layer.weight.dequantize("f32"), bias: layer.bias };
  if (!(layer instanceof Wrap)) return { weight: (layer as Linear).weight, bias: (layer as Linear).bias };
  const below = dense(layer.base as LinearLayer);
  if (!layer.enabled) return below;
  if (isFoldable(layer)) return layer.fold(below);
  throw expected(
    "E_ADAPTER",
    "merge",
    "adapters that add up to a weight",
    `"${layer.owner}", a ${layer.constructor.name}`,
    "take it off first",
  );
}
