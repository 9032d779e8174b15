// Holds one case's operands on a device and enqueues its op, straight on the native surface: what is timed is the op, not the tape.
import { type Handle, type Native, native } from "../lib/core/native.js";
import { dtypeCode } from "../lib/core/tensor.js";
import type { Device, DType } from "../lib/index.js";
import type { OpCase, Operand } from "./op-cases.js";

const BYTES: Record<number, number> = { 0: 4, 1: 2, 2: 4, 3: 1 };
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

export class OpRunner {
  /** Bytes that one call must read and write at least. */
  readonly bytes: number;
  readonly #call: () => unknown;
  readonly #held: Handle[] = [];

  constructor(
    private readonly device: Device,
    readonly c: OpCase,
  ) {
    const entry = (native() as unknown as Record<string, (...args: unknown[]) => unknown>)[c.op as keyof Native];
    if (!entry) throw new Error(`no op ${c.op}`);
    const args = c.args.map((arg) => this.#argument(arg));
    this.#call = () => entry(...args);
    const outputs = this.#outputs();
    const moved = c.moved ?? [...this.#operands(args), ...outputs];
    this.bytes = typeof moved === "number" ? moved : moved.map(bytesOf).reduce((a, b) => a + b, 0);
    if (outputs.length) native().tensor_dispose(outputs);
  }

  enqueue(): void {
    const outputs = this.#outputs();
    if (outputs.length) native().tensor_dispose(outputs);
  }

  [Symbol.dispose](): void {
    native().tensor_dispose(this.#held);
  }

  #outputs(): Handle[] {
    return [this.#call()].flat().filter((value): value is Handle => typeof value === "number");
  }
  #operands(args: unknown[]): Handle[] {
    const mine = new Set(this.#held);
    return args.flat().filter((value): value is Handle => typeof value === "number" && mine.has(value));
  }
  #argument(arg: Operand): unknown {
    if (Array.isArray(arg)) return arg.map((item) => this.#argument(item));
    if (typeof arg === "function") return this.#hold(arg(this.device.id));
    if (typeof arg === "object" && arg !== null && "shape" in arg) return this.#tensor(arg.dtype, arg.shape, arg.below);
    return typeof arg === "object" && arg !== null && "numbers" in arg ? arg.numbers : arg;
  }
  #hold(handle: Handle): Handle {
    this.#held.push(handle);
    return handle;
  }
  /** Uniform in [-1, 1), or integers in [0, below). */
  #tensor(dtype: DType, shape: readonly number[], below = 256): Handle {
    const n = native();
    const code = dtypeCode(dtype);
    if (dtype === "i32" || dtype === "u8") {
      const values = dtype === "i32" ? new Int32Array(sizeOf(shape)) : new Uint8Array(sizeOf(shape));
      for (let i = 0; i < values.length; ++i) values[i] = (i * 7919) % below;
      return this.#hold(n.tensor_from(this.device.id, code, shape, values));
    }
    const handle = this.#hold(n.tensor_create(this.device.id, code, shape));
    n.random_uniform(handle, -1, 1, 1, this.#held.length);
    return handle;
  }
}

function bytesOf(handle: Handle): number {
  const { dtype, shape } = native().tensor_spec(handle);
  return sizeOf(shape) * (BYTES[dtype] as number);
}
