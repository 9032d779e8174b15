// Products with quantised weights whose inputs are rounded to 8 bit, 64 of a row to one scale, as llama.cpp computes them: less work for a token, and not exact.
import { isGradEnabled } from "../core/autograd.js";
import { type Handle, native } from "../core/native.js";
import type { Tensor } from "../core/tensor.js";
import type { QuantizedOperand } from "./linear-quantized.js";
import { formatCode } from "./quantize.js";
import { made } from "./result.js";

/** Since roundingInputs() began: products made, and what stands for the head; undefined outside of it. */
let step: { products: number; head: QuantizedOperand | undefined } | undefined;

/**
 * Runs `body`, in which layers with quantised weights round what they read; tells how many products did. They have no gradients. `head`: the head of the
 * model whose step it is, in 8 bit, to be read in the place of the dense one.
 */
export function roundingInputs<T>(body: () => T, head?: QuantizedOperand): { result: T; products: number } {
  const before = step;
  const own = { products: 0, head };
  step = own;
  try {
    return { result: body(), products: own.products };
  } finally {
    step = before;
  }
}

/** Should a layer round what it reads? Where gradients are recorded it never does. */
export const roundsInputs = (): boolean => step !== undefined && !isGradEnabled();
/** What roundingInputs() was given as the head. */
export const headInEightBit = (): QuantizedOperand | undefined => (roundsInputs() ? step?.head : undefined);

/** Can these be multiplied at once? */
export function alike(weights: readonly QuantizedOperand[]): boolean {
  const [first] = weights;
  return weights.every(
    (w) =>
      w.format === first?.format &&
      w.block === first.block &&
      w.inFeatures === first.inFeatures &&
      (w.nestedAbsmax === undefined) === (first.nestedAbsmax === undefined),
  );
}

/** y (…,O) = x·Wᵀ + b of one to three weights that are alike, all of which have a bias or none. */
export function linearEightBit(x: Tensor, weights: readonly QuantizedOperand[], biases: readonly Tensor[] = []): Tensor[] {
  const handles = (of: (w: QuantizedOperand) => Tensor | undefined) => weights.flatMap((w) => of(w)?.handle ?? []);
  const [first, second, third] = weights as [QuantizedOperand, QuantizedOperand?, QuantizedOperand?];
  const results = native().linear_eight_bit(
    second !== undefined,
    third !== undefined,
    x.handle,
    handles((w) => w.codes),
    handles((w) => w.absmax),
    handles((w) => w.nestedAbsmax),
    handles((w) => w.nestedOffset),
    biases.map((b) => b.handle),
    formatCode(first.format),
    first.block,
    first.outFeatures,
    second?.outFeatures ?? 0,
    third?.outFeatures ?? 0,
  );
  if (step) step.products += weights.length;
  return results.slice(0, weights.length).map((handle) => made(handle as Handle, x));
}
