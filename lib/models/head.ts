// What a decoder's head makes of its last rows: by its table, through what an adapter put on it, or in 8 bit while inputs are rounded.
import { isGradEnabled, noGrad } from "../core/autograd.js";
import type { Tensor } from "../core/tensor.js";
import type { Plain } from "../nn/layer.js";
import type { Module } from "../nn/module.js";
import { QuantizedWeight } from "../nn/quantized-weight.js";
import { branchedHead, trainedRows } from "../nn/token-rows.js";
import { headInEightBit, linearEightBit } from "../ops/eight-bit.js";
import { linear } from "../ops/index.js";

interface Head {
  /** undefined where it is the embedding. */
  layer: Plain | undefined;
  embedding: Module;
}

/** (…,V) of x (…,C) and the table (V,C). */
export function logitsOf(x: Tensor, table: Tensor, { layer, embedding }: Head): Tensor {
  const rounded = headInEightBit();
  if (rounded) return linearEightBit(x, [rounded])[0] as Tensor;
  const rows = trainedRows(layer ?? embedding);
  return branchedHead(layer)?.forward(x) ?? (rows && isGradEnabled() ? rows.logits(x) : linear(x, table));
}

/** A copy of the table in 8 bit, a scale for each token; undefined where an adapter stands on the head. */
export function roundedHead(table: Tensor, { layer, embedding }: Head): QuantizedWeight | undefined {
  if (branchedHead(layer) || trainedRows(layer ?? embedding)) return undefined;
  return noGrad(() => QuantizedWeight.quantize(table, { format: "int8" }));
}
