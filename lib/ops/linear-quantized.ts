// Products with a frozen quantised weight, alone and with a LoRA branch in the same sum.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import { checkOptions, optionNames } from "../core/options.js";
import { nextRandom } from "../core/random.js";
import type { Tensor } from "../core/tensor.js";
import { formatCode, type QuantFormat } from "./quantize.js";
import { made, madeIf, only } from "./result.js";

/** A weight (O,I) in 4 or 8 bits; nn/quantized-weight.ts makes them. */
export interface QuantizedOperand {
  readonly codes: Tensor; // in the backend's packed layout
  readonly absmax: Tensor;
  readonly nestedAbsmax: Tensor | undefined;
  readonly nestedOffset: Tensor | undefined;
  readonly format: QuantFormat;
  readonly block: number;
  /** int8: columns of x with any |x| at or above it go in full precision; 0 for none (LLM.int8, arXiv 2208.07339). */
  readonly threshold: number;
  readonly outFeatures: number;
  readonly inFeatures: number;
}

/** Aliases of a weight's tensors that the tape owns: the packed weight is all that backward needs. */
function saveWeight(w: QuantizedOperand) {
  const nestedAbsmax = w.nestedAbsmax && save(w.nestedAbsmax);
  const nestedOffset = w.nestedOffset && save(w.nestedOffset);
  return { codes: save(w.codes), absmax: save(w.absmax), nestedAbsmax, nestedOffset };
}

/** y (...,O) = x·Wᵀ + b. Backward gives dx only: dy · dequantised W. */
export function linearQuantized(x: Tensor, w: QuantizedOperand, b?: Tensor): Tensor {
  const format = formatCode(w.format);
  const y = native().linear_quantized(
    x.handle,
    w.codes.handle,
    w.absmax.handle,
    w.nestedAbsmax?.handle,
    w.nestedOffset?.handle,
    b?.handle,
    format,
    w.block,
    w.outFeatures,
    w.threshold,
  );
  return record(made(y, x), [x, b], () => {
    const s = x.requiresGrad ? saveWeight(w) : undefined;
    return (g, into) => {
      const dy = only(g);
      const db = into(1);
      if (db) native().sum_leading(db.handle, dy.handle);
      if (!s) return [];
      const dx = native().linear_quantized_dx(
        dy.handle,
        s.codes.handle,
        s.absmax.handle,
        s.nestedAbsmax?.handle,
        s.nestedOffset?.handle,
        format,
        w.block,
        w.inFeatures,
      );
      return [made(dx, dy)];
    };
  });
}

export interface LoraOptions {
  bias?: Tensor | undefined;
  /** alpha / r, or alpha / √r for rsLoRA. */
  scaling: number;
  /** Probability of dropping an element of the branch's input. */
  dropout?: number;
}

const LORA_OPTIONS = optionNames<LoraOptions>({ bias: true, scaling: true, dropout: true });

/** y = x·Wᵀ + b + scaling · dropout(x)·Aᵀ·Bᵀ (QLoRA, arXiv 2305.14314, eq. 3). A (r,I), B (O,r) of x's dtype. */
export function linearQuantizedLora(x: Tensor, w: QuantizedOperand, a: Tensor, b: Tensor, options: LoraOptions): Tensor {
  checkOptions("linearQuantizedLora", options, LORA_OPTIONS);
  const { bias, scaling, dropout = 0 } = options;
  const format = formatCode(w.format);
  const { seed, offset } = dropout > 0 ? nextRandom() : { seed: 0, offset: 0 };
  const [y, u] = native().linear_quantized_lora(
    x.handle,
    w.codes.handle,
    w.absmax.handle,
    w.nestedAbsmax?.handle,
    w.nestedOffset?.handle,
    bias?.handle,
    a.handle,
    b.handle,
    format,
    w.block,
    w.outFeatures,
    w.threshold,
    scaling,
    dropout,
    seed,
    offset,
  );
  const reduced = made(u, x);
  const out = record(made(y, x), [x, a, b, bias], () => {
    const wantX = x.requiresGrad;
    const s = saveWeight(w);
    const [sx, su, sa, sb] = [save(x), save(reduced), save(a), save(b)];
    return (g, into) => {
      const dy = only(g);
      const dbias = into(3);
      if (dbias) native().sum_leading(dbias.handle, dy.handle);
      const dx = native().linear_quantized_lora_backward(
        wantX,
        into(1)?.handle,
        into(2)?.handle,
        dy.handle,
        sx.handle,
        su.handle,
        s.codes.handle,
        s.absmax.handle,
        s.nestedAbsmax?.handle,
        s.nestedOffset?.handle,
        sa.handle,
        sb.handle,
        format,
        w.block,
        scaling,
        dropout,
        seed,
        offset,
      );
      return [madeIf(dx, dy)];
    };
  });
  reduced.dispose();
  return out;
}
