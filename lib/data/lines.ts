// A text file in pieces, however large it is: lines, or the entries of one JSON list. Pieces are bytes, numbered from 1.
import { open, stat } from "node:fs/promises";
import { reasonOf } from "../media/error.js";
import { DataError } from "./row.js";

/** Longer ones come as `undefined`. */
export const MAX_PIECE = 64 << 20;

export interface Piece {
  number: number;
  bytes: Uint8Array | undefined;
}

const [NEWLINE, RETURN, QUOTE, BACKSLASH, COMMA] = [10, 13, 34, 92, 44];
const OPENING = new Set([91, 123]); // [ {
const CLOSING = new Set([93, 125]); // ] }
const isBlank = (byte: number): boolean => byte === 32 || byte === NEWLINE || byte === RETURN || byte === 9;

/** Bytes of a piece that may come in many chunks. */
class Gathered {
  #parts: Uint8Array[] = [];
  #size = 0;

  add(part: Uint8Array): void {
    this.#size += part.length;
    if (this.#size > MAX_PIECE) this.#parts = [];
    else if (part.length) this.#parts.push(Uint8Array.from(part)); // the chunk's memory is used again
  }
  take(): Uint8Array | undefined {
    const bytes = this.#size > MAX_PIECE ? undefined : Buffer.concat(this.#parts);
    [this.#parts, this.#size] = [[], 0];
    return bytes;
  }
  get size(): number {
    return this.#size;
  }
}

/** Lines without their ends, LF or CRLF; no line after a last line end. */
export async function* linesOf(path: string, signal?: AbortSignal): AsyncGenerator<Piece> {
  const line = new Gathered();
  let number = 0;
  const done = (): Piece => {
    const bytes = line.take();
    return { number: ++number, bytes: bytes?.at(-1) === RETURN ? bytes.subarray(0, -1) : bytes };
  };
  for await (const chunk of chunksOf(path, signal)) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      line.add(chunk.subarray(from, at));
      from = at + 1;
      yield done();
    }
    line.add(chunk.subarray(from));
  }
  if (line.size) yield done();
}

/** The entries of a file that is one JSON list, not parsed yet. */
export async function* entriesOf(path: string, signal?: AbortSignal): AsyncGenerator<Piece> {
  const entry = new Gathered();
  let [depth, number, text, escaped, ended] = [0, 0, false, false, false];
  let [blank, commas] = [true, 0];
  for await (const chunk of chunksOf(path, signal)) {
    let from = 0;
    for (let at = 0; at < chunk.length; ++at) {
      const byte = chunk[at]!;
      if (text) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) text = false;
        continue;
      }
      if (isBlank(byte)) continue;
      if (ended) brokenList(path, "more", number + 1);
      const border = depth === 1 && (byte === COMMA || CLOSING.has(byte));
      if (border) {
        entry.add(chunk.subarray(from, at));
        from = at + 1;
        if (byte === COMMA || commas || !blank) yield { number: ++number, bytes: entry.take() };
        if (byte === COMMA) ++commas;
        blank = true;
      } else if (depth) blank = false;
      if (byte === QUOTE) text = true;
      else if (OPENING.has(byte)) {
        if (depth++ === 0) from = at + 1;
      } else if (CLOSING.has(byte)) ended = --depth === 0;
    }
    if (depth) entry.add(chunk.subarray(from));
  }
  if (!ended) brokenList(path, "cut", number + 1);
}

/** Throws what is wrong with a JSON list as a whole. */
export function brokenList(path: string, kind: "more" | "cut", entry: number): never {
  if (kind === "more") fail(path, "nothing after the list", `more at entry ${entry}`, "one file holds one list, or one object a line");
  return fail(path, "a whole JSON list", `one that ends within entry ${entry}`, "the file is cut off: fetch or write it again");
}

/** Of a piece that is no UTF-8: what was got, and what to do. */
export function notUtf8(bytes: Uint8Array | undefined): [got: string, remedy: string] {
  if (!bytes) return [`more than ${MAX_PIECE} bytes`, "check the quotes, and how the file was written"];
  const text = Buffer.from(bytes.subarray(0, 1 << 16)).toString("latin1");
  const at = text.search(/[^\0-\x7f]/);
  return [
    `other bytes, in Latin-1 ${JSON.stringify(text.slice(Math.max(0, at - 20), at + 10))}`,
    "save the file as UTF-8, e.g. iconv -f latin1 -t utf8 in > out",
  ];
}

/** The beginning of the first line that is not blank, up to some thousand characters; undefined of an empty file. */
export async function firstLine(path: string): Promise<string | undefined> {
  for await (const chunk of chunksOf(path)) {
    const first = chunk.findIndex((byte) => !isBlank(byte));
    if (first < 0) continue;
    const line = Buffer.from(chunk.subarray(first, first + 4096)).toString("utf8");
    return line.split(/[\r\n]/, 1)[0]!;
  }
  return undefined;
}

/** The file's bytes without a byte order mark. A chunk is good until the next one is asked for. */
export async function* chunksOf(path: string, signal?: AbortSignal, size = 1 << 18): AsyncGenerator<Uint8Array> {
  const unreadable = (cause: unknown): never => {
    const got = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : reasonOf(cause);
    return fail(path, "a readable file", got, `check the path (the working directory is ${process.cwd()})`);
  };
  const status = await stat(path).catch(unreadable);
  if (!status.isFile()) fail(path, "a file", status.isDirectory() ? "a folder" : "a device or pipe", "pass the data file itself");
  const file = await open(path).catch(unreadable);
  try {
    const buffer = new Uint8Array(size);
    for (let at = 0; ; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (!bytesRead) return;
      const chunk = buffer.subarray(0, bytesRead);
      if (at === 0) checkMark(path, chunk);
      yield at === 0 && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf ? chunk.subarray(3) : chunk;
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
}

function checkMark(path: string, [a, b]: Uint8Array): void {
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) fail(path, "UTF-8 text", "UTF-16", "save it as UTF-8");
}

function fail(path: string, expected: string, got: string, remedy: string): never {
  throw new DataError("E_DATA", path, undefined, expected, got, remedy);
}
