// An order of n things that needs no room: place to thing by a Feistel network, so that a shuffle of a billion rows is a few numbers.
import { Draw } from "./draw.js";

const ROUNDS = 6;

/** A permutation of 0 … n - 1, the same for the same seed and label. */
export class Permutation {
  readonly #keys: Int32Array;
  /** Bits of each half. */
  readonly #bits: number;

  constructor(
    readonly length: number,
    seed: number,
    label: string,
  ) {
    const draw = new Draw(seed, label);
    this.#keys = Int32Array.from({ length: ROUNDS }, () => draw.below(2 ** 32));
    this.#bits = Math.max(1, Math.ceil(Math.log2(Math.max(2, length)) / 2));
    while (2 ** (2 * this.#bits) < length) ++this.#bits; // where the logarithm was rounded
  }

  /** What stands at `place`. The network permutes a power of four; places beyond n are walked through, less than four of five on average. */
  at(place: number): number {
    let x = place;
    do x = this.#once(x);
    while (x >= this.length);
    return x;
  }

  #once(x: number): number {
    const size = 2 ** this.#bits;
    let [left, right] = [Math.floor(x / size), x % size];
    for (const key of this.#keys) [left, right] = [right, (left ^ (mixed(right, key) & (size - 1))) >>> 0];
    return left * size + right;
  }
}

function mixed(x: number, key: number): number {
  let z = Math.imul(x ^ key, 0x9e3779b1);
  z = Math.imul(z ^ (z >>> 15), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return z ^ (z >>> 16);
}
