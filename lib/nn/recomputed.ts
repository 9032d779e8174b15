// Gradient checkpointing of a layer (arXiv 1604.06174): nothing of it is kept for backward but what went in.
import { checkpoint } from "../core/autograd.js";
import { mapTensors } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type Layer, unchanged } from "./layer.js";
import type { Sequence } from "./sequence.js";

/**
 * What layer.forward(x, sequence) gives. Backward runs it again, after the forward's scope has closed: so all tensors that the layer is told, wherever
 * in the sequence they stand, travel as inputs, which the tape keeps, and a gradient into one of them arrives once a layer, whatever it was made of.
 */
export function recomputed(layer: Layer, x: Tensor, sequence: Sequence): Tensor {
  const places = new Map<Tensor, number>();
  mapTensors(sequence, (tensor) => {
    if (!places.has(tensor)) places.set(tensor, places.size);
    return tensor;
  });
  const check = unchanged(layer);
  const run = (y: Tensor, ...again: Tensor[]) => {
    check();
    return layer.forward(
      y,
      mapTensors(sequence, (tensor) => again[places.get(tensor) as number] as Tensor),
    );
  };
  return checkpoint(run, x, ...places.keys());
}
