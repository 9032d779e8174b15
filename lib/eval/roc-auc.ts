// How well scores tell two classes apart, whatever the threshold.
import { expected } from "../core/errors.js";

/** The chance that a positive scores above a negative, ties counting one half: the area under the ROC curve. */
export function rocAuc(labels: readonly (boolean | number)[], scores: readonly number[]): number {
  const { steps, positives, negatives } = ranked("rocAuc", labels, scores);
  let [below, pairs] = [0, 0];
  for (const { positive, negative } of steps.reverse()) {
    pairs += positive * (below + negative / 2);
    below += negative;
  }
  return pairs / (positives * negatives);
}

/** The mean precision over the recalls that thresholds give, not interpolated. */
export function averagePrecision(labels: readonly (boolean | number)[], scores: readonly number[]): number {
  const { steps, positives } = ranked("averagePrecision", labels, scores);
  let [found, taken, sum] = [0, 0, 0];
  for (const { positive, negative } of steps) {
    found += positive;
    taken += positive + negative;
    sum += (positive / positives) * (found / taken);
  }
  return sum;
}

/** Items of equal score together, the highest first. */
function ranked(what: string, labels: readonly (boolean | number)[], scores: readonly number[]) {
  if (labels.length !== scores.length) throw expected("E_VALUE", what, `a score for each of ${labels.length} labels`, scores.length);
  if (scores.some(Number.isNaN)) throw expected("E_VALUE", what, "numbers as scores", "NaN");
  const byScore = new Map<number, { positive: number; negative: number }>();
  for (const [i, score] of scores.entries()) {
    const step = byScore.get(score) ?? { positive: 0, negative: 0 };
    step[labels[i] ? "positive" : "negative"] += 1;
    byScore.set(score, step);
  }
  const positives = labels.filter(Boolean).length;
  const negatives = labels.length - positives;
  if (!positives || !negatives) throw expected("E_VALUE", what, "items of both classes", `${positives} positive, ${negatives} negative`);
  const steps = [...byScore].sort(([a], [b]) => b - a).map(([, step]) => step);
  return { steps, positives, negatives };
}
