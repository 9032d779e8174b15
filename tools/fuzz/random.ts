// Random numbers that two integers decide: the seed of a run, and which of its inputs it is. So any input can be made again without the ones before.

export class Random {
  #state: number;

  constructor(seed: number, index = 0) {
    this.#state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35)) >>> 0;
    for (let i = 0; i < 3; ++i) this.bits(); // neighbours part
  }

  /** 32 of them (Tommy Ettinger's mulberry32). */
  bits(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  /** An integer in [0, below). */
  below(below: number): number {
    return Math.floor((this.bits() / 2 ** 32) * below);
  }
  chance(share: number): boolean {
    return this.bits() < share * 2 ** 32;
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.bits());
  }
}
