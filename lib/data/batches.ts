// Which rows make up which batch: a function of the seed, the epoch and the position alone, so that a resumed run meets what an unbroken one would.
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { Draw } from "./draw.js";
import { inOrder, type Order, remembered, shuffledOrder } from "./order.js";

export interface BatchOptions {
  batchSize: number;
  seed?: number;
  /** Default true: another order in every epoch. */
  shuffle?: boolean;
  /** One number a row; batches are then made of rows of similar length. */
  lengths?: ArrayLike<number>;
  /** The rest of an epoch that does not fill a batch: a smaller batch (the default), or left out. */
  last?: "keep" | "drop";
  /** Another order than of all rows one by one: blockOrder(), mixedOrder(). Its rows are those of an epoch, which may be more or fewer than there are. */
  order?: Order | undefined;
}

const OPTIONS = optionNames<BatchOptions>({ batchSize: true, seed: true, shuffle: true, lengths: true, last: true, order: true });

/** Plain numbers, for a checkpoint. */
export interface BatchState {
  seed: number;
  epoch: number;
  /** Batches of the epoch that were given out. */
  position: number;
  rows: number;
  batchSize: number;
}

/** Rows are sorted by length among this many batches at a time: enough to waste little padding, few enough to stay random. */
const SORTED_TOGETHER = 50;

/** An endless row of batches of row numbers, epoch after epoch. */
export class Batches {
  readonly seed: number;
  #epoch = 0;
  #position = 0;
  readonly #order: Order;
  readonly #sorted = remembered((stretch: number) => this.#sortedStretch(stretch));

  constructor(
    readonly rows: number,
    private readonly options: BatchOptions,
  ) {
    checkOptions("Batches", options, OPTIONS);
    const { batchSize, seed = 0, lengths, last } = options;
    if (!(Number.isInteger(rows) && rows > 0)) throw expected("E_VALUE", "batches", "at least one row", rows);
    if (!(Number.isInteger(batchSize) && batchSize > 0)) throw expected("E_VALUE", "batchSize", "a positive integer", batchSize);
    if (!Number.isInteger(seed)) throw expected("E_VALUE", "seed", "an integer", seed);
    if (lengths && lengths.length !== rows) throw expected("E_VALUE", "lengths", `${rows}, one a row`, lengths.length);
    const ofEpoch = options.order?.length ?? rows;
    if (last === "drop" && ofEpoch < batchSize)
      throw expected(
        "E_VALUE",
        "batches",
        `at least one whole batch of ${batchSize}`,
        `${ofEpoch} rows`,
        "lower batchSize, or keep the last",
      );
    this.seed = seed;
    this.#order = options.order ?? (options.shuffle === false ? inOrder(rows) : shuffledOrder(rows, seed));
  }

  get batchesPerEpoch(): number {
    const batches = this.#order.length / this.options.batchSize;
    return this.options.last === "drop" ? Math.floor(batches) : Math.ceil(batches);
  }
  /** Of the batch that comes next. */
  get epoch(): number {
    return this.#epoch;
  }

  next(): number[] {
    const batch = this.#batch(this.#epoch, this.#position++);
    if (this.#position === this.batchesPerEpoch) {
      this.#position = 0;
      this.#epoch++;
    }
    return batch;
  }

  get state(): BatchState {
    return { seed: this.seed, epoch: this.#epoch, position: this.#position, rows: this.rows, batchSize: this.options.batchSize };
  }

  /** Goes on where `state` was taken. Refuses one of other data, where the same numbers would mean other rows. */
  restore(state: BatchState): void {
    const { epoch, position } = state;
    for (const [name, now] of [
      ["seed", this.seed],
      ["rows", this.rows],
      ["batchSize", this.options.batchSize],
    ] as const)
      if (state[name] !== now)
        throw expected(
          "E_STATE",
          `batches: ${name}`,
          `${now} as now`,
          state[name],
          "resume with the data and options that the run began with",
        );
    const whole = [epoch, position].every((n) => Number.isInteger(n) && n >= 0);
    if (!whole || position >= this.batchesPerEpoch)
      throw expected("E_STATE", "batches", `a position below ${this.batchesPerEpoch}`, `epoch ${epoch}, position ${position}`);
    [this.#epoch, this.#position] = [epoch, position];
  }

  #batch(epoch: number, position: number): number[] {
    const { batchSize, lengths } = this.options;
    if (!lengths) return this.#stretch(epoch, position * batchSize, batchSize);
    const { shuffle = true } = this.options;
    const within = Math.floor(position / SORTED_TOGETHER);
    const batches = this.#sorted(epoch * Math.ceil(this.batchesPerEpoch / SORTED_TOGETHER) + within);
    const at = position % SORTED_TOGETHER;
    const own = shuffle ? new Draw(this.seed, `batches ${epoch} ${within}`).shuffled([...batches.keys()])[at] : at;
    return [...(batches[own as number] as number[])];
  }

  /** Rows of the epoch's order, as many as there are of them. */
  #stretch(epoch: number, from: number, count: number): number[] {
    return Array.from({ length: Math.min(count, this.#order.length - from) }, (_, i) => this.#order.at(epoch, from + i));
  }

  /** The batches of a stretch, stretches being counted through all epochs: a stretch's rows are near each other where an order has them so. */
  #sortedStretch(stretch: number): number[][] {
    const { batchSize, lengths = [] } = this.options;
    const all = this.batchesPerEpoch;
    const perEpoch = Math.ceil(all / SORTED_TOGETHER);
    const first = (stretch % perEpoch) * SORTED_TOGETHER;
    const batches = Math.min(SORTED_TOGETHER, all - first);
    const rows = this.#stretch(Math.floor(stretch / perEpoch), first * batchSize, batches * batchSize);
    return cut(rows.sort(byLength(lengths)), batchSize);
  }
}

const byLength = (lengths: ArrayLike<number>) => (a: number, b: number) => (lengths[b] as number) - (lengths[a] as number) || a - b;

function cut<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}
