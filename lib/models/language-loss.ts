// Next-token cross entropy of a hidden state through the head, without ever holding all logits, and of those rows alone that are scored.
import { expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import { add, gatherRows, type HeadCrossEntropyOptions, headCrossEntropy } from "../ops/index.js";

export interface LossOptions {
  ignore?: number;
  /** What to divide the summed loss by: the scored tokens of the whole accumulation window. Default: those of this batch. */
  windowTokens?: number;
  /** How much each label counts, (B,T): the loss is a mean weighted by them. Default: all alike. */
  weights?: readonly ArrayLike<number>[] | undefined;
}

/** Every key of LossOptions. */
export const LOSS_KEYS: readonly string[] = ["ignore", "windowTokens", "weights"];

/** (1) f32. hidden (B,T,C), head (V,C); the label of t + 1 is the target of t. `rows`: of the head, which train alone. */
export function languageLoss(
  hidden: Tensor,
  head: Tensor,
  labels: readonly ArrayLike<number>[],
  { ignore = -100, windowTokens, weights }: LossOptions = {},
  rows?: HeadCrossEntropyOptions["rows"],
): Tensor {
  const [B, T, C] = hidden.shape as [number, number, number];
  const flat = shifted(labels, B, T, ignore);
  if (weights) return weightedLoss(hidden, head, flat, flatWeights(weights, flat, T, ignore), { ignore, windowTokens, rows });
  const { places, targets } = scoredRows(flat, ignore);
  const at = (values: Int32Array) => Tensor.from(values, [values.length], { device: hidden.device });
  // A batch without a scored token has loss 0, not 0/0.
  const tokens = windowTokens ?? Math.max(1, countTargets(labels, ignore));
  const scored = gatherRows(hidden.reshape([B * T, C]), at(places));
  return headCrossEntropy(scored, head, at(targets), { ignore, scale: 1 / tokens, rows });
}

interface Weighted {
  ignore: number;
  windowTokens: number | undefined;
  rows: HeadCrossEntropyOptions["rows"];
}

/** Rows of each weight by themselves: the weights of a conversation's answers are few. */
function weightedLoss(
  hidden: Tensor,
  head: Tensor,
  flat: Int32Array,
  weights: Float64Array,
  { ignore, windowTokens, rows }: Weighted,
): Tensor {
  const total = windowTokens ?? (weights.reduce((a, b) => a + b, 0) || 1);
  const kinds = [...new Set(weights)].filter((weight) => weight > 0).sort((a, b) => a - b);
  const at = (values: Int32Array) => Tensor.from(values, [values.length], { device: hidden.device });
  const losses = (kinds.length ? kinds : [0]).map((weight) => {
    const { places, targets } = scoredRows(
      flat.map((target, i) => (weight && weights[i] === weight ? target : ignore)),
      ignore,
    );
    const scored = gatherRows(hidden.reshape([-1, hidden.shape[2] as number]), at(places));
    return headCrossEntropy(scored, head, at(targets), { ignore, scale: weight / total, rows });
  });
  return losses.reduce((sum, loss) => add(sum, loss));
}

/** Of the flat targets: that of the label of t + 1 stands at t; 0 where nothing is scored. */
function flatWeights(weights: readonly ArrayLike<number>[], flat: Int32Array, T: number, ignore: number): Float64Array {
  const own = new Float64Array(flat.length);
  for (const [i, target] of flat.entries()) if (target !== ignore) own[i] = weights[Math.floor(i / T)]?.[(i % T) + 1] as number;
  return own;
}

/**
 * Which of the flat targets are scored, and what they are: the head is the widest product of a model, and a prompt's rows would go through it for
 * nothing. Where none is, one row that is not, so that no backend meets a product without rows; its loss and gradients are zeros.
 */
function scoredRows(flat: Int32Array, ignore: number): { places: Int32Array; targets: Int32Array } {
  const places = Int32Array.from(flat.keys()).filter((i) => flat[i] !== ignore);
  const some = places.length > 0 ? places : flat.length > 0 ? Int32Array.of(0) : places;
  return { places: some, targets: some.map((i) => flat[i] as number) };
}

/** Flat targets (B·T): every label one place to the left, `ignore` in each row's last. */
export function shifted(labels: readonly ArrayLike<number>[], B: number, T: number, ignore: number): Int32Array {
  const target = new Int32Array(B * T).fill(ignore);
  if (labels.length !== B) throw expected("E_SHAPE", "labels", `${B} rows`, labels.length);
  for (const [b, row] of labels.entries()) {
    if (row.length !== T) throw expected("E_SHAPE", "labels", `${T} labels in row ${b}`, row.length);
    for (let t = 0; t + 1 < T; ++t) target[b * T + t] = row[t + 1] as number;
  }
  return target;
}

/** How many next-token targets a batch of label rows scores: every label but each row's first, unless it is `ignore`. */
export function countTargets(labels: readonly ArrayLike<number>[], ignore = -100): number {
  let n = 0;
  for (const row of labels) for (let t = 1; t < row.length; ++t) if (row[t] !== ignore) ++n;
  return n;
}
