import type { Tensor } from "../core/tensor.js";
import { dropout } from "../ops/index.js";

/** x, of which the share p is zero and the rest as much larger, while `module` is in training. */
export const dropped = (module: { readonly training: boolean }, x: Tensor, p: number): Tensor =>
  module.training && p > 0 ? dropout(x, p) : x;
