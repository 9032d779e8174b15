// The weights of one model: a single safetensors file, or the shards that model.safetensors.index.json lists.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import type { Device } from "../core/device.js";
import { FileError, onFileSync } from "../core/file-error.js";
import { parseShallow } from "../core/json.js";
import { notice } from "../core/notice.js";
import { checkLinks, readPlainSync } from "../core/plain-file.js";
import type { DType, Tensor } from "../core/tensor.js";
import type { Pieces } from "../core/turns.js";
import { SafetensorsFile } from "./safetensors.js";
import { type Entry, NO_PICKLES, SafetensorsError, show } from "./safetensors-header.js";

export const SINGLE = "model.safetensors";
export const INDEX = "model.safetensors.index.json";
/** Of a file, on the usual file systems. */
const LONGEST_NAME = 255;
/** Of an index: the largest models have some 100 000 names. */
export const LONGEST_INDEX = 64 << 20;
const PICKLE = /\.(bin|pt|pth|ckpt)$/;

/** What a model reads its weights from: tensors by the names that Hugging Face gives them, whatever kind of file they are in. */
export interface WeightSource {
  readonly path: string;
  names(): Iterable<string>;
  has(name: string): boolean;
  /** Shape and stored dtype, before anything is loaded. */
  entry(name: string): { readonly dtype: string; readonly shape: readonly number[]; readonly bytes: number };
  /** Onto the device, converted to `dtype` when it is given and the tensor holds floats. */
  load(name: string, device: Device, options?: { dtype?: DType | undefined; shape?: readonly number[] | undefined }): Tensor;
  /** Of a file whose tensors take work on this thread: what load() of those that begin so will do in that dtype, done now and in pieces. */
  prepare?(prefix: string, device: Device, dtype: "f32" | "bf16"): Pieces<void>;
  /** The stored bytes: packed codes as u8; small ones, or a part of large ones, on the host. */
  loadBytes(name: string, device: Device): Tensor;
  bytes(name: string, from?: number, length?: number): ArrayBuffer;
}

/** A model's tensors by name, read when they are asked for, straight to the device. */
export class Checkpoint implements WeightSource {
  readonly #files: SafetensorsFile[];
  readonly #where: ReadonlyMap<string, SafetensorsFile>;

  private constructor(
    readonly path: string,
    files: SafetensorsFile[],
    where: ReadonlyMap<string, SafetensorsFile>,
  ) {
    this.#files = files;
    this.#where = where;
  }

  /** A folder in Hugging Face layout, or one safetensors file. */
  static open(path: string): Checkpoint {
    return onFileSync("to be read", path, () => Checkpoint.#opened(path));
  }
  /** A safetensors file of a folder that somebody else made: a link may not lead out of there. */
  static openIn(folder: string, name: string): Checkpoint {
    const path = join(folder, name);
    return onFileSync("to be read", path, () => Checkpoint.#part(folder, path));
  }

  static #opened(path: string): Checkpoint {
    if (existsSync(path) && statSync(path).isFile()) return Checkpoint.#single(path);
    const held = weightFile(path);
    if (held) return held === SINGLE ? Checkpoint.#part(path, join(path, SINGLE)) : Checkpoint.#sharded(path);
    const pickle = existsSync(path) ? readdirSync(path).find((name) => PICKLE.test(name)) : undefined;
    if (pickle) throw new SafetensorsError(path, `${SINGLE} or ${INDEX}`, `${pickle}, which is a pickle`, NO_PICKLES);
    throw new SafetensorsError(path, `${SINGLE} or ${INDEX}`, "neither", "check that the folder holds a model in safetensors format");
  }

  static #part(folder: string, path: string): Checkpoint {
    if (existsSync(path)) checkLinks(folder, path);
    return Checkpoint.#single(path);
  }

  static #single(path: string): Checkpoint {
    const file = new SafetensorsFile(path);
    return new Checkpoint(path, [file], new Map([...file.entries.keys()].map((name) => [name, file])));
  }

  static #sharded(folder: string): Checkpoint {
    const index = join(folder, INDEX);
    const weightMap = readIndex(index);
    const files = new Map<string, SafetensorsFile>();
    try {
      for (const shard of new Set(weightMap.values())) {
        const path = join(folder, shard);
        if (!existsSync(path))
          throw new SafetensorsError(path, "the shard that the index lists", "no such file", "fetch the missing shard");
        checkLinks(folder, path);
        files.set(shard, new SafetensorsFile(path));
      }
      const where = new Map<string, SafetensorsFile>();
      for (const [name, shard] of weightMap) {
        const file = files.get(shard) as SafetensorsFile;
        if (!file.entries.has(name))
          throw new SafetensorsError(index, `"${name}" in ${shard}`, "a shard without it", "shards and index are of different models");
        where.set(name, file);
      }
      return new Checkpoint(folder, [...files.values()], where);
    } catch (error) {
      for (const file of files.values()) file.close();
      throw error;
    }
  }

  names(): Iterable<string> {
    return this.#where.keys();
  }
  has(name: string): boolean {
    return this.#where.has(name);
  }
  entry(name: string): Entry {
    return this.#file(name).entry(name);
  }
  load(name: string, device: Device, options?: { dtype?: DType | undefined; shape?: readonly number[] | undefined }): Tensor {
    return this.#file(name).load(name, device, options);
  }
  loadBytes(name: string, device: Device): Tensor {
    return this.#file(name).loadBytes(name, device);
  }
  bytes(name: string, from?: number, length?: number): ArrayBuffer {
    return this.#file(name).bytes(name, from, length);
  }

  #file(name: string): SafetensorsFile {
    const file = this.#where.get(name);
    if (!file)
      throw new SafetensorsError(
        this.path,
        `a tensor "${name}"`,
        "none of that name",
        "the checkpoint is of another architecture, or incomplete",
      );
    return file;
  }

  /** Unmaps the files. Loads that are still queued keep their own hold on them. */
  close(): void {
    for (const file of this.#files) file.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * What holds a folder's weights: model.safetensors, or the index of shards; undefined where there is neither. A whole file beside an index is the newer
 * one, as transformers has it: converters write it and leave the index of what they read.
 */
export function weightFile(folder: string): typeof SINGLE | typeof INDEX | undefined {
  const [whole, index] = [SINGLE, INDEX].map((name) => existsSync(join(folder, name)));
  if (whole && index)
    notice(
      "ANYMAL_STALE_INDEX",
      `${folder}: both ${SINGLE} and ${INDEX} are there; the whole file is read, as transformers does: remove the one that is left over`,
    );
  return whole ? SINGLE : index ? INDEX : undefined;
}

const COMPARED_AT_ONCE = 2 ** 20;

/** Are two tensors of a file the same, dtype and shape included? Their bytes are read in pieces: a table of a large vocabulary is a gigabyte. */
export function* sameTensor(file: WeightSource, a: string, b: string): Pieces<boolean> {
  const [x, y] = [file.entry(a), file.entry(b)];
  if (x.dtype !== y.dtype || String(x.shape) !== String(y.shape)) return false;
  for (let from = 0; from < x.bytes; from += COMPARED_AT_ONCE) {
    const length = Math.min(COMPARED_AT_ONCE, x.bytes - from);
    if (!Buffer.from(file.bytes(a, from, length)).equals(Buffer.from(file.bytes(b, from, length)))) return false;
    yield;
  }
  return true;
}

/** The shards that an index names. Throws E_SAFETENSORS where it is none. */
export const shardsOf = (folder: string): string[] => [...new Set(readIndex(join(folder, INDEX)).values())];

/** Of name → shard, of safetensors or of pickles. Throws E_SAFETENSORS where it is none. */
export function readIndex(path: string): Map<string, string> {
  const fail = (expected: string, got: string): never => {
    throw new SafetensorsError(path, expected, got, "fetch the index again");
  };
  let root: unknown;
  try {
    root = parseShallow(readPlainSync(path, { most: LONGEST_INDEX, linksInside: true }).toString("utf8"));
  } catch (error) {
    if (error instanceof FileError) throw error;
    fail("an index in JSON", (error as Error).message.slice(0, 80));
  }
  const map = typeof root === "object" && root !== null ? (root as Record<string, unknown>).weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map)) return fail("weight_map to be an object of name → shard", show(map));
  const checked = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    // A shard lies in the model's own folder. Anything else in its name could make us read a file that is not part of the model.
    const plain =
      typeof shard === "string" &&
      shard.length <= LONGEST_NAME &&
      shard === basename(shard) &&
      !/[\\\0:]/.test(shard) &&
      ![".", "..", ""].includes(shard);
    if (!plain) fail(`"${name.slice(0, 80)}" to name a file of this folder`, show(shard));
    checked.set(name, shard as string);
  }
  return checked;
}
