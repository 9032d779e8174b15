// Optimiser updates over many tensors in one call, in place. Lists run in parallel.

import { expected } from "../core/errors.js";
import { native } from "../core/native.js";
import type { Tensor } from "../core/tensor.js";
import { made } from "./result.js";

export interface AdamWStep {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** From 1. */
  step: number;
  /** (1) f32 that multiplies every gradient: clipScale's result. */
  scale?: Tensor | undefined;
}

const handles = (list: readonly Tensor[]) => list.map((t) => t.handle);

/** torch.optim.AdamW: decoupled decay first (arXiv 1711.05101). All f32. */
export function adamw(p: readonly Tensor[], grad: readonly Tensor[], m: readonly Tensor[], v: readonly Tensor[], o: AdamWStep): void {
  native().adamw(handles(p), handles(grad), handles(m), handles(v), o.scale?.handle, o.lr, o.beta1, o.beta2, o.eps, o.weightDecay, o.step);
}

/** bitsandbytes' blockwise 8-bit AdamW (arXiv 2110.02861): moments in u8 with block maxima f32, block 256; decay after the step. */
export function adamw8bit(
  p: readonly Tensor[],
  grad: readonly Tensor[],
  m: readonly Tensor[],
  mAbsmax: readonly Tensor[],
  v: readonly Tensor[],
  vAbsmax: readonly Tensor[],
  o: AdamWStep,
): void {
  native().adamw_8bit(
    handles(p),
    handles(grad),
    handles(m),
    handles(mAbsmax),
    handles(v),
    handles(vAbsmax),
    o.scale?.handle,
    o.lr,
    o.beta1,
    o.beta2,
    o.eps,
    o.weightDecay,
    o.step,
  );
}

/** Global L2 norm (1) f32 of gradients. */
export function gradNorm(grads: readonly Tensor[]): Tensor {
  const first = grads[0];
  if (!first)
    throw expected("E_ARGUMENT", "gradNorm", "at least one gradient", "none", "did backward() reach a parameter with requiresGrad?");
  return made(native().grad_norm(handles(grads)), first);
}
/** min(1, maxNorm / (norm + 1e-6)), (1) f32, as torch.nn.utils.clip_grad_norm_. */
export function clipScale(norm: Tensor, maxNorm: number): Tensor {
  return made(native().clip_scale(norm.handle, maxNorm), norm);
}
