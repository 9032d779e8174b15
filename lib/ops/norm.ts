// Normalisations. Statistics are f32; weights may be f32 whatever x is.
import { record, save, wantsGrad } from "../core/autograd.js";
import { native } from "../core/native.js";
import type { Tensor } from "../core/tensor.js";
import { made, madeIf, only } from "./result.js";

/** x · rsqrt(mean(x²) + eps) · w over the last size C (arXiv 1910.07467). w (C). */
export function rmsNorm(x: Tensor, w: Tensor, eps: number): Tensor {
  const [y, k] = native().rms_norm(x.handle, w.handle, eps);
  const rstd = made(k, x);
  const out = record(made(y, x), [x, w], () => {
    const wantX = x.requiresGrad;
    const [sx, sw, sk] = [save(x), save(w), save(rstd)];
    return (g, into) => [
      madeIf(native().rms_norm_backward(wantX, into(1)?.handle, only(g).handle, sx.handle, sw.handle, sk.handle, undefined), only(g)),
    ];
  });
  rstd.dispose();
  return out;
}

/** Of a norm of x beside which x goes on: one gradient of x from what flows back by both ways, rounded once, and that of w. */
function rootBackward(x: Tensor, w: Tensor, rstd: Tensor, wanted: boolean) {
  const [sx, sw, sk] = [save(x), save(w), save(rstd)];
  return (past: Tensor | undefined, dy: Tensor | undefined, dw: () => Tensor | undefined): Tensor | undefined => {
    if (!dy) return past;
    const beside = wanted ? past?.handle : undefined;
    return madeIf(native().rms_norm_backward(wanted, dw()?.handle, dy.handle, sx.handle, sw.handle, sk.handle, beside), dy);
  };
}

/**
 * rmsNorm() of x (...,C), and x itself for what goes past the norm: what flows back by both ways is added in f32 and is one gradient. Without a gradient of x
 * they are x and rmsNorm(x). w (C).
 */
export function pastRmsNorm(x: Tensor, w: Tensor, eps: number): [past: Tensor, y: Tensor] {
  if (!wantsGrad(x)) return [x, rmsNorm(x, w, eps)];
  const [h, k] = native().rms_norm(x.handle, w.handle, eps);
  const [y, rstd] = [made(h, x), made(k, x)]; // owned before another is asked for
  const out = record([x.detach(), y], [x, w], () => {
    const backward = rootBackward(x, w, rstd, true);
    return ([past, dy], into) => [backward(past, dy, () => into(1))];
  });
  rstd.dispose();
  return out as [Tensor, Tensor];
}

/**
 * sum = a + b, and rmsNorm() of it, in one op: what a block adds to what goes past it, and the norm before the next. a, b (...,C) of one shape, w (C). The
 * numbers are those of the two ops; what flows back is one gradient of a and b, added in f32.
 */
export function addRmsNorm(a: Tensor, b: Tensor, w: Tensor, eps: number): [sum: Tensor, y: Tensor] {
  const [s, h, k] = native().add_rms_norm(a.handle, b.handle, w.handle, eps);
  const [sum, rstd] = [made(s, a), made(k, a)];
  const out = record([sum, made(h, a)], [a, b, w], () => {
    const backward = rootBackward(sum, w, rstd, a.requiresGrad || b.requiresGrad);
    return ([past, dy], into) => {
      const d = backward(past, dy, () => into(2));
      return [d, d];
    };
  });
  rstd.dispose();
  return out as [Tensor, Tensor];
}

/** (x - mean) · rstd · w + b over the last size C (arXiv 1607.06450). w, b (C), each may be left out. */
export function layerNorm(x: Tensor, w: Tensor | undefined, b: Tensor | undefined, eps: number): Tensor {
  const [y, m, k] = native().layer_norm(x.handle, w?.handle, b?.handle, eps);
  const [mean, rstd] = [made(m, x), made(k, x)];
  const out = record(made(y, x), [x, w, b], () => {
    const wantX = x.requiresGrad;
    const [sx, sw, sm, sk] = [save(x), w && save(w), save(mean), save(rstd)];
    return (g, into) => {
      const dx = native().layer_norm_backward(
        wantX,
        into(1)?.handle,
        into(2)?.handle,
        only(g).handle,
        sx.handle,
        sw?.handle,
        sm.handle,
        sk.handle,
      );
      return [madeIf(dx, only(g))];
    };
  });
  mean.dispose();
  rstd.dispose();
  return out;
}

/** Over the channels of each group and all positions, x (B,C,...) (arXiv 1803.08494). w, b (C). */
export function groupNorm(x: Tensor, w: Tensor, b: Tensor, groups: number, eps: number): Tensor {
  const [y, m, k] = native().group_norm(x.handle, w.handle, b.handle, groups, eps);
  const [mean, rstd] = [made(m, x), made(k, x)];
  const out = record(made(y, x), [x, w, b], () => {
    const wantX = x.requiresGrad;
    const [sx, sw, sm, sk] = [save(x), save(w), save(mean), save(rstd)];
    return (g, into) => {
      const dx = native().group_norm_backward(
        wantX,
        into(1)?.handle,
        into(2)?.handle,
        only(g).handle,
        sx.handle,
        sw.handle,
        sm.handle,
        sk.handle,
        groups,
      );
      return [madeIf(dx, only(g))];
    };
  });
  mean.dispose();
  rstd.dispose();
  return out;
}

/** With running statistics (C), x (B,C,...). */
export function batchNormInference(x: Tensor, mean: Tensor, variance: Tensor, w: Tensor, b: Tensor, eps: number): Tensor {
  const y = native().batch_norm_inference(x.handle, mean.handle, variance.handle, w.handle, b.handle, eps);
  return record(made(y, x), [x, w, b], () => {
    const wantX = x.requiresGrad;
    const [sx, sm, sv, sw] = [save(x), save(mean), save(variance), save(w)];
    return (g, into) => {
      const dx = native().batch_norm_inference_backward(
        wantX,
        into(1)?.handle,
        into(2)?.handle,
        only(g).handle,
        sx.handle,
        sm.handle,
        sv.handle,
        sw.handle,
        eps,
      );
      return [madeIf(dx, only(g))];
    };
  });
}

/** Rows divided by max(|row|, eps). */
export function l2Normalize(x: Tensor, eps = 1e-12): Tensor {
  const [h, n] = native().l2_normalize(x.handle, eps);
  const [y, norm] = [made(h, x), made(n, x)];
  record(y, [x], () => {
    const [sy, sn] = [save(y), save(norm)];
    return (g) => [made(native().l2_normalize_backward(only(g).handle, sy.handle, sn.handle, eps), only(g))];
  });
  norm.dispose();
  return y;
}
