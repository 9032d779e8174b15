// Small words that every op file uses.
import type { Handle } from "../core/native.js";
import { Tensor } from "../core/tensor.js";

/** The result of an op, on the device of its input. */
export const made = (handle: Handle, like: Tensor): Tensor => new Tensor(handle, like.device);
/** The same for results that the op may leave out. */
export const madeIf = (handle: Handle | undefined, like: Tensor): Tensor | undefined =>
  handle === undefined ? undefined : made(handle, like);
/** The gradient of a single output: it is there when the closure runs. */
export const only = (grads: readonly (Tensor | undefined)[]): Tensor => grads[0] as Tensor;
/** Zeros where no gradient arrived at one of several outputs. */
export const orZeros = (grad: Tensor | undefined, like: Pick<Tensor, "shape" | "dtype" | "device">): Tensor =>
  grad ?? Tensor.zeros(like.shape, { dtype: like.dtype, device: like.device });
