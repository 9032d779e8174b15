// The rows of the next steps are read, decoded and encoded while the device works on this one: as many steps ahead as memory allows.
import { expected } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import type { RunNumbers, Stateful, Windows } from "./trainee.js";
import type { Draft, TrainingRows, Window } from "./training-rows.js";

/** Windows that are under way at once, and what those may hold that were not used yet, as far as it is more than one. */
const MOST_AHEAD = 8;
const MOST_BYTES = 256 << 20;
/** Until it is known how large a window is. */
const FIRST = 2;

/** Rows in their order, from any batch on, in batches that are begun and finished. */
type Drafted<R> = Pick<TrainingRows<never, R>, "length" | "stepsPerEpoch" | "skipped" | "isUsable" | "begin" | "finish" | "seek">;

/** Windows ahead of who asks; where the rows stand is what was handed out, not what was begun. */
export class Ahead<R> implements Windows<Window<R>>, Stateful {
  readonly name = "order";
  readonly #drafts: Draft<R>[] = [];
  readonly #over = new AbortController();
  #largest: number | undefined;
  #batches = 0;

  constructor(
    private readonly rows: Drafted<R>,
    private readonly steps: number,
  ) {}

  async next(step: number, signal?: AbortSignal): Promise<Window<R>> {
    const stop = () => this.#over.abort(signal?.reason);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      // An epoch may leave some rows out, and the next one others.
      for (let left = 2 * this.rows.stepsPerEpoch; left > 0 && this.rows.isUsable; --left) {
        this.#begin(this.steps - step);
        const made = await this.rows.finish(this.#drafts[0] as Draft<R>);
        this.#drafts.shift();
        ++this.#batches;
        if (!made.ready.length) continue;
        this.#largest = Math.max(this.#largest ?? 1, made.bytes);
        this.#begin(this.steps - step - 1);
        return { ...made, batches: this.#batches, skipped: this.rows.skipped };
      }
    } finally {
      signal?.removeEventListener("abort", stop);
    }
    throw expected("E_DATA", "training", "at least one usable row", `none of ${this.rows.length}`, "mend the rows that were reported");
  }

  /** As many as are ahead at most, and no more than there are steps for. */
  #begin(steps: number): void {
    const most = this.#largest === undefined ? FIRST : Math.max(1, Math.min(MOST_AHEAD, Math.floor(MOST_BYTES / this.#largest)));
    while (this.#drafts.length < Math.min(most, steps)) this.#drafts.push(this.rows.begin(this.#over.signal));
  }

  async end(): Promise<void> {
    this.#over.abort();
    await Promise.allSettled(this.#drafts.splice(0).map(({ rows }) => rows));
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
