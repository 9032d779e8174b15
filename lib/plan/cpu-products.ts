// What the CPU's matrix products compute in, by level: the sizes of native/cpu/linear (driver.h, in_place.h, amx_product.h, few_rows.h) as arithmetic. A
// test holds them against what the device counts.

/** Blocks that only grow, as native/cpu/stream.h has them: a quarter more than was asked for, in whole pages. */
export class Block {
  bytes = 0;
  take(asked: number): void {
    if (asked > this.bytes) this.bytes = Math.ceil(Math.floor(asked + Math.floor(asked / 4)) / 4096) * 4096;
  }
}

/** C (M,N) = A (M,K) . B (K,N). */
export interface Product {
  M: number;
  N: number;
  K: number;
  dtype: "f32" | "bf16";
  /** Elements from one line of A to the next; `turned`: lines are its columns. */
  line: number;
  turned?: boolean;
  /** B as it lies: a weight, "row" by row or by "column", which a tile may take as it is; codes of four bits, or what is unpacked a panel at a time. */
  b: "row" | "column" | "codes" | "panels";
  /** Of codes: whether it is dx that is made, further steps of K, and maxima that are expanded for the whole weight and for a panel. */
  backward?: boolean;
  more?: number;
  maxima?: { all: number; panel: number };
  /** Are blocks' sums scaled? Those are not multiplied in place. */
  scaledSums?: boolean;
}
export type Level = "generic" | "avx2" | "avx512" | "avx512_bf16" | "amx";

interface Micro {
  MR: number;
  NR: number;
  /** Depths of K are multiples of it. */
  K: number;
  bytes: 2 | 4;
}
const F32: Readonly<Record<Level, Micro>> = {
  generic: { MR: 4, NR: 8, K: 1, bytes: 4 },
  avx2: { MR: 6, NR: 16, K: 1, bytes: 4 },
  avx512: { MR: 14, NR: 32, K: 1, bytes: 4 },
  avx512_bf16: { MR: 14, NR: 32, K: 1, bytes: 4 },
  amx: { MR: 14, NR: 32, K: 1, bytes: 4 },
};
const BF16: Readonly<Record<Level, Micro>> = {
  ...F32,
  avx512_bf16: { MR: 14, NR: 32, K: 2, bytes: 2 },
  amx: { MR: 32, NR: 32, K: 32, bytes: 2 },
};
export const microOf = (level: Level, dtype: "f32" | "bf16"): Micro => (dtype === "f32" ? F32 : BF16)[level];

const PANEL_DEPTH = 256;
const FEW_ROWS = 8;
export const up = (n: number, to: number): number => Math.ceil(n / to) * to;

/** What one product needs: in the block that all threads read, in that of each thread, and how many threads may take part. */
export interface Rooms {
  packed: number;
  each: number;
  tasks: number;
}

export function roomsOf(level: Level, p: Product): Rooms {
  if (p.M <= 0 || p.N <= 0) return { packed: 0, each: 0, tasks: 0 };
  const tiled = level === "amx" && p.dtype === "bf16";
  if (tiled && !p.turned && (p.b === "codes" || (p.b !== "panels" && p.K <= 8192))) return onTiles(p);
  const micro = microOf(level, p.dtype);
  if (p.M <= FEW_ROWS && p.b === "row") return fewRows(p, micro);
  return p.dtype === "f32" && !p.scaledSums && fitsInPlace(p, micro) ? inPlace(p, micro) : driven([p], micro, false);
}

/**
 * Of one sum of products, or of products of one A, as native/cpu/linear/driver.h works them off: all at once, or, where one has a way of its own, one
 * after the other.
 */
export function roomsOfGroup(level: Level, all: readonly Product[], oneSum: boolean): Rooms[] {
  const [first] = all as readonly [Product, ...Product[]];
  const tiled = level === "amx" && first.dtype === "bf16";
  const micro = microOf(level, first.dtype);
  const apart = (p: Product) =>
    (tiled && !oneSum) || (!oneSum && p.M <= FEW_ROWS) || (p.dtype === "f32" && !p.scaledSums && fitsInPlace(p, micro));
  if (first.M <= 0 || all.length === 1 || all.some(apart)) return all.map((p) => roomsOf(level, p));
  return [driven(all, micro, oneSum)];
}

function fewRows({ M, K, dtype }: Product, { bytes }: Micro): Rooms {
  const perUnit = dtype === "f32" ? 1 : 2;
  const wide = bytes === 4 && dtype === "bf16" ? 2 : 1;
  const rows = [1, 2, 4, FEW_ROWS].find((n) => n >= M) as number;
  return { packed: (up(K, 4 * perUnit) / perUnit) * wide * rows * 4 + 64, each: 0, tasks: 0 };
}

const IN_PLACE = { longest: 768, mostOfB: 1 << 20, tasks: 16 };
function fitsInPlace({ M, N, K, line, turned, more = 0 }: Product, { MR, NR }: Micro): boolean {
  if (K <= 0 || line > IN_PLACE.longest) return false;
  if (!turned) return more <= IN_PLACE.longest && up(N, NR) * K * 4 <= IN_PLACE.mostOfB;
  return !more && N <= NR && M >= MR;
}
function inPlace({ M, N, K }: Product, { MR, NR }: Micro): Rooms {
  const panels = Math.ceil(N / NR);
  const before = panels * NR * K * 4 <= IN_PLACE.mostOfB;
  const groups = Math.ceil(M / up(96, MR));
  const down = before ? groups : Math.min(groups, Math.ceil(IN_PLACE.tasks / panels));
  const part = up(Math.ceil(M / down), MR);
  const parts = Math.ceil(M / part);
  const across = before ? Math.min(panels, Math.ceil(IN_PLACE.tasks / parts)) : panels;
  return {
    packed: before ? panels * NR * K * 4 + 64 : 0,
    each: ((part + MR) * NR + (before ? 0 : PANEL_DEPTH * NR)) * 4,
    tasks: parts * across,
  };
}

function driven(all: readonly Product[], { MR, NR, K: multiple, bytes }: Micro, oneSum: boolean): Rooms {
  const { M, K: own } = all[0] as Product;
  const depth = ({ K, more = 0 }: Product) => up(K + more, multiple);
  const panelsOf = ({ N }: Product) => Math.ceil(N / NR);
  const sum = (of: (p: Product) => number) => all.reduce((n, p) => n + of(p), 0);
  const shared = oneSum ? 0 : all.length === 1 ? depth(all[0] as Product) : Math.floor(own / PANEL_DEPTH) * PANEL_DEPTH;
  const K = shared + sum((p) => depth(p) - shared);
  const sizeOfB = sum((p) => panelsOf(p) * NR * depth(p));
  const MC = up(96, MR);
  const fit = Math.floor((4 << 20) / (K * bytes + 1));
  const slab = up(Math.min(M, fit < MC ? MC : Math.min(fit, 1024)), MR);
  const panels = oneSum ? panelsOf(all[0] as Product) : sum(panelsOf);
  const wanted = Math.min(Math.ceil(64 / panels), Math.ceil(slab / MC));
  const before = wanted > 2 && sizeOfB * bytes <= 1 << 20;
  const parts = before || wanted <= 2 ? wanted : Math.floor((wanted + 3) / 4);
  const part = up(Math.ceil(slab / parts), MR);
  return {
    packed: (slab * K + (before ? sizeOfB : 0)) * bytes + 64,
    each: PANEL_DEPTH * NR * bytes + part * NR * 4,
    tasks: panels * Math.ceil(Math.min(slab, M) / part),
  };
}

const TILE = 512;
const TILE_STEPS = 4;
function onTiles({ M, N, K, b, backward = b === "column", more = 0, maxima = { all: 0, panel: 0 } }: Product): Rooms {
  const columns = backward || M >= 16 ? 16 : 2 ** Math.ceil(Math.log2(Math.max(1, M)));
  const tile = 32 * columns;
  const steps = Math.ceil(K / 32) + Math.ceil(more / 32);
  const groups = Math.ceil(M / 16);
  const strips = Math.ceil(N / 64);
  const fit = Math.floor((1 << 20) / (steps * tile * 2 + 1));
  let slabs = Math.ceil(groups / Math.max(2, fit));
  while (strips * slabs < 32 && Math.floor(groups / slabs) >= 12) ++slabs;
  const slab = up(Math.ceil(groups / slabs), 2);
  const atOnce = slab * (8 * fit < slab ? 1 : Math.floor((8 * fit) / slab));
  const expanded = backward ? up(maxima.all, 16) : 0;
  const once = (n: number) => n === 1 || (!backward && n === 2);
  const held = Math.max(...[slab, 1].map((n) => (once(n) ? 2 * TILE_STEPS : steps)), 2 * TILE_STEPS);
  // Backward the maxima of all are expanded, and none for a panel.
  const panel = backward ? 0 : maxima.panel;
  return {
    packed: expanded * 4 + Math.min(atOnce, groups) * steps * tile * 2 + 64,
    each: held * TILE * 2 * 4 + 2 * 4096 + panel * 16 + 64,
    tasks: strips * Math.ceil(Math.min(atOnce, groups) / slab),
  };
}
