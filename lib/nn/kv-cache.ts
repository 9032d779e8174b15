// Keys and values of past positions, one pair of buffers per layer. Where the next token goes and which keys count live on the device, so a
// recorded decode step can be replayed; the host only counts how far the buffers are filled.

import type { Device } from "../core/device.js";
import { AnymalError, expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { built, keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { concat, gatherRows, increment, sliceCopy } from "../ops/index.js";
import { causalAttention } from "./alibi.js";
import { CACHE_TYPES, type CacheType, KeyValues, rowsOf } from "./key-values.js";
import type { Rope } from "./rope.js";
import {
  type Beside,
  begun,
  type Heads,
  type LayerCache,
  type Lead,
  layoutOf,
  MaskError,
  type RowState,
  type Sequence,
  type Span,
  spansOf,
} from "./sequence.js";

export interface CacheOptions {
  layers: number;
  batch: number;
  length: number;
  kvHeads: number;
  headDim: number;
  /** Of the model. */
  dtype?: "f32" | "bf16";
  /** What keys and values are kept as. Default: the model's dtype. */
  type?: CacheType | undefined;
}
const CACHE_OPTIONS = optionNames<CacheOptions>({
  ...{ layers: true, batch: true, length: true, kvHeads: true, headDim: true, dtype: true, type: true },
});

/** E_CACHE_FULL: more positions than the cache has room for. */
export class CacheFullError extends AnymalError {
  override readonly name = "CacheFullError";
  constructor(
    readonly expected: string,
    readonly got: string,
  ) {
    super("E_CACHE_FULL", `KVCache: expected ${expected}, got ${got}; make the cache longer or start a new one`);
  }
}

const BYTES = { f32: 4, bf16: 2, i32: 4, u8: 1 } as const;

/** Where new tokens stand, where that does not follow from the rows: (B,T) i32, and a table that has all of it. */
export interface Placed {
  table: Tensor;
  positions: Tensor;
}

/** Rows of a lead that no token sees, so that nothing of them is held. */
const unheldRows = (lead: Lead | undefined): number => (lead?.hidden && lead.rows ? lead.length : 0);
const withoutLead = ({ from, end, position }: RowState, by: number, uncounted = false): RowState => ({
  from: from - by,
  end: end - by,
  position: uncounted ? position - by : position,
});

/** What a layer keeps: tensors (B,…) with something for each row, and those that all rows share. */
interface Kept {
  perRow: readonly Tensor[];
  shared: readonly Tensor[];
}
const tensorsOf = (kept: Kept | undefined): readonly Tensor[] => (kept ? [...kept.perRow, ...kept.shared] : []);

/** Room for `length` positions of `batch` rows. createCache() of a model makes one that fits; the model fills it, and dispose() frees it. */
export class KVCache implements LayerCache {
  readonly length: number;
  readonly batch: number;
  /** What keys and values are kept as. */
  readonly type: CacheType;
  readonly #options: CacheOptions;
  readonly #layers: readonly KeyValues[];
  /** What layers made of media: it stays what it is while tokens follow. Without tensors: it went when the cache was shortened. */
  readonly #kept = new Map<object, Kept | undefined>();
  /** (B,2) i32: which media beside the next token of a row sees. */
  #seen: Tensor | undefined;
  // (B,1) i32 each. Of a row: the first key that counts, the slot of the next token, that slot + 1, and the next token's row in the RoPE table.
  #start: Tensor;
  #slot: Tensor;
  #end: Tensor;
  #position: Tensor;
  #rows: readonly RowState[];
  /** Slots of each row that what stands before its tokens takes. */
  #led = 0;
  /** Rows that stood before its tokens and take none. */
  #unheld = 0;
  /** What decoding in this cache turns keys and queries by, where it is not what all sequences are turned by. */
  #ropeTable: Tensor | undefined;
  #rope: Rope | undefined;

  constructor(
    private readonly device: Device,
    options: CacheOptions,
  ) {
    checkOptions("KVCache", options, CACHE_OPTIONS);
    const { layers, batch, length, kvHeads, headDim, dtype = "f32", type = dtype } = options;
    if (!CACHE_TYPES.includes(type)) throw expected("E_ARGUMENT", "KVCache", `type ${CACHE_TYPES.join(", ")}`, type);
    this.length = length;
    this.batch = batch;
    this.type = type;
    this.#options = options;
    this.#rows = begun(batch);
    [this.#layers, [this.#start, this.#slot, this.#end, this.#position]] = built(() => [
      Array.from({ length: layers }, () => new KeyValues(device, [batch, length, kvHeads, headDim], dtype, type)),
      this.#columns(this.#rows, this.#rows),
    ]);
  }

  /** Slots in use in the fullest row. */
  get filled(): number {
    return this.#rows.reduce((most, { end }) => Math.max(most, end), 0);
  }
  /** Tokens in the fullest row: what stands before them is none. */
  get held(): number {
    return Math.max(0, this.filled - this.#led);
  }
  /** Where each row goes on. */
  get rows(): readonly RowState[] {
    return this.#rows;
  }
  /** Has every row its next token in the same slot? */
  get #even(): boolean {
    return this.#rows.every(({ end }) => end === this.#rows[0]?.end);
  }
  /** What it holds on the device, with what layers keep in it. */
  get bytes(): number {
    const kept = [...this.#kept.values()].flatMap(tensorsOf);
    const own = this.#layers.flatMap(({ tensors }) => tensors);
    const all = [...own, ...kept, ...this.#state, this.#ropeTable, this.#seen].filter((one) => one !== undefined);
    return all.reduce((sum, { size, dtype }) => sum + size * BYTES[dtype], 0);
  }
  get #state(): Tensor[] {
    return [this.#start, this.#slot, this.#end, this.#position];
  }

  /**
   * What the layers are to be told of `count` further tokens of each row, of which each has as many as its span says. `masked`: are there others?
   * Throws E_CACHE_FULL unless they fit.
   */
  next(
    spans: readonly Span[],
    count: number,
    rope: Rope,
    { placed, masked = false, lead }: { placed?: Placed; masked?: boolean; lead?: Lead | undefined } = {},
  ): Sequence {
    const rows = this.filled > 0 ? this.#rows : begun(this.batch, lead);
    const filled = Math.max(...rows.map(({ end }) => end));
    if (spans.length !== this.batch) throw new CacheFullError(`${this.batch} rows, as it was made for`, `${spans.length}`);
    // Tokens stand further than their slots where rows that nobody holds stood before them, and the table of places is as long as the cache.
    if (filled + count + this.#unheld > this.length) throw new CacheFullError(`at most ${this.length} tokens`, `${filled} + ${count}`);
    this.#rope = rope;
    if (this.filled > 0 && count === 1) {
      const own = { table: this.#ropeTable ?? rope.table(this.length), positions: this.#position };
      return { ...(placed ?? own), range: concat([this.#start, this.#end], 1), cache: this, step: "decode", ...this.#beside() };
    }
    if (!this.#even)
      throw new CacheFullError("rows of equal length or padded on the left when several tokens follow", "rows padded on the right");
    const layout = layoutOf(rows, spans, count);
    const range = masked || filled > 0 || lead ? Tensor.from(layout.range, [this.batch, 2], { device: this.device }) : undefined;
    return {
      ...(placed ?? rope.placed(layout, this.length)),
      range,
      cache: this,
      step: this.filled > 0 ? "extend" : "first",
      lead,
      ...this.#beside(),
    };
  }
  #beside(): { beside?: Beside } {
    return this.#seen ? { beside: { seen: this.#seen } } : {};
  }

  /** After the layers have run: where each row goes on from here, and which of new media it sees from here on. Rows that all go on by as much are counted on the device, where a recorded step counts too. */
  done({ step, lead }: Sequence, told: readonly RowState[], seen?: readonly Span[]): void {
    if (seen) {
      const range = Int32Array.from(seen.flatMap(({ start, end }) => [start, end]));
      const next = keep(Tensor.from(range, [this.batch, 2], { device: this.device }));
      this.#seen?.dispose();
      this.#seen = next;
    }
    const unheld = step === "first" ? unheldRows(lead) : 0;
    if (step === "first") this.#unheld = unheld;
    const rows = unheld ? told.map((row) => withoutLead(row, unheld, lead?.uncounted)) : told;
    if (step === "first") this.#led = unheld ? 0 : (lead?.length ?? 0);
    const by = (rows[0]?.end ?? 0) - (this.#rows[0]?.end ?? 0);
    const alike = rows.every(({ from, end, position }, b) => {
      const before = this.#rows[b] as RowState;
      return from === before.from && end - before.end === by && position - before.position === by;
    });
    if (step === "first" || !alike) this.#place(rows);
    else {
      for (const column of [this.#slot, this.#end, this.#position]) increment(column, by);
      this.replayed(by);
    }
  }

  /** After `count` replays of a recorded step, which counted on the device's side by itself. */
  replayed(count: number): void {
    this.#rows = this.#rows.map(({ from, end, position }) => ({ from, end: end + count, position: position + count }));
  }

  /** Writes the keys and values of one layer behind what is there, and answers its queries from all that they may see. */
  attend(
    layer: number,
    { q, k, v }: Heads,
    { range, step, bias, slopes, lead }: Sequence,
    options: { scale: number; window: number },
  ): Tensor {
    const kept = this.#layers[layer] as KeyValues;
    const unheld = step === "first" ? unheldRows(lead) : 0;
    const held = (x: Tensor) => (unheld ? sliceCopy(x, 1, unheld, (x.shape[1] as number) - unheld) : x);
    scope(() => kept.write(held(k), held(v), this.#slot.reshape([this.batch])));
    if (range && step === "decode") return kept.decode(q, range, { ...options, bias });
    if (step !== "extend") return causalAttention(q, k, v, { range, bias, slopes, ...options });
    return causalAttention(q, ...kept.first(this.filled + (k.shape[1] as number)), { range, bias, slopes, ...options });
  }

  /** In a step of one token, where keys are kept as they come: they are turned on their way into the cache. */
  attendTurning(layer: number, heads: Heads, sequence: Sequence, options: { scale: number; window: number }): Tensor | undefined {
    const { range, step, bias } = sequence;
    const kept = this.#layers[layer] as KeyValues;
    if (!range || step !== "decode" || !kept.keeps(heads.k.dtype)) return undefined;
    return scope(() => kept.decode(kept.turn(heads, sequence, this.#slot.reshape([this.batch])), range, { ...options, bias }));
  }

  /** Holds what `owner` made until it makes others of a later step's media: what there is of each row (B,…), and what all rows share. What decode reads, first and extend keep. */
  keep(owner: object, perRow: readonly Tensor[], shared: readonly Tensor[] = []): void {
    const held = (all: readonly Tensor[]) => all.map((tensor) => keep(tensor.detach()));
    const next = built((): Kept => ({ perRow: held(perRow), shared: held(shared) }));
    for (const old of tensorsOf(this.#kept.get(owner))) old.dispose();
    this.#kept.set(owner, next);
  }
  /** What `owner` gave to keep; nothing where it gave nothing. Throws E_CACHE_SHORTENED when that went with truncate(). */
  kept(owner: object): readonly Tensor[] {
    const held = this.#kept.get(owner);
    if (!held && this.#kept.has(owner))
      throw expected("E_CACHE_SHORTENED", "KVCache", "media with the first step after truncate()", "a step without", "pass beside again");
    return tensorsOf(held);
  }
  /** Nothing stands beside from here on, and nothing is kept. */
  forget(): void {
    this.#drop();
    this.#kept.clear();
  }
  #drop(): void {
    for (const [owner, held] of this.#kept) {
      for (const tensor of tensorsOf(held)) tensor.dispose();
      this.#kept.set(owner, undefined);
    }
    this.#seen?.dispose();
    this.#seen = undefined;
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
    const { from: first, end: next } = this.#rows[b] as RowState;
    const [from, end] = [first, next].map((slot) => Math.max(0, slot - this.#led)) as [number, number];
    if (before.length < this.held || before.some((one, t) => one !== (t >= from && t < end)))
      throw new MaskError(
        `${count} entries in row ${b}, or ones where the cache holds ${end - from} tokens from ${from} on before them`,
        `[${bits}]`,
      );
    return bits.slice(before.length);
  }

  #place(rows: readonly RowState[]): void {
    const furthest = rows.reduce((most, { position }) => Math.max(most, position), 0);
    const behind = rows.map(({ position }) => furthest - position);
    const begins = this.#rope?.decodeRows(this.length, behind);
    const places = rows.map(({ position }, b) => ({ position: (begins?.[b] ?? 0) + position }));
    const [fresh, table] = built(() => [this.#columns(rows, places), this.#rope?.decodeTable(this.length, behind)]);
    for (const old of this.#state) old.dispose();
    [this.#start, this.#slot, this.#end, this.#position] = fresh;
    this.#ropeTable?.dispose();
    this.#ropeTable = table; // made now: nothing comes from the host while a step is recorded
    this.#rows = rows;
  }

  reset(): void {
    this.truncate(0);
  }
  /** Forgets all but the first `count` tokens of every row, and what layers kept; with the last token goes what stands before them. Rows must not be padded. */
  truncate(count: number): void {
    if (count > this.held || (count > 0 && (!this.#even || this.#rows.some(({ from }) => from > this.#led))))
      throw new CacheFullError(`rows of at least ${count} tokens and none of padding to keep`, `${this.held} in the fullest row`);
    if (count === 0) this.#led = this.#unheld = 0;
    const by = this.held - count;
    this.#place(
      count ? this.#rows.map(({ from, end, position }) => ({ from, end: end - by, position: position - by })) : begun(this.batch),
    );
    if (count === 0) this.forget();
    else this.#drop();
  }

  /** A longer cache with the same positions in it, and with what layers kept. */
  grown(length: number): KVCache {
    return this.#copied(length);
  }
  /** A cache of as many rows as `rows` names, each a copy of the one it names, with room for `length` positions, and with what layers kept. */
  chosen(rows: readonly number[], length: number): KVCache {
    return this.#copied(length, rows);
  }
  #copied(length: number, chosen?: readonly number[]): KVCache {
    const count = this.filled;
    return built(() => {
      const next = new KVCache(this.device, { ...this.#options, length, batch: chosen?.length ?? this.batch });
      next.#rope = this.#rope;
      scope(() => {
        const index = chosen && Tensor.from(Int32Array.from(chosen), [chosen.length], { device: this.device });
        const slot = next.#slot.reshape([next.batch]);
        if (count) for (const [i, layer] of next.#layers.entries()) layer.take(this.#layers[i] as KeyValues, count, slot, index);
        next.#place(chosen ? chosen.map((b) => this.#rows[b] as RowState) : this.#rows);
        next.#led = this.#led;
        next.#unheld = this.#unheld;
        next.#seen = this.#seen && keep(index ? gatherRows(this.#seen, index) : this.#seen.detach());
        for (const [owner, kept] of this.#kept)
          if (!kept) next.#kept.set(owner, undefined);
          else next.keep(owner, index ? kept.perRow.map((one) => rowsOf(one, index)) : kept.perRow, kept.shared);
      });
      return next;
    });
  }

  /**
   * Row `to` goes on as row `from` does from here on. They must share what is in the first `since` slots, and what layers kept: only what lies behind those
   * is copied.
   */
  fork(from: number, to: number, since: number): void {
    const count = this.filled - since;
    if (from === to || count < 1) return;
    scope(() => {
      const slot = Tensor.from(Int32Array.of(since), [1], { device: this.device });
      for (const layer of this.#layers) layer.fork(from, to, { since, count, slot });
    });
  }

  /** Start, slot, end and position of rows; the last one counts from where the RoPE table begins. */
  #columns(rows: readonly RowState[], places: readonly Pick<RowState, "position">[]): [Tensor, Tensor, Tensor, Tensor] {
    const column = (values: readonly number[]) => keep(Tensor.from(Int32Array.from(values), [this.batch, 1], { device: this.device }));
    return built(() => [
      column(rows.map(({ from }) => from)),
      column(rows.map(({ end }) => end)),
      column(rows.map(({ end }) => end + 1)),
      column(places.map(({ position }) => position)),
    ]);
  }

  dispose(): void {
    this.#drop();
    for (const one of [...this.#layers, ...this.#state]) one.dispose();
    this.#ropeTable?.dispose();
    this.#ropeTable = undefined;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
