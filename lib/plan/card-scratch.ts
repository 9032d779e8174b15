// What a card's ops compute in, for those whose need grows with a batch or a vocabulary: the sizes of cuda/ as arithmetic. One op's at a time; what it
// needs is kept.
import type { DrySpec } from "../core/dry.js";
import { colsOf, dim, isNarrow, type OpCall, rowsOf, widthOf } from "./op-call.js";

const INT8 = 2;

const NEEDS: Readonly<Record<string, (call: OpCall) => number>> = {
  // Logits of a chunk of rows in f32, and their gradient where that is bf16 (cuda/head_cross_entropy.cu).
  head_cross_entropy: ({ at }) => {
    const [x, V] = [at(2), dim(at(3), 0)];
    const chunk = Math.min(rowsOf(x), 1024, Math.max(64, Math.floor((64 << 20) / V)));
    return chunk * V * (isNarrow(x) ? 6 : 4);
  },
  linear_quantized: ({ at, n }) => (n(6) === INT8 ? rowsOf(at(0)) * (4 * n(8) + colsOf(at(0)) + 4) : 0),
  linear_quantized_lora: ({ at, n }) => rowsOf(at(0)) * (dim(at(6), 0) + (n(13) > 0 ? colsOf(at(0)) : 0)) * widthOf(at(0)),
  linear_quantized_lora_backward: ({ at, n }) => rowsOf(at(4)) * (dim(at(10), 0) + (n(15) > 0 ? colsOf(at(4)) : 0)) * widthOf(at(4)),
  linear_quantized_group: ({ at, n, numbers }) => (n(14) === INT8 ? rowsOf(at(2)) * (4 * Math.max(...numbers(10)) + colsOf(at(2)) + 4) : 0),
  // The sum of dx in f32, where it is rounded last, and t of the branches.
  // Sums of dx in f32: where it is rounded last, and of a weight that is added to the first.
  linear_quantized_group_backward: ({ all, n, given }) => {
    const [dy, ...others] = all(3) as [DrySpec, ...DrySpec[]];
    const ranks = all(10).reduce((r, a) => r + dim(a, 0), 0);
    const sums = given(0) ? (isNarrow(dy) ? 1 : 0) + (others.length ? 1 : 0) : 0;
    return rowsOf(dy) * (ranks * widthOf(dy) + 4 * n(17) * sums);
  },
};

export class CardScratch {
  bytes = 0;
  take(op: string, call: OpCall): void {
    if (Object.hasOwn(NEEDS, op)) this.bytes = Math.max(this.bytes, NEEDS[op]?.(call) ?? 0);
  }
}
