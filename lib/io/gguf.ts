// Reading GGUF files. Plain floats go from the file to the device on its queue; quantised types are widened here on the way, a part at a time,
// so that a tensor costs its own size on the device and little beside it.
import type { Device } from "../core/device.js";
import { MappedFile } from "../core/mapped-file.js";
import { checkOptions } from "../core/options.js";
import { scope } from "../core/scope.js";
import { type DType, Tensor } from "../core/tensor.js";
import { atOnce, type Pieces } from "../core/turns.js";
import { cast } from "../ops/index.js";
import { bf16, type Dequantizer, f16, q4_0, q4_1, q5_0, q5_1, q8_0 } from "./gguf-blocks.js";
import { GgufError, type GgufHeader, type GgufTensor, type GgufValue, ggufHeader } from "./gguf-header.js";
import { q4_k, q5_k, q6_k } from "./gguf-superblocks.js";
import { type GgufTypeName, typeOf } from "./gguf-types.js";
import { shapeSize } from "./safetensors-header.js";

export { GgufError, type GgufTensor, type GgufValue } from "./gguf-header.js";
export type { GgufTypeName } from "./gguf-types.js";

const copied: Dequantizer = (from, to) => new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(from.subarray(0, to.byteLength));
// biome-ignore format: a table
const DEQUANTIZERS: Partial<Record<GgufTypeName, Dequantizer>> = {
  F32: copied, F16: f16, BF16: bf16, Q8_0: q8_0, Q4_0: q4_0, Q4_1: q4_1, Q5_0: q5_0, Q5_1: q5_1, Q4_K: q4_k, Q5_K: q5_k, Q6_K: q6_k,
};
/** Types that a device holds as they are stored. */
const DIRECT: Partial<Record<GgufTypeName, "f32" | "bf16">> = { F32: "f32", BF16: "bf16" };

/** Weights that are widened at a time: a multiple of every block, and few enough to stay in the processor's cache. */
const CHUNK = 2 ** 18;

interface Opened {
  file: MappedFile;
  header: GgufHeader;
}

function* open(path: string): Pieces<Opened> {
  const file = new MappedFile(path);
  let header: GgufHeader | undefined;
  try {
    header = yield* ggufHeader(file, path);
    return { file, header };
  } finally {
    if (!header) file.close();
  }
}

/** A GGUF file: its values, its list of tensors, and each of them on a device, widened where it is quantised. */
export class GgufFile {
  readonly version: number;
  readonly values: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  readonly #file: MappedFile;
  readonly #prepared = new Map<string, Tensor>();

  /** Throws E_FILE or E_GGUF. */
  constructor(
    readonly path: string,
    opened: Opened = atOnce(open(path)),
  ) {
    this.#file = opened.file;
    this.version = opened.header.version;
    this.values = opened.header.values;
    this.tensors = opened.header.tensors;
  }

  /** The same in pieces: for who must not hold the event loop meanwhile. */
  static *inPieces(path: string): Pieces<GgufFile> {
    return new GgufFile(path, yield* open(path));
  }

  tensor(name: string): GgufTensor {
    const tensor = this.tensors.get(name);
    if (!tensor)
      throw new GgufError(this.path, `a tensor "${name}"`, "none of that name", "the model is of another architecture, or incomplete");
    return tensor;
  }

  /** Throws E_GGUF for a tensor in a type that cannot be widened, with what to do about it. */
  checkType(name: string): void {
    this.#dequantizer(name);
  }

  /** Onto the device as f32 or bf16. Without `dtype` BF16 stays as it is and all else becomes f32. `shape` may regroup the stored one. */
  load(name: string, device: Device, options: { dtype?: DType | undefined; shape?: readonly number[] | undefined } = {}): Tensor {
    checkOptions("GgufFile.load", options, ["dtype", "shape"]);
    const { dtype, shape } = options;
    const stored = this.tensor(name);
    const wanted = shape ?? stored.shape;
    if (shapeSize(wanted) !== shapeSize(stored.shape))
      throw new GgufError(this.path, `"${name}" of shape [${wanted}]`, `[${stored.shape}]`, "the model is of another size");
    const direct = DIRECT[stored.type];
    const target = dtype === "bf16" || dtype === "f32" ? dtype : (direct ?? "f32");
    if (stored.type === "F16") return this.#file.half(device, target, wanted, stored.offset);
    if (!direct) return this.#take(name, device, target, wanted) ?? atOnce(this.#widened(name, device, target, wanted));
    return scope(() => {
      const tensor = this.#file.tensor(device, direct, wanted, stored.offset);
      return target === direct ? tensor : cast(tensor, target);
    });
  }

  /** Does now, in pieces, what load() of the same name and dtype would do at once: billions of weights that are widened here take many seconds. */
  *prepare(name: string, device: Device, dtype: "f32" | "bf16"): Pieces<void> {
    const { type, shape } = this.tensor(name);
    if (DIRECT[type] || type === "F16" || this.#prepared.has(name)) return;
    this.#prepared.set(name, yield* this.#widened(name, device, dtype, shape));
  }

  #take(name: string, device: Device, dtype: "f32" | "bf16", shape: readonly number[]): Tensor | undefined {
    const tensor = this.#prepared.get(name);
    if (tensor?.dtype !== dtype || tensor.device !== device || String(tensor.shape) !== String(shape)) return undefined;
    this.#prepared.delete(name);
    return tensor;
  }

  /** The numbers, on the host, as f32. For small tensors. */
  numbers(name: string): Float32Array {
    const numbers = new Float32Array(shapeSize(this.tensor(name).shape));
    this.#widen(name, 0, numbers);
    return numbers;
  }

  /** The stored bytes, on the host or as u8 on the device. */
  bytes(name: string, from = 0, length?: number): ArrayBuffer {
    const { offset, bytes } = this.tensor(name);
    return this.#file.read(offset + from, length ?? bytes - from);
  }
  loadBytes(name: string, device: Device): Tensor {
    const { offset, bytes } = this.tensor(name);
    return this.#file.tensor(device, "u8", [bytes], offset);
  }

  *#widened(name: string, device: Device, dtype: "f32" | "bf16", shape: readonly number[]): Pieces<Tensor> {
    const { type } = this.tensor(name);
    this.#dequantizer(name);
    const tensor = Tensor.empty(shape, { device, dtype });
    const size = shapeSize(shape);
    const flat = tensor.reshape([size]);
    const { block } = typeOf(type);
    const buffer = new Float32Array(Math.min(CHUNK, size)); // write() copies
    let whole = false;
    try {
      for (let at = 0; at < size; at += CHUNK) {
        const numbers = buffer.subarray(0, Math.min(CHUNK, size - at));
        this.#widen(name, at / block, numbers);
        using part = flat.slice(at, numbers.length);
        part.write(numbers);
        yield;
      }
      whole = true;
      return tensor;
    } finally {
      flat.dispose();
      if (!whole) tensor.dispose();
    }
  }

  #widen(name: string, firstBlock: number, to: Float32Array): void {
    const { type, offset } = this.tensor(name);
    const { block, bytes } = typeOf(type);
    const from = this.#file.read(offset + firstBlock * bytes, (to.length / block) * bytes);
    this.#dequantizer(name)(new Uint8Array(from), to);
  }

  #dequantizer(name: string): Dequantizer {
    const { type } = this.tensor(name);
    const found = DEQUANTIZERS[type];
    if (found) return found;
    throw new GgufError(
      this.path,
      `"${name}" in ${Object.keys(DEQUANTIZERS).join(", ")}`,
      type,
      "take the model in Q8_0, Q4_K_M or F16, or make it so from the original with llama-quantize",
    );
  }

  close(): void {
    this.#forget();
    this.#file.close();
  }
  #forget(): void {
    for (const tensor of this.#prepared.values()) if (!tensor.disposed) tensor.dispose();
    this.#prepared.clear();
  }
  [Symbol.dispose](): void {
    this.#forget();
    this.#file[Symbol.dispose]();
  }
}
