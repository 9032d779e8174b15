import type { Tensor } from "../core/tensor.js";
import { alike, linearEightBit, roundsInputs } from "../ops/eight-bit.js";
import { groups, linearQuantizedGroup } from "../ops/linear-group.js";
import type { LayerMember, LinearLayer } from "./linear.js";
import { matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";

/** What each layer, three at most, makes of the same x: in one command where weights are quantised and alike, whatever else is part of their products. */
export function together<const Layers extends readonly LinearLayer[]>(layers: Layers, x: Tensor): { [K in keyof Layers]: Tensor } {
  const all = layers as readonly LinearLayer[];
  const results = (roundsInputs() ? inEightBit(all, x) : inOne(all, x)) ?? all.map((layer) => layer.forward(x));
  return results as { [K in keyof Layers]: Tensor };
}

function inOne(layers: readonly LinearLayer[], x: Tensor): Tensor[] | undefined {
  const members: LayerMember[] = [];
  for (const layer of layers) {
    const member = layer.member?.(x);
    if (!member) return undefined;
    members.push(member);
  }
  if (!groups(members)) return undefined;
  return linearQuantizedGroup(x, members).map((y, i) => members[i]?.behind?.(y) ?? y);
}

function inEightBit(layers: readonly LinearLayer[], x: Tensor): Tensor[] | undefined {
  const plain = layers.filter((layer) => layer instanceof QuantizedLinear);
  const biases = plain.flatMap(({ bias }) => (bias ? [matching(bias, x)] : []));
  const weights = plain.map(({ weight }) => weight);
  if (plain.length < layers.length || (biases.length && biases.length < layers.length) || !alike(weights)) return undefined;
  return linearEightBit(x, weights, biases);
}
