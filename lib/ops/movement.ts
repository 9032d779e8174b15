// The movers: copy, cast, concat, slices, transpose, rows by index. Views (reshape, leading slices) are methods of Tensor.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import { type DType, dtypeCode, type Tensor } from "../core/tensor.js";
import { made, madeIf, only } from "./result.js";

/** A copy with memory of its own. */
export function copy(x: Tensor): Tensor {
  return record(made(native().copy(x.handle), x), [x], () => (g) => [only(g)]);
}

/** Sets every element, in place. */
export function fill(y: Tensor, value: number): void {
  native().fill(y.handle, value);
}

/** To another dtype: f32 ↔ bf16 (round to nearest even), i32 ↔ f32 (truncates), u8 → f32 or i32. Only floats carry gradients; those of f32 masters stay f32. */
export function cast(x: Tensor, dtype: DType): Tensor {
  const y = made(native().cast(x.handle, dtypeCode(dtype)), x);
  return record(y, [x], () => {
    const from = dtypeCode(x.dtype);
    return (g) => {
      const dy = only(g);
      return [dtypeCode(dy.dtype) === from ? dy : made(native().cast(dy.handle, from), dy)];
    };
  });
}

/** Tensors of one dtype that differ only along `dim`, one after the other. */
export function concat(xs: readonly Tensor[], dim: number): Tensor {
  const first = xs[0];
  if (!first) throw new RangeError("concat: expected at least one tensor, got none");
  const at = dim < 0 ? first.rank + dim : dim;
  const y = made(
    native().concat(
      xs.map((x) => x.handle),
      at,
    ),
    first,
  );
  return record(y, xs, () => {
    const sizes = xs.map((x) => x.shape[at] as number);
    return (g) => {
      let start = 0;
      return sizes.map((size) => {
        const dx = made(native().slice_copy(only(g).handle, at, start, size), only(g));
        start += size;
        return dx;
      });
    };
  });
}

/** x[..., start : start + length, ...] along `dim`, copied. */
export function sliceCopy(x: Tensor, dim: number, start: number, length: number): Tensor {
  const at = dim < 0 ? x.rank + dim : dim;
  const y = made(native().slice_copy(x.handle, at, start, length), x);
  return record(y, [x], () => {
    const full = x.shape[at] as number;
    return (g) => [made(native().slice_place(only(g).handle, at, start, full), only(g))];
  });
}

/** Zeros of size `full` along `dim` but for x at `start`: the inverse of sliceCopy. */
export function slicePlace(x: Tensor, dim: number, start: number, full: number): Tensor {
  const at = dim < 0 ? x.rank + dim : dim;
  const y = made(native().slice_place(x.handle, at, start, full), x);
  return record(y, [x], () => {
    const length = x.shape[at] as number;
    return (g) => [made(native().slice_copy(only(g).handle, at, start, length), only(g))];
  });
}

/** x with two dims swapped, copied. */
export function transposeCopy(x: Tensor, dim0: number, dim1: number): Tensor {
  const a = dim0 < 0 ? x.rank + dim0 : dim0;
  const b = dim1 < 0 ? x.rank + dim1 : dim1;
  return record(made(native().transpose_copy(x.handle, a, b), x), [x], () => (g) => [
    made(native().transpose_copy(only(g).handle, a, b), only(g)),
  ]);
}

/** Rows of x (M,C) by index (N) i32; -1 gives zeros. → (N,C) */
export function gatherRows(x: Tensor, index: Tensor): Tensor {
  return record(made(native().gather_rows(x.handle, index.handle), x), [x], () => {
    const shape = x.shape;
    const rows = x.size / (shape[shape.length - 1] || 1);
    const at = save(index);
    return (g) => {
      const dx = native().gather_rows_backward(only(g).handle, at.handle, rows);
      return [made(dx, only(g)).reshape(shape)];
    };
  });
}

/** Rows of text (Nt,C) and media (Nm,C) by index (B,T) i32: i < Nt is text row i, else media row i - Nt, -1 zeros. → (B,T,C) */
export function spliceRows(text: Tensor, media: Tensor, index: Tensor): Tensor {
  const y = made(native().splice_rows(text.handle, media.handle, index.handle), text);
  return record(y, [text, media], () => {
    const [t, m] = [text.shape[0] as number, media.shape[0] as number];
    const want = [text.requiresGrad, media.requiresGrad] as const;
    const at = save(index);
    return (g) =>
      native()
        .splice_rows_backward(...want, only(g).handle, at.handle, t, m)
        .map((h) => madeIf(h, only(g)));
  });
}
