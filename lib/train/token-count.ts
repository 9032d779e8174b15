// How many tokens a run has gone through, in all its sittings.
import type { Tensor } from "../core/tensor.js";
import type { RunNumbers, Stateful } from "./trainee.js";

export class TokenCount implements Stateful {
  readonly name = "tokens";
  #all = 0;

  /** Of a step's rows. Returns how many there are with them. */
  add(rows: readonly { length: number }[]): number {
    for (const { length } of rows) this.#all += length;
    return this.#all;
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map();
  }
  numbers(): Partial<RunNumbers> {
    return { tokens: this.#all };
  }
  restore(_: unknown, { tokens = 0 }: RunNumbers): void {
    this.#all = tokens;
  }
}
