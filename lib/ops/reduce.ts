// Reductions, sampling, and the draws that fill weights.
import { record } from "../core/autograd.js";
import { native } from "../core/native.js";
import { Tensor } from "../core/tensor.js";
import { made, only } from "./result.js";

/** factor · the sum of all elements, (1) f32. */
export function sum(x: Tensor, factor = 1): Tensor {
  return record(made(native().sum(x.handle, factor), x), [x], () => {
    const { shape, dtype } = x;
    return (g) => {
      const dy = only(g);
      const ones = Tensor.full(shape, factor, { dtype, device: dy.device });
      return [made(native().scale_by(ones.handle, dy.handle), dy)];
    };
  });
}

/** The mean of all elements, (1) f32. */
export function mean(x: Tensor): Tensor {
  return sum(x, 1 / x.size);
}

/** Index (N) i32 of the largest of each row (N,V); the first of equals. */
export function argmax(x: Tensor): Tensor {
  return made(native().argmax(x.handle), x);
}

/** One draw (N) i32 per row from softmax(logits (N,V)): a function of seed, counter (1) i32 and row. Removed tokens carry -Infinity. */
export function sampleCategorical(logits: Tensor, counter: Tensor, seed: number): Tensor {
  return made(native().sample_categorical(logits.handle, counter.handle, seed), logits);
}

/** i32 += by, in place. */
export function increment(x: Tensor, by = 1): void {
  native().increment(x.handle, by);
}

/** Fills y in place with U[low, high): a function of seed, offset and position. */
export function randomUniform(y: Tensor, low: number, high: number, seed: number, offset: number): void {
  native().random_uniform(y.handle, low, high, seed, offset);
}
/** Fills y in place with N(mean, std²). */
export function randomNormal(y: Tensor, mean: number, std: number, seed: number, offset: number): void {
  native().random_normal(y.handle, mean, std, seed, offset);
}
