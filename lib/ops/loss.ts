// Embedding and losses.
import { record, save, wantsGrad } from "../core/autograd.js";
import { native } from "../core/native.js";
import { checkOptions, optionNames } from "../core/options.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { scale, sub } from "./arithmetic.js";
import { cast } from "./movement.js";
import { sum } from "./reduce.js";
import { made, madeIf, only } from "./result.js";

/** Rows of w (V,C) by ids (...) i32 → (...,C). `fixed`: a row that learns nothing from being looked up (torch's padding_idx). */
export function embedding(ids: Tensor, w: Tensor, fixed?: number): Tensor {
  return record(made(native().embedding(ids.handle, w.handle), w), [w], () => {
    const at = save(ids);
    return (g, into) => {
      const dw = into(0);
      const add = () => native().embedding_backward(dw?.handle, only(g).handle, at.handle);
      if (dw && fixed !== undefined) keepingRow(dw, fixed, add);
      else add();
      return [];
    };
  });
}

/**
 * Leads the gradient of y (…,C), which was looked up by ids (…) in a frozen table, to the rows of that table that train: rows (R,C) f32. places (V,1) f32
 * tells of each id which of them it is, and R for none. The numbers of y are the table's.
 */
export function lookedUp(y: Tensor, ids: Tensor, rows: Tensor, places: Tensor): Tensor {
  return record(y, [rows], () => {
    const [at, where] = [save(ids), save(places)];
    return (g, into) => {
      const total = into(0);
      if (!total) return [];
      const [count, width] = total.shape as [number, number];
      const index = cast(embedding(at, where), "i32");
      const all = Tensor.zeros([count + 1, width], { device: total.device }); // the last for all that does not train
      native().embedding_backward(all.handle, only(g).handle, index.handle);
      native().sum_leading(total.handle, all.slice(0, count).handle);
      return [];
    };
  });
}

/** Runs what adds to `total` (V,C) f32, and takes out again what came into one row: another part of the tape may have put its own there. */
function keepingRow(total: Tensor, row: number, add: () => void): void {
  scope(() => {
    const place = total.slice(row, 1);
    const before = scale(place, 1);
    add();
    native().sum_leading(place.handle, sub(before, place).handle);
  });
}

/** loss (N) f32 from logits (N,V) and targets (N) i32; rows with the ignored target give 0. */
export function softmaxCrossEntropy(logits: Tensor, target: Tensor, ignore = -100): Tensor {
  const [h, l] = native().softmax_cross_entropy(logits.handle, target.handle, ignore);
  const [loss, lse] = [made(h, logits), made(l, logits)];
  record(loss, [logits], () => {
    const [sz, sl, st] = [save(logits), save(lse), save(target)];
    return (g) => [made(native().softmax_cross_entropy_backward(only(g).handle, sz.handle, sl.handle, st.handle, ignore), only(g))];
  });
  lse.dispose();
  return loss;
}

export interface HeadCrossEntropyOptions {
  ignore?: number;
  /** Factor of every row's loss, e.g. 1 / (number of target tokens). */
  scale?: number;
  /** (R,C) that stands in w from row `first` on, and gets the gradient of that part; w itself gets none. */
  rows?: { tensor: Tensor; first: number } | undefined;
}

const HEAD_OPTIONS = optionNames<HeadCrossEntropyOptions>({ ignore: true, scale: true, rows: true });

/**
 * Scaled sum (1) of the cross entropies of x·wᵀ, x (N,C), w (V,C): logits exist in chunks only, and gradients are made in the same pass
 * (Liger, arXiv 2410.10989, section 3.2).
 */
export function headCrossEntropy(x: Tensor, w: Tensor, target: Tensor, options: HeadCrossEntropyOptions = {}): Tensor {
  checkOptions("headCrossEntropy", options, HEAD_OPTIONS);
  const { ignore = -100, scale = 1, rows } = options;
  const wantX = wantsGrad(x);
  const trained = rows?.tensor ?? w;
  // Gradients are of the plain sum; the scale and what flows in multiply them in backward.
  const dw = wantsGrad(trained) ? Tensor.zeros(trained.shape, { device: w.device }) : undefined;
  const [l, d] = native().head_cross_entropy(wantX, dw?.handle, x.handle, w.handle, target.handle, undefined, ignore, rows?.first ?? 0);
  const [losses, dx] = [made(l, x), madeIf(d, x)];
  const loss = sum(losses, scale);
  losses.dispose();
  record(loss, [x, trained], () => {
    const [sdx, sdw] = [dx && save(dx), dw && save(dw)];
    return (g) => {
      const factor = made(native().scale_add(only(g).handle, undefined, scale, 0), only(g));
      const times = (t: Tensor | undefined) => t && made(native().scale_by(t.handle, factor.handle), t);
      return [times(sdx), times(sdw)];
    };
  });
  dx?.dispose();
  dw?.dispose();
  return loss;
}

/** In the order of `enum TemperatureForm`: CLIP multiplies by exp(t), IMU2CLIP divides by t. */
const FORMS = ["exp", "reciprocal"] as const;

/** Symmetric InfoNCE (1) of unit rows a, b (B,C) f32, temperature t (1) (CLIP, arXiv 2103.00020, figure 3). */
export function contrastiveLoss(a: Tensor, b: Tensor, t: Tensor, form: (typeof FORMS)[number] = "exp"): Tensor {
  const code = FORMS.indexOf(form);
  const [h, z] = native().contrastive_loss(a.handle, b.handle, t.handle, code);
  const [loss, logits] = [made(h, a), made(z, a)];
  record(loss, [a, b, t], () => {
    const want = [a.requiresGrad, b.requiresGrad] as const;
    const [sa, sb, st, sz] = [save(a), save(b), save(t), save(logits)];
    return (g, into) => {
      const [da, db] = native().contrastive_loss_backward(
        ...want,
        into(2)?.handle,
        only(g).handle,
        sa.handle,
        sb.handle,
        st.handle,
        sz.handle,
        code,
      );
      return [madeIf(da, sa), madeIf(db, sb)];
    };
  });
  logits.dispose();
  return loss;
}
