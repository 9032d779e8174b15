// Rows as a training loop takes them: read once by who trains on them, with the features of their media, and each bad one named.
import type { Features, Media } from "../anymal/media-encoder.js";
import { AnymalError, expected, isOfDevice } from "../core/errors.js";
import { warn } from "../core/notice.js";
import { Turns } from "../core/turns.js";
import { Batches } from "../data/batches.js";
import { blockOrder, type Order } from "../data/order.js";
import type { Row } from "../data/row.js";
import type { RowSource } from "../data/sources/source.js";
import type { MediaPart, Modality } from "../media/part.js";
import type { FeatureSource } from "./feature-source.js";
import type { ReadyRow } from "./prompt-rows.js";

/** How a row becomes what a step takes: E once it is read, R with the features of its media. What either throws is the row's own fault. */
export interface RowReader<E extends { media: readonly MediaPart[] }, R> {
  read(row: Row): E;
  ready(read: E, features: readonly Media[]): R;
}

/** The rows of one step, and how many batches were used up to it: one whose rows are all bad makes no step. */
export interface Window<R = ReadyRow> {
  ready: R[];
  batches: number;
}

interface Encoded<E> {
  index: number;
  read: E;
}

export interface TrainingRowsOptions {
  seed: number;
  /** Rows per step; all there are, if they are fewer. */
  batch: number;
  onBadRow: "throw" | "skip";
  /** Told of every row that is left out. */
  onProblem?: ((problem: AnymalError) => void) | undefined;
}

/** Rows that are looked at for media to measure; beyond, the rows of a file are not read for those that it may not hold. */
const MOST_LOOKED = 16_384;

export class TrainingRows<E extends { media: readonly MediaPart[] }, R> {
  /** Of rows that are in memory themselves. */
  readonly #encoded: (E | undefined)[] = [];
  readonly #bad = new Set<number>();
  readonly #batches: Batches;
  /** Batches given out. */
  #used = 0;

  constructor(
    private readonly reader: RowReader<E, R>,
    private readonly rows: RowSource,
    private readonly source: FeatureSource,
    private readonly options: TrainingRowsOptions,
  ) {
    if (!rows.length) throw expected("E_DATA", "training", "at least one row", "none", "check the data");
    this.#batches = this.#order();
  }

  get length(): number {
    return this.rows.length;
  }
  get stepsPerEpoch(): number {
    return this.#batches.batchesPerEpoch;
  }
  /** Rows that were left out. */
  get skipped(): number {
    return this.#bad.size;
  }

  /** Goes to where a run stands that has used so many batches. */
  seek(batches: number): void {
    const { state, batchesPerEpoch: all } = this.#batches;
    this.#batches.restore({ ...state, epoch: Math.floor(batches / all), position: batches % all });
    this.#used = batches;
  }

  async next(signal?: AbortSignal): Promise<Window<R>> {
    // An epoch may leave some rows out, and the next one others.
    for (let left = 2 * this.stepsPerEpoch; left > 0 && this.#bad.size < this.rows.length; --left) {
      const ready = await this.#ready(signal);
      ++this.#used;
      if (ready.length) return { ready, batches: this.#used };
    }
    throw expected("E_DATA", "training", "at least one usable row", `none of ${this.rows.length}`, "mend the rows that were reported");
  }

  async #ready(signal?: AbortSignal): Promise<R[]> {
    signal?.throwIfAborted();
    const indices = this.#batches.next().filter((i) => !this.#bad.has(i));
    const rows = indices.map((i) => (this.#encoded[i] ? undefined : this.rows.row(i))); // side by side where they come from files
    for (const row of rows) row?.catch(() => undefined); // told when it is awaited
    const turns = new Turns();
    const encoded: Encoded<E>[] = [];
    for (const [k, i] of indices.entries()) {
      const one = await this.#attempt(i, () => this.#encode(i, rows[k]));
      if (one) encoded.push(one);
      await turns.next();
    }
    const features = await this.#features(encoded, signal);
    const ready: R[] = [];
    for (const [k, { index, read }] of encoded.entries()) {
      const own = features[k];
      const row = own && (await this.#attempt(index, () => this.reader.ready(read, own)));
      if (row) ready.push(row);
    }
    return ready;
  }

  /** Features of the first media of each kind that training will see. */
  async sample(modality: Modality, count: number, signal?: AbortSignal): Promise<Features[]> {
    const media: MediaPart[] = [];
    const order = this.#order();
    const turns = new Turns();
    const most = this.rows.held ? this.rows.length : Math.min(this.rows.length, MOST_LOOKED);
    for (let looked = 0; looked < most && media.length < count; ) {
      const indices = order.next();
      looked += indices.length;
      for (const i of indices) {
        const encoded = await this.#attempt(i, () => this.#encode(i));
        media.push(...(encoded?.read.media.filter((part) => part.modality === modality) ?? []));
        await turns.next();
      }
      signal?.throwIfAborted();
    }
    const all: Features[] = [];
    const usable = (parts: readonly MediaPart[]) => this.source.features(parts, signal).catch((error) => this.#orNothing(error, signal));
    for (let from = 0; from < Math.min(count, media.length); from += this.options.batch) {
      const some = media.slice(from, Math.min(count, from + this.options.batch));
      const together = await usable(some); // as many as a step encodes; where one of them is at fault, one by one
      for (const part of together ? [] : some) all.push(...((await usable([part])) ?? []));
      all.push(...(together ?? []));
    }
    return all;
  }

  #orNothing(error: unknown, signal: AbortSignal | undefined): undefined {
    signal?.throwIfAborted();
    if (!(error instanceof AnymalError) || isOfDevice(error)) throw error;
    return undefined; // the row is reported, or skipped, when its turn comes
  }

  #order(): Batches {
    const { seed, batch } = this.options;
    const { length, blocks, together } = this.rows;
    const order: Order | undefined = blocks && blockOrder(blocks, seed, together);
    return new Batches(length, { batchSize: batch, seed, last: length < batch ? "keep" : "drop", order });
  }

  async #encode(index: number, row?: Promise<Row>): Promise<Encoded<E>> {
    const known = this.#encoded[index];
    if (known) return { index, read: known };
    const read = this.reader.read(await (row ?? this.rows.row(index)));
    if (this.rows.held) this.#encoded[index] = read;
    return { index, read };
  }

  /** Features row by row; undefined where a medium cannot be used. */
  async #features(encoded: readonly Encoded<E>[], signal?: AbortSignal): Promise<(Media[] | undefined)[]> {
    const parts = encoded.flatMap(({ read }) => read.media);
    try {
      const all = await this.source.media(parts, signal);
      let next = 0;
      return encoded.map(({ read }) => {
        next += read.media.length;
        return all.slice(next - read.media.length, next);
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof AnymalError) || isOfDevice(error)) throw error;
    }
    // One of them is at fault: row by row shows which.
    const result: (Media[] | undefined)[] = [];
    for (const { index, read } of encoded) {
      const own = await this.source.media(read.media, signal).catch((error: unknown) => error);
      result.push(Array.isArray(own) ? own : await this.#attempt(index, () => fail(own)));
    }
    return result;
  }

  /** The row's own fault: thrown under its name, or the row is left out from now on. */
  async #attempt<T>(index: number, make: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await make();
    } catch (error) {
      if (!(error instanceof AnymalError) || isOfDevice(error) || error.code === "E_DATA") throw error;
      const where = this.rows.where(index);
      const named = error.message.startsWith(where) ? error : new AnymalError("E_ROW", `${where}: ${error.message}`, { cause: error });
      if (this.options.onBadRow === "throw") throw named;
      this.#bad.add(index);
      if (this.options.onProblem) this.options.onProblem(named);
      else if (this.#bad.size === 1)
        warn("E_ROW", `a row is left out (${named.message}); onProblem hears of each, skippedRows counts them`);
      return undefined;
    }
  }
}

function fail(error: unknown): never {
  throw error;
}
