// Keys and values of past positions, one pair of buffers per layer. Where the next token goes and which keys count live on the device, so a
// recorded decode step can be replayed; the host only counts how far the buffers are filled.

import type { Device } from "../core/device.js";
import { AnymalError } from "../core/errors.js";
import { built, keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { attention, attentionDecode, cacheWrite, concat, increment, sliceCopy } from "../ops/index.js";
import { type Layout, layoutOf, type Span } from "./sequence.js";

export interface CacheOptions {
  layers: number;
  batch: number;
  length: number;
  kvHeads: number;
  headDim: number;
  dtype?: "f32" | "bf16";
}

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
  #behind: number[];
  #ropeTable: Tensor | undefined;
  #filled = 0;
  #even = true; // every row has its next token in the same slot

  constructor(
    private readonly device: Device,
    { layers, batch, length, kvHeads, headDim, dtype = "f32" }: CacheOptions,
  ) {
    this.length = length;
    this.batch = batch;
    // Zeros, not garbage: a key that is masked out still meets the query, and 0 · NaN would not be hidden.
    const buffer = () => keep(Tensor.zeros([batch, length, kvHeads, headDim], { device, dtype }));
    this.#starts = new Array(batch).fill(0);
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
    return this.#filled;
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
    const length = this.#filled + (q.shape[1] as number);
    const k = sliceCopy(this.#keys[layer] as Tensor, 1, 0, length);
    const v = sliceCopy(this.#values[layer] as Tensor, 1, 0, length);
    return attention(q, k, v, { range, scale, window, causal: true });
  }

  /** For extend(): where each of `count` new tokens sits, and which keys its row may see. */
  following(count: number): Layout {
    if (!this.#even)
      throw new CacheFullError("rows of equal length or padded on the left when several tokens follow", "rows padded on the right");
    const end = this.#filled + count;
    const spans = this.#starts.map((start) => ({ start, end }));
    return layoutOf(spans, this.#filled, count);
  }

  /** Throws unless `count` more tokens fit. */
  reserve(count: number): void {
    if (this.#filled + count > this.length) throw new CacheFullError(`at most ${this.length} tokens`, `${this.#filled} + ${count}`);
  }

  /** After a first forward over T positions of which each row used its span. `tableRows`: where a row's part of the RoPE table begins. */
  filledBy(spans: readonly Span[], length: number, tableRows?: (behind: readonly number[]) => readonly number[]): void {
    const ends = spans.map(({ start, end }) => (start > 0 ? length : end));
    const starts = spans.map(({ start }) => start);
    const positions = ends.map((end, b) => end - (starts[b] as number));
    const furthest = Math.max(...positions);
    const behind = positions.map((position) => furthest - position);
    const rows = tableRows?.(behind);
    const fresh = this.#columns(
      starts,
      ends,
      positions.map((position, b) => (rows?.[b] ?? 0) + position),
    );
    for (const old of [this.#start, this.#slot, this.#end, this.#position]) old.dispose();
    [this.#start, this.#slot, this.#end, this.#position] = fresh;
    [this.#starts, this.#behind] = [starts, behind];
    this.#filled = Math.max(...ends);
    this.#even = ends.every((end) => end === ends[0]);
  }

  /** After each further forward over `count` positions. */
  advance(count: number): void {
    for (const column of [this.#slot, this.#end, this.#position]) increment(column, count);
    this.#filled += count;
  }
  /** After `count` replays of a recorded step, which advanced the device's side by itself. */
  replayed(count: number): void {
    this.#filled += count;
  }

  reset(): void {
    this.truncate(0);
  }
  /** Forgets all but the first `count` positions of every row. Rows must not be padded. */
  truncate(count: number): void {
    if (count > this.#filled || (count > 0 && !this.#even) || this.#starts.some((start) => start > 0))
      throw new CacheFullError(`rows of at least ${count} tokens and none of padding to keep`, `${this.#filled} in the fullest row`);
    this.filledBy(
      Array.from({ length: this.batch }, () => ({ start: 0, end: count })),
      count,
    );
  }

  /** A longer cache with the same positions in it. */
  grown(length: number): KVCache {
    const [, , kvHeads = 0, headDim = 0] = this.#keys[0]?.shape ?? [];
    const dtype = this.#keys[0]?.dtype as "f32" | "bf16";
    const count = this.#filled;
    return built(() => {
      const next = new KVCache(this.device, { layers: this.#keys.length, batch: this.batch, length, kvHeads, headDim, dtype });
      if (count) {
        scope(() => {
          for (let layer = 0; layer < this.#keys.length; ++layer)
            next.write(layer, sliceCopy(this.#keys[layer] as Tensor, 1, 0, count), sliceCopy(this.#values[layer] as Tensor, 1, 0, count));
        });
      }
      next.#filled = count;
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
