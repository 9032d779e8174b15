// What a feature depends on, as one hash: the medium's bytes, how it is read, and who encodes it.
import { createHash, type Hash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { onFile } from "../core/file-error.js";
import { isBuffer } from "../core/realm.js";
import { type Kind, kindOf } from "../media/kinds/index.js";
import type { MediaPart } from "../media/part.js";
import { checkLoading, isMediaSource, type Loading, type MediaSource, openSource, pathOf } from "../media/source.js";
import { KnownHashes } from "./known-hashes.js";

/** Of the readers of media: another number where the same file has come to mean other values, so that no cache gives the old ones. */
const READING = 2;
/** A file that was written so recently may be written again without a change of its time. */
const SETTLED_MS = 2000;
const known = new KnownHashes();

/** The key of a medium's features. `fingerprint` stands for processor and encoder, e.g. of folderFingerprint(). */
export async function featureKey(part: MediaPart, fingerprint: string, loading: Loading = {}): Promise<string> {
  checkLoading("featureKey", loading);
  const { modality, source, options } = part;
  const hash = createHash("sha256");
  addValue(hash, [READING, modality, options, fingerprint]);
  for (const one of Array.isArray(source) ? source : [source])
    if (isMediaSource(one)) hash.update(await sourceHash(one, loading));
    else addValue(hash, one);
  for (const file of await beside(kindOf(part), source)) addValue(hash, [basename(file), await sourceHash(file, loading)]);
  return hash.digest("hex");
}

/** What lies beside a recording's file and is read with it. */
async function beside(kind: Kind | undefined, source: unknown): Promise<readonly string[]> {
  const files = (await kind?.files?.(source).catch(() => [])) ?? []; // who reads it words what is wrong
  return files.length > 1 ? files : [];
}

/** Of a model folder: the content of its configurations and weights. */
export async function folderFingerprint(folder: string, loading: Loading = {}): Promise<string> {
  checkLoading("folderFingerprint", loading);
  return folderHash(folder, loading, (name) => /\.(json|safetensors)$/.test(name));
}

async function sourceHash(source: MediaSource, loading: Loading): Promise<string> {
  const path = pathOf(source);
  if (path === undefined) return contentHash(source, loading);
  const status = await stat(path, { bigint: true }).catch(() => undefined); // openSource words what is wrong
  if (status?.isDirectory()) return folderHash(path, loading, () => true);
  if (!status) return contentHash(source, loading);
  const [place, mark] = [resolve(path), `${status.size} ${status.mtimeNs} ${status.ctimeNs} ${status.ino}`];
  const before = known.get(place, mark);
  if (before !== undefined) return before;
  const hash = await contentHash(source, loading);
  if (Date.now() - Number(status.mtimeMs) > SETTLED_MS) known.set(place, mark, hash);
  return hash;
}

async function folderHash(folder: string, loading: Loading, wanted: (name: string) => boolean): Promise<string> {
  const hash = createHash("sha256");
  const entries = await onFile("to be read", folder, () => readdir(folder, { withFileTypes: true }));
  const files = entries.filter((entry) => !entry.isDirectory() && wanted(entry.name));
  for (const name of files.map((entry) => entry.name).sort()) addValue(hash, [name, await sourceHash(join(folder, name), loading)]);
  return hash.digest("hex");
}

async function contentHash(source: MediaSource, { signal }: Loading): Promise<string> {
  const file = await openSource(source, Infinity);
  try {
    const hash = createHash("sha256");
    const buffer = new Uint8Array(Math.min(file.size, 1 << 20));
    for (let at = 0; at < file.size; ) {
      signal?.throwIfAborted();
      const n = await file.read(buffer, at);
      if (!n) break;
      hash.update(buffer.subarray(0, n));
      at += n;
    }
    return hash.digest("hex");
  } finally {
    await file.close();
  }
}

/** Values one after another, each with its type and size, so that no two rows of values read the same. */
function addValue(hash: Hash, value: unknown): void {
  if (ArrayBuffer.isView(value)) {
    hash.update(`${value.constructor.name} ${value.byteLength};`);
    hash.update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  } else if (isBuffer(value)) {
    hash.update(`bytes ${value.byteLength};`);
    hash.update(new Uint8Array(value));
  } else if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined && typeof inner !== "function"); // who hears of notices changes no feature
    if (!Array.isArray(value)) entries.sort(([a], [b]) => (a < b ? -1 : 1));
    hash.update(`${Array.isArray(value) ? "list" : "object"} ${entries.length};`);
    for (const [name, inner] of entries) {
      addValue(hash, name);
      addValue(hash, inner);
    }
  } else {
    const text = String(value);
    hash.update(`${typeof value} ${text.length};${text}`);
  }
}
