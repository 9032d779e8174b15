// Where media rows go in a sequence of text: a pure function over ids and lengths. It returns an index that `splice_rows` follows on the
// device, so text embeddings and projector outputs stay in their own buffers until they are needed side by side.
import { optionNames } from "../core/options.js";

export interface TextPart {
  ids: ArrayLike<number>;
  /** One label per id; absent: the part is not scored. */
  labels?: ArrayLike<number>;
  /** How much each label counts in the loss; absent: 1. */
  weights?: ArrayLike<number>;
}
export interface MediaRows {
  /** First row of this item in the media buffer, and how many rows it has. */
  start: number;
  length: number;
}
export type Part = TextPart | MediaRows;

export interface SpliceOptions {
  /** Where padding goes: right for training, left for generating. */
  side?: "right" | "left";
  /** Rows are cut to this many positions (from the end), never inside a media item. */
  maxLength?: number;
  ignore?: number;
  /** All rows behind each other in one, which says how long each is. */
  packed?: boolean;
}
export const SPLICE_OPTIONS = optionNames<SpliceOptions>({ side: true, maxLength: true, ignore: true, packed: true });

export interface Spliced {
  batch: number;
  length: number;
  /** Ids of all text tokens in reading order: the rows of the text buffer. */
  textIds: Int32Array;
  /** (batch, length): i < textIds.length is text row i, larger ones are media row i - textIds.length, -1 is padding. */
  index: Int32Array;
  attentionMask: Int32Array[];
  labels: Int32Array[];
  /** Of each label; absent where all count alike. */
  weights?: Float32Array[];
  /** Of rows that lie in one: their lengths. */
  samples?: number[];
}

const isMedia = (part: Part): part is MediaRows => "start" in part;
const rowLength = (row: readonly Part[]): number => row.reduce((n, part) => n + lengthOf(part), 0);
const lengthOf = (part: Part): number => (isMedia(part) ? part.length : part.ids.length);

export function splice(
  rows: readonly (readonly Part[])[],
  { side = "right", maxLength = Infinity, ignore = -100, packed = false }: SpliceOptions = {},
): Spliced {
  const each = rows.map((row) => truncate(row, maxLength));
  const samples = packed ? each.map(rowLength).filter((length) => length > 0) : undefined;
  const cut = packed ? [each.flat()] : each;
  const lengths = cut.map(rowLength);
  const length = Math.max(0, ...lengths);
  const textRows = cut.flat().reduce((n, part) => n + (isMedia(part) ? 0 : part.ids.length), 0);
  const textIds = new Int32Array(textRows);
  const index = new Int32Array(cut.length * length).fill(-1);
  const attentionMask = cut.map(() => new Int32Array(length));
  const labels = cut.map(() => new Int32Array(length).fill(ignore));
  const weighted = cut.some((row) => row.some((part) => !isMedia(part) && part.weights));
  const weights = weighted ? cut.map(() => new Float32Array(length).fill(1)) : undefined;

  let text = 0;
  for (const [b, row] of cut.entries()) {
    let t = side === "right" ? 0 : length - (lengths[b] as number);
    const mask = attentionMask[b] as Int32Array;
    const target = labels[b] as Int32Array;
    for (const part of row) {
      for (let i = 0; i < lengthOf(part); ++i, ++t) {
        mask[t] = 1;
        if (isMedia(part)) {
          index[b * length + t] = textRows + part.start + i;
        } else {
          index[b * length + t] = text;
          textIds[text++] = part.ids[i] as number;
          if (part.labels) target[t] = part.labels[i] as number;
          if (part.weights) (weights?.[b] as Float32Array)[t] = part.weights[i] as number;
        }
      }
    }
  }
  return { batch: cut.length, length, textIds, index, attentionMask, labels, ...(weights && { weights }), ...(samples && { samples }) };
}

/** Rows of ids in which each `placeholder` stands for the next item of `items` (in reading order over all rows). */
export function partsOf(
  ids: readonly ArrayLike<number>[],
  placeholder: number,
  items: readonly MediaRows[],
  labels?: readonly ArrayLike<number>[],
): Part[][] {
  let next = 0;
  const rows = ids.map((row, b) => {
    const parts: Part[] = [];
    let from = 0;
    const text = (to: number) => {
      if (to === from) return;
      const part: TextPart = { ids: Array.from(row).slice(from, to) };
      if (labels) part.labels = Array.from(labels[b] as ArrayLike<number>).slice(from, to);
      parts.push(part);
    };
    for (let t = 0; t < row.length; ++t) {
      if (row[t] !== placeholder) continue;
      text(t);
      from = t + 1;
      const item = items[next++];
      if (item) parts.push(item);
    }
    text(row.length);
    return parts;
  });
  if (next !== items.length) {
    throw new RangeError(
      `splice: expected one media item per placeholder ${placeholder}, got ${next} placeholders and ${items.length} items`,
    );
  }
  return rows;
}

/** Its first `length` ids, and what is said of them. */
export function headOf({ ids, labels, weights }: TextPart, length: number): TextPart {
  const first = (values: ArrayLike<number>) => Array.from(values).slice(0, length);
  return { ids: first(ids), ...(labels && { labels: first(labels) }), ...(weights && { weights: first(weights) }) };
}

// A media item that does not fit whole ends the row: half an image would be a different image.
function truncate(row: readonly Part[], maxLength: number): Part[] {
  const kept: Part[] = [];
  let left = maxLength;
  for (const part of row) {
    const n = lengthOf(part);
    if (n <= left) {
      kept.push(part);
    } else {
      if (!isMedia(part) && left > 0) {
        kept.push(headOf(part, left));
      }
      break;
    }
    left -= n;
  }
  return kept;
}
