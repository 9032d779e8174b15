// What turns a row of logits into the distribution to draw from, in the order and with the edge cases of transformers' generation
// (logits_process.py): first the penalties that read what was written so far, then temperature and the cuts. Removed tokens get -Infinity.
import { AnymalError } from "../core/errors.js";
import { cutSmallest, kthLargest } from "./buckets.js";

export interface SamplingOptions {
  /** 0 or absent without any of the cuts: greedy. Above 1 flattens, below 1 sharpens. */
  temperature?: number | undefined;
  /** Keeps the k most probable tokens, and all that tie with the last of them. */
  topK?: number | undefined;
  /** Keeps the smallest set whose probabilities add up to p (nucleus sampling, arXiv 1904.09751). */
  topP?: number | undefined;
  /** Keeps tokens at least this fraction as probable as the most probable one (arXiv 2407.01082). */
  minP?: number | undefined;
  /** Divides the positive and multiplies the negative logits of tokens already there (CTRL, arXiv 1909.05858). 1: off. */
  repetitionPenalty?: number | undefined;
  /** No sequence of this many tokens comes twice. 0: off. */
  noRepeatNgramSize?: number | undefined;
  /** Tokens that never come. */
  suppressTokens?: readonly number[] | undefined;
}
/** Every key of SamplingOptions. */
export const SAMPLING_KEYS = ["temperature", "topK", "topP", "minP", "repetitionPenalty", "noRepeatNgramSize", "suppressTokens"] as const;

/** Changes `logits` in place; `ids` is everything the row holds so far, the prompt included. */
export type LogitsProcessor = (logits: Float32Array, ids: readonly number[]) => void;

/** E_GENERATION: a prompt or an option that generate() cannot take. */
export class GenerationError extends AnymalError {
  override readonly name = "GenerationError";
  constructor(option: string, wanted: string, got: unknown, next = "") {
    super("E_GENERATION", `generate: expected ${option} to be ${wanted}, got ${String(got)}${next && `; ${next}`}`);
  }
}

function check(option: string, value: number | undefined, fits: (v: number) => boolean, wanted: string): void {
  if (value !== undefined && !(typeof value === "number" && fits(value))) throw new GenerationError(option, wanted, value);
}

export function repetitionPenalty(penalty: number): LogitsProcessor {
  return (logits, ids) => {
    for (const id of new Set(ids)) {
      const v = logits[id];
      if (v !== undefined) logits[id] = v < 0 ? v * penalty : v / penalty;
    }
  };
}

export function noRepeatNgram(size: number): LogitsProcessor {
  return (logits, ids) => {
    const start = ids.length - (size - 1);
    if (start < 0) return;
    for (let i = 0; i + size <= ids.length; ++i) {
      let same = true;
      for (let j = 0; j < size - 1 && same; ++j) same = ids[i + j] === ids[start + j];
      if (same) logits[ids[i + size - 1] as number] = -Infinity;
    }
  };
}

export function suppress(tokens: readonly number[]): LogitsProcessor {
  return (logits) => {
    for (const token of tokens) logits[token] = -Infinity;
  };
}

export function temperature(t: number): LogitsProcessor {
  return (logits) => {
    for (let i = 0; i < logits.length; ++i) logits[i] = (logits[i] as number) / t;
  };
}

export function topK(k: number): LogitsProcessor {
  return (logits) => {
    if (k >= logits.length) return;
    const last = kthLargest(logits, k);
    for (let i = 0; i < logits.length; ++i) if ((logits[i] as number) < last) logits[i] = -Infinity;
  };
}

export function topP(p: number): LogitsProcessor {
  // Ascending, as the reference sorts: what adds up to at most 1 - p goes. The most probable token always stays.
  return (logits) => cutSmallest(logits, softmax(logits), 1 - p);
}

export function minP(p: number): LogitsProcessor {
  return (logits) => {
    const least = largest(logits) + Math.log(p);
    for (let i = 0; i < logits.length; ++i) if ((logits[i] as number) < least) logits[i] = -Infinity;
  };
}

// Loops over indices, not callbacks: a vocabulary has 128 000 entries, and a batch as many times that.

function largest(values: Float32Array): number {
  let most = -Infinity;
  for (let i = 0; i < values.length; ++i) {
    const value = values[i] as number;
    if (value > most || Number.isNaN(value)) most = value; // nothing is larger than NaN
  }
  return most;
}

export function softmax(logits: Float32Array): Float64Array {
  const most = largest(logits);
  const probabilities = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < logits.length; ++i) {
    const logit = logits[i] as number;
    if (logit === -Infinity && most > logit) continue; // removed: most are, behind a cut
    total += probabilities[i] = Math.exp(logit - most);
  }
  for (let i = 0; i < logits.length; ++i) probabilities[i] = (probabilities[i] as number) / total;
  return probabilities;
}

/** The logarithm of the sum of what the logits are logarithms of. */
export function logSumExp(logits: Float32Array): number {
  const most = largest(logits);
  let total = 0;
  for (let i = 0; i < logits.length; ++i) total += Math.exp((logits[i] as number) - most);
  return most + Math.log(total);
}

/** Does this draw at all, or take the most probable token? */
export function isGreedy({ temperature: t, topK: k, topP: p, minP: m }: SamplingOptions): boolean {
  return t === 0 || (t === undefined && k === undefined && p === undefined && m === undefined);
}

/** The processors that the options ask for, in transformers' order. Throws E_GENERATION on a value out of range. */
export function processorsFor(options: SamplingOptions): LogitsProcessor[] {
  const { repetitionPenalty: penalty = 1, noRepeatNgramSize: size = 0, suppressTokens } = options;
  check("repetitionPenalty", penalty, (v) => v > 0, "above 0");
  check("noRepeatNgramSize", size, (v) => Number.isInteger(v) && v >= 0, "an integer of at least 0");
  check("temperature", options.temperature, (v) => v >= 0 && v < Infinity, "at least 0");
  check("topK", options.topK, (v) => Number.isInteger(v) && v >= 1, "an integer of at least 1");
  check("topP", options.topP, (v) => v > 0 && v <= 1, "in (0, 1]");
  check("minP", options.minP, (v) => v >= 0 && v <= 1, "in [0, 1]");
  const steps: LogitsProcessor[] = [];
  if (penalty !== 1) steps.push(repetitionPenalty(penalty));
  if (size > 0) steps.push(noRepeatNgram(size));
  if (suppressTokens?.length) steps.push(suppress(suppressTokens));
  if (isGreedy(options)) return steps;
  if (options.temperature !== undefined && options.temperature !== 1) steps.push(temperature(options.temperature));
  if (options.topK !== undefined) steps.push(topK(options.topK));
  if (options.topP !== undefined && options.topP < 1) steps.push(topP(options.topP));
  if (options.minP) steps.push(minP(options.minP));
  return steps;
}
