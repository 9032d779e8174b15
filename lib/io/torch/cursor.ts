// A pickle's bytes, one after the other, from a part of a file. No more than a window of it is held.
import { PickleError, quoted } from "./error.js";

/** What MappedFile offers. */
export interface Bytes {
  readonly path: string;
  readonly size: number;
  read(offset: number, length: number): ArrayBuffer;
}

const WINDOW = 2 ** 16;
/** No description of a model is longer; the weights are not in it. */
export const LONGEST = 100_000_000;
/** Of a line of text in protocol 0: names, numbers and short strings. */
const LONGEST_LINE = 2 ** 16;
const NEWLINE = 10;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class Cursor {
  #window = new Uint8Array();
  #next = 0;
  /** Of the window, in the file. */
  #from: number;

  /** Behind the last byte that may be read. */
  readonly end: number;
  readonly #cut: boolean;

  /** Reads [from, end) of the file, and no more than a pickle may have. */
  constructor(
    readonly file: Bytes,
    from: number,
    end: number,
  ) {
    this.#from = from;
    this.end = Math.min(end, from + LONGEST);
    this.#cut = this.end < end;
  }

  /** Where the next byte stands in the file. */
  get at(): number {
    return this.#from + this.#next;
  }
  get left(): number {
    return this.end - this.at;
  }

  byte(): number {
    if (this.#next === this.#window.length) this.#fill(1);
    return this.#window[this.#next++] as number;
  }
  /** Lengths are held against what is left before anything is read. */
  take(length: number): Uint8Array {
    if (this.#window.length - this.#next < length) this.#fill(length);
    this.#next += length;
    return this.#window.subarray(this.#next - length, this.#next);
  }
  skip(length: number): void {
    if (length > this.left) this.#ends(length);
    const held = this.#window.length - this.#next;
    if (length <= held) this.#next += length;
    else {
      this.#from = this.at + length;
      this.#window = new Uint8Array();
      this.#next = 0;
    }
  }
  u16(): number {
    return this.#view(2).getUint16(0, true);
  }
  u32(): number {
    return this.#view(4).getUint32(0, true);
  }
  i32(): number {
    return this.#view(4).getInt32(0, true);
  }
  i64(): bigint {
    return this.#view(8).getBigInt64(0, true);
  }
  u64(): bigint {
    return this.#view(8).getBigUint64(0, true);
  }
  /** Of a length that a file claims: one beyond its end is named, whatever it is. */
  length(bytes: 4 | 8): number {
    const length = bytes === 4 ? this.u32() : Number(this.u64());
    return length > this.left ? this.#ends(length) : length;
  }
  /** Pickles have numbers of 8 bytes with the highest byte first. */
  f64(): number {
    return this.#view(8).getFloat64(0, false);
  }
  /** Up to a line's end, which is taken too. Bytes as they are. */
  line(): Uint8Array {
    const bytes: number[] = [];
    for (;;) {
      const byte = this.byte();
      if (byte === NEWLINE) return Uint8Array.from(bytes);
      if (bytes.length >= LONGEST_LINE) throw new PickleError(this.file.path, `lines of at most ${LONGEST_LINE} bytes`, "a longer one");
      bytes.push(byte);
    }
  }
  text(bytes: Uint8Array): string {
    try {
      return utf8.decode(bytes);
    } catch {
      throw new PickleError(this.file.path, "text in UTF-8", quoted(Buffer.from(bytes.subarray(0, 40)).toString("latin1")));
    }
  }

  #view(bytes: number): DataView {
    const part = this.take(bytes);
    return new DataView(part.buffer, part.byteOffset, bytes);
  }
  #fill(length: number): void {
    if (length > this.left) this.#ends(length);
    this.#from = this.at;
    this.#window = new Uint8Array(this.file.read(this.#from, Math.min(Math.max(length, WINDOW), this.end - this.#from)));
    this.#next = 0;
  }
  #ends(length: number): never {
    if (this.#cut) throw new PickleError(this.file.path, `a pickle of at most ${LONGEST} bytes`, "a longer one");
    throw new PickleError(this.file.path, `${length} more bytes at ${this.at}`, `${Math.max(0, this.left)}, where the pickle ends`);
  }
}
