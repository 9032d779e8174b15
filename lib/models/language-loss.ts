// Next-token cross entropy of a hidden state through the head, without ever holding all logits, and of those rows alone that are scored.
import { checkpoint } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import type { Plain } from "../nn/layer.js";
import { add, cast, concat, gatherRows, type HeadCrossEntropyOptions, headCrossEntropy, softmaxCrossEntropy, sum } from "../ops/index.js";

export interface LossOptions {
  ignore?: number;
  /** What to divide the summed loss by: the scored tokens of the whole accumulation window. Default: those of this batch. */
  windowTokens?: number;
  /** How much each label counts, (B,T): the loss is a mean weighted by them. Default: all alike. */
  weights?: readonly ArrayLike<number>[] | undefined;
}

/** Every key of LossOptions. */
export const LOSS_KEYS: readonly string[] = ["ignore", "windowTokens", "weights"];

/** (1) f32. hidden (B,T,C), head (V,C), or what its rows go through to (…,V); the label of t + 1 is the target of t. `rows`: of the head, which train alone. */
export function languageLoss(
  hidden: Tensor,
  head: Tensor | Plain,
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
  return crossEntropy(scored, head, at(targets), { ignore, scale: 1 / tokens, rows });
}

/** Rows that go through a head with branches at once. */
const ROWS = 512;

/**
 * headCrossEntropy, through a head that is more than its table too, as one with branches of LoRA: some rows at a time then, whose logits are made once
 * more in backward.
 */
function crossEntropy(
  x: Tensor,
  head: Tensor | Plain,
  target: Tensor,
  { ignore = -100, scale = 1, rows }: HeadCrossEntropyOptions,
): Tensor {
  if (head instanceof Tensor) return headCrossEntropy(x, head, target, { ignore, scale, rows });
  const lossOf = (some: Tensor, at: Tensor) =>
    scope(() => {
      const logits = head.forward(some);
      return softmaxCrossEntropy(logits.dtype === "f32" ? logits : cast(logits, "f32"), at, ignore);
    });
  const [N] = x.shape as [number];
  const losses: Tensor[] = [];
  for (let from = 0; from < N; from += ROWS) {
    const count = Math.min(ROWS, N - from);
    losses.push(checkpoint(lossOf, x.slice(from, count), target.slice(from, count)));
  }
  return sum(losses.length === 1 ? (losses[0] as Tensor) : concat(losses, 0), scale);
}

interface Weighted {
  ignore: number;
  windowTokens: number | undefined;
  rows: HeadCrossEntropyOptions["rows"];
}

/** Rows of each weight by themselves: the weights of a conversation's answers are few. */
function weightedLoss(
  hidden: Tensor,
  head: Tensor | Plain,
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
    return crossEntropy(scored, head, at(targets), { ignore, scale: weight / total, rows });
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
