// A tensor owns one native handle. Contiguous, row-major; shape and dtype are asked for once and remembered.

import { collected } from "./collected.js";
import { type Device, defaultDevice } from "./device.js";
import { expected } from "./errors.js";
import { type Handle, native } from "./native.js";
import { checkOptions, optionNames } from "./options.js";
import { isTypedArray, kindOfValue, own, typedArrayName } from "./realm.js";
import { enroll } from "./scope.js";
import { settled } from "./settled.js";
import { type Edge, record } from "./tape.js";
import { inTurns, type Pieces } from "./turns.js";

export type DType = "f32" | "bf16" | "i32" | "u8";
export type TensorData = Float32Array | Int32Array | Uint8Array;

const DTYPES: readonly DType[] = ["f32", "bf16", "i32", "u8"];
export const dtypeCode = (dtype: DType): number => {
  const code = DTYPES.indexOf(dtype);
  if (code < 0) throw expected("E_DTYPE", "tensor", `one of ${DTYPES.join(", ")}`, dtype);
  return code;
};

export interface TensorOptions {
  dtype?: DType | undefined;
  device?: Device | undefined;
  requiresGrad?: boolean | undefined;
}
const TENSOR_OPTIONS = optionNames<TensorOptions>({ dtype: true, device: true, requiresGrad: true });

/**
 * Numbers on a device: ops take and give them at once and the device follows; data() waits for the values. scope() or dispose() frees what is not
 * kept.
 */
export class Tensor {
  #handle: Handle | undefined;
  #spec: { shape: readonly number[]; dtype: DType } | undefined;
  /** Gradients flow into it. On a leaf (not the result of an op) they add up in `grad`. */
  requiresGrad = false;
  /** f32, on leaves only. */
  grad: Tensor | undefined;
  /** Where this tensor stands on the tape; undefined on leaves. */
  edge: Edge | undefined;
  /** Out of the care of scopes; see keep(). */
  kept = false;
  /** A shape without memory; see outline(). */
  readonly isOutline: boolean;

  /** Takes over a native handle; without one it is an outline. Users make tensors with from, empty, zeros, full and ops. */
  constructor(
    handle: Handle | undefined,
    readonly device: Device,
  ) {
    this.#handle = handle;
    this.isOutline = handle === undefined;
    if (handle === undefined) return;
    if (!enroll(this)) collected.register(this, [handle], this);
  }

  /** From numbers on the host, copied. Plain arrays and Float32Array give f32 (or bf16, rounded), Int32Array i32, Uint8Array u8 unless `dtype` says else. */
  static from(data: TensorData | readonly number[], shape: readonly number[], options: TensorOptions = {}): Tensor {
    checkOptions("Tensor.from", options, TENSOR_OPTIONS);
    const { dtype, device = defaultDevice(), requiresGrad = false } = options;
    checkNumbers("Tensor.from", data);
    const wanted = dtype ?? (isTypedArray(data, "Int32Array") ? "i32" : isTypedArray(data, "Uint8Array") ? "u8" : "f32");
    const size = shape.reduce((a, b) => a * b, 1);
    if (data.length !== size) throw expected("E_SHAPE", "Tensor.from", `${size} numbers for shape [${shape}]`, data.length);
    const tensor = new Tensor(native().tensor_from(device.id, dtypeCode(wanted), [...shape], toBytes(data, wanted)), device);
    tensor.requiresGrad = requiresGrad;
    return tensor;
  }
  /** Its bytes are garbage until written. */
  static empty(shape: readonly number[], options: TensorOptions = {}): Tensor {
    checkOptions("Tensor", options, TENSOR_OPTIONS);
    const { dtype = "f32", device = defaultDevice(), requiresGrad = false } = options;
    const tensor = new Tensor(native().tensor_create(device.id, dtypeCode(dtype), [...shape]), device);
    tensor.requiresGrad = requiresGrad;
    return tensor;
  }
  /** What a tensor would be, without its memory: models are counted and compared with others' lists by such. Nothing can be computed with it. */
  static outline(shape: readonly number[], { dtype = "f32", device = defaultDevice() }: TensorOptions = {}): Tensor {
    const tensor = new Tensor(undefined, device);
    tensor.#spec = { shape: [...shape], dtype };
    return tensor;
  }
  static full(shape: readonly number[], value: number, options?: TensorOptions): Tensor {
    const tensor = Tensor.empty(shape, options);
    try {
      native().fill(tensor.handle, value);
    } catch (error) {
      tensor.dispose();
      throw error;
    }
    return tensor;
  }
  static zeros(shape: readonly number[], options?: TensorOptions): Tensor {
    return Tensor.full(shape, 0, options);
  }

  get handle(): Handle {
    if (!(#handle in this))
      throw expected("E_ARGUMENT", "tensor", "the Tensor itself", "a Proxy or a copy of one", "keep tensors out of reactive objects");
    if (this.isOutline)
      throw expected("E_ARGUMENT", "tensor", "one with memory", `an outline of shape [${this.#spec?.shape}]`, "load or draw the weights");
    if (this.#handle === undefined)
      throw expected(
        "E_DISPOSED",
        "tensor",
        "one that is alive",
        "one that was disposed",
        "return it from its scope(), keep() it, or dispose it later",
      );
    return this.#handle;
  }
  get disposed(): boolean {
    return this.#handle === undefined;
  }
  #describe(): { shape: readonly number[]; dtype: DType } {
    if (this.#spec && (this.#handle !== undefined || this.isOutline)) return this.#spec;
    const { shape, dtype } = native().tensor_spec(this.handle);
    this.#spec = { shape, dtype: DTYPES[dtype] as DType };
    return this.#spec;
  }
  get shape(): readonly number[] {
    return this.#describe().shape;
  }
  get dtype(): DType {
    return this.#describe().dtype;
  }
  get rank(): number {
    return this.shape.length;
  }
  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }
  /** A leaf that trains: scopes leave it alone. */
  get isParameter(): boolean {
    return this.requiresGrad && this.edge === undefined;
  }

  /** The stored bytes, once all that leads to them has run. Rejects when an op before failed. */
  bytes(): Promise<ArrayBuffer> {
    return native().tensor_read(this.handle);
  }
  /** The numbers; bf16 is widened to f32. */
  async data(): Promise<TensorData> {
    const { dtype } = this;
    const bytes = await this.bytes();
    if (dtype === "f32") return new Float32Array(bytes);
    if (dtype === "i32") return new Int32Array(bytes);
    if (dtype === "u8") return new Uint8Array(bytes);
    return inTurns(widened(new Uint16Array(bytes)));
  }
  /** The only number of a tensor of one element. */
  async item(): Promise<number> {
    if (this.size !== 1) throw expected("E_SHAPE", "item", "a tensor of one element", `shape [${this.shape}]`, "use data()");
    return (await this.data())[0] as number;
  }
  /** Overwrites all of it from the host. */
  write(data: TensorData | readonly number[]): void {
    checkNumbers("write", data);
    if (data.length !== this.size) throw expected("E_SHAPE", "write", `${this.size} numbers for shape [${this.shape}]`, data.length);
    native().tensor_write(this.handle, toBytes(data, this.dtype));
  }

  /** The same elements under another shape, sharing the memory; one size may be -1. */
  reshape(shape: readonly number[]): Tensor {
    const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
    const full = shape.includes(-1) ? shape.map((d) => (d === -1 ? this.size / known : d)) : shape;
    const view = new Tensor(native().tensor_reshape(this.handle, full), this.device);
    return record(view, [this], () => {
      const before = this.shape;
      return ([g]) => [g?.reshape(before)];
    });
  }
  /** Rows [start, start + length) of the leading size, sharing the memory. */
  slice(start: number, length: number): Tensor {
    const view = new Tensor(native().tensor_slice(this.handle, start, length), this.device);
    return record(view, [this], () => {
      const full = this.shape[0] as number;
      return ([g]) => [g && new Tensor(native().slice_place(g.handle, 0, start, full), g.device)];
    });
  }

  /** A second owner of the same memory and of the same place on the tape; a leaf, which has none there, gets what arrives at its alias. */
  alias(): Tensor {
    const tensor = this.detach();
    if (!this.edge)
      return record(tensor, [this], () => ([g]) => [g]);
    tensor.edge = this.edge;
    tensor.requiresGrad = this.requiresGrad;
    return tensor;
  }
  /** A second owner of the same memory, off the tape. */
  detach(): Tensor {
    return new Tensor(native().tensor_alias(this.handle), this.device);
  }

  /**
   * Ends the failure of a tensor whose updates in place were not run because something they depended on failed: it holds what it held before them.
   * A tensor that a failed op had begun to write, or was to write as a whole, stays failed.
   */
  heal(): void {
    native().tensor_heal(this.handle);
  }

  /** Frees the memory once what is enqueued has used it. A second call is an error. */
  dispose(): void {
    collected.unregister(this);
    native().tensor_dispose(this.release());
  }
  /** Gives up the handle without disposing it: for who disposes many at once. */
  release(): Handle {
    const { handle } = this;
    this.#handle = undefined;
    this.edge = undefined;
    return handle;
  }
  [Symbol.dispose](): void {
    if (!this.disposed) this.dispose();
  }
}

/** Resolves when all have been computed, and rejects with what kept one of them from that. Other work on their devices does not count. */
export async function computed(tensors: readonly Tensor[]): Promise<void> {
  const devices = [...new Set(tensors.map(({ device }) => device))];
  const on = (device: Device) => tensors.filter((tensor) => tensor.device === device).map(({ handle }) => handle);
  await settled(devices.map((device) => native().tensors_computed(on(device))));
}

const WIDENED_AT_ONCE = 2 ** 14;

/** bf16 as f32. A batch's logits over a large vocabulary are millions. */
function* widened(halves: Uint16Array): Pieces<Float32Array> {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < bits.length; ++i) {
    bits[i] = (halves[i] as number) << 16;
    if ((i + 1) % WIDENED_AT_ONCE === 0) yield;
  }
  return new Float32Array(bits.buffer);
}

/** Arrays of any realm and of numbers only: what else can be iterated over (a text, a list of texts) would be read as other numbers. */
function checkNumbers(what: string, data: unknown): void {
  const name = typedArrayName(data);
  const fail = (got: string, next: string): never => {
    throw expected("E_ARGUMENT", what, "a typed array or an array of numbers", got, next);
  };
  if (name ? name.startsWith("Big") : !Array.isArray(data))
    fail(kindOfValue(data), name ? "take Array.from(data, Number)" : "pass the array itself, e.g. new Float32Array(buffer)");
  if (name) return;
  const at = (data as unknown[]).findIndex((v) => typeof v !== "number" && typeof v !== "boolean");
  if (at >= 0) fail(`${kindOfValue((data as unknown[])[at])} at ${at}`, "make it a number first");
}

function toBytes(data: TensorData | readonly number[], dtype: DType): ArrayBufferView {
  switch (dtype) {
    case "f32":
      return own(data, "Float32Array") ?? Float32Array.from(data);
    case "i32":
      return own(data, "Int32Array") ?? Int32Array.from(data);
    case "u8":
      return own(data, "Uint8Array") ?? Uint8Array.from(data);
    case "bf16": {
      const floats = own(data, "Float32Array") ?? Float32Array.from(data);
      const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
      const rounded = new Uint16Array(bits.length);
      for (let i = 0; i < bits.length; ++i) {
        const u = bits[i]!;
        rounded[i] = (u & 0x7fffffff) > 0x7f800000 ? (u >>> 16) | 0x40 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
      }
      return rounded;
    }
  }
}
