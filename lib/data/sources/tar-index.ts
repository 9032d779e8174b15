// Where the files in a tar archive are: a walk from header to header (POSIX ustar and pax, GNU's long names and large numbers). Nothing is unpacked, and
// no name in it is ever opened.
import type { FileHandle } from "node:fs/promises";
import { onFile } from "../../core/file-error.js";
import { DataError } from "../row.js";

export interface Member {
  name: string;
  from: number;
  bytes: number;
}

const BLOCK = 512;
const WINDOW = 1 << 16;
/** Bytes of a name or a pax header. */
const MOST_EXTRA = 1 << 20;

/** The regular files, in their order. Throws E_DATA where it is no tar archive, or cut off. */
export async function* membersOf(path: string, file: FileHandle, signal?: AbortSignal): AsyncGenerator<Member> {
  const { size } = await onFile("to be read", path, () => file.stat());
  const read = windowed(path, file);
  let long: { name?: string; bytes?: number } = {};
  for (let at = 0; at < size; ) {
    signal?.throwIfAborted();
    if (at + BLOCK > size) throw broken(path, `an end within the header at byte ${at}`);
    const header = await read(at, BLOCK);
    if (header.every((byte) => byte === 0)) return; // its end, whatever follows
    checkSum(path, header, at);
    const type = String.fromCharCode(header[156] as number);
    const bytes = long.bytes ?? numberIn(path, header.subarray(124, 136), at);
    const from = at + BLOCK;
    if (from + bytes > size) throw broken(path, `an end within the file at byte ${at}`);
    if ("xgLK".includes(type)) {
      if (bytes > MOST_EXTRA) throw broken(path, `a header of ${bytes} bytes at byte ${at}`);
      const extra = bytes ? await read(from, bytes) : Buffer.alloc(0);
      if (type === "x") long = { ...long, ...paxOf(extra) };
      if (type === "L") long.name = text(extra);
    } else {
      const prefix = header.toString("latin1", 257, 262) === "ustar" ? text(header.subarray(345, 500)) : "";
      const name = long.name ?? [prefix, text(header.subarray(0, 100))].filter(Boolean).join("/");
      if ("0\x007".includes(type) && !name.endsWith("/")) yield { name, from, bytes };
      long = {};
    }
    // Links and folders have no content, whatever their size says.
    at = from + ("123456".includes(type) && !"xgLK".includes(type) ? 0 : Math.ceil(bytes / BLOCK) * BLOCK);
  }
}

/** Headers of small files lie close to each other. */
function windowed(path: string, file: FileHandle) {
  const window = Buffer.alloc(WINDOW);
  let [from, there] = [0, 0];
  return async (at: number, length: number): Promise<Buffer> => {
    if (length > WINDOW) return filled(path, file, Buffer.alloc(length), at);
    if (at < from || at + length > from + there) {
      const { bytesRead } = await onFile("to be read", path, () => file.read(window, 0, WINDOW, at));
      [from, there] = [at, bytesRead];
      if (bytesRead < length) throw broken(path, `an end at byte ${at + bytesRead}`);
    }
    return window.subarray(at - from, at - from + length);
  };
}

/** `into`, full of the file's bytes from `at` on. */
export async function filled(path: string, file: FileHandle, into: Buffer, at: number): Promise<Buffer> {
  for (let n = 0; n < into.length; ) {
    const { bytesRead } = await onFile("to be read", path, () => file.read(into, n, into.length - n, at + n));
    if (!bytesRead) throw broken(path, `an end at byte ${at + n}`);
    n += bytesRead;
  }
  return into;
}

/** Octal digits, or of GNU a number of 95 bits. */
function numberIn(path: string, field: Buffer, at: number): number {
  if ((field[0] as number) & 0x80) {
    let value = (field[0] as number) & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (Number.isSafeInteger(value)) return value;
  } else {
    const digits = text(field).trim();
    if (digits === "") return 0;
    if (/^[0-7]+$/.test(digits)) return Number.parseInt(digits, 8);
  }
  throw broken(path, `no number of bytes in the header at byte ${at}`);
}

/** All bytes of the header, those of the sum itself as blanks; old writers took them for signed. */
function checkSum(path: string, header: Buffer, at: number): void {
  let [unsigned, signed] = [0, 0];
  for (let i = 0; i < BLOCK; ++i) {
    const byte = i >= 148 && i < 156 ? 32 : (header[i] as number);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const sum = Number.parseInt(text(header.subarray(148, 156)).trim(), 8);
  if (sum !== unsigned && sum !== signed) throw broken(path, `another sum than its own in the header at byte ${at}`);
}

/** "27 path=long/name\n" */
function paxOf(extra: Buffer): { name?: string; bytes?: number } {
  const found: { name?: string; bytes?: number } = {};
  for (let at = 0; at < extra.length; ) {
    const space = extra.indexOf(32, at);
    const length = Number(extra.toString("latin1", at, space));
    if (space < 0 || !(length > space - at && at + length <= extra.length)) return found;
    const [, key, value = ""] = /^([^=]*)=([\s\S]*)\n$/.exec(extra.toString("utf8", space + 1, at + length)) ?? [];
    if (key === "path") found.name = value;
    if (key === "size" && /^\d{1,15}$/.test(value)) found.bytes = Number(value);
    at += length;
  }
  return found;
}

const text = (field: Buffer): string => {
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? field.length : end);
};

const broken = (path: string, got: string): DataError =>
  new DataError(
    "E_DATA",
    path,
    undefined,
    "a whole tar archive",
    got,
    "fetch or write it again; one that is compressed has to be unpacked first",
  );
