import type { Tensor } from "../core/tensor.js";
import { alike, linearEightBit, roundsInputs } from "../ops/eight-bit.js";
import type { LinearLayer } from "./linear.js";
import { matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";

/** What each layer, three at most, makes of the same x: in one command where inputs are rounded to 8 bit and the weights are alike. */
export function together<const Layers extends readonly LinearLayer[]>(layers: Layers, x: Tensor): { [K in keyof Layers]: Tensor } {
  const all = layers as readonly LinearLayer[];
  const results = inOne(all, x) ?? all.map((layer) => layer.forward(x));
  return results as { [K in keyof Layers]: Tensor };
}

function inOne(layers: readonly LinearLayer[], x: Tensor): Tensor[] | undefined {
  if (!roundsInputs()) return undefined;
  const plain = layers.filter((layer) => layer instanceof QuantizedLinear);
  const biases = plain.flatMap(({ bias }) => (bias ? [matching(bias, x)] : []));
  const weights = plain.map(({ weight }) => weight);
  if (plain.length < layers.length || (biases.length && biases.length < layers.length) || !alike(weights)) return undefined;
  return linearEightBit(x, weights, biases);
}
