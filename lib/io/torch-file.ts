// Reading what torch.save wrote: pickles of models (.bin, .pt, .pth, .ckpt) in all three forms that PyTorch has had. Nothing of such a file is run: names
// of Python that are not on a list end the reading (torch/allowed.ts). The numbers stay where they are until they are asked for.
import { crc32 } from "node:zlib";
import type { Device } from "../core/device.js";
import { MappedFile } from "../core/mapped-file.js";
import { checkOptions } from "../core/options.js";
import { scope } from "../core/scope.js";
import { type DType, Tensor } from "../core/tensor.js";
import { atOnce, type Pieces } from "../core/turns.js";
import { cast } from "../ops/index.js";
import type { WeightSource } from "./checkpoint.js";
import { hostValues } from "./host-values.js";
import { DIRECT } from "./safetensors.js";
import { type FileDType, shapeSize } from "./safetensors-header.js";
import { PickleError, quoted } from "./torch/error.js";
import { gathered, piecesOf } from "./torch/gather.js";
import type { Fail } from "./torch/literals.js";
import { plainAt, stateDict } from "./torch/state-dict.js";
import { readStreamForm } from "./torch/stream-form.js";
import { isTar, readTarForm } from "./torch/tar-form.js";
import type { StoredTensor } from "./torch/tensor.js";
import { readZipForm } from "./torch/zip-form.js";

export { PickleError } from "./torch/error.js";

/** zip: since PyTorch 1.6; stream: before; tar: of PyTorch 0.1. */
export type TorchForm = "zip" | "stream" | "tar";

const FORMS: Readonly<Record<TorchForm, (file: MappedFile, fail: Fail) => Pieces<unknown>>> = {
  zip: readZipForm,
  stream: readStreamForm,
  tar: readTarForm,
};
const BLOCK = 512;
/** Bytes between two turns of the event loop. */
const CHECKED = 2 ** 22;
/** Pickles of protocol 2 and later begin with it. */
const PROTOCOL = 0x80;

/** The form that a file's first bytes tell of. */
export function torchForm(start: Uint8Array): TorchForm | undefined {
  if (start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4) return "zip";
  if (isTar(start)) return "tar";
  return start[0] === PROTOCOL && (start[1] as number) <= 5 ? "stream" : undefined;
}

interface Opened {
  file: MappedFile;
  form: TorchForm;
  root: unknown;
}

function* open(path: string): Pieces<Opened> {
  const file = new MappedFile(path);
  let opened: Opened | undefined;
  try {
    const form = torchForm(new Uint8Array(file.read(0, Math.min(BLOCK, file.size))));
    if (!form) throw new PickleError(path, "a file that torch.save wrote", "another one", "check the path");
    const fail: Fail = (expected, got) => {
      throw new PickleError(path, expected, got);
    };
    opened = { file, form, root: yield* FORMS[form](file, fail) };
    return opened;
  } finally {
    if (!opened) file.close();
  }
}

export interface TorchFileOptions {
  /** Which dict of tensors, where the file holds several: "model", "state.ema", or "." for the file itself. */
  key?: string | undefined;
}

/** Tensors by name, as a Checkpoint offers them. */
export class TorchFile implements WeightSource {
  readonly form: TorchForm;
  /** Where in the file the tensors stand; "" is the file itself. */
  readonly key: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly #file: MappedFile;
  readonly #root: unknown;

  /** Throws E_FILE, or E_PICKLE on a file that is none, holds what is not on the list, or more than one dict of tensors while no `key` says which. */
  constructor(
    readonly path: string,
    options: TorchFileOptions = {},
    opened: Opened = atOnce(open(path)),
  ) {
    this.#file = opened.file;
    this.form = opened.form;
    this.#root = opened.root;
    try {
      checkOptions("TorchFile", options, ["key"]);
      const { key, tensors } = stateDict(opened.root, path, options.key);
      this.key = key;
      this.tensors = tensors;
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /** The same in pieces: for who must not hold the event loop meanwhile. */
  static *inPieces(path: string, options: TorchFileOptions = {}): Pieces<TorchFile> {
    return new TorchFile(path, options, yield* open(path));
  }

  /** Numbers and texts of the dict at `key`, such as "hyper_parameters": what stands beside the tensors. */
  plain(key: string): Record<string, unknown> | undefined {
    return plainAt(this.#root, key);
  }
  get size(): number {
    return this.#file.size;
  }
  names(): Iterable<string> {
    return this.tensors.keys();
  }
  has(name: string): boolean {
    return this.tensors.has(name);
  }
  tensor(name: string): StoredTensor {
    const tensor = this.tensors.get(name);
    if (!tensor)
      throw new PickleError(this.path, `a tensor ${quoted(name)}`, "none of that name", "check the name against names() of this file");
    return tensor;
  }
  /** `dtype` as safetensors calls it, or as PyTorch does where safetensors has no word. */
  entry(name: string): { readonly dtype: string; readonly shape: readonly number[]; readonly bytes: number } {
    const { dtype, shape, bytes } = this.tensor(name);
    return { dtype: dtype.stored ?? dtype.name, shape, bytes };
  }

  /** Onto the device, converted to `dtype` when it is given and the tensor holds floats. `shape` may regroup the stored one. */
  load(name: string, device: Device, options: { dtype?: DType | undefined; shape?: readonly number[] | undefined } = {}): Tensor {
    checkOptions("TorchFile.load", options, ["dtype", "shape"]);
    const tensor = this.tensor(name);
    const { dtype, shape = tensor.shape } = options;
    const stored = this.#stored(name, tensor);
    if (shapeSize(shape) !== tensor.numel)
      throw new PickleError(this.path, `${quoted(name)} of shape [${shape}]`, `[${tensor.shape}]`, "the model is of another size");
    const offset = tensor.storage.place + tensor.first * tensor.dtype.bytes;
    const inPlace = tensor.isContiguous && tensor.numel > 0;
    if (inPlace && stored === "F16") return this.#file.half(device, dtype === "bf16" ? "bf16" : "f32", shape, offset);
    return scope(() => {
      const direct = DIRECT[stored];
      const held = direct ?? (stored === "I64" ? "i32" : "f32");
      const loaded =
        inPlace && direct
          ? this.#file.tensor(device, direct, shape, offset)
          : Tensor.from(this.values(name), shape, { device, dtype: held });
      if (dtype === undefined || dtype === loaded.dtype || !["f32", "bf16"].includes(loaded.dtype)) return loaded;
      return cast(loaded, dtype);
    });
  }

  loadBytes(name: string, device: Device): Tensor {
    const bytes = gathered(this.#file, this.tensor(name));
    return Tensor.from(bytes, [bytes.length], { device, dtype: "u8" });
  }

  /** In the tensor's order, whatever the file's is. */
  bytes(name: string, from = 0, length?: number): ArrayBuffer {
    const tensor = this.tensor(name);
    const end = from + (length ?? tensor.bytes - from);
    if (!(from >= 0 && end <= tensor.bytes))
      throw new PickleError(this.path, `${tensor.bytes} bytes of ${quoted(name)}`, `[${from}, ${end})`, "ask for fewer");
    if (from === end) return new ArrayBuffer(0); // an empty view may stand anywhere
    if (tensor.isContiguous) return this.#file.read(tensor.storage.place + tensor.first * tensor.dtype.bytes + from, end - from);
    return gathered(this.#file, tensor).slice(from, end).buffer as ArrayBuffer;
  }
  /** The same, as pieces of at most 64 MiB. */
  pieces(tensor: StoredTensor): Iterable<Uint8Array> {
    return piecesOf(this.#file, tensor);
  }
  /** Holds the tensors' storages against the checksums that the zip form has. Throws E_PICKLE where one differs: the file is damaged. */
  *checked(): Pieces<void> {
    const storages = new Set([...this.tensors.values()].map(({ storage }) => storage.base?.storage ?? storage));
    for (const { key, check } of storages) {
      if (!check?.crc) continue; // whoever wrote it computed none
      let crc = 0;
      for (let at = 0; at < check.bytes; at += CHECKED) {
        crc = crc32(new Uint8Array(this.#file.read(check.offset + at, Math.min(CHECKED, check.bytes - at))), crc);
        yield;
      }
      if (crc !== check.crc) throw new PickleError(this.path, `storage ${quoted(key)} with the checksum of its archive`, "another one");
    }
  }
  /** A part of the file. */
  read(offset: number, length: number): ArrayBuffer {
    return this.#file.read(offset, length);
  }

  /** The numbers, on the host: floats as f32, integers as i32, bytes as u8 (I8 as stored). For small tensors. */
  values(name: string): Float32Array | Int32Array | Uint8Array {
    const tensor = this.tensor(name);
    const values = hostValues(this.#stored(name, tensor), this.bytes(name), (n) => {
      throw new PickleError(this.path, `${quoted(name)} to hold integers of 32 bits`, `${n}`, "there are no 64-bit integers on the device");
    });
    return values ?? this.#foreign(name, tensor);
  }

  #stored(name: string, tensor: StoredTensor): FileDType {
    return tensor.dtype.stored ?? this.#foreign(name, tensor);
  }
  #foreign(name: string, { dtype }: StoredTensor): never {
    throw new PickleError(
      this.path,
      `${quoted(name)} in F32, BF16, F16, F64, I32, I64, U8, I8 or BOOL`,
      dtype.name,
      "save it in one of them",
    );
  }

  /** Loads that are still queued keep their own hold on the file. */
  close(): void {
    this.#file.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
}
