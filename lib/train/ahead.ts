// The rows of the next step are read while the device works on this one.
import type { Tensor } from "../core/tensor.js";
import type { RunNumbers, Stateful, Windows } from "./trainee.js";
import type { Window } from "./training-rows.js";

/** Rows in their order, and from any batch on. */
interface Ordered<W> {
  next(signal?: AbortSignal): Promise<W>;
  seek(batches: number): void;
}

/** One window ahead of who asks; where the rows stand is what was handed out, not what was begun. */
export class Ahead<W extends Pick<Window, "batches">> implements Windows<W>, Stateful {
  readonly name = "order";
  #next: Promise<W> | undefined;
  #batches = 0;

  constructor(
    private readonly rows: Ordered<W>,
    private readonly steps: number,
  ) {}

  async next(step: number, signal?: AbortSignal): Promise<W> {
    this.#next ??= this.#begin(signal);
    const window = await this.#next;
    this.#next = step + 1 < this.steps ? this.#begin(signal) : undefined;
    this.#batches = window.batches;
    return window;
  }

  #begin(signal: AbortSignal | undefined): Promise<W> {
    const window = this.rows.next(signal);
    window.catch(() => undefined); // told when it is awaited
    return window;
  }

  async end(): Promise<void> {
    await this.#next?.catch(() => undefined);
    this.#next = undefined;
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map();
  }
  numbers(): Partial<RunNumbers> {
    return { batches: this.#batches };
  }
  restore(_: unknown, { step, batches = step }: RunNumbers): void {
    this.rows.seek(batches);
    this.#batches = batches;
  }
}
