// The losses of BLIP-2's first stage, as LAVIS has them (lavis/models/blip2_models/blip2_qformer.py and Qformer.py): with a tenth of each target spread over all
// classes, but for matching.
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { add, embedding, gatherRows, linear, mul, scale, scaleAdd, softmaxCrossEntropy, sum, transposeCopy } from "../ops/index.js";
import type { IdRows } from "./bridges/querying.js";

/** (1) f32 each. */
export interface StageOneLosses {
  contrastive: Tensor;
  matching: Tensor;
  language: Tensor;
}

/** What was read of a batch before its losses are made. */
export interface Chosen {
  /** (B,B): of medium i and caption j the place of the largest cosine among (B,Q,B). */
  best: Int32Array;
  /** (B,B): that cosine. */
  similarity: Float32Array;
  temp: number;
}

/** (1): targets against all rows, both ways. media (B,Q,E), texts (B,E), temp (1). */
export function contrastive(media: Tensor, texts: Tensor, temp: Tensor, { best, temp: t0 }: Chosen, smoothing: number): Tensor {
  return scope(() => {
    const [B, Q, E] = media.shape as [number, number, number];
    const { device } = media;
    const all = linear(media.reshape([B * Q, E]), texts).reshape([B * Q * B, 1]);
    const largest = gatherRows(all, Tensor.from(best, [B * B], { device })); // (B·B,1)
    // 1 / temp where it stands now, with its slope there: value and gradient are those of the quotient.
    const factor = add(scale(temp, -1 / (t0 * t0)), Tensor.full([1], 2 / t0, { device }));
    const logits = mul(largest, factor).reshape([B, B]);
    const targets = Tensor.from(
      Int32Array.from({ length: B }, (_, i) => i),
      [B],
      { device },
    );
    const both = [logits, transposeCopy(logits, 0, 1)].map((z) => sum(softmaxCrossEntropy(z, targets), 0.5 / B)) as [Tensor, Tensor];
    // Of smoothed targets the cross entropy is that of the target and ε (its logit - the mean of all), here the same both ways.
    const eye = Tensor.from(
      Float32Array.from({ length: B * B }, (_, i) => (i % (B + 1) ? 0 : 1)),
      [B, B],
      { device },
    );
    const own = sum(mul(logits, eye), smoothing / B);
    const spread = sum(logits, -smoothing / (B * B));
    return add(add(both[0], both[1]), add(own, spread));
  });
}

/** (1) of logits (3B,2): the first B are pairs, the others are none. */
export function matched(logits: Tensor, B: number): Tensor {
  return scope(() => {
    const targets = Tensor.from(
      Int32Array.from({ length: 3 * B }, (_, i) => Number(i < B)),
      [3 * B],
      { device: logits.device },
    );
    return sum(softmaxCrossEntropy(logits, targets), 1 / (3 * B));
  });
}

/** (1): each token from those before it. states (B,T,C), the head's weight (V,C) and bias (V). */
export function written(states: Tensor, captions: IdRows, head: { weight: Tensor; bias: Tensor }, smoothing: number): Tensor {
  return scope(() => {
    const { device } = states;
    const [, T, C] = states.shape as [number, number, number];
    const [V] = head.weight.shape as [number];
    const places = captions.flatMap(({ length }, b) => Array.from({ length: length - 1 }, (_, t) => b * T + t));
    const ids = captions.flatMap((row) => Array.from(row).slice(1));
    const N = ids.length;
    const rows = gatherRows(states.reshape([-1, C]), Tensor.from(Int32Array.from(places), [N], { device }));
    const targets = Tensor.from(Int32Array.from(ids), [N], { device });
    const logits = linear(rows, head.weight, head.bias);
    const own = add(sum(mul(rows, embedding(targets, head.weight))), sum(embedding(targets, head.bias.reshape([V, 1]))));
    const spread = scaleAdd(own, sum(logits, 1 / V), smoothing / N, -smoothing / N);
    return add(sum(softmaxCrossEntropy(logits, targets), 1 / N), spread);
  });
}
