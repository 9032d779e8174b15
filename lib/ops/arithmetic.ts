// Elementwise sums and products. A second operand whose shape is a suffix of the first's is repeated over the leading sizes.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import { nextRandom } from "../core/random.js";
import type { Tensor } from "../core/tensor.js";
import { made, madeIf, only } from "./result.js";

/** a + b */
export function add(a: Tensor, b: Tensor): Tensor {
  const y = made(native().add(a.handle, b.handle), a);
  return record(y, [a, b], () => {
    const same = a.size === b.size;
    const shape = b.shape;
    const want = b.requiresGrad;
    return (g, into) => {
      const dy = only(g);
      if (!want) return [dy];
      if (same) return [dy, String(dy.shape) === String(shape) ? dy : dy.reshape(shape)];
      const db = into(1);
      if (db) native().sum_leading(db.handle, dy.handle);
      return [dy];
    };
  });
}

/** a - b, of the same shape. */
export function sub(a: Tensor, b: Tensor): Tensor {
  return scaleAdd(a, b, 1, -1);
}

/** a · b, elementwise. */
export function mul(a: Tensor, b: Tensor): Tensor {
  return record(made(native().mul(a.handle, b.handle), a), [a, b], () => {
    const want = a.requiresGrad;
    const [sa, sb] = [save(a), save(b)];
    return (g, into) => {
      const dy = only(g);
      return [madeIf(native().mul_backward(want, into(1)?.handle, dy.handle, sa.handle, sb.handle), dy)];
    };
  });
}

/** alpha · x + beta · r, of the same shape; without r: alpha · x. */
export function scaleAdd(x: Tensor, r: Tensor | undefined, alpha: number, beta = 1): Tensor {
  return record(made(native().scale_add(x.handle, r?.handle, alpha, beta), x), [x, r], () => {
    const times = (g: Tensor, f: number) => (f === 1 ? g : made(native().scale_add(g.handle, undefined, f, 0), g));
    const [wx, wr] = [x.requiresGrad, r?.requiresGrad ?? false];
    return (g) => [wx ? times(only(g), alpha) : undefined, wr ? times(only(g), beta) : undefined];
  });
}

/** x times a number. */
export function scale(x: Tensor, factor: number): Tensor {
  return scaleAdd(x, undefined, factor, 0);
}

/** x times s (1) f32, read on the device. No gradient to s: it is a loss scale or a clip factor. */
export function scaleBy(x: Tensor, s: Tensor): Tensor {
  return record(made(native().scale_by(x.handle, s.handle), x), [x], () => {
    const factor = save(s);
    return (g) => [made(native().scale_by(only(g).handle, factor.handle), only(g))];
  });
}

/** y += alpha · x, in place; y f32. Not recorded. */
export function accumulateInplace(y: Tensor, x: Tensor, alpha = 1): void {
  native().accumulate(y.handle, x.handle, alpha);
}

/** Sum over the leading sizes down to `shape`, a suffix of x's shape. f32, not recorded. */
export function sumLeadingInto(total: Tensor, x: Tensor): void {
  native().sum_leading(total.handle, x.handle);
}

/** Zeroes each element with probability p and scales the others by 1/(1-p). The next draw of this thread's random sequence. */
export function dropout(x: Tensor, p: number): Tensor {
  const { seed, offset } = nextRandom();
  return record(made(native().dropout(x.handle, p, seed, offset), x), [x], () => (g) => [
    made(native().dropout(only(g).handle, p, seed, offset), only(g)),
  ]);
}
