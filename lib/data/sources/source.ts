// Rows by number, read when they are asked for: what a training takes them from, whatever they are kept in.
import { expected } from "../../core/errors.js";
import type { Order } from "../order.js";
import type { DataRecord } from "../records.js";
import type { DataError, Row } from "../row.js";

/** What both kinds of sources tell of themselves. */
export interface Counted {
  readonly length: number;
  /** How many rows are read together, block after block; absent where each is read by itself. */
  readonly blocks?: readonly number[] | undefined;
  /** Of how many blocks the rows are shuffled together. Default 8. */
  readonly together?: number | undefined;
  /** Of each row, in bytes or the like, for who wants rows of like length together; absent where nobody knows. */
  readonly sizes?: ArrayLike<number> | undefined;
  /** Lets go of files. */
  close(): Promise<void>;
}

/** Rows as a file holds them. */
export interface RecordSource extends Counted {
  readonly path: string;
  /** The columns of a table: all rows have them. */
  readonly columns?: readonly string[] | undefined;
  /** The row's number in the file, for messages. */
  numberOf(index: number): number;
  /** A row that is wrong comes as its error. Rejects with E_DATA where the file is not what it was. */
  record(index: number): Promise<DataRecord | DataError>;
}

/** Rows of conversations. */
export interface RowSource extends Counted {
  /** Are they all in memory? */
  readonly held: boolean;
  /** Of a mixture: in which order its rows are read; others are read once an epoch. */
  order?(seed: number): Order;
  /** For messages: "captions.jsonl:17". */
  where(index: number): string;
  /** Rejects with the DataError of a row that is wrong. */
  row(index: number): Promise<Row>;
}

/** Rows that are there. */
export function heldRows(rows: readonly Row[]): RowSource {
  return {
    length: rows.length,
    held: true,
    get sizes() {
      return rows.map(({ turns }) =>
        turns.flatMap(({ content }) => content).reduce((n, part) => n + (typeof part === "string" ? part.length : MEDIUM), 0),
      );
    },
    where: (index) => (rows[index] as Row).where,
    row: async (index) => rows[index] as Row,
    close: async () => {},
  };
}
/** Characters that a medium counts for. */
export const MEDIUM = 256;

/** One source after the other, read in `order`. Closes all of them. */
export function joinedRows(sources: readonly RowSource[], order?: RowSource["order"]): RowSource {
  const [only] = sources;
  if (sources.length === 1) return only as RowSource;
  const starts: number[] = [];
  let length = 0;
  for (const source of sources) {
    starts.push(length);
    length += source.length;
  }
  const find = (index: number): [RowSource, number] => {
    const at = findLast(starts, index);
    return [sources[at] as RowSource, index - (starts[at] as number)];
  };
  const known = sources.every(({ sizes }) => sizes !== undefined);
  return {
    length,
    ...(order && { order }),
    held: sources.every(({ held }) => held),
    blocks: sources.some(({ blocks }) => blocks) ? sources.flatMap(({ blocks, length }) => blocks ?? pieces(length)) : undefined,
    together: Math.min(...sources.map(({ together = TOGETHER }) => together)),
    get sizes() {
      return known ? sources.flatMap(({ sizes }) => Array.from(sizes as ArrayLike<number>)) : undefined;
    },
    where: (index) => {
      const [source, own] = find(index);
      return source.where(own);
    },
    row: async (index) => {
      const [source, own] = find(index);
      return source.row(own);
    },
    close: async () => void (await Promise.all(sources.map((source) => source.close()))),
  };
}

/** Blocks whose rows are shuffled together, so that a step's rows come from few. */
export const TOGETHER = 8;
/** Rows that are read by themselves, among blocks. */
const PIECE = 1024;
const pieces = (length: number): number[] =>
  Array.from({ length: Math.ceil(length / PIECE) }, (_, i) => Math.min(PIECE, length - i * PIECE));

/** The last of ascending `starts` that is not above `place`. */
export function findLast(starts: ArrayLike<number>, place: number): number {
  let [low, high] = [0, starts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] as number) <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Throws E_VALUE where a source has no such row. */
export function checkIndex(where: string, index: number, length: number): void {
  if (!(Number.isInteger(index) && index >= 0 && index < length)) throw expected("E_VALUE", where, `a row from 0 to ${length - 1}`, index);
}
