// Optimiser updates over many tensors in one call, in place. Lists run in parallel.

import { expected } from "../core/errors.js";
import { native } from "../core/native.js";
import { checkOptions, optionNames } from "../core/options.js";
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

/** One tensor of a step: its gradient, its moments and the numbers that are its own. */
export interface AdamWItem {
  p: Tensor;
  grad: Tensor;
  /** f32, or u8 with block maxima. */
  m: Tensor;
  v: Tensor;
  mAbsmax?: Tensor | undefined;
  vAbsmax?: Tensor | undefined;
  lr: number;
  weightDecay: number;
  /** From 1. */
  step: number;
}

/** What all tensors of a step share. */
export interface AdamWClippedOptions extends Pick<AdamWStep, "beta1" | "beta2" | "eps"> {
  /** Of all gradients together; none: they are not clipped. */
  maxNorm?: number | undefined;
}
const CLIPPED_OPTIONS = optionNames<AdamWClippedOptions>({ beta1: true, beta2: true, eps: true, maxNorm: true });

/**
 * A whole step in one call: the global L2 norm of all gradients, their clipping to `maxNorm` as torch.nn.utils.clip_grad_norm_ does it (none: not
 * clipped), and adamw() or adamw8bit() of each tensor by the form of its moments. Returns the norm before clipping, (1) f32. Two launches on a card.
 */
export function adamwClipped(items: readonly AdamWItem[], options: AdamWClippedOptions): Tensor {
  checkOptions("adamwClipped", options, CLIPPED_OPTIONS);
  const { beta1, beta2, eps, maxNorm = Infinity } = options;
  const column = (key: "p" | "grad" | "m" | "v") => items.map((item) => item[key].handle);
  const maxima = (key: "mAbsmax" | "vAbsmax") => items.flatMap((item) => item[key]?.handle ?? []);
  const numbers = (key: "lr" | "weightDecay" | "step") => items.map((item) => item[key]);
  const first = firstOf(items).p;
  const lists = [column("p"), column("grad"), column("m"), column("v"), maxima("mAbsmax"), maxima("vAbsmax")] as const;
  return made(native().adamw_clipped(...lists, numbers("lr"), numbers("weightDecay"), numbers("step"), beta1, beta2, eps, maxNorm), first);
}

/** Global L2 norm (1) f32 of gradients. */
export function gradNorm(grads: readonly Tensor[]): Tensor {
  return made(native().grad_norm(handles(grads)), firstOf(grads));
}

function firstOf<T>([first]: readonly T[]): T {
  if (first === undefined)
    throw expected("E_ARGUMENT", "gradNorm", "at least one gradient", "none", "did backward() reach a parameter with requiresGrad?");
  return first;
}

/** min(1, maxNorm / (norm + 1e-6)), (1) f32, as torch.nn.utils.clip_grad_norm_. */
export function clipScale(norm: Tensor, maxNorm: number): Tensor {
  return made(native().clip_scale(norm.handle, maxNorm), norm);
}
