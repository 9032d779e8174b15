// y = x·Wᵀ + b, with W (O,I) as torch.nn.Linear keeps it.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import type { Tensor } from "../core/tensor.js";
import { made, only } from "./result.js";

/** y (...,O) from x (...,I), w (O,I), b (O). One dtype for all; sums in f32. */
export function linear(x: Tensor, w: Tensor, b?: Tensor): Tensor {
  return product(x, w, b, (weight) => weight);
}

/** y (...,length) from x (...,I) and rows [start, start + length) of w (O,I), which is the weight of several layers: the gradient lands in its place. */
export function linearRows(x: Tensor, w: Tensor, start: number, length: number): Tensor {
  return product(x, w, undefined, (weight) => made(native().tensor_slice(weight.handle, start, length), weight));
}

/** With what `own` sees of w, and of its gradient. */
function product(x: Tensor, w: Tensor, b: Tensor | undefined, own: (weight: Tensor) => Tensor): Tensor {
  const weight = own(w);
  return record(made(native().linear(x.handle, weight.handle, b?.handle), x), [x, w, b], () => {
    const wantX = x.requiresGrad;
    // A frozen weight needs no input, and an input without gradient needs no weight.
    const sx = w.requiresGrad || b?.requiresGrad ? save(x) : undefined;
    const sw = wantX ? save(weight) : undefined;
    return (g, into) => {
      const dy = only(g);
      const dw = into(1);
      if (sx) native().linear_dw(dw && own(dw).handle, into(2)?.handle, dy.handle, sx.handle);
      return [sw && made(native().linear_dx(dy.handle, sw.handle), dy)];
    };
  });
}
