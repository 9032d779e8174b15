// Convolutions (as torch: cross-correlation), pooling, bicubic resampling, GRU.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Tensor } from "../core/tensor.js";
import { made, madeIf, only } from "./result.js";

export interface Conv1dOptions {
  stride?: number;
  padding?: number;
  dilation?: number;
}

const CONV1D_OPTIONS = optionNames<Conv1dOptions>({ stride: true, padding: true, dilation: true });

/** y (B,O,L') from x (B,I,L), w (O,I,k), b (O). */
export function conv1d(x: Tensor, w: Tensor, b?: Tensor, options: Conv1dOptions = {}): Tensor {
  checkOptions("conv1d", options, CONV1D_OPTIONS);
  const { stride = 1, padding = 0, dilation = 1 } = options;
  return record(made(native().conv1d(x.handle, w.handle, b?.handle, stride, padding, dilation), x), [x, w, b], () => {
    const wantX = x.requiresGrad;
    const [sx, sw] = [save(x), save(w)];
    return (g, into) => {
      const dx = native().conv1d_backward(
        wantX,
        into(1)?.handle,
        into(2)?.handle,
        only(g).handle,
        sx.handle,
        sw.handle,
        stride,
        padding,
        dilation,
      );
      return [madeIf(dx, only(g))];
    };
  });
}

export interface Conv2dOptions {
  stride?: number | readonly [number, number];
  padding?: number | readonly [number, number];
}
const CONV2D_OPTIONS = optionNames<Conv2dOptions>({ stride: true, padding: true });
const pair = (v: number | readonly [number, number]): readonly [number, number] => (typeof v === "number" ? [v, v] : v);

/** y (B,O,H',W') from x (B,I,H,W), w (O,I,kh,kw), b (O). */
export function conv2d(x: Tensor, w: Tensor, b?: Tensor, options: Conv2dOptions = {}): Tensor {
  checkOptions("conv2d", options, CONV2D_OPTIONS);
  const { stride = 1, padding = 0 } = options;
  const geometry = [...pair(stride), ...pair(padding)] as [number, number, number, number];
  return record(made(native().conv2d(x.handle, w.handle, b?.handle, ...geometry), x), [x, w, b], () => {
    const wantX = x.requiresGrad;
    const [sx, sw] = [save(x), save(w)];
    return (g, into) => [
      madeIf(native().conv2d_backward(wantX, into(1)?.handle, into(2)?.handle, only(g).handle, sx.handle, sw.handle, ...geometry), only(g)),
    ];
  });
}

/** x (B,C,L) → (B,C,L'), no padding. */
export function maxPool1d(x: Tensor, kernel: number, stride = kernel): Tensor {
  const [h, i] = native().max_pool1d(x.handle, kernel, stride);
  const [y, index] = [made(h, x), made(i, x)];
  record(y, [x], () => {
    const length = x.shape[x.rank - 1] as number;
    const at = save(index);
    return (g) => [made(native().max_pool1d_backward(only(g).handle, at.handle, length), only(g))];
  });
  index.dispose();
  return y;
}

/** Mean over one dim, which disappears. */
export function meanPool(x: Tensor, dim: number): Tensor {
  const at = dim < 0 ? x.rank + dim : dim;
  return record(made(native().mean_pool(x.handle, at), x), [x], () => {
    const length = x.shape[at] as number;
    return (g) => [made(native().mean_pool_backward(only(g).handle, at, length), only(g))];
  });
}

export interface BicubicOptions {
  alignCorners?: boolean;
  /** PIL's widening filter, as torch's antialias. */
  antialias?: boolean;
}

const BICUBIC_OPTIONS = optionNames<BicubicOptions>({ alignCorners: true, antialias: true });

/** x (B,C,H,W) → (B,C,height,width), as torch.nn.functional.interpolate(mode="bicubic"). */
export function interpolateBicubic(x: Tensor, height: number, width: number, options: BicubicOptions = {}): Tensor {
  checkOptions("interpolateBicubic", options, BICUBIC_OPTIONS);
  const { alignCorners = false, antialias = false } = options;
  return record(made(native().interpolate_bicubic(x.handle, height, width, alignCorners, antialias), x), [x], () => {
    const [h, w] = [x.shape[2] as number, x.shape[3] as number];
    return (g) => [made(native().interpolate_bicubic_backward(only(g).handle, h, w, alignCorners, antialias), only(g))];
  });
}

/** All states (B,T,H) of a one-layer GRU with h0 = 0; gates r, z, n as torch.nn.GRU. x (B,T,I), w_ih (3H,I), w_hh (3H,H), b (3H); all f32. */
export function gru(x: Tensor, wIh: Tensor, wHh: Tensor, bIh: Tensor, bHh: Tensor): Tensor {
  const [h, s] = native().gru(x.handle, wIh.handle, wHh.handle, bIh.handle, bHh.handle);
  const [y, states] = [made(h, x), made(s, x)];
  record(y, [x, wIh, wHh, bIh, bHh], () => {
    const wantX = x.requiresGrad;
    const [sy, ss, sx, si, sh] = [save(y), save(states), save(x), save(wIh), save(wHh)];
    return (g, into) => {
      const d = native().gru_backward(
        wantX,
        into(1)?.handle,
        into(2)?.handle,
        into(3)?.handle,
        into(4)?.handle,
        only(g).handle,
        sy.handle,
        ss.handle,
        sx.handle,
        si.handle,
        sh.handle,
      );
      return [madeIf(d, only(g))];
    };
  });
  states.dispose();
  return y;
}
