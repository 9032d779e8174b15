// Reading and writing safetensors files. Reading maps the file: a tensor goes from its pages to the device on the queue's thread and
// never passes through JavaScript, except F64 and I64, which no device has and which are converted here.
import type { FileHandle } from "node:fs/promises";
import type { Device } from "../core/device.js";
import { MappedFile } from "../core/mapped-file.js";
import { checkOptions } from "../core/options.js";
import { scope } from "../core/scope.js";
import { type DType, Tensor } from "../core/tensor.js";
import { cast } from "../ops/index.js";
import { hostValues } from "./host-values.js";
import {
  type Entry,
  encodeHeader,
  type FileDType,
  fileDTypeBytes,
  fileDTypeRank,
  headerLength,
  type Planned,
  PREFIX,
  parseHeader,
  SafetensorsError,
  shapeSize,
} from "./safetensors-header.js";
import { writeWhole } from "./whole-file.js";

/** Stored bytes that a device holds as they are. I8 and BOOL are bytes to it. */
export const DIRECT: Partial<Record<FileDType, DType>> = { F32: "f32", BF16: "bf16", I32: "i32", U8: "u8", I8: "u8", BOOL: "u8" };
const FILE_DTYPE: Record<DType, FileDType> = { f32: "F32", bf16: "BF16", i32: "I32", u8: "U8" };

/** A .safetensors file: its header is checked whole before any tensor is read. load() brings one to a device. */
export class SafetensorsFile {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly #file: MappedFile;

  constructor(readonly path: string) {
    this.#file = new MappedFile(path);
    try {
      const size = this.#file.size;
      const length = headerLength(this.#file.read(0, Math.min(PREFIX, size)), path, size);
      const header = parseHeader(new Uint8Array(this.#file.read(PREFIX, length)), path, size);
      this.entries = header.entries;
      this.metadata = header.metadata;
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  entry(name: string): Entry {
    const entry = this.entries.get(name);
    if (!entry)
      throw new SafetensorsError(this.path, `a tensor "${name}"`, "none of that name", "check the name against `names` of this file");
    return entry;
  }

  /** Onto the device, converted to `dtype` when it is given and the tensor holds floats. `shape` may regroup the stored one. */
  load(name: string, device: Device, options: { dtype?: DType | undefined; shape?: readonly number[] | undefined } = {}): Tensor {
    checkOptions("SafetensorsFile.load", options, ["dtype", "shape"]);
    const { dtype, shape } = options;
    const entry = this.entry(name);
    const stored = DIRECT[entry.dtype];
    // Rounded once, from f16 to what is asked for, and read piece by piece: a model of billions of weights is often stored so.
    if (entry.dtype === "F16") return this.#file.half(device, dtype === "bf16" ? "bf16" : "f32", shape ?? entry.shape, entry.offset);
    return scope(() => {
      const tensor = stored
        ? this.#file.tensor(device, stored, shape ?? entry.shape, entry.offset)
        : Tensor.from(this.values(name), shape ?? entry.shape, { device, dtype: entry.dtype === "I64" ? "i32" : "f32" });
      if (dtype === undefined || dtype === tensor.dtype || !["f32", "bf16"].includes(tensor.dtype)) return tensor;
      return cast(tensor, dtype);
    });
  }

  /** The stored bytes as u8, whatever their dtype: packed codes may be stored under another one. */
  loadBytes(name: string, device: Device): Tensor {
    const entry = this.entry(name);
    return this.#file.tensor(device, "u8", [entry.bytes], entry.offset);
  }

  /** The stored bytes, on the host: all of a small tensor, or a part of a large one. */
  bytes(name: string, from = 0, length?: number): ArrayBuffer {
    const { offset, bytes } = this.entry(name);
    return this.#file.read(offset + from, length ?? bytes - from);
  }

  /** The numbers, on the host: floats as f32, integers as i32, bytes as u8 (I8 as stored). For small tensors. */
  values(name: string): Float32Array | Int32Array | Uint8Array {
    const { dtype } = this.entry(name);
    const values = hostValues(dtype, this.bytes(name), (n) => {
      throw new SafetensorsError(this.path, `"${name}" to hold integers of 32 bits`, `${n}`, "there are no 64-bit integers on the device");
    });
    if (values) return values;
    throw new SafetensorsError(
      this.path,
      `"${name}" in F32, BF16, F16, F64, I32, I64, U8, I8 or BOOL`,
      dtype,
      "convert the file to one of them",
    );
  }

  close(): void {
    this.#file.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
}

export interface HostTensor extends Planned {
  data: ArrayBufferView;
}
/** Made when its turn comes, so that one at a time takes memory. */
export interface LateTensor extends Planned {
  read(): Promise<ArrayBufferView>;
}
/** Bytes of another file, a part at a time. */
export interface PiecedTensor extends Planned {
  pieces(): Iterable<Uint8Array>;
}
export type Writable = Tensor | HostTensor | LateTensor | PiecedTensor;

export const writtenDType = (value: Writable): FileDType => (value instanceof Tensor ? FILE_DTYPE[value.dtype] : value.dtype);
/** On disk. */
export const writtenBytes = (value: Writable): number => shapeSize(value.shape) * fileDTypeBytes(writtenDType(value));

/**
 * Writes one file. It appears whole or not at all: the bytes go to a temporary name beside it, reach the disk, and are renamed.
 * Tensors are read back one after another, so they must not change until the promise resolves. Rejects with E_FILE where the system refuses.
 */
export async function saveSafetensors(
  path: string,
  tensors: Iterable<readonly [string, Writable]>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const planned = [...tensors].map(([name, value]) => ({ name, value, plan: planOf(path, name, value) }));
  const names = new Set(planned.map(({ name }) => name));
  if (names.size !== planned.length) throw new SafetensorsError(path, "every name once", "a name twice", "rename one of them");
  planned.sort((a, b) => fileDTypeRank(b.plan.dtype) - fileDTypeRank(a.plan.dtype) || (a.name < b.name ? -1 : 1));
  const header = encodeHeader(
    planned.map(({ name, plan }) => [name, plan]),
    metadata,
  );
  await writeWhole(path, async (file) => {
    await file.writeFile(header);
    for (const { name, value, plan } of planned) {
      if (value instanceof Tensor || !("pieces" in value)) await file.writeFile(await bytesOf(path, name, value, plan));
      else await writePieces(file, path, name, value);
    }
  });
}

function planOf(path: string, name: string, value: Writable): Planned {
  if (name === "__metadata__")
    throw new SafetensorsError(path, "tensor names other than __metadata__", name, "the format keeps that name for itself");
  if (value instanceof Tensor) return { dtype: FILE_DTYPE[value.dtype], shape: value.shape };
  if ("data" in value) checkSize(path, name, value, value.data.byteLength);
  return value;
}

function checkSize(path: string, name: string, { dtype, shape }: Planned, got: number): void {
  const bytes = shapeSize(shape) * fileDTypeBytes(dtype);
  if (bytes !== got)
    throw new SafetensorsError(path, `"${name}" to have ${bytes} bytes for ${dtype} [${shape}]`, `${got}`, "check its shape");
}

async function writePieces(file: FileHandle, path: string, name: string, value: PiecedTensor): Promise<void> {
  let written = 0;
  for (const piece of value.pieces()) {
    await file.writeFile(piece);
    written += piece.byteLength;
  }
  checkSize(path, name, value, written);
}

async function bytesOf(path: string, name: string, value: Exclude<Writable, PiecedTensor>, plan: Planned): Promise<Uint8Array> {
  if (value instanceof Tensor) return new Uint8Array(await value.bytes());
  const data = "read" in value ? await value.read() : value.data;
  checkSize(path, name, plan, data.byteLength);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
