// A file opened read-only; tensors are read from it on the device's queue, without passing through JavaScript.
import { statSync } from "node:fs";
import type { Device } from "./device.js";
import { expected } from "./errors.js";
import { onFileSync } from "./file-error.js";
import { native } from "./native.js";
import { type DType, dtypeCode, Tensor } from "./tensor.js";

export class MappedFile {
  #id: number | undefined;
  constructor(readonly path: string) {
    // Opening a pipe would wait for its other end.
    const found = onFileSync("to be read", path, () => statSync(path, { throwIfNoEntry: false }));
    if (found && !found.isFile())
      throw expected("E_FILE", path, "a regular file", found.isDirectory() ? "a folder" : "a device or pipe", "check the path");
    this.#id = native().file_map(path);
  }
  get #open(): number {
    if (this.#id === undefined) throw expected("E_DISPOSED", this.path, "an open file", "one that was closed");
    return this.#id;
  }
  /** Bytes. */
  get size(): number {
    return native().file_size(this.#open);
  }
  /** A copy of [offset, offset + length). For headers and small tensors. */
  read(offset: number, length: number): ArrayBuffer {
    return native().file_read(this.#open, offset, length);
  }
  /** The bytes from `offset` on as a tensor of that dtype and shape. */
  tensor(device: Device, dtype: DType, shape: readonly number[], offset: number): Tensor {
    return new Tensor(native().tensor_from_file(device.id, dtypeCode(dtype), shape, this.#open, offset), device);
  }
  /** Numbers stored in half precision, widened to f32 or rounded to bf16 while they are read. */
  half(device: Device, dtype: "f32" | "bf16", shape: readonly number[], offset: number): Tensor {
    return new Tensor(native().tensor_from_half(device.id, dtypeCode(dtype), shape, this.#open, offset), device);
  }
  /** Reads that are enqueued still complete. */
  close(): void {
    native().file_unmap(this.#open);
    this.#id = undefined;
  }
  [Symbol.dispose](): void {
    if (this.#id !== undefined) this.close();
  }
}
