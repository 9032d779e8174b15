// Plain linear layers with what stands around them as one op (ops/linear-fused.ts); layers that an adapter has wrapped, or of other storage, one op after
// the other.
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, add, feedForward, linearResidual } from "../ops/index.js";
import { Linear, type LinearLayer } from "./linear.js";
import { matching } from "./module.js";

/** A layer that is its weight and its bias, and nothing else. */
export const isPlain = (layer: LinearLayer | undefined): layer is Linear =>
  layer !== undefined && Object.getPrototypeOf(layer) === Linear.prototype;

/** The weight as the fused ops take it: f32 masters as they are. */
export const asMet = (weight: Tensor, x: Tensor): Tensor => (weight.dtype === "f32" ? weight : matching(weight, x));
const biasOf = (layer: Linear, x: Tensor): Tensor | undefined => layer.bias && matching(layer.bias, x);

/** layer(x) */
export const throughPlain = (layer: LinearLayer, x: Tensor): Tensor =>
  isPlain(layer) ? linearResidual(x, asMet(layer.weight, x), biasOf(layer, x), undefined) : layer.forward(x);

/** residual + layer(x) */
export function addedTo(residual: Tensor, layer: LinearLayer, x: Tensor): Tensor {
  if (!isPlain(layer)) return add(residual, layer.forward(x));
  return linearResidual(x, asMet(layer.weight, x), biasOf(layer, x), residual);
}

/** fc2(act(fc1(x))), added to a residual where there is one. */
export function feedForwardThrough(fc1: LinearLayer, fc2: LinearLayer, kind: ActivationKind, x: Tensor, residual?: Tensor): Tensor {
  if (!isPlain(fc1) || !isPlain(fc2)) {
    const y = fc2.forward(activation(fc1.forward(x), kind));
    return residual ? add(residual, y) : y;
  }
  const weights = { w1: asMet(fc1.weight, x), b1: biasOf(fc1, x), w2: asMet(fc2.weight, x), b2: biasOf(fc2, x) };
  return feedForward(x, weights, kind, residual);
}
