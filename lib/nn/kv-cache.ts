// Keys and values of past positions, one pair of buffers per layer. Where the next token goes and which keys count live on the device, so a
// recorded decode step can be replayed; the host only counts how far the buffers are filled.

import type { Device } from "../core/device.js";
import { AnymalError } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { built, keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { attention, attentionDecode, cacheWrite, concat, increment, sliceCopy } from "../ops/index.js";
import { type Layout, layoutOf, MaskError, type Span, spansOf } from "./sequence.js";

type TableRows = (behind: readonly number[]) => readonly number[];

export interface CacheOptions {
  layers: number;
  batch: number;
  length: number;
  kvHeads: number;
  headDim: number;
  dtype?: "f32" | "bf16";
}
const CACHE_OPTIONS = optionNames<CacheOptions>({ layers: true, batch: true, length: true, kvHeads: true, headDim: true, dtype: true });

export class CacheFullError extends AnymalError {
  override readonly name = "CacheFullError";
  constructor(
    readonly expected: string,
    readonly got: string,
  ) {
    super("E_CACHE_FULL", `KVCache: expected ${expected}, got ${got}; make the cache longer or start a new one`);
  }
}

export class KVCache {
  readonly length: number;
  readonly batch: number;
  readonly #keys: Tensor[]; // (B,length,K,D)
  readonly #values: Tensor[];
  // (B,1) i32 each. Of a row: the first key that counts, the slot of the next token, that slot + 1, and the next token's row in the RoPE table.
  #start: Tensor;
  #slot: Tensor;
  #end: Tensor;
  #position: Tensor;
  #starts: number[];
  #slots: number[];
  #behind: number[];
  #ropeTable: Tensor | undefined;

  constructor(
    private readonly device: Device,
    options: CacheOptions,
  ) {
    checkOptions("KVCache", options, CACHE_OPTIONS);
    const { layers, batch, length, kvHeads, headDim, dtype = "f32" } = options;
    this.length = length;
    this.batch = batch;
    // Zeros, not garbage: a key that is masked out still meets the query, and 0 · NaN would not be hidden.
    const buffer = () => keep(Tensor.zeros([batch, length, kvHeads, headDim], { device, dtype }));
    this.#starts = new Array(batch).fill(0);
    this.#slots = new Array(batch).fill(0);
    this.#behind = new Array(batch).fill(0);
    const none = new Array<number>(batch).fill(0);
    [this.#keys, this.#values, [this.#start, this.#slot, this.#end, this.#position]] = built(() => [
      Array.from({ length: layers }, buffer),
      Array.from({ length: layers }, buffer),
      this.#columns(none, none, none),
    ]);
  }

  /** Slots in use in the fullest row. */
  get filled(): number {
    return Math.max(0, ...this.#slots);
  }
  /** Has every row its next token in the same slot? */
  get #even(): boolean {
    return this.#slots.every((slot) => slot === this.#slots[0]);
  }
  /** By how many positions each row is behind the furthest one. */
  get behind(): readonly number[] {
    return this.#behind;
  }
  /** What decoding in this cache turns keys and queries by, where it is not what all sequences are turned by. The cache owns it. */
  get ropeTable(): Tensor | undefined {
    return this.#ropeTable;
  }
  set ropeTable(table: Tensor | undefined) {
    this.#ropeTable?.dispose();
    this.#ropeTable = table;
  }
  /** (B,1) i32: the position of the token that comes next, counted from where its row's part of the RoPE table begins. */
  get position(): Tensor {
    return this.#position;
  }

  /** Keys that the next token of each row may see, itself included: (B,2) i32. */
  decodeRange(): Tensor {
    return concat([this.#start, this.#end], 1);
  }

  /** Writes the rows (B,T,K,D) of one layer behind what is there. */
  write(layer: number, k: Tensor, v: Tensor): void {
    const slot = this.#slot.reshape([this.batch]);
    cacheWrite(this.#keys[layer] as Tensor, k, slot);
    cacheWrite(this.#values[layer] as Tensor, v, slot);
  }

  /** One query per row against everything written, this step's key included. */
  decode(layer: number, q: Tensor, range: Tensor, scale: number, window: number): Tensor {
    return attentionDecode(q, this.#keys[layer] as Tensor, this.#values[layer] as Tensor, range, { scale, window });
  }

  /** Several queries per row against everything written: another turn of a conversation. `range` as for a sequence of filled + T keys. */
  extend(layer: number, q: Tensor, range: Tensor, scale: number, window: number): Tensor {
    const length = this.filled + (q.shape[1] as number);
    const k = sliceCopy(this.#keys[layer] as Tensor, 1, 0, length);
    const v = sliceCopy(this.#values[layer] as Tensor, 1, 0, length);
    return attention(q, k, v, { range, scale, window, causal: true });
  }

  /** For extend(): where each of `count` new tokens sits, of which a row has as many as its span says, and which keys its row may see. */
  following(count: number, spans: readonly Span[]): Layout {
    if (!this.#even)
      throw new CacheFullError("rows of equal length or padded on the left when several tokens follow", "rows padded on the right");
    const { filled } = this;
    const seen = spans.map(({ end }, b) => ({ start: this.#starts[b] as number, end: filled + end }));
    return layoutOf(seen, filled, count);
  }

  /**
   * The spans of `count` further tokens by a mask of them, or of everything so far and them, as transformers has it. Throws E_MASK where tokens would not
   * follow at once on what their row holds.
   */
  spansBehind(mask: readonly ArrayLike<number>[], count: number): Span[] {
    const own = mask.map((row, b) => (row.length === count ? row : this.#ownPart(row, b, count)));
    return spansOf(own, count).map((span, b) => {
      if (span.start > 0)
        throw new MaskError(
          `padding behind the tokens of row ${b}, which follow on what the cache holds`,
          `[${Array.from(own[b] as ArrayLike<number>)}]`,
        );
      return span;
    });
  }
  #ownPart(row: ArrayLike<number>, b: number, count: number): number[] {
    const bits = Array.from(row);
    const before = bits.slice(0, Math.max(0, bits.length - count)).map(Boolean);
    const [start, slot] = [this.#starts[b] as number, this.#slots[b] as number];
    if (before.length < this.filled || before.some((one, t) => one !== (t >= start && t < slot)))
      throw new MaskError(
        `${count} entries in row ${b}, or ones where the cache holds ${slot - start} tokens from ${start} on before them`,
        `[${bits}]`,
      );
    return bits.slice(before.length);
  }

  /** Throws unless `count` more tokens of `batch` rows fit. */
  reserve(count: number, batch = this.batch): void {
    if (batch !== this.batch) throw new CacheFullError(`${this.batch} rows, as it was made for`, `${batch}`);
    if (this.filled + count > this.length) throw new CacheFullError(`at most ${this.length} tokens`, `${this.filled} + ${count}`);
  }

  /** After a first forward over T positions of which each row used its span. `tableRows`: where a row's part of the RoPE table begins. */
  filledBy(spans: readonly Span[], length: number, tableRows?: TableRows): void {
    this.#place(
      spans.map(({ start }) => start),
      spans.map(({ start, end }) => (start > 0 ? length : end)),
      tableRows,
    );
  }

  /** After a further forward of which each row used as many tokens as its span says: a row's padding is written over by its next token. */
  followedBy(spans: readonly Span[], tableRows?: TableRows): void {
    this.#place(
      this.#starts,
      spans.map(({ end }, b) => (this.#slots[b] as number) + end),
      tableRows,
    );
  }

  #place(starts: number[], slots: number[], tableRows?: TableRows): void {
    const positions = slots.map((slot, b) => slot - (starts[b] as number));
    const furthest = Math.max(...positions);
    const behind = positions.map((position) => furthest - position);
    const rows = tableRows?.(behind);
    const fresh = this.#columns(
      starts,
      slots,
      positions.map((position, b) => (rows?.[b] ?? 0) + position),
    );
    for (const old of [this.#start, this.#slot, this.#end, this.#position]) old.dispose();
    [this.#start, this.#slot, this.#end, this.#position] = fresh;
    [this.#starts, this.#slots, this.#behind] = [starts, slots, behind];
  }

  /** After each further forward over `count` positions. */
  advance(count: number): void {
    for (const column of [this.#slot, this.#end, this.#position]) increment(column, count);
    this.replayed(count);
  }
  /** After `count` replays of a recorded step, which advanced the device's side by itself. */
  replayed(count: number): void {
    this.#slots = this.#slots.map((slot) => slot + count);
  }

  reset(): void {
    this.truncate(0);
  }
  /** Forgets all but the first `count` positions of every row. Rows must not be padded. */
  truncate(count: number): void {
    if (count > this.filled || (count > 0 && !this.#even) || this.#starts.some((start) => start > 0))
      throw new CacheFullError(`rows of at least ${count} tokens and none of padding to keep`, `${this.filled} in the fullest row`);
    this.filledBy(
      Array.from({ length: this.batch }, () => ({ start: 0, end: count })),
      count,
    );
  }

  /** A longer cache with the same positions in it. */
  grown(length: number): KVCache {
    const [, , kvHeads = 0, headDim = 0] = this.#keys[0]?.shape ?? [];
    const dtype = this.#keys[0]?.dtype as "f32" | "bf16";
    const count = this.filled;
    return built(() => {
      const next = new KVCache(this.device, { layers: this.#keys.length, batch: this.batch, length, kvHeads, headDim, dtype });
      if (count) {
        scope(() => {
          for (let layer = 0; layer < this.#keys.length; ++layer)
            next.write(layer, sliceCopy(this.#keys[layer] as Tensor, 1, 0, count), sliceCopy(this.#values[layer] as Tensor, 1, 0, count));
        });
      }
      next.#slots.fill(count);
      next.truncate(count);
      return next;
    });
  }

  /** Start, slot, end and position, for rows that begin at `starts` and whose next token is at `slots` and has row `positions` of the RoPE table. */
  #columns(starts: readonly number[], slots: readonly number[], positions: readonly number[]): [Tensor, Tensor, Tensor, Tensor] {
    const column = (values: readonly number[]) => keep(Tensor.from(Int32Array.from(values), [this.batch, 1], { device: this.device }));
    return built(() => [column(starts), column(slots), column(slots.map((slot) => slot + 1)), column(positions)]);
  }

  dispose(): void {
    for (const tensor of [...this.#keys, ...this.#values, this.#start, this.#slot, this.#end, this.#position]) tensor.dispose();
    this.ropeTable = undefined;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
