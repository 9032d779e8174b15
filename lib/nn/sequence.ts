// What all layers of one forward share: where the tokens of a padded batch sit, which keys they may see, and what stands beside and before them.

import { AnymalError } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import type { Packed } from "./packed.js";

/**
 * What every layer of one forward is told. It is data: a layer that is computed again in backward is told the same, so every tensor of it has to
 * be found by walking plain objects and arrays. Integers are i32.
 */
export interface Sequence {
  table: Tensor; // (P,D/2,2) f32
  positions: Tensor; // (B,T)
  range?: Tensor | undefined; // (B,2)
  /** (1|B,H,T,S) f32: added to the scaled scores of all keys, those of the cache too; of a family that says so how far apart tokens are. */
  bias?: Tensor | undefined;
  /** (H,1) f32: in the place of a bias that would be too large, what keys fall by for each place between them and the query, in each head. */
  slopes?: Tensor | undefined;
  cache?: LayerCache | undefined;
  /** first: nothing is cached yet; extend: several tokens follow, or media with them; decode: one token follows. */
  step: "first" | "extend" | "decode";
  beside?: Beside | undefined;
  lead?: Lead | undefined;
  /** Several samples stand in each row, and see themselves alone. Without cache, lead and media beside. */
  packed?: Packed | undefined;
}

/** Media that do not stand between the tokens: layers that ask for them read them here. */
export interface Beside {
  /** (B,S,d), told when they are new: a layer keeps in the cache what it makes of them. */
  rows?: Tensor | undefined;
  /** Which of the rows a token sees. With new ones: (B,1,T,S) f32, 0 or -∞. Behind them: (B,2) i32, the rows [start, end). Without it all are seen. */
  seen?: Tensor | undefined;
}

/** Media beside a prompt, as the host knows them. */
export interface MediaBeside {
  /** (B,S,d); a row with fewer media than another is filled up with anything. */
  rows: Tensor;
  /** Of each token of each row, the rows that it sees. Default: all. */
  seen?: readonly (readonly Span[])[] | undefined;
  /** Of a prompt of one row that continues a conversation: what each of the S rows is of, compared by identity. */
  of?: readonly unknown[] | undefined;
}

/** Which media a token sees: the latest before it, all before it, or all of its row, wherever they stand. */
export type Sees = "latest" | "all" | "row";

/** What stands before every row of a model that was tuned so: it takes slots of the cache and positions as tokens do. Told in the first step. */
export interface Lead {
  length: number;
  /** (1|B,length,C): embeddings before the first token. */
  rows?: Tensor | undefined;
  /** (1|B,length,…): keys and values for the layers, in place of embeddings. A wrap of attention puts its layer's before the others. */
  keys?: Tensor | undefined;
  /** The tokens do not see its rows, which only steer: no cache holds them. */
  hidden?: boolean | undefined;
  /** Tokens of later steps stand as if it had not been there, one place too early for each of its rows: LaVIN's published code. */
  uncounted?: boolean | undefined;
}

/** What an adapter puts before the rows of a model. */
export interface LeadSource {
  readonly length: number;
  /** Layers keep what it told them: a cache that was shortened cannot go on without it, nor one whose media have changed. */
  readonly steers?: boolean | undefined;
  /** Once in each forward that begins rows, on the tape. `media`: which of them have any, where that is known. */
  make(batch: { rows: number; media: readonly boolean[] | undefined }): Lead;
}

/** What layers ask of a cache: see KVCache. */
export interface LayerCache {
  attend(layer: number, heads: Heads, sequence: Sequence, options: { scale: number; window: number }): Tensor;
  /** The same of queries and keys that are not turned by their positions yet. Undefined where it cannot do both at once: then they are turned first. */
  attendTurning(layer: number, heads: Heads, sequence: Sequence, options: { scale: number; window: number }): Tensor | undefined;
  keep(owner: object, perRow: readonly Tensor[], shared?: readonly Tensor[]): void;
  kept(owner: object): readonly Tensor[];
}

/** Queries (B,T,H,D), keys and values (B,S,K,D). */
export interface Heads {
  q: Tensor;
  k: Tensor;
  v: Tensor;
}

/** Rows of equal length on the host, or (B,T) i32 on the device. */
export type Ids = readonly ArrayLike<number>[] | Tensor;

/** The tokens [start, end) of a row; the rest is padding. */
export interface Span {
  start: number;
  end: number;
}

/** Of a row that goes on: the first slot whose key it sees, the slot of its next token, and where that token stands for RoPE. */
export interface RowState {
  from: number;
  end: number;
  position: number;
}

export interface Layout {
  /** (B,T): RoPE position of every token; padding has position 0. */
  positions: Int32Array;
  /** (B,2): the keys a row may see. */
  range: Int32Array;
  batch: number;
  length: number;
}

/** E_MASK: an attentionMask that is none of these rows, or has a gap. */
export class MaskError extends AnymalError {
  override readonly name = "MaskError";
  constructor(
    readonly expected: string,
    readonly got: string,
  ) {
    super("E_MASK", `attentionMask: expected ${expected}, got ${got}`);
  }
}

/** Each row's tokens must be one run of ones: padding on the left, on the right, or both. */
export function spansOf(mask: readonly ArrayLike<number>[], length: number): Span[] {
  return mask.map((row, b) => {
    if (row.length !== length) throw new MaskError(`${length} entries in row ${b}, one per position`, `${row.length}`);
    const bits = Array.from(row, Boolean);
    const start = Math.max(0, bits.indexOf(true));
    const end = bits.lastIndexOf(true) + 1;
    if (bits.slice(start, end).includes(false))
      throw new MaskError(`one run of ones in row ${b}`, `[${Array.from(row)}]; of several samples in one row say packed: their lengths`);
    return { start, end };
  });
}

/** For `length` new tokens of rows that stand at `rows`, of which each has as many as its span says. */
export function layoutOf(rows: readonly RowState[], spans: readonly Span[], length: number): Layout {
  const positions = new Int32Array(spans.length * length);
  const range = new Int32Array(spans.length * 2);
  for (const [b, { start, end }] of spans.entries()) {
    const row = rows[b] as RowState;
    for (let t = 0; t < length; ++t) positions[b * length + t] = Math.max(0, row.position + t - start);
    range[2 * b] = row.from + start;
    range[2 * b + 1] = row.end + end;
  }
  return { positions, range, batch: spans.length, length };
}

/** Rows of which nothing was read yet. Keys that stand before them have no rows of their own. */
export const begun = (batch: number, lead?: Lead): RowState[] => {
  const keys = lead?.keys ? lead.length : 0;
  return Array.from({ length: batch }, () => ({ from: lead?.hidden ? lead.length : 0, end: keys, position: keys }));
};

/** Where rows stand behind their spans of new tokens. What pads a row behind its tokens is written over by its next ones. */
export const rowsBehind = (rows: readonly RowState[], spans: readonly Span[]): RowState[] =>
  rows.map(({ from, end, position }, b) => {
    const span = spans[b] as Span;
    return { from: from + span.start, end: end + span.end, position: position + span.end - span.start };
  });

/** (B,1,T,S) f32: 0 where a token sees a row, -∞ where not. */
export function biasOf(seen: readonly (readonly Span[])[], S: number): Float32Array {
  const T = seen[0]?.length ?? 0;
  const bias = new Float32Array(seen.length * T * S).fill(-Infinity);
  for (const [b, row] of seen.entries())
    for (const [t, { start, end }] of row.entries()) bias.fill(0, (b * T + t) * S + start, (b * T + t) * S + end);
  return bias;
}
