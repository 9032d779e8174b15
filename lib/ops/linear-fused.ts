// Linear layers with what stands around them, in fewer launches on a card than one op after the other: the feed-forward of a block, a product that is
// added to what went past it, a Perceiver's projections. A weight may be an f32 master beside bf16 rows: it counts as rounded to bf16, and no copy is made.
import { record, save, wantsGrad } from "../core/autograd.js";
import { native } from "../core/native.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activationCode } from "./activation-kinds.js";
import { made, madeIf, only, orZeros } from "./result.js";

const IDENTITY = activationCode("linearResidual", "identity");
const anyWanted = (...tensors: (Tensor | undefined)[]): boolean => tensors.some((t) => t?.requiresGrad);

/** Of a weight that several layers share, the rows [start, start + length) of one of them. */
export interface WeightRows {
  weight: Tensor;
  start: number;
  length: number;
}
const whole = (of: Tensor | WeightRows): Tensor => ("weight" in of ? of.weight : of);
const rowsOf = (of: Tensor | WeightRows, t: Tensor): Tensor =>
  "weight" in of ? made(native().tensor_slice(t.handle, of.start, of.length), t) : t;

/**
 * x·wᵀ + b, added to a residual where there is one: (...,O) from x (...,I), w (O,I), or its rows of a larger one, b (O), the residual (...,O). x, b and the
 * residual have one dtype; w may be f32.
 */
export function linearResidual(x: Tensor, w: Tensor | WeightRows, b: Tensor | undefined, residual: Tensor | undefined): Tensor {
  return scope(() => {
    const rows = rowsOf(w, whole(w));
    const [y] = native().linear_fused(false, x.handle, rows.handle, b?.handle, residual?.handle, IDENTITY);
    return record(made(y, x), [x, whole(w), b, residual], () => {
      const wantX = x.requiresGrad;
      const sx = anyWanted(whole(w), b) ? save(x) : undefined;
      const sw = wantX ? save(rows) : undefined;
      return (g, into) => {
        const dy = only(g);
        const [sum, db] = [into(1), into(2)?.handle];
        const dw = sum && rowsOf(w, sum).handle;
        const dx = native().linear_fused_backward(wantX, dw, db, dy.handle, sx?.handle, sw?.handle, undefined, IDENTITY);
        return [madeIf(dx, dy), undefined, undefined, dy];
      };
    });
  });
}

/** Two linear layers around an activation. */
export interface FeedForwardWeights {
  /** (W,C) */
  w1: Tensor;
  /** (W) */
  b1?: Tensor | undefined;
  /** (C,W) */
  w2: Tensor;
  /** (C) */
  b2?: Tensor | undefined;
}

/**
 * residual + act(x·w1ᵀ + b1)·w2ᵀ + b2, with or without a residual: (...,C) from x (...,C). Dtypes as linearResidual() has them. Throws E_VALUE on a
 * kind of activation that is not there.
 */
export function feedForward(x: Tensor, weights: FeedForwardWeights, kind: ActivationKind, residual?: Tensor): Tensor {
  const { w1, b1, w2, b2 } = weights;
  const act = activationCode("feedForward", kind);
  return scope(() => {
    const inner = [x, w1, b1].some(wantsGrad); // a gradient passes the activation
    const [hidden, pre] = native().linear_fused(inner, x.handle, w1.handle, b1?.handle, undefined, act);
    const [h, before] = [made(hidden, x), madeIf(pre, x)];
    const [y] = native().linear_fused(false, h.handle, w2.handle, b2?.handle, residual?.handle, IDENTITY);
    return record(made(y, x), [x, w1, b1, w2, b2, residual], () => {
      const wantX = x.requiresGrad;
      const [sx, sh] = [anyWanted(w1, b1) ? save(x) : undefined, anyWanted(w2, b2) ? save(h) : undefined];
      const [s1, s2, sp] = [wantX ? save(w1) : undefined, before && save(w2), before && save(before)];
      return (g, into) => {
        const dy = only(g);
        const [dw1, db1, dw2, db2] = [1, 2, 3, 4].map((i) => into(i)?.handle);
        const dh = native().linear_fused_backward(inner, dw2, db2, dy.handle, sh?.handle, s2?.handle, sp?.handle, act);
        if (dh === undefined) return [undefined, undefined, undefined, undefined, undefined, dy];
        const dx = native().linear_fused_backward(wantX, dw1, db1, made(dh, dy).handle, sx?.handle, s1?.handle, undefined, IDENTITY);
        return [madeIf(dx, dy), undefined, undefined, undefined, undefined, dy];
      };
    });
  });
}

/**
 * A Perceiver's projections: q = x2·wqᵀ, and keys and values of both sources by the same weights, k1 = x1·wkᵀ, v1 = x1·wvᵀ, k2 = x2·wkᵀ,
 * v2 = x2·wvᵀ, for attentionTwoSource(). x1 (...,I), x2 (...,I), weights (O,I), or their rows of a larger one, which may be f32 beside bf16.
 */
export function projectTwoSource(
  x1: Tensor,
  x2: Tensor,
  wq: Tensor,
  wk: Tensor | WeightRows,
  wv: Tensor | WeightRows,
): [q: Tensor, k1: Tensor, v1: Tensor, k2: Tensor, v2: Tensor] {
  return scope(() => {
    const [k, v] = [rowsOf(wk, whole(wk)), rowsOf(wv, whole(wv))];
    const outputs = native()
      .project_two_source(x1.handle, x2.handle, wq.handle, k.handle, v.handle)
      .map((h) => made(h, x1)) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    return record(outputs, [x1, x2, wq, whole(wk), whole(wv)], () => {
      const [want1, want2] = [x1.requiresGrad, x2.requiresGrad];
      const saved = [x1, x2, wq, k, v].map(save);
      const like = outputs.map(({ shape, dtype, device }) => ({ shape, dtype, device }));
      return (g, into) => {
        const given = g.map((dy, i) => orZeros(dy, like[i] as (typeof like)[number]));
        const [q, dk, dv] = [into(2), into(3), into(4)];
        const sums = [q?.handle, dk && rowsOf(wk, dk).handle, dv && rowsOf(wv, dv).handle] as const;
        const [dq, dk1, dv1, dk2, dv2] = given.map((t) => t.handle) as [number, number, number, number, number];
        const [s1, s2, sq, sk, sv] = saved.map((t) => t.handle) as [number, number, number, number, number];
        return native()
          .project_two_source_backward(want1, want2, ...sums, dq, dk1, dv1, dk2, dv2, s1, s2, sq, sk, sv)
          .map((h) => madeIf(h, x1));
      };
    });
  });
}
