// A linear layer's product in every storage and pass, straight on the native surface: what is timed is the product, not the tape.
import { type Handle, native } from "../lib/core/native.js";
import { dtypeCode } from "../lib/core/tensor.js";
import type { Device, DType } from "../lib/index.js";
import { cacheBytes, copiesPast } from "./suite.js";

export const STORAGES = ["nf4", "nf4 nested", "int8", "bf16", "f32"] as const;
export type Stored = (typeof STORAGES)[number];
/** Backward of LoRA gives all three gradients. */
export const PASSES = ["forward", "dX", "LoRA forward", "LoRA dX dA dB"] as const;
export type Pass = (typeof PASSES)[number];

/** AnyMAL's (arXiv 2309.16058, table 12). */
const LORA = { r: 64, scaling: 0.25, dropout: 0.05 };
const NF4 = { format: 0, block: 64, threshold: 0 };
const INT8 = { format: 2, block: 0, threshold: 6 };
/** Block maxima that share one in f32, where they are quantised too. */
const NESTED = 256;
const BYTES: Record<DType, number> = { f32: 4, i32: 4, bf16: 2, u8: 1 };

interface Weight {
  /** Codes in the packed layout, or the dense weight. */
  w: Handle;
  absmax?: Handle;
  nestedAbsmax?: Handle;
  nestedOffset?: Handle;
  a: Handle;
  b: Handle;
}

/** What is held on the device until it is disposed. */
class Holder {
  readonly #held: Handle[] = [];
  constructor(readonly device: Device) {}

  make(dtype: "f32" | "bf16", ...shape: number[]): Handle {
    const handle = this.keep(native().tensor_create(this.device.id, dtypeCode(dtype), shape));
    native().random_uniform(handle, -1, 1, 1, this.#held.length);
    return handle;
  }
  makeBytes(...shape: number[]): Handle {
    return this.keep(native().tensor_from(this.device.id, dtypeCode("u8"), shape, randomBytes(shape.reduce((a, b) => a * b, 1))));
  }
  keep(handle: Handle): Handle {
    this.#held.push(handle);
    return handle;
  }
  [Symbol.dispose](): void {
    native().tensor_dispose(this.#held);
  }
}

function randomBytes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let i = 0, state = 1; i < count; ++i) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** As many copies of one weight as are twice the last cache together. */
export class WeightSet extends Holder {
  readonly dtype: "f32" | "bf16";
  readonly weights: Weight[] = [];
  /** Of one. */
  readonly weightBytes: number;
  readonly copies: number;

  constructor(
    device: Device,
    readonly storage: Stored,
    readonly shape: { I: number; O: number },
  ) {
    super(device);
    this.dtype = storage === "f32" ? "f32" : "bf16";
    const { I, O } = shape;
    const [elements, blocks] = [I * O, (I * O) / NF4.block];
    const sizes: Record<Stored, number> = {
      nf4: elements / 2 + 4 * blocks,
      "nf4 nested": elements / 2 + blocks + (4 * blocks) / NESTED + 4,
      int8: elements + 4 * O,
      bf16: 2 * elements,
      f32: 4 * elements,
    };
    this.weightBytes = sizes[storage];
    this.copies = copiesPast(cacheBytes(device), this.weightBytes);
    using codes = new Holder(device);
    const plain = storage === "bf16" || storage === "f32" ? undefined : codes.makeBytes(...(storage === "int8" ? [O, I] : [elements / 2]));
    for (let i = 0; i < this.copies; ++i) this.weights.push(this.#weight(plain));
  }

  #weight(plain: Handle | undefined): Weight {
    const { I, O } = this.shape;
    const branch = { a: this.make(this.dtype, LORA.r, I), b: this.make(this.dtype, O, LORA.r) };
    if (plain === undefined) return { w: this.make(this.dtype, O, I), ...branch };
    const { format } = this.form;
    const w = this.keep(native().pack_codes(plain, format, O, I, native().packed_bytes(this.device.id, format, O, I)));
    const blocks = (I * O) / NF4.block;
    if (this.storage === "int8") return { w, absmax: this.make("f32", O), ...branch };
    if (this.storage === "nf4") return { w, absmax: this.make("f32", blocks), ...branch };
    const nested = { nestedAbsmax: this.make("f32", Math.ceil(blocks / NESTED)), nestedOffset: this.make("f32", 1) };
    return { w, absmax: this.makeBytes(blocks), ...nested, ...branch };
  }

  get form(): typeof NF4 {
    return this.storage === "int8" ? INT8 : NF4;
  }
}

/** Rows through each weight of a set in turn. */
export class Product extends Holder {
  readonly flops: number;
  /** Weight, input and output once. */
  readonly bytes: number;
  readonly #call: (w: Weight) => (Handle | undefined)[];
  #next = 0;

  constructor(
    private readonly set: WeightSet,
    rows: number,
    pass: Pass,
  ) {
    super(set.device);
    const { I, O } = set.shape;
    const { r } = LORA;
    const branch = pass === "LoRA forward" ? r * (I + O) : pass === "LoRA dX dA dB" ? 2 * r * (I + O) : 0;
    this.flops = 2 * rows * (I * O + branch);
    this.bytes = set.weightBytes + BYTES[set.dtype] * (rows * (I + O) + (branch && r * (I + O)));
    const x = this.make(set.dtype, rows, I);
    const dy = this.make(set.dtype, rows, O);
    const u = this.make(set.dtype, rows, r);
    const [da, db] = [this.make("f32", r, I), this.make("f32", O, r)];
    this.#call = (set.storage === "bf16" || set.storage === "f32" ? dense : quantised(set))(pass, { x, dy, u, da, db });
  }

  enqueue(): void {
    const made = this.#call(this.set.weights[this.#next++ % this.set.copies] as Weight);
    native().tensor_dispose(made.filter((handle) => handle !== undefined));
  }
}

interface Operands {
  x: Handle;
  dy: Handle;
  u: Handle;
  da: Handle;
  db: Handle;
}

const quantised =
  ({ form: { format, block, threshold }, shape: { I, O } }: WeightSet) =>
  (pass: Pass, { x, dy, u, da, db }: Operands) =>
  ({ w, absmax, nestedAbsmax, nestedOffset, a, b }: Weight): (Handle | undefined)[] => {
    const n = native();
    const weight = [w, absmax as Handle, nestedAbsmax, nestedOffset] as const;
    const drawn = [LORA.scaling, LORA.dropout, 1, 2] as const;
    if (pass === "forward") return [n.linear_quantized(x, ...weight, undefined, format, block, O, threshold)];
    if (pass === "dX") return [n.linear_quantized_dx(dy, ...weight, format, block, I)];
    if (pass === "LoRA forward") return n.linear_quantized_lora(x, ...weight, undefined, a, b, format, block, O, threshold, ...drawn);
    return [n.linear_quantized_lora_backward(true, da, db, dy, x, u, ...weight, a, b, format, block, ...drawn)];
  };

/** As nn/lora.ts and the tape put it together. */
const dense =
  (pass: Pass, { x, dy, u, da, db }: Operands) =>
  ({ w, a, b }: Weight): Handle[] => {
    const n = native();
    if (pass === "forward") return [n.linear(x, w, undefined)];
    if (pass === "dX") return [n.linear_dx(dy, w)];
    if (pass === "LoRA forward") {
      const dropped = n.dropout(x, LORA.dropout, 1, 2);
      const inner = n.linear(dropped, a, undefined);
      const branch = n.linear(inner, b, undefined);
      const base = n.linear(x, w, undefined);
      return [dropped, inner, branch, base, n.scale_add(branch, base, LORA.scaling, 1)];
    }
    const du = n.linear_dx(dy, b);
    n.linear_dw(db, undefined, dy, u);
    n.linear_dw(da, undefined, du, x);
    const branch = n.linear_dx(du, a);
    const dropped = n.dropout(branch, LORA.dropout, 1, 2);
    const base = n.linear_dx(dy, w);
    return [du, branch, dropped, base, n.scale_add(dropped, base, LORA.scaling, 1)];
  };
