// How long ops take at least on a machine whose numbers are known: the longer of its arithmetic and of what it moves through memory (the roofline of
// Williams, Waterman, Patterson, CACM 2009), and a launch each.
import type { DrySpec } from "../core/dry.js";
import type { Machine } from "./machines.js";
import { bytesOf, colsOf, dim, isNarrow, type OpCall, rowsOf, sizeOf } from "./op-call.js";

/** Multiplications and additions, of numbers as wide as `of`; bytes that must be read and written. */
interface Work {
  flops: number;
  of: DrySpec;
  bytes: number;
}
type WorkOf = (call: OpCall) => Work;

const sum = (all: readonly DrySpec[]): number => all.reduce((n, x) => n + bytesOf(x), 0);
const added = (all: readonly number[]): number => all.reduce((a, b) => a + b, 0);

/** A product of N rows with a weight of `parameters` numbers, which lies in `weight` bytes. */
const product = (of: DrySpec, N: number, parameters: number, weight: number, others: number): Work => ({
  flops: 2 * N * parameters,
  of,
  bytes: weight + others,
});

/** Scores and values of every head; half of them where nobody looks ahead. `times`: products of that size. */
function attention(q: DrySpec, keys: readonly DrySpec[], causal: boolean, times: number): Work {
  const [B, T, H, D] = q.shape as [number, number, number, number];
  const S = keys.reduce((n, k) => n + dim(k, 1), 0);
  const seen = causal && S === T ? 0.5 : 1;
  return { flops: 2 * times * B * H * T * S * D * seen, of: q, bytes: times * (bytesOf(q) + sum(keys)) };
}

/** Queries of the second source, keys and values of both. */
function twoSource([x1, x2]: [DrySpec, DrySpec], weights: [DrySpec, DrySpec, DrySpec], times: number, others: number): Work {
  const [q, k, v] = weights.map(sizeOf) as [number, number, number];
  const parameters = rowsOf(x2) * q + (rowsOf(x1) + rowsOf(x2)) * (k + v);
  return product(x1, times, parameters, times * sum(weights), others + times * sum([x1, x2]));
}

function convolution(x: DrySpec, w: DrySpec, y: DrySpec, times: number): Work {
  return { flops: (2 * times * sizeOf(y) * sizeOf(w)) / dim(w, 0), of: x, bytes: times * sum([x, w, y]) };
}

function head({ at, given }: OpCall): Work {
  const [x, w] = [at(2), at(3)];
  const times = 1 + (given(0) ? 1 : 0) + (given(1) ? 1 : 0);
  const logits = 8 * rowsOf(x) * dim(w, 0);
  return { flops: 2 * times * rowsOf(x) * sizeOf(w), of: x, bytes: times * (sum([x, w]) + logits) };
}

const WORK: Readonly<Record<string, WorkOf>> = {
  linear: ({ at, made }) => product(at(0), rowsOf(at(0)), sizeOf(at(1)), bytesOf(at(1)), sum([at(0), ...made()])),
  linear_dx: ({ at, made }) => product(at(0), rowsOf(at(0)), sizeOf(at(1)), bytesOf(at(1)), sum([at(0), ...made()])),
  linear_dw: ({ at, given }) => {
    const [dy, x] = [at(2), at(3)];
    return product(dy, given(0) ? rowsOf(x) : 0, colsOf(dy) * colsOf(x), given(0) ? 2 * bytesOf(at(0)) : 0, sum([dy, x]));
  },
  linear_fused: ({ at, made }) => product(at(1), rowsOf(at(1)), sizeOf(at(2)), bytesOf(at(2)), sum([at(1), ...made()])),
  linear_fused_backward: ({ at, given, made }) => {
    const dy = at(3);
    const [ofX, ofWeight] = [made().length ? sizeOf(at(5)) : 0, given(1) ? colsOf(dy) * colsOf(at(4)) : 0];
    const bytes = (made().length ? bytesOf(at(5)) : 0) + (given(1) ? 2 * bytesOf(at(1)) + bytesOf(at(4)) : 0);
    return product(dy, rowsOf(dy), ofX + ofWeight, bytes, sum([dy, ...made()]));
  },
  project_two_source: ({ at, made }) => twoSource([at(0), at(1)], [at(2), at(3), at(4)], 1, sum(made())),
  project_two_source_backward: ({ at, given, made }) => {
    const times = (given(2) || given(3) || given(4) ? 1 : 0) + (made().length ? 1 : 0);
    return twoSource([at(10), at(11)], [at(12), at(13), at(14)], times, sum([5, 6, 7, 8, 9].map(at)) + sum(made()));
  },
  linear_quantized: ({ at, n, made }) => product(at(0), rowsOf(at(0)), colsOf(at(0)) * n(8), sum([at(1), at(2)]), sum([at(0), ...made()])),
  linear_quantized_dx: ({ at, n, made }) =>
    product(at(0), rowsOf(at(0)), colsOf(at(0)) * n(7), sum([at(1), at(2)]), sum([at(0), ...made()])),
  linear_quantized_lora: ({ at, n, made }) => {
    const [x, a] = [at(0), at(6)];
    return product(x, rowsOf(x), colsOf(x) * n(10) + dim(a, 0) * (colsOf(x) + n(10)), sum([at(1), at(2)]), sum([x, ...made()]));
  },
  linear_quantized_lora_backward: ({ at, given, made }) => {
    const [dy, x, r] = [at(3), at(4), dim(at(10), 0)];
    const branch = r * (colsOf(x) + colsOf(dy));
    const all = (given(0) ? colsOf(x) * colsOf(dy) : 0) + 2 * branch;
    return product(x, rowsOf(x), all, sum([at(6), at(7)]), sum([dy, x, ...made()]));
  },
  linear_quantized_group: ({ at, all, numbers, made }) => {
    const x = at(2);
    const branches = numbers(11).map((of, j) => dim(all(8)[j] as DrySpec, 0) * (colsOf(x) + (numbers(10)[of] as number)));
    const parameters = added([...numbers(10).map((O) => colsOf(x) * O), ...branches]);
    return product(x, rowsOf(x), parameters, sum([...all(3), ...all(4)]), sum([x, ...made()]));
  },
  linear_quantized_group_backward: ({ at, all, n, numbers, given, made }) => {
    const [dys, I] = [all(3), n(17)];
    const branches = numbers(12).map((of, j) => 2 * dim(all(10)[j] as DrySpec, 0) * (I + colsOf(dys[of] as DrySpec)));
    const parameters = (given(0) ? I * added(dys.map(colsOf)) : 0) + added(branches);
    const read = [...dys, ...(branches.length ? [at(4)] : []), ...made()];
    return product(dys[0] as DrySpec, rowsOf(dys[0] as DrySpec), parameters, sum([...all(6), ...all(7)]), sum(read));
  },
  attention: ({ at, given }) => attention(at(0), [at(1)], given(6), 2),
  attention_backward: ({ at, given }) => attention(at(2), [at(3)], given(10), 5),
  attention_two_source: ({ at }) => attention(at(0), [at(1), at(3)], false, 2),
  attention_two_source_backward: ({ at }) => attention(at(1), [at(2), at(4)], false, 5),
  attention_decode: ({ at }) => attention(at(0), [at(1)], false, 2),
  head_cross_entropy: head,
  conv1d: ({ at, made }) => convolution(at(0), at(1), made()[0] as DrySpec, 1),
  conv2d: ({ at, made }) => convolution(at(0), at(1), made()[0] as DrySpec, 1),
  conv1d_backward: ({ at }) => convolution(at(4), at(5), at(3), 2),
  conv2d_backward: ({ at }) => convolution(at(4), at(5), at(3), 2),
  gru: ({ at, made }) => product(at(0), rowsOf(at(0)), sizeOf(at(1)) + sizeOf(at(2)), sum([at(1), at(2)]), sum(made())),
  adamw: ({ all }) => moved(all(0), 7 * sum(all(0))),
  adamw_8bit: ({ all }) => moved(all(0), 3 * sum(all(0)) + 2 * sum(all(2)) + 2 * sum(all(4))),
  adamw_clipped: ({ all }) => moved(all(0), 4 * sum(all(0)) + 2 * sum(all(2)) + 2 * sum(all(3))),
  grad_norm: ({ all }) => moved(all(0), sum(all(0))),
};

const moved = ([one]: readonly DrySpec[], bytes: number): Work => ({ flops: 0, of: one ?? { shape: [0], dtype: 0 }, bytes });

const UPDATES: ReadonlySet<string> = new Set(["fill", "accumulate", "random_uniform", "random_normal"]);

/** Two operands for each result, or what is updated in place. Gradients that are added to by the way are small beside what they are of. */
function other(op: string, { made, at }: OpCall): Work {
  const all = UPDATES.has(op) ? [at(0)] : made();
  return moved(all, 3 * sum(all));
}

/** Of a moment. */
export interface Sums {
  flops: number;
  seconds: number;
}

export class Costs {
  flops = 0;
  seconds = 0;
  ops = 0;

  constructor(private readonly machine: Machine) {}

  add(op: string, call: OpCall): void {
    ++this.ops;
    const { f32, bf16, bandwidth, launch } = this.machine;
    this.seconds += launch;
    const { flops, of, bytes } = (Object.hasOwn(WORK, op) ? WORK[op] : undefined)?.(call) ?? other(op, call);
    this.flops += flops;
    this.seconds += Math.max(flops / (isNarrow(of) ? bf16 : f32), bytes / bandwidth);
  }

  /** What was counted between two marks, once more. */
  repeat(from: Sums, to: Sums): void {
    this.flops += to.flops - from.flops;
    this.seconds += to.seconds - from.seconds;
  }
}
