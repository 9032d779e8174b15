// The next token of a row: the most probable one, or a draw that is a function of the seed, the row and the number of draws before it.
import { atOnce, type Pieces } from "../core/turns.js";
import { GenerationError, isGreedy, type LogitsProcessor, processorsFor, SAMPLING_KEYS, type SamplingOptions, softmax } from "./logits.js";

export interface SamplerOptions extends SamplingOptions {
  /** The same seed gives the same tokens. Default: another one each time. */
  seed?: number | undefined;
  /** Until so many tokens are written, none of those that end an answer comes (transformers' min_new_tokens). Default 0. */
  minNewTokens?: number | undefined;
}
/** Every key of SamplerOptions. */
export const SAMPLER_KEYS: readonly string[] = [...SAMPLING_KEYS, "seed", "minNewTokens"];

export class Sampler {
  readonly #processors: readonly LogitsProcessor[];
  readonly #seed: number;
  readonly #least: number;
  readonly greedy: boolean;
  /** Nothing looks at the logits but an argmax, which the device can do. */
  readonly plain: boolean;

  constructor(
    options: SamplerOptions,
    private readonly ends: Iterable<number> = [],
  ) {
    this.#processors = processorsFor(options);
    this.#least = options.minNewTokens ?? 0;
    if (!(Number.isInteger(this.#least) && this.#least >= 0))
      throw new GenerationError("minNewTokens", "an integer of at least 0", this.#least);
    this.greedy = isGreedy(options);
    this.plain = this.greedy && this.#processors.length === 0 && this.#least === 0;
    this.#seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
  }

  /** `logits` is changed in place; `ids` is the row so far; `step` counts tokens written before. */
  next(logits: Float32Array, ids: readonly number[], row: number, step: number): number {
    return atOnce(this.pieces(logits, ids, row, step));
  }

  /** next() in pieces: over a vocabulary of 128 000 each look at all of it takes milliseconds. */
  *pieces(logits: Float32Array, ids: readonly number[], row: number, step: number): Pieces<number> {
    yield* this.adjusted(logits, ids, step);
    if (this.greedy) return argmax(logits);
    const probabilities = softmax(logits);
    yield;
    let left = uniform(this.#seed, row, step);
    let last = 0;
    for (let token = 0; token < probabilities.length; ++token) {
      const p = probabilities[token] as number;
      if (p <= 0) continue;
      last = token;
      left -= p;
      if (left < 0) return token;
    }
    return last;
  }

  /** What penalties, temperature and cuts make of a row, in place. */
  *adjusted(logits: Float32Array, ids: readonly number[], step: number): Pieces<void> {
    if (step < this.#least) for (const end of this.ends) if (end < logits.length) logits[end] = -Infinity;
    for (const process of this.#processors) {
      process(logits, ids);
      yield;
    }
  }
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; ++i) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** [0, 1) from three integers: a few rounds of MurmurHash3's mixing (Appleby, public domain), 53 bits. */
export function uniform(seed: number, row: number, step: number): number {
  const mix = (h: number, k: number) => {
    let x = Math.imul(k, 0xcc9e2d51);
    x = Math.imul((x << 15) | (x >>> 17), 0x1b873593);
    const y = h ^ x;
    return (Math.imul((y << 13) | (y >>> 19), 5) + 0xe6546b64) | 0;
  };
  const finish = (h: number) => {
    let x = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return (x ^ (x >>> 16)) >>> 0;
  };
  const state = [seed >>> 0, Math.floor(seed / 2 ** 32), row, step].reduce(mix, 0x9747b28c);
  return (finish(state) * 2 ** 21 + (finish(mix(state, 1)) >>> 11)) / 2 ** 53;
}
