// How many values the pages of a column claim, read from their headers (Apache Parquet's parquet.thrift, in Thrift's compact form) before anything is unpacked:
// a run of a few bytes may stand for billions, and a reader makes room for as many as a page says.
import type { DataError } from "../row.js";

/** Values of a column in a group of rows. A gigabyte of samples of a sensor has fewer. */
const MOST_VALUES = 2 ** 27;
/** Values of a row, as turns of a conversation, that take next to no room: all of them the same. */
const SMALL_VALUES = 64;
/** How many times as long as it is in the file a column gets, with every packing that there is. */
const MOST_PACKED = 1024;
const WINDOW = 8 << 10;
/** A header holds the least and the largest value of its page. */
const MOST_HEADER = 16 << 20;

export interface ColumnChunk {
  /** For messages. */
  name: string;
  from: number;
  bytes: number;
  unpacked: number;
  /** Of the group. */
  rows: number;
  /** Has it one value a row? */
  flat: boolean;
}

interface PageHeader {
  /** Of itself. */
  length: number;
  packed: number;
  unpacked: number;
  values: number;
  nulls: number;
  dictionary: boolean;
}

type Read = (from: number, to: number) => Promise<ArrayBuffer>;

/** Throws what `broken` makes of the sentence where a page claims more values than there can be. */
export async function checkPages(chunk: ColumnChunk, read: Read, broken: (got: string) => DataError): Promise<void> {
  const { from, bytes, unpacked, rows, flat, name } = chunk;
  const small = Math.min(unpacked, MOST_PACKED * bytes);
  const most = flat ? rows : Math.min(MOST_VALUES, SMALL_VALUES * rows + 8 * small);
  let left = most;
  for (let at = from; at < from + bytes - 1 && (!flat || left > 0); ) {
    const header = await headerAt(at, from + bytes, read, broken);
    const { packed, values, nulls, dictionary } = header;
    if (!(packed >= 0 && header.unpacked >= 0)) throw broken(`a page of ${Math.min(packed, header.unpacked)} bytes in column ${name}`);
    if (dictionary) {
      if (!(values >= 0 && values <= Math.min(MOST_VALUES, 8 * Math.min(header.unpacked, MOST_PACKED * packed) + 1)))
        throw broken(`a dictionary of ${values} values in ${header.unpacked} bytes in column ${name}`);
    } else {
      if (!(values >= 0 && values <= left && nulls >= 0 && nulls <= values))
        throw broken(`a page of ${values} values, ${nulls} of them none, where ${left} of the column ${name} can be left`);
      left -= values;
    }
    at += header.length + packed;
  }
}

async function headerAt(at: number, end: number, read: Read, broken: (got: string) => DataError): Promise<PageHeader> {
  for (let size = WINDOW; ; size *= 8) {
    const to = Math.min(end, at + Math.min(size, MOST_HEADER));
    const header = parsed(new DataView(await read(at, to)));
    if (header) return header;
    if (to === end || size >= MOST_HEADER) throw broken(`no header of a page at byte ${at}`);
  }
}

const STOP = 0;
const BINARY = 8;
const LIST = 9;
const STRUCT = 12;
/** Bytes of the kinds whose length is their kind's: true, false, a byte, a double. */
const FIXED: Readonly<Record<number, number>> = { 1: 0, 2: 0, 3: 1, 7: 8 };
const DEEPEST = 8;

/** PageHeader: 2 and 3 are its sizes, 5, 7 and 8 say what kind of page it is. undefined where the view ends before it does, or it is none. */
function parsed(view: DataView): PageHeader | undefined {
  let at = 0;
  const byte = () => view.getUint8(at++);
  const varint = () => {
    let value = 0;
    for (let shift = 0; shift < 63; shift += 7) {
      const one = byte();
      value += (one & 127) * 2 ** shift;
      if (one < 128) return value;
    }
    throw new RangeError("no number");
  };
  const integer = () => {
    const value = varint();
    return value % 2 ? -(value + 1) / 2 : value / 2;
  };
  const skip = (type: number, depth: number): void => {
    const fixed = FIXED[type];
    if (fixed !== undefined) at += fixed;
    else if (type >= 4 && type <= 6) varint();
    else if (type === BINARY) {
      const length = varint(); // moves `at` itself
      at += length;
    } else if (type === STRUCT) struct(depth + 1, (_, inner) => skip(inner, depth + 1));
    else if (type === LIST) {
      const head = byte();
      const count = head >> 4 === 15 ? varint() : head >> 4;
      for (let i = 0; i < count && at <= view.byteLength; ++i) skip(head & 15, depth + 1);
    } else throw new RangeError("no such type");
  };
  const struct = (depth: number, field: (id: number, type: number) => void): void => {
    if (depth > DEEPEST) throw new RangeError("too deep");
    for (let id = 0; ; ) {
      const head = byte();
      if ((head & 15) === STOP) return;
      id = head >> 4 ? id + (head >> 4) : integer();
      field(id, head & 15);
    }
  };
  const header: PageHeader = { length: 0, packed: -1, unpacked: -1, values: -1, nulls: 0, dictionary: false };
  const page = (id: number, type: number) => {
    if (type < 4 || type > 6) return skip(type, 1);
    const value = integer();
    if (id === 1) header.values = value;
    return value;
  };
  try {
    struct(0, (id, type) => {
      if (type === STRUCT && (id === 5 || id === 7)) {
        header.dictionary = id === 7;
        return struct(1, (inner, of) => void page(inner, of));
      }
      if (type === STRUCT && id === 8)
        return struct(1, (inner, of) => {
          const value = page(inner, of);
          if (inner === 2 && typeof value === "number") header.nulls = value;
        });
      if (type < 4 || type > 6) return skip(type, 0);
      const value = integer();
      if (id === 2) header.unpacked = value;
      if (id === 3) header.packed = value;
    });
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  if (at > view.byteLength) return undefined;
  return { ...header, length: at };
}
