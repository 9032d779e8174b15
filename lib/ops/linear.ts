// y = x·Wᵀ + b, with W (O,I) as torch.nn.Linear keeps it.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import type { Tensor } from "../core/tensor.js";
import { made, only } from "./result.js";

/** y (...,O) from x (...,I), w (O,I), b (O). One dtype for all; sums in f32. */
export function linear(x: Tensor, w: Tensor, b?: Tensor): Tensor {
  return record(made(native().linear(x.handle, w.handle, b?.handle), x), [x, w, b], () => {
    const wantX = x.requiresGrad;
    // A frozen weight needs no input, and an input without gradient needs no weight.
    const sx = w.requiresGrad || b?.requiresGrad ? save(x) : undefined;
    const sw = wantX ? save(w) : undefined;
    return (g, into) => {
      const dy = only(g);
      if (sx) native().linear_dw(into(1)?.handle, into(2)?.handle, dy.handle, sx.handle);
      return [sw && made(native().linear_dx(dy.handle, sw.handle), dy)];
    };
  });
}
