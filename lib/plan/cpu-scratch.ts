// What the CPU's ops compute in, beside the tensors that they read and write: blocks that grow to the largest op and stay. The sizes are those of
// native/cpu/ops as arithmetic, for the ops whose need grows with a batch or a model; a test holds the whole against what the device counts.
import type { DrySpec } from "../core/dry.js";
import { Block, type Level, microOf, type Product, type Rooms, roomsOf, roomsOfGroup, up } from "./cpu-products.js";
import { colsOf, dim, floatsOf, type OpCall, rowsOf, sizeOf, widthOf } from "./op-call.js";
import { QUANTIZED } from "./quantized-scratch.js";

/** Rows whose sums are kept apart (native/cpu/row_parts.h). */
const partRows = (cols: number): number => Math.min(64, Math.max(8, Math.floor(32768 / Math.max(1, cols))));

export type Need = (scratch: CpuScratch, call: OpCall) => void;

export class CpuScratch {
  readonly #shared = new Block();
  readonly #packed = new Block();
  readonly #threads: Block[];

  constructor(
    readonly level: Level,
    threads: number,
  ) {
    this.#threads = Array.from({ length: threads }, () => new Block());
  }
  get threads(): number {
    return this.#threads.length;
  }

  /** Of all blocks, as they stand. */
  get bytes(): number {
    return [this.#shared, this.#packed, ...this.#threads].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Room for one call. */
  take(op: string, call: OpCall): void {
    if (Object.hasOwn(NEEDS, op)) NEEDS[op]?.(this, call);
  }

  shared(bytes: number): void {
    this.#shared.take(bytes);
  }
  each(bytes: number, tasks = Infinity): void {
    for (const block of this.#threads.slice(0, tasks)) block.take(bytes);
  }
  product(p: Product): void {
    this.#takeRooms(roomsOf(this.level, p));
  }
  /** One sum of products, or products of one A. */
  group(all: readonly Product[], oneSum: boolean): void {
    for (const rooms of roomsOfGroup(this.level, all, oneSum)) this.#takeRooms(rooms);
  }
  #takeRooms({ packed, each, tasks }: Rooms): void {
    if (packed) this.#packed.take(packed);
    if (each) this.each(each, tasks);
  }

  /** y (N,O) = x.w^T, dx and dw, by operands that lie as the ops have them. */
  linear(N: number, O: number, I: number, dtype: "f32" | "bf16"): void {
    this.product({ M: N, N: O, K: I, dtype, line: I, b: "row" });
  }
  dx(N: number, O: number, I: number, dtype: "f32" | "bf16"): void {
    this.product({ M: N, N: I, K: O, dtype, line: O, b: "column" });
  }
  dw(N: number, O: number, I: number, dtype: "f32" | "bf16"): void {
    this.product({ M: O, N: I, K: N, dtype, line: O, turned: true, b: "column" });
  }

  /** Through a weight of 4 bits, with `more` further steps. */
  coded(backward: boolean, N: number, O: number, I: number, dtype: "f32" | "bf16", block: number, nested: boolean, more = 0): Product {
    const [columns, K] = backward ? [I, O] : [O, I];
    const tiled = this.level === "amx" && dtype === "bf16";
    const aligned = nested && block >= 64 && I % block === 0;
    const maxima = aligned ? { all: O * (I / block), panel: 16 * (I / block) } : { all: 0, panel: 0 };
    const scaledSums = this.level.startsWith("avx512") && !backward && I % block === 0;
    return { M: N, N: columns, K, dtype, line: K, b: tiled ? "codes" : "panels", backward, more, scaledSums, ...(tiled && { maxima }) };
  }
  int8(N: number, O: number, I: number): void {
    this.shared(N * O * 4 + N * 4 + N * I * 6 + I * 4 + 256);
    this.product({ M: N, N: O, K: I, dtype: "bf16", line: I, b: "panels" });
  }

  attention(q: DrySpec, keys: readonly DrySpec[], backward: boolean): void {
    const [B, T, H, D] = q.shape as [number, number, number, number];
    const K = dim(keys[0] as DrySpec, 2);
    const lengths = keys.map((k) => dim(k, 1));
    if (!T || !Math.max(...lengths)) return;
    const f = flashOf(this.level, floatsOf(q));
    const { MR, NR, K: KG, bytes: E } = f.micro;
    const most = Math.max(...lengths);
    const block = most < f.block ? up(most, f.step) : f.block;
    const blocks = lengths.reduce((n, S) => n + Math.ceil(S / f.block), 0);
    const lines = up(block * up(D, KG) + MR * (KG > 2 ? KG : f.KB), 32);
    const turned = f.tiles ? up(D, MR) * block : lines;
    const oneForm = E === 4 && !f.tiles;
    const perBlock = backward ? lines + (oneForm ? 0 : turned) + lines : lines + turned;
    const packed = up(blocks * perBlock * E, 64);
    const width = up(D, NR);
    const group = H / K;
    let [pair, room] = [packed, 0];
    let tasks = Infinity;
    const wide = Math.max(D, block);
    if (!backward) {
      const fewest = Math.ceil(T / f.forwardQueries);
      const n = up(Math.ceil(T / fewest), NR);
      const queries = up(Math.min(n, T), NR);
      room = 4 * (block * NR + wide * NR + queries * up(D, MR) + 2 * queries) + E * queries * up(D, KG) + (E === 4 ? 0 : E * block * NR);
      tasks = group * Math.ceil(T / n);
    } else {
      const sums = blocks * block * width;
      const units = Math.floor((Math.ceil(T / f.backwardQueries) * group) / 4);
      const bytes = lengths.reduce((a, b) => a + b, 0) * width * 8 + 1;
      const splits = Math.max(1, Math.min(units, Math.ceil(16 / K), Math.floor((64 << 20) / bytes)));
      pair += splits * 2 * sums * 4;
      const queries = up(Math.min(T, f.backwardQueries), NR);
      const panels = queries / NR;
      room =
        4 * (2 * blocks * panels * block * NR + wide * NR + queries * up(D, MR)) +
        blocks * panels * (16 * NR + 8) +
        E * (2 * queries * up(D, KG) + 2 * queries * up(D, NR)) +
        (E === 4 ? 0 : E * (2 * panels + 1) * block * NR);
      tasks = splits;
    }
    const fit = Math.floor((16 << 20) / pair);
    const wave = fit < this.threads ? this.threads : Math.floor(fit / this.threads) * this.threads;
    const pairs = Math.min(wave, B * K);
    this.shared(pairs * pair);
    this.each(room + 64 * 12, pairs * tasks);
  }
}

interface Flash {
  micro: ReturnType<typeof microOf>;
  KB: number;
  step: number;
  block: number;
  tiles: boolean;
  forwardQueries: number;
  backwardQueries: number;
}
/** native/cpu/flash/panels.h. */
function flashOf(level: Level, dtype: "f32" | "bf16"): Flash {
  const micro = microOf(level, dtype);
  const tiles = micro.K > 2;
  let step = micro.MR;
  while (step % micro.K || step % 2) step += micro.MR;
  return {
    micro,
    KB: micro.K,
    step,
    block: Math.floor(128 / step) * step,
    tiles,
    forwardQueries: Math.floor(128 / micro.NR) * micro.NR,
    backwardQueries: Math.max(1, Math.floor(64 / micro.NR)) * micro.NR,
  };
}

/** Logits of a chunk of rows, and their gradient where it has another dtype. */
function headLoss(s: CpuScratch, x: DrySpec, w: DrySpec, dx: boolean, dw: DrySpec | undefined): void {
  const [rows, C, V] = [rowsOf(x), colsOf(x), dim(w, 0)];
  const chunk = Math.min(rows, Math.max(64, Math.floor((16 << 20) / V)));
  const dtype = floatsOf(x);
  s.shared(chunk * V * (dtype === "f32" ? 4 : 6) + 64);
  s.linear(chunk, V, C, dtype);
  if (dx) s.dx(chunk, V, C, dtype);
  if (dw) s.product({ M: dim(dw, 0), N: C, K: chunk, dtype, line: V, turned: true, b: "column" });
}

function normBackward(s: CpuScratch, x: DrySpec, gradients: number): void {
  const cols = colsOf(x);
  const height = gradients ? partRows(cols) : Math.max(1, Math.floor(8192 / Math.max(1, cols)));
  s.shared((cols + Math.ceil(rowsOf(x) / height) * gradients * cols) * 4 + 4);
}

function convolution(s: CpuScratch, x: DrySpec, w: DrySpec, y: DrySpec, backward = false): void {
  const out = y.shape.slice(2).reduce((a, b) => a * b, 1);
  const depth = sizeOf(w) / dim(w, 0);
  const dtype = floatsOf(x);
  s.shared(depth * out * (backward ? 4 + widthOf(x) : widthOf(x)) + 64);
  s.product({ M: dim(w, 0), N: out, K: depth, dtype, line: depth, b: "column" });
}

/** A result of `size` numbers and an f32 weight rounded to bf16, one at a time (native/cpu/ops/linear_fused.cc). */
const between = (s: CpuScratch, x: DrySpec, weights: readonly DrySpec[], size = 0): void => {
  const wide = weights.filter((w) => floatsOf(w) !== floatsOf(x)).map(sizeOf);
  s.shared(up(size * widthOf(x), 64) + up(Math.max(0, ...wide) * widthOf(x), 64));
};

const scattered = (s: CpuScratch, rows: number, index: DrySpec, cols: number): void => {
  s.shared((rows + sizeOf(index)) * 4 + 4);
  s.each(cols * 4 + 4, rows);
};

const NEEDS: Readonly<Record<string, Need>> = {
  linear: (s, { at }) => s.linear(rowsOf(at(0)), dim(at(1), 0), colsOf(at(0)), floatsOf(at(0))),
  linear_dx: (s, { at }) => s.dx(rowsOf(at(0)), colsOf(at(0)), dim(at(1), 1), floatsOf(at(0))),
  linear_dw: (s, { at, given }) => {
    if (given(0)) s.dw(rowsOf(at(2)), colsOf(at(2)), colsOf(at(3)), floatsOf(at(2)));
  },
  linear_fused: (s, { at }) => {
    between(s, at(1), [at(2)]);
    s.linear(rowsOf(at(1)), dim(at(2), 0), colsOf(at(1)), floatsOf(at(1)));
  },
  linear_fused_backward: (s, { at, given, made }) => {
    const dy = at(3);
    if (given(1)) s.dw(rowsOf(dy), colsOf(dy), colsOf(at(4)), floatsOf(dy));
    if (!made().length) return;
    between(s, dy, [at(5)]);
    s.dx(rowsOf(dy), colsOf(dy), dim(at(5), 1), floatsOf(dy));
  },
  project_two_source: (s, { at }) => {
    const [x1, x2, wq, wk, wv] = [0, 1, 2, 3, 4].map(at) as [DrySpec, DrySpec, DrySpec, DrySpec, DrySpec];
    between(s, x1, [wq, wk, wv]);
    const through = (x: DrySpec, w: DrySpec) => s.linear(rowsOf(x), dim(w, 0), colsOf(x), floatsOf(x));
    through(x2, wq);
    for (const w of [wk, wv]) for (const x of [x1, x2]) through(x, w);
  },
  project_two_source_backward: (s, { at, given, made }) => {
    const [x1, x2, wq, wk, wv] = [10, 11, 12, 13, 14].map(at) as [DrySpec, DrySpec, DrySpec, DrySpec, DrySpec];
    const pairs = [[x2, wq, 2] as const, ...[x1, x2].flatMap((x) => [[x, wk, 3] as const, [x, wv, 4] as const])];
    for (const [x, w, dw] of pairs) if (given(dw)) s.dw(rowsOf(x), dim(w, 0), colsOf(x), floatsOf(x));
    if (!made().length) return;
    between(s, x1, [wq, wk, wv], Math.max(...made().map(sizeOf)));
    for (const [x, w] of pairs) s.dx(rowsOf(x), dim(w, 0), colsOf(x), floatsOf(x));
  },
  ...QUANTIZED,
  attention: (s, { at }) => s.attention(at(0), [at(1)], false),
  attention_backward: (s, { at }) => s.attention(at(2), [at(3)], true),
  attention_two_source: (s, { at }) => s.attention(at(0), [at(1), at(3)], false),
  attention_two_source_backward: (s, { at }) => s.attention(at(1), [at(2), at(4)], true),
  head_cross_entropy: (s, { at, given }) => headLoss(s, at(2), at(3), given(0), given(1) ? at(1) : undefined),
  rms_norm: (s, { at }) => s.shared(colsOf(at(0)) * 4 + 4),
  add_rms_norm: (s, { at }) => s.shared(colsOf(at(0)) * 4 + 4),
  layer_norm: (s, { at }) => s.shared(colsOf(at(0)) * 8 + 4),
  rms_norm_backward: (s, { at, given }) => normBackward(s, at(3), given(1) ? 1 : 0),
  layer_norm_backward: (s, { at, given }) => normBackward(s, at(4), (given(1) ? 1 : 0) + (given(2) ? 1 : 0)),
  mul_backward: (s, { at, given }) => {
    if (given(1)) s.shared(Math.ceil(sizeOf(at(2)) / sizeOf(at(1)) / partRows(sizeOf(at(1)))) * sizeOf(at(1)) * 4 + 4);
  },
  sum_leading: (s, { at, given }) => {
    if (given(0)) s.shared(Math.ceil(sizeOf(at(1)) / sizeOf(at(0)) / partRows(sizeOf(at(0)))) * sizeOf(at(0)) * 4 + 4);
  },
  gather_rows_backward: (s, { at, n }) => scattered(s, n(2), at(1), colsOf(at(0))),
  splice_rows_backward: (s, { at, n }) => scattered(s, Math.max(n(4), n(5)), at(3), colsOf(at(2))),
  embedding_backward: (s, { at, given }) => {
    if (given(0)) scattered(s, dim(at(0), 0), at(2), colsOf(at(1)));
  },
  conv1d: (s, { at, made }) => convolution(s, at(0), at(1), made()[0] as DrySpec),
  conv2d: (s, { at, made }) => convolution(s, at(0), at(1), made()[0] as DrySpec),
  conv1d_backward: (s, { at }) => convolution(s, at(4), at(5), at(3), true),
  conv2d_backward: (s, { at }) => convolution(s, at(4), at(5), at(3), true),
  contrastive_loss: (s, { at }) => s.linear(rowsOf(at(0)), rowsOf(at(0)), colsOf(at(0)), "f32"),
  contrastive_loss_backward: (s, { at }) => s.shared((rowsOf(at(4)) ** 2 + 2 * rowsOf(at(4))) * 4 + 64),
  gru: (s, { at }) => {
    const [B, T] = at(0).shape as [number, number];
    const G = dim(at(1), 0);
    s.shared((B * T + B) * G * 4 + 64);
    s.linear(B * T, G, colsOf(at(0)), "f32");
  },
  gru_backward: (s, { at }) => {
    const [B, T, H] = at(6).shape as [number, number, number];
    s.shared((2 * B * T * 3 * H + B * H + B * T * H) * 4 + 64);
    s.dw(B * T, 3 * H, colsOf(at(8)), "f32");
  },
};
