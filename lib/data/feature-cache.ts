// Encoders are frozen, so what they make of a file is made once: kept in memory, and in a folder that several runs may share.
import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, rename, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expected } from "../core/errors.js";
import { warn } from "../core/notice.js";
import { checkOptions, optionNames } from "../core/options.js";
import { readPlain } from "../core/plain-file.js";
import { encodeHeader, headerLength, PREFIX, parseHeader } from "../io/safetensors-header.js";
import { reasonOf } from "../media/error.js";

export interface Features {
  /** Shared by all who ask: not to be written to. */
  data: Float32Array;
  shape: readonly number[];
}
export interface FeatureCacheOptions {
  /** Without one, only memory is used. */
  folder?: string;
  /** Of the folder; the entries that were not used for longest go. Default 4 GiB. */
  maxBytes?: number;
  /** Of the memory. Default 256 MiB. */
  memoryBytes?: number;
  /** How numbers are kept; bf16 takes half the room, and what make() gave is rounded at once, so that every epoch sees the same. Default "f32". */
  dtype?: "f32" | "bf16";
}
export interface FeatureCacheCounts {
  memory: number;
  disk: number;
  made: number;
}

const OPTIONS = optionNames<FeatureCacheOptions>({ folder: true, maxBytes: true, memoryBytes: true, dtype: true });
const SUFFIX = ".safetensors";
const ABANDONED_MS = 3_600_000;

/** Features by key, in memory up to `memoryBytes` and in `folder` up to `maxBytes`; what was not used for longest goes first. */
export class FeatureCache {
  /** Where answers came from so far. */
  readonly counts: FeatureCacheCounts = { memory: 0, disk: 0, made: 0 };
  readonly #folder: string | undefined;
  readonly #maxBytes: number;
  readonly #memoryBytes: number;
  readonly #half: boolean;
  readonly #memory = new Map<string, Features>(); // the first one was not used for longest
  readonly #pending = new Map<string, Promise<Features>>();
  #inMemory = 0;
  #onDisk = 0; // as the folder was last seen
  #unseen = Infinity; // added since
  #trimming: Promise<void> = Promise.resolve();
  #warned = false;

  constructor(options: FeatureCacheOptions = {}) {
    checkOptions("FeatureCache", options, OPTIONS);
    const { folder, maxBytes = 4 * 2 ** 30, memoryBytes = 256 << 20, dtype = "f32" } = options;
    for (const [name, value] of Object.entries({ maxBytes, memoryBytes }))
      if (!(value >= 0)) throw expected("E_VALUE", name, "a number of bytes", value);
    if (dtype !== "f32" && dtype !== "bf16") throw expected("E_VALUE", "feature cache: dtype", "f32 or bf16", dtype);
    [this.#folder, this.#maxBytes, this.#memoryBytes, this.#half] = [folder, maxBytes, memoryBytes, dtype === "bf16"];
  }

  /** The features of `key`, from memory, from the folder, or from make(). Who asks meanwhile waits for the same. */
  async getOrMake(key: string, make: () => Promise<Features>): Promise<Features> {
    const kept = this.#memory.get(key);
    if (kept) {
      this.counts.memory++;
      this.#remember(key, kept);
      return kept;
    }
    const pending = this.#pending.get(key) ?? this.#find(key, make).finally(() => this.#pending.delete(key));
    this.#pending.set(key, pending);
    return pending;
  }

  async #find(key: string, make: () => Promise<Features>): Promise<Features> {
    const stored = await this.#read(key);
    if (stored) this.counts.disk++;
    const features = stored ?? (await this.#made(key, make));
    this.#remember(key, features);
    return features;
  }

  async #made(key: string, make: () => Promise<Features>): Promise<Features> {
    const { data, shape } = await make();
    const size = shape.reduce((a, b) => a * b, 1);
    if (size !== data.length) throw expected("E_SHAPE", "features", `${size} numbers for [${shape}]`, data.length);
    this.counts.made++;
    const features = { data: this.#half ? widened(narrowed(data)) : data, shape: [...shape] };
    await this.#write(key, features);
    return features;
  }

  #remember(key: string, features: Features): void {
    const bytes = features.data.byteLength;
    if (this.#memory.delete(key)) this.#inMemory -= bytes;
    if (bytes > this.#memoryBytes) return;
    this.#memory.set(key, features);
    this.#inMemory += bytes;
    for (const [oldest, { data }] of this.#memory) {
      if (this.#inMemory <= this.#memoryBytes) break;
      this.#memory.delete(oldest);
      this.#inMemory -= data.byteLength;
    }
  }

  /** Two letters first: no folder gets a million files. */
  #path(key: string): string {
    const name = createHash("sha256")
      .update(`${this.#half ? "bf16" : "f32"} ${key}`)
      .digest("hex");
    return join(this.#folder!, name.slice(0, 2), name + SUFFIX);
  }

  /** Undefined for whatever cannot be read: not there, cut off, changed. */
  async #read(key: string): Promise<Features | undefined> {
    if (this.#folder === undefined) return undefined;
    const path = this.#path(key);
    // A link to a device, or a pipe, has no end: only what is a file itself is read.
    if (!(await lstat(path).catch(() => undefined))?.isFile()) return undefined;
    const bytes = await readPlain(path, { most: LARGEST }).catch(() => undefined);
    if (!bytes) return undefined;
    try {
      const features = decode(bytes, path);
      const now = new Date();
      await utimes(path, now, now).catch(() => undefined); // gone meanwhile, or another's file
      return features;
    } catch {
      await unlink(path).catch(() => undefined);
      return undefined;
    }
  }

  async #write(key: string, features: Features): Promise<void> {
    if (this.#folder === undefined) return;
    const path = this.#path(key);
    const bytes = encode(features, this.#half);
    if (bytes.length > this.#maxBytes) return;
    const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(temporary, bytes, { flag: "wx" });
      await rename(temporary, path);
      this.#trimming = this.#trimming.catch(() => undefined).then(() => this.#trim(bytes.length));
      await this.#trimming;
    } catch (cause) {
      await unlink(temporary).catch(() => undefined);
      if (!this.#warned)
        warn("ANYMAL_CACHE_UNWRITTEN", `feature cache: cannot write to ${this.#folder} (${reasonOf(cause)}); features are made again`);
      this.#warned = true;
    }
  }

  /** Another process may add and remove too, so the folder is looked at again whenever a twentieth of its limit was added. */
  async #trim(added: number): Promise<void> {
    this.#unseen += added;
    if (this.#onDisk + this.#unseen <= this.#maxBytes && this.#unseen <= this.#maxBytes / 20) return;
    const entries = await entriesIn(this.#folder!);
    entries.sort((a, b) => a.used - b.used);
    this.#onDisk = entries.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#unseen = 0;
    if (this.#onDisk <= this.#maxBytes) return;
    for (const { path, bytes } of entries.slice(0, -1)) {
      if (this.#onDisk <= 0.9 * this.#maxBytes) break;
      await unlink(path).catch(() => undefined);
      this.#onDisk -= bytes;
    }
  }
}

interface StoredEntry {
  path: string;
  bytes: number;
  used: number;
}

async function entriesIn(folder: string): Promise<StoredEntry[]> {
  const entries: StoredEntry[] = [];
  for (const sub of await readdir(folder)) {
    if (!/^[0-9a-f]{2}$/.test(sub)) continue;
    for (const name of await readdir(join(folder, sub)).catch(() => [])) {
      const path = join(folder, sub, name);
      const status = await stat(path).catch(() => undefined);
      if (!status) continue;
      if (name.endsWith(SUFFIX)) entries.push({ path, bytes: status.size, used: status.mtimeMs });
      else if (name.endsWith(".tmp") && Date.now() - status.mtimeMs > ABANDONED_MS) await unlink(path).catch(() => undefined);
    }
  }
  return entries;
}

/** Bytes: of one medium, far more than any encoder makes. */
const LARGEST = 2 ** 30;

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** A safetensors file of one tensor, whose metadata holds the hash of its bytes. */
function encode({ data, shape }: Features, half: boolean): Uint8Array {
  const body = half ? new Uint8Array(narrowed(data).buffer) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([encodeHeader([["features", { dtype: half ? "BF16" : "F32", shape }]], { sha256: digest(body) }), body]);
}

function decode(file: Uint8Array, path: string): Features {
  const whole = new Uint8Array(file).buffer; // readFile's may be part of a pool, at any offset
  const length = headerLength(whole.slice(0, PREFIX), path, whole.byteLength);
  const { entries, metadata } = parseHeader(new Uint8Array(whole, PREFIX, length), path, whole.byteLength);
  const entry = entries.get("features");
  if (!entry || entries.size !== 1 || !["F32", "BF16"].includes(entry.dtype) || !entry.shape.length)
    throw expected(
      "E_FILE",
      path,
      "features in F32 or BF16, and nothing else",
      [...entries.values()].map(({ dtype }) => dtype).slice(0, 4),
    );
  const body = whole.slice(entry.offset, entry.offset + entry.bytes);
  if (digest(new Uint8Array(body)) !== metadata.get("sha256")) throw expected("E_FILE", path, "the bytes that were written", "others");
  return { data: entry.dtype === "BF16" ? widened(new Uint16Array(body)) : new Float32Array(body), shape: entry.shape };
}

/** To bf16, ties to even; a NaN stays one. */
function narrowed(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; ++i) {
    const u = bits[i]!;
    halves[i] = (u & 0x7fffffff) > 0x7f800000 ? (u >>> 16) | 0x40 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
  }
  return halves;
}
function widened(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < bits.length; ++i) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}
