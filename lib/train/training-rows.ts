// Rows as a training loop takes them: tokenised once, with the features of their media, cut to what fits, and each bad one named.
import type { AnyMAL } from "../anymal/anymal.js";
import type { Features, Media } from "../anymal/media-encoder.js";
import { conversationOf, type EncodedPrompt, encodePrompt } from "../anymal/prompt.js";
import { askingOf } from "../anymal/question.js";
import { AnymalError, expected, isOfDevice } from "../core/errors.js";
import { warn } from "../core/notice.js";
import { Turns } from "../core/turns.js";
import { Batches } from "../data/batches.js";
import { blockOrder, type Order } from "../data/order.js";
import type { Row } from "../data/row.js";
import type { RowSource } from "../data/sources/source.js";
import type { MediaPart, Modality } from "../media/part.js";
import { fitParts, promptLength } from "../text/fit-parts.js";
import { IGNORE } from "../text/prompt.js";
import type { TextPart } from "../text/splice.js";
import type { FeatureSource } from "./feature-source.js";

export interface ReadyRow extends EncodedPrompt {
  /** Of each medium, or what its processor made of it for an encoder that trains. */
  features: readonly Media[];
  /** Positions, after cutting. */
  length: number;
  /** Targets, after cutting. */
  scored: number;
  /** What they count in the loss together: as many as they are, where none has a weight of its own. */
  counted: number;
}

/** The rows of one step, and how many batches were used up to it: one whose rows are all bad makes no step. */
export interface Window {
  ready: ReadyRow[];
  batches: number;
}

interface Encoded {
  index: number;
  prompt: EncodedPrompt;
}

export interface TrainingRowsOptions {
  seed: number;
  /** Rows per step; all there are, if they are fewer. */
  batch: number;
  maxLength: number;
  onBadRow: "throw" | "skip";
  /** Told of every row that is left out. */
  onProblem?: ((problem: AnymalError) => void) | undefined;
  /** What every row must hold; a row that teaches nothing is a mistake. */
  check?: (media: readonly MediaPart[]) => string | undefined;
}

/** Rows that are looked at for media to measure; beyond, the rows of a file are not read for those that it may not hold. */
const MOST_LOOKED = 16_384;

export class TrainingRows {
  /** Of rows that are in memory themselves. */
  readonly #encoded: (EncodedPrompt | undefined)[] = [];
  readonly #bad = new Set<number>();
  readonly #batches: Batches;
  /** Batches given out. */
  #used = 0;

  constructor(
    private readonly model: AnyMAL,
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

  async next(signal?: AbortSignal): Promise<Window> {
    // An epoch may leave some rows out, and the next one others.
    for (let left = 2 * this.stepsPerEpoch; left > 0 && this.#bad.size < this.rows.length; --left) {
      const ready = await this.#ready(signal);
      ++this.#used;
      if (ready.length) return { ready, batches: this.#used };
    }
    throw expected("E_DATA", "training", "at least one usable row", `none of ${this.rows.length}`, "mend the rows that were reported");
  }

  async #ready(signal?: AbortSignal): Promise<ReadyRow[]> {
    signal?.throwIfAborted();
    const indices = this.#batches.next().filter((i) => !this.#bad.has(i));
    const read = indices.map((i) => (this.#encoded[i] ? undefined : this.rows.row(i))); // side by side where they come from files
    for (const row of read) row?.catch(() => undefined); // told when it is awaited
    const turns = new Turns();
    const encoded: Encoded[] = [];
    for (const [k, i] of indices.entries()) {
      const one = await this.#attempt(i, () => this.#encode(i, read[k]));
      if (one) encoded.push(one);
      await turns.next();
    }
    const features = await this.#features(encoded, signal);
    const ready: ReadyRow[] = [];
    for (const [k, { index, prompt }] of encoded.entries()) {
      const own = features[k];
      const row = own && (await this.#attempt(index, () => this.#cut(prompt, own)));
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
        media.push(...(encoded?.prompt.media.filter((part) => part.modality === modality) ?? []));
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

  async #encode(index: number, row?: Promise<Row>): Promise<Encoded> {
    const known = this.#encoded[index];
    if (known) return { index, prompt: known };
    const { where, turns } = await (row ?? this.rows.row(index));
    const prompt = encodePrompt(this.model.tokenizer, conversationOf(turns, this.model.prompt), {
      ...this.model.prompt,
      where,
      rows: this.model.llm.config.vocabSize,
      ask: askingOf(this.model),
    });
    for (const { modality } of prompt.media) this.model.encoder(modality);
    const problem = this.options.check?.(prompt.media);
    if (problem) throw new AnymalError("E_ROW", `${where}: ${problem}`);
    if (this.rows.held) this.#encoded[index] = prompt;
    return { index, prompt };
  }

  /** Features row by row; undefined where a medium cannot be used. */
  async #features(encoded: readonly Encoded[], signal?: AbortSignal): Promise<(Media[] | undefined)[]> {
    const parts = encoded.flatMap(({ prompt }) => prompt.media);
    try {
      const all = await this.source.media(parts, signal);
      let next = 0;
      return encoded.map(({ prompt }) => {
        next += prompt.media.length;
        return all.slice(next - prompt.media.length, next);
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof AnymalError) || isOfDevice(error)) throw error;
    }
    // One of them is at fault: row by row shows which.
    const result: (Media[] | undefined)[] = [];
    for (const { index, prompt } of encoded) {
      const own = await this.source.media(prompt.media, signal).catch((error: unknown) => error);
      result.push(Array.isArray(own) ? own : await this.#attempt(index, () => fail(own)));
    }
    return result;
  }

  #cut(prompt: EncodedPrompt, features: readonly Media[]): ReadyRow {
    const mediaLength = (i: number) => {
      const { modality, shape } = features[i] as Media;
      return this.model.projector(modality).rows(shape);
    };
    const parts = fitParts(prompt.parts, this.options.maxLength, mediaLength, prompt.where);
    let [scored, counted] = [0, 0];
    for (const [i, part] of parts.entries())
      if (!("media" in part))
        for (const weight of targets(part, i === 0)) {
          ++scored;
          counted += weight;
        }
    if (!scored) throw expected("E_PROMPT", prompt.where, "a token to learn", "none", "write a longer answer");
    return { ...prompt, parts, features, length: promptLength(parts, mediaLength), scored, counted };
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

/** The weight of each. The first position of a row is nobody's next. */
function* targets({ labels, weights }: TextPart, first: boolean): Generator<number> {
  for (let i = first ? 1 : 0; labels && i < labels.length; ++i) if (labels[i] !== IGNORE) yield weights?.[i] ?? 1;
}

function fail(error: unknown): never {
  throw error;
}
