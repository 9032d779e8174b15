// Random choices that are the same on every machine: mulberry32, its state FNV-1a of seed and label, so that one scene's draws do not depend on another's.

/** Random choices from a seed and a label, the same on every machine: for batches, and for what is done to media, in a training that is to be repeated. */
export class Draw {
  #state: number;

  /** Draws of the same seed and label are the same; of another label, unrelated. */
  constructor(seed: number, label = "") {
    let hash = 2166136261;
    for (const char of `${seed}/${label}`) hash = Math.imul(hash ^ (char.codePointAt(0) as number), 16777619);
    this.#state = hash >>> 0;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  }
  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }
  /** An integer from 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }
  /** Standard normal (Box–Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }
  /** One of them, each as likely; undefined of none. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
  /** True with probability p. */
  chance(p: number): boolean {
    return this.uniform() < p;
  }
  /** A copy in random order (Fisher–Yates). */
  shuffled<T>(values: readonly T[]): T[] {
    const list = [...values];
    for (let i = list.length - 1; i > 0; --i) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j] as T, list[i] as T];
    }
    return list;
  }
}
