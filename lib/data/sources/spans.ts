// Where the rows of a text file begin and end, found in one pass over its bytes: 16 bytes of memory a row, whatever the rows hold.
import { setImmediate } from "node:timers/promises";
import { chunksOf, MAX_PIECE } from "../lines.js";

/** Bytes of a file, by the number of the row in it: the line, or the entry of a list, counted from 1. */
export interface Span {
  number: number;
  from: number;
  bytes: number;
}

export class Spans {
  #from = new Float64Array(1024);
  #bytes = new Uint32Array(1024);
  #number = new Uint32Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }
  /** Of each row, for who wants rows of like length together. */
  get sizes(): Uint32Array {
    return this.#bytes.subarray(0, this.#length);
  }
  add(number: number, from: number, bytes: number): void {
    if (this.#length === this.#from.length) {
      this.#from = grown(this.#from, Float64Array);
      this.#bytes = grown(this.#bytes, Uint32Array);
      this.#number = grown(this.#number, Uint32Array);
    }
    this.#from[this.#length] = from;
    this.#bytes[this.#length] = Math.min(bytes, 2 ** 32 - 1); // far beyond what a row may have
    this.#number[this.#length++] = number;
  }
  at(index: number): Span {
    return { number: this.#number[index] as number, from: this.#from[index] as number, bytes: this.#bytes[index] as number };
  }
}

function grown<T extends Float64Array | Uint32Array>(values: T, kind: new (length: number) => T): T {
  const more = new kind(Math.ceil(values.length * 1.5));
  more.set(values);
  return more;
}

/** Finds rows in bytes that come piece by piece. */
export interface Scanner {
  readonly spans: Spans;
  /** `at`: the place of the chunk in the file. The chunk's memory is used again. */
  feed(chunk: Buffer, at: number): void;
  /** After the last chunk. */
  end(): void;
}

/** Two milliseconds of work. */
const CHUNK = 1 << 20;

export async function scanned(path: string, scanner: Scanner, signal?: AbortSignal): Promise<Spans> {
  let at = 0;
  for await (const chunk of chunksOf(path, signal, CHUNK)) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (at === 0) at = chunk.byteOffset; // behind a byte order mark
    scanner.feed(bytes, at);
    at += bytes.length;
    await setImmediate();
  }
  scanner.end();
  return scanner.spans;
}

const [NEWLINE, RETURN, QUOTE, BACKSLASH, COMMA] = [10, 13, 34, 92, 44];
const isBlank = (byte: number): boolean => byte === 32 || byte === NEWLINE || byte === RETURN || byte === 9;

/** A whole line: bytes `from` to `to` of `chunk`, without its end. */
export type OnLine = (chunk: Buffer, from: number, to: number, number: number, at: number) => void;

/** Lines of chunks: those that lie in two or more are put together. */
export class Lines {
  #parts: Buffer[] = [];
  #gathered = 0;
  #number = 0;
  #at = 0;
  constructor(private readonly onLine: OnLine) {}

  feed(chunk: Buffer, at: number): void {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      this.#line(chunk, from, end, at + from);
      from = end + 1;
    }
    if (from < chunk.length) this.#gather(chunk.subarray(from), at + from);
  }

  #gather(part: Buffer, at: number): void {
    if (!this.#gathered) this.#at = at;
    this.#gathered += part.length;
    if (this.#gathered > MAX_PIECE) this.#parts = [];
    else this.#parts.push(Buffer.from(part));
  }

  #line(chunk: Buffer, from: number, to: number, at: number): void {
    ++this.#number;
    if (!this.#gathered) this.onLine(chunk, from, to, this.#number, at);
    else {
      this.#gather(chunk.subarray(from, to), at);
      this.#give();
    }
  }

  #give(): void {
    const [bytes, length] = [Buffer.concat(this.#parts), this.#gathered];
    [this.#parts, this.#gathered] = [[], 0];
    // Of a line that is too long to be a row only the length is left.
    this.onLine(bytes, 0, bytes.length || length, this.#number, this.#at);
  }

  end(): void {
    if (!this.#gathered) return;
    ++this.#number;
    this.#give();
  }
}

/** A row is a line that is not blank. */
export class LineScanner implements Scanner {
  readonly spans = new Spans();
  readonly #lines = new Lines((chunk, from, to, number, at) => {
    let ink = from;
    while (ink < to && isBlank(chunk[ink] as number)) ++ink; // of a line without its bytes the first is none
    if (ink < to) this.spans.add(number, at, to - from);
  });
  feed(chunk: Buffer, at: number): void {
    this.#lines.feed(chunk, at);
  }
  end(): void {
    this.#lines.end();
  }
}

/** A row is an entry of one JSON list. What is wrong with the list as a whole is `onBroken`'s to throw. */
export class EntryScanner implements Scanner {
  readonly spans = new Spans();
  #depth = 0;
  #text = false;
  #escaped = false;
  #ended = false;
  /** Where the entry begins, and whether anything but blanks was in it. */
  #from = 0;
  #blank = true;
  #number = 0;

  constructor(private readonly onBroken: (kind: "more" | "cut", entry: number) => never) {}

  feed(chunk: Buffer, at: number): void {
    for (let i = 0; i < chunk.length; ++i) {
      if (this.#text) {
        i = this.#inText(chunk, i);
        continue;
      }
      const byte = chunk[i] as number;
      if (isBlank(byte)) continue;
      if (this.#ended) this.onBroken("more", this.#number + 1);
      if (this.#depth === 1 && (byte === COMMA || byte === 93 || byte === 125)) this.#entry(at + i, byte === COMMA);
      else if (this.#depth) this.#blank = false;
      if (byte === QUOTE) this.#text = true;
      else if (byte === 91 || byte === 123) {
        if (this.#depth++ === 0) this.#from = at + i + 1;
      } else if (byte === 93 || byte === 125) this.#ended = --this.#depth === 0;
    }
  }

  /** The place of the quote that ends the text, or of the chunk's last byte. */
  #inText(chunk: Buffer, from: number): number {
    let i = from;
    if (this.#escaped) {
      this.#escaped = false;
      ++i; // whatever it is
    }
    for (;;) {
      const quote = chunk.indexOf(QUOTE, i);
      const end = quote < 0 ? chunk.length : quote;
      let slashes = 0;
      while (end - 1 - slashes >= i && chunk[end - 1 - slashes] === BACKSLASH) ++slashes;
      const escaped = slashes % 2 === 1;
      if (quote < 0) {
        this.#escaped = escaped;
        return chunk.length - 1;
      }
      if (!escaped) {
        this.#text = false;
        return quote;
      }
      i = quote + 1;
    }
  }

  #entry(at: number, comma: boolean): void {
    if (comma || this.#number || !this.#blank) ++this.#number;
    if (!this.#blank) this.spans.add(this.#number, this.#from, at - this.#from); // one behind a last comma is none
    this.#from = at + 1;
    this.#blank = true;
  }

  end(): void {
    if (!this.#ended) this.onBroken("cut", this.#number + 1);
  }
}
