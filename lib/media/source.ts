// Where media comes from: a path, a file: URL, a data: URL or bytes. Nothing here reads from the network.
import { open, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { checkOptions } from "../core/options.js";
import { bytesIn, isBytes, isUrl, kindOfValue } from "../core/realm.js";
import { MediaError, reasonOf } from "./error.js";

/** Bytes may also come as a Uint8ClampedArray, a DataView or a SharedArrayBuffer, and from another realm (Jest, node:vm). */
export type MediaSource = string | URL | Uint8Array | ArrayBuffer;

export interface Loading {
  /** Stops loading; the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}
export const checkLoading = (where: string, loading: Loading | undefined): void => checkOptions(where, loading, ["signal"]);

/** How messages call a source. */
export function describe(source: unknown): string {
  if (typeof source === "string") return /^data:/i.test(source) ? `${source.slice(0, 32)}…` : source;
  if (isUrl(source)) return describe(source.href);
  if (isBytes(source)) return `${source.constructor.name} of ${source.byteLength} bytes`;
  return kindOfValue(source);
}

/** Whether it is a place or bytes, and no decoded medium. */
export const isMediaSource = (source: unknown): source is MediaSource => typeof source === "string" || isUrl(source) || isBytes(source);

/** The file's path, or undefined for bytes and data: URLs. */
export function pathOf(source: MediaSource): string | undefined {
  const isAddress = isUrl(source);
  if (typeof source !== "string" && !isAddress) return undefined;
  const text = isAddress ? source.href : source;
  if (/^data:/i.test(text)) return undefined;
  if (/^file:/i.test(text))
    try {
      return fileURLToPath(text);
    } catch (cause) {
      throw new MediaError("E_MEDIA_SOURCE", describe(source), "a file: URL of this machine", reasonOf(cause), "pass the path", { cause });
    }
  if (isAddress || /^[a-z][a-z0-9+.-]+:\/\//i.test(text))
    throw new MediaError(
      "E_MEDIA_SOURCE",
      describe(source),
      "a path, a file: or data: URL, or bytes",
      "a network address",
      "fetch it yourself and pass its bytes",
    );
  return text;
}

/** All bytes of a source, at most `maxBytes`. */
export async function bytesOf(source: MediaSource, maxBytes: number, { signal }: Loading = {}): Promise<Uint8Array> {
  signal?.throwIfAborted();
  if (isBytes(source)) {
    checkBytes(source, source.byteLength, maxBytes);
    return bytesIn(source);
  }
  if (!isMediaSource(source))
    throw new MediaError("E_MEDIA_SOURCE", "media", "a path, a URL, a Uint8Array or an ArrayBuffer", describe(source), "pass one of these");
  const path = pathOf(source);
  return path === undefined ? dataUrl(isUrl(source) ? source.href : source, maxBytes) : readWhole(path, maxBytes, signal);
}

export function checkBytes(source: unknown, bytes: number, maxBytes: number): void {
  if (bytes > maxBytes)
    throw new MediaError(
      "E_MEDIA_LIMIT",
      describe(source),
      `at most ${maxBytes} bytes`,
      `${bytes}`,
      "raise the option maxBytes if you trust it",
    );
  if (bytes === 0)
    throw new MediaError("E_MEDIA_FORMAT", describe(source), "at least one byte", "an empty file", "check how it was written");
}

function dataUrl(url: string, maxBytes: number): Uint8Array {
  const comma = url.indexOf(",");
  if (comma < 0) throw new MediaError("E_MEDIA_FORMAT", describe(url), "data:<type>;base64,<data>", "no comma", "check the URL");
  const payload = url.slice(comma + 1);
  checkBytes(url, Math.floor((payload.length * 3) / 4) - 2 > maxBytes ? payload.length : 1, maxBytes);
  if (!/;base64$/i.test(url.slice(0, comma)))
    try {
      return Buffer.from(decodeURIComponent(payload), "latin1");
    } catch (cause) {
      throw new MediaError("E_MEDIA_FORMAT", describe(url), "%XX for a byte", reasonOf(cause), "encode the data as base64", { cause });
    }
  if (!/^[A-Za-z0-9+/_\-\s]*={0,2}\s*$/.test(payload))
    throw new MediaError(
      "E_MEDIA_FORMAT",
      describe(url),
      "base64 after the comma",
      "other characters",
      "encode the bytes with toString('base64')",
    );
  const bytes = Buffer.from(payload, "base64");
  checkBytes(url, bytes.length, maxBytes);
  return bytes;
}

async function readWhole(path: string, maxBytes: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const file = await openFile(path);
  try {
    const { size } = file;
    checkBytes(path, size, maxBytes);
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      signal?.throwIfAborted();
      const n = await file.read(bytes.subarray(at, at + (16 << 20)), at);
      if (n === 0) throw new MediaError("E_MEDIA_SOURCE", path, `${size} bytes`, `${at}`, "the file was cut while it was read: try again");
      at += n;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** Bytes at any place, from a file or from memory. */
export interface RandomAccess {
  readonly size: number;
  /** Fills `into` from `at` on; fewer bytes only at the end. */
  read(into: Uint8Array, at: number): Promise<number>;
  close(): Promise<void>;
}

export async function openSource(source: MediaSource, maxBytes: number): Promise<RandomAccess> {
  const path = pathOf(source);
  if (path !== undefined) return openFile(path);
  const bytes = await bytesOf(source, maxBytes);
  return {
    size: bytes.byteLength,
    read: async (into, at) => {
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      return part.length;
    },
    close: async () => {},
  };
}

async function openFile(path: string): Promise<RandomAccess> {
  const fail = (cause: unknown): never => {
    const code = (cause as NodeJS.ErrnoException).code;
    const got = code === "ENOENT" ? "no such file" : reasonOf(cause);
    throw new MediaError("E_MEDIA_SOURCE", path, "a readable file", got, `check the path (the working directory is ${process.cwd()})`, {
      cause,
    });
  };
  const status = await stat(path).catch(fail);
  // A FIFO or a device would block or never end.
  if (!status.isFile())
    throw new MediaError("E_MEDIA_SOURCE", path, "a file", status.isDirectory() ? "a folder" : "a device or pipe", "pass a file");
  const handle = await open(path, "r").catch(fail);
  return {
    size: status.size,
    read: async (into, at) => (await handle.read(into, 0, into.length, at)).bytesRead,
    close: () => handle.close(),
  };
}
