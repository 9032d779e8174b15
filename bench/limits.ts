// The least time that what was measured of a machine allows: the longer of arithmetic and memory traffic.
import type { Peaks } from "./record.js";

export interface Limit {
  name: string;
  seconds: number;
}

/** The fastest way to multiply in this dtype: from registers, or by a Hopper card's warp groups. */
export function arithmeticLimit(peaks: Peaks, dtype: "f32" | "bf16", flops: number): Limit {
  const { wgmma = 0 } = peaks;
  if (dtype === "bf16" && wgmma > peaks.bf16) return { name: "wgmma peak", seconds: flops / wgmma };
  return { name: `${dtype} register peak`, seconds: flops / peaks[dtype] };
}

export function floorOf(peaks: Peaks, dtype: "f32" | "bf16", flops: number, bytes: number): Limit {
  const arithmetic = arithmeticLimit(peaks, dtype, flops);
  const memory = { name: "memory bandwidth", seconds: bytes / peaks.bandwidth };
  return memory.seconds > arithmetic.seconds ? memory : arithmetic;
}
