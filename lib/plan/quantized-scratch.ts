// What the CPU's products with quantised weights compute in: native/cpu/ops/linear_quantized.cc as arithmetic.
import type { DrySpec } from "../core/dry.js";
import type { Product } from "./cpu-products.js";
import type { CpuScratch, Need } from "./cpu-scratch.js";
import { colsOf, dim, floatsOf, rowsOf, widthOf } from "./op-call.js";

const INT8 = 2;

/** Weights over one x, by their outputs and the ranks of their branches; 0 where there is none. */
interface Quantized {
  ranks: readonly number[];
  format: number;
  block: number;
  nested: boolean;
  drops: boolean;
}
const ranksOf = (count: number, of: readonly number[], a: readonly DrySpec[]): number[] =>
  Array.from({ length: count }, (_, i) => (of.includes(i) ? dim(a[of.indexOf(i)] as DrySpec, 0) : 0));

function forward(s: CpuScratch, q: Quantized & { x: DrySpec; outputs: readonly number[] }): void {
  const { x, outputs, ranks, block, nested } = q;
  const [N, I, dtype] = [rowsOf(x), colsOf(x), floatsOf(x)];
  const there = ranks.filter((r) => r > 0);
  const all = there.reduce((a, b) => a + b, 0);
  if (all) s.shared(((q.drops ? N * I : 0) + N * all) * widthOf(x) + 64);
  const branches = there.map((r): Product => ({ M: N, N: r, K: I, dtype, line: I, b: "row" }));
  if (q.drops) for (const p of branches) s.product(p);
  else if (all) s.group(branches, false);
  if (q.format !== INT8) {
    const products = outputs.map((O, i) => s.coded(false, N, O, I, dtype, block, nested, ranks[i]));
    s.group(products, false);
    return;
  }
  for (const [i, O] of outputs.entries()) {
    s.int8(N, O, I);
    if (ranks[i]) s.linear(N, O, ranks[i], dtype);
  }
}

interface Gradients extends Quantized {
  dy: readonly DrySpec[];
  inputs: number;
  dx: boolean;
  da: boolean;
  db: boolean;
}
function backward(s: CpuScratch, q: Gradients): void {
  const { dy, ranks, inputs: I, block, nested } = q;
  const [first] = dy as readonly [DrySpec, ...DrySpec[]];
  const [N, dtype, width] = [rowsOf(first), floatsOf(first), widthOf(first)];
  const all = ranks.reduce((a, b) => a + b, 0);
  const drops = q.drops && all > 0;
  const onTiles = s.level === "amx" && dtype === "bf16" && q.format !== INT8;
  const wide = dtype === "bf16" && q.dx && (drops || (dy.length > 1 && onTiles));
  const bytes = (wide ? N * I * 4 : 0) + (drops ? N * I * 4 : 0) + N * all * width;
  if (bytes) s.shared(bytes + 64);
  for (const [i, r] of ranks.entries()) {
    const O = colsOf(dy[i] as DrySpec);
    if (!r) continue;
    s.dx(N, O, r, dtype);
    if (q.db) s.dw(N, O, r, dtype);
    if (q.da) s.dw(N, r, I, dtype);
  }
  if (!q.dx) return;
  const products = dy.map((d, i) => s.coded(true, N, colsOf(d), I, dtype, block, nested, drops ? 0 : ranks[i]));
  if (onTiles) for (const p of products) s.product(p);
  else s.group(products, true);
  if (drops) for (const r of ranks) if (r) s.dx(N, r, I, dtype);
}

export const QUANTIZED: Readonly<Record<string, Need>> = {
  linear_quantized: (s, { at, n, given }) =>
    forward(s, { x: at(0), outputs: [n(8)], ranks: [0], format: n(6), block: n(7), nested: given(3), drops: false }),
  linear_quantized_dx: (s, { at, n, given }) =>
    backward(s, {
      dy: [at(0)],
      inputs: n(7),
      ranks: [0],
      format: n(5),
      block: n(6),
      nested: given(3),
      drops: false,
      dx: true,
      da: false,
      db: false,
    }),
  linear_quantized_lora: (s, { at, n, given }) =>
    forward(s, { x: at(0), outputs: [n(10)], ranks: [dim(at(6), 0)], format: n(8), block: n(9), nested: given(3), drops: n(13) > 0 }),
  linear_quantized_lora_backward: (s, { at, n, given }) => {
    const of = { dy: [at(3)], inputs: colsOf(at(4)), ranks: [dim(at(10), 0)], format: n(12), block: n(13), nested: given(8) };
    backward(s, { ...of, drops: n(15) > 0, dx: given(0), da: given(1), db: given(2) });
  },
  linear_quantized_group: (s, { at, all, n, numbers }) => {
    const ranks = ranksOf(n(0), numbers(11), all(8));
    forward(s, { x: at(2), outputs: numbers(10), ranks, format: n(14), block: n(15), nested: all(5).length > 0, drops: n(17) > 0 });
  },
  linear_quantized_group_backward: (s, { all, n, numbers, given }) => {
    const ranks = ranksOf(all(3).length, numbers(12), all(10));
    const of = { dy: all(3), inputs: n(17), ranks, format: n(15), block: n(16), nested: all(8).length > 0 };
    backward(s, { ...of, drops: n(18) > 0, dx: given(0), da: all(1).length > 0, db: all(2).length > 0 });
  },
};
