// What all layers of one forward share: where the tokens of a padded batch sit and which keys they may see. Pure functions on the host.

import { AnymalError } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";

/** Rows of equal length on the host, or (B,T) i32 on the device. */
export type Ids = readonly ArrayLike<number>[] | Tensor;

/** The tokens [start, end) of a row; the rest is padding. */
export interface Span {
  start: number;
  end: number;
}

export interface Layout {
  /** (B,T): RoPE position of every token; padding has position 0. */
  positions: Int32Array;
  /** (B,2): the keys a row may see. */
  range: Int32Array;
  batch: number;
  length: number;
}

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
      throw new MaskError(`one run of ones in row ${b}`, `[${Array.from(row)}]; packed rows are not supported: pass them as separate rows`);
    return { start, end };
  });
}

/** For tokens in the slots [from, from + length) of each row. */
export function layoutOf(spans: readonly Span[], from: number, length: number): Layout {
  const positions = new Int32Array(spans.length * length);
  const range = new Int32Array(spans.length * 2);
  for (const [b, { start, end }] of spans.entries()) {
    for (let t = 0; t < length; ++t) positions[b * length + t] = Math.max(0, from + t - start);
    range[2 * b] = start;
    range[2 * b + 1] = end;
  }
  return { positions, range, batch: spans.length, length };
}
