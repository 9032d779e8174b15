// Rows as a training loop takes them: read once by who trains on them, with the features of their media, and each bad one named.
import { createHash } from "node:crypto";
import type { Features, Media } from "../anymal/media-encoder.js";
import { AnymalError, expected, isOfDevice } from "../core/errors.js";
import { warn } from "../core/notice.js";
import { isBytes } from "../core/realm.js";
import { Turns } from "../core/turns.js";
import { Batches } from "../data/batches.js";
import { orderOf } from "../data/mixture.js";
import type { Row } from "../data/row.js";
import type { RowSource } from "../data/sources/source.js";
import type { MediaPart, Modality } from "../media/part.js";
import type { FeatureSource, RowMedia } from "./feature-source.js";
import type { ReadyRow } from "./prompt-rows.js";

/** How a row becomes what a step takes: E once it is read, R with the features of its media. What either throws is the row's own fault. */
export interface RowReader<E extends { media: readonly MediaPart[] }, R> {
  read(row: Row): E;
  ready(read: E, features: readonly Media[]): R;
}

/** What became of a batch. */
export interface Made<R> {
  ready: R[];
  /** Media of its rows, and those of which features were kept. */
  media: number;
  kept: number;
  /** What is held for it until it is used: features, pixels, and media that came with their rows. */
  bytes: number;
  /** Equal for equal rows in the same order: of what they say, and of the content of media whose encoders do not train. */
  digest: string;
}
/** The rows of one step, and how many batches were used up to it: one whose rows are all bad makes no step. */
export interface Window<R = ReadyRow> extends Made<R> {
  batches: number;
  /** Rows that were left out up to it. */
  skipped: number;
}

/** A batch that was begun: what goes wrong is told by finish(), when its turn has come. */
export interface Draft<R> {
  readonly rows: Promise<readonly Outcome<R>[]>;
}
type Outcome<R> = { index: number } & ({ row: R; media: number; kept: number; bytes: number; said: string } | { problem: unknown });

interface Read<E> {
  read: E;
  /** What the row says, as a hash. */
  said: string;
}
interface Encoded<E> extends Read<E> {
  index: number;
}

export interface TrainingRowsOptions {
  seed: number;
  /** Rows per step; all there are, if they are fewer. */
  batch: number;
  /** Are the rows of a step of like length? */
  groupByLength?: boolean | undefined;
  onBadRow: "throw" | "skip";
  /** Told of every row that is left out. */
  onProblem?: ((problem: AnymalError) => void) | undefined;
}

/** Rows that are looked at for media to measure; beyond, the rows of a file are not read for those that it may not hold. */
const MOST_LOOKED = 16_384;

export class TrainingRows<E extends { media: readonly MediaPart[] }, R> {
  /** Of rows that are in memory themselves. */
  readonly #encoded: (Read<E> | undefined)[] = [];
  readonly #bad = new Set<number>();
  readonly #batches: Batches;

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

  /** Is there a row that was not found to be bad? */
  get isUsable(): boolean {
    return this.#bad.size < this.rows.length;
  }

  /** Goes to where a run stands that has used so many batches. */
  seek(batches: number): void {
    const { state, batchesPerEpoch: all } = this.#batches;
    this.#batches.restore({ ...state, epoch: Math.floor(batches / all), position: batches % all });
  }

  /** The next batch is read, and its media made into what a step takes. Several may be under way; they are finished in their order. */
  begin(signal?: AbortSignal): Draft<R> {
    const indices = this.#batches.next().filter((i) => !this.#bad.has(i));
    const rows = this.#outcomes(indices, signal);
    rows.catch(() => undefined); // told when it is awaited
    return { rows };
  }

  async finish({ rows }: Draft<R>): Promise<Made<R>> {
    const made: Made<R> = { ready: [], media: 0, kept: 0, bytes: 0, digest: "" };
    const said: string[] = [];
    for (const one of await rows) {
      if ("problem" in one) this.#judge(one.index, one.problem);
      else {
        made.ready.push(one.row);
        said.push(one.said);
        for (const what of ["media", "kept", "bytes"] as const) made[what] += one[what];
      }
    }
    return { ...made, digest: digestOf(said) };
  }

  async #outcomes(indices: readonly number[], signal: AbortSignal | undefined): Promise<Outcome<R>[]> {
    signal?.throwIfAborted();
    const rows = indices.map((i) => (this.#encoded[i] ? undefined : this.rows.row(i))); // side by side where they come from files
    for (const row of rows) row?.catch(() => undefined); // told when it is awaited
    const turns = new Turns();
    const encoded: (Encoded<E> | { index: number; problem: unknown })[] = [];
    for (const [k, index] of indices.entries()) {
      encoded.push(await this.#encode(index, rows[k]).catch((problem: unknown) => ({ index, problem })));
      await turns.next();
    }
    const media = await this.source.media(
      encoded.map((one) => ("read" in one ? one.read.media : [])),
      signal,
    );
    signal?.throwIfAborted();
    return encoded.map((one, k) => ("read" in one ? this.#outcome(one, media[k] as PromiseSettledResult<RowMedia>) : one));
  }

  #outcome({ index, read, said }: Encoded<E>, made: PromiseSettledResult<RowMedia>): Outcome<R> {
    if (made.status === "rejected") return { index, problem: made.reason };
    const { media, kept, keys } = made.value;
    try {
      const row = this.reader.ready(read, media);
      return { index, row, media: media.length, kept, bytes: bytesOf(read.media, media), said: digestOf([said, ...keys]) };
    } catch (problem) {
      return { index, problem };
    }
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
        const encoded = await this.#encode(i).catch((problem: unknown) => this.#judge(i, problem));
        media.push(...(encoded?.read.media.filter((part) => part.modality === modality) ?? []));
        await turns.next();
      }
      signal?.throwIfAborted();
    }
    const all: Features[] = [];
    for (let from = 0; from < Math.min(count, media.length); from += this.options.batch)
      for (const one of await this.source.features(media.slice(from, Math.min(count, from + this.options.batch)), signal))
        if (one.status === "fulfilled") all.push(one.value);
        else this.#orNothing(one.reason, signal);
    return all;
  }

  /** The row is reported, or skipped, when its turn comes. */
  #orNothing(error: unknown, signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (!(error instanceof AnymalError) || isOfDevice(error)) throw error;
  }

  #order(): Batches {
    const { seed, batch, groupByLength } = this.options;
    const { length, sizes } = this.rows;
    if (groupByLength && !sizes)
      throw expected(
        "E_RECIPE",
        "groupByLength",
        "rows whose lengths are known before they are read",
        "Parquet, which tells none",
        "leave it out",
      );
    const lengths = groupByLength ? sizes : undefined;
    const last = length < batch ? "keep" : "drop";
    return new Batches(length, { batchSize: batch, seed, last, order: orderOf(this.rows, seed), ...(lengths && { lengths }) });
  }

  async #encode(index: number, row?: Promise<Row>): Promise<Encoded<E>> {
    const known = this.#encoded[index];
    if (known) return { index, ...known };
    const own = await (row ?? this.rows.row(index));
    const made = { read: this.reader.read(own), said: saidBy(own) };
    if (this.rows.held) this.#encoded[index] = made;
    return { index, ...made };
  }

  /** The row's own fault: thrown under its name, or the row is left out from now on. What is not is thrown as it is. */
  #judge(index: number, error: unknown): undefined {
    if (!(error instanceof AnymalError) || isOfDevice(error) || error.code === "E_DATA") throw error;
    if (this.#bad.has(index)) return; // it was begun again before it was found to be bad
    const where = this.rows.where(index);
    const named = error.message.startsWith(where) ? error : new AnymalError("E_ROW", `${where}: ${error.message}`, { cause: error });
    if (this.options.onBadRow === "throw") throw named;
    this.#bad.add(index);
    if (this.options.onProblem) this.options.onProblem(named);
    else if (this.#bad.size === 1) warn("E_ROW", `a row is left out (${named.message}); onProblem hears of each, skippedRows counts them`);
  }
}

const digestOf = (texts: readonly string[]): string => createHash("sha256").update(JSON.stringify(texts)).digest("hex").slice(0, 16);

/** Of media that they are there, and of which kind: their content is read once, with their features. */
const saidBy = ({ turns }: Row): string =>
  digestOf(
    turns.map(({ content, ...turn }) =>
      JSON.stringify([turn, content.map((part) => (typeof part === "string" ? part : { modality: part.modality }))]),
    ),
  );

function bytesOf(parts: readonly MediaPart[], media: readonly Media[]): number {
  const made = media.reduce((sum, one) => sum + ("input" in one ? one.input.data.byteLength : one.data.byteLength), 0);
  return parts.reduce((sum, { source }) => sum + (isBytes(source) ? source.byteLength : 0), made);
}
