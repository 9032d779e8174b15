// ggml's blocks of 32 weights (ggml-quants.c, dequantize_row_*), and its plain half floats. Products of a half and a small integer are exact in
// double precision, so the one rounding of the store gives the very f32 that C's arithmetic gives.
import { halfToFloat } from "./half.js";

/** Whole blocks at the start of `from`, as many as fill `to`. */
export type Dequantizer = (from: Uint8Array, to: Float32Array) => void;

let halves: Float32Array | undefined;
/** Every half float, by its bits. */
export function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => halfToFloat(bits));
  return halves;
}

export const f16: Dequantizer = (from, to) => {
  const half = halfTable();
  for (let i = 0, at = 0; i < to.length; ++i, at += 2) to[i] = half[from[at]! | (from[at + 1]! << 8)]!;
};

export const bf16: Dequantizer = (from, to) => {
  const bits = new Uint32Array(to.buffer, to.byteOffset, to.length);
  for (let i = 0, at = 0; i < bits.length; ++i, at += 2) bits[i] = (from[at]! << 16) | (from[at + 1]! << 24);
};

/** d (f16), 32 × i8. */
export const q8_0: Dequantizer = (from, to) => {
  const half = halfTable();
  const signed = new Int8Array(from.buffer, from.byteOffset, from.length);
  for (let y = 0, at = 0; y < to.length; y += 32, at += 34) {
    const d = half[from[at]! | (from[at + 1]! << 8)]!;
    for (let i = 0; i < 32; ++i) to[y + i] = d * signed[at + 2 + i]!;
  }
};

/** d (f16), 16 bytes: the low halves are weights 0 to 15, the high ones 16 to 31; 8 stands for zero. */
export const q4_0: Dequantizer = (from, to) => {
  const half = halfTable();
  for (let y = 0, at = 0; y < to.length; y += 32, at += 18) {
    const d = half[from[at]! | (from[at + 1]! << 8)]!;
    for (let i = 0; i < 16; ++i) {
      const q = from[at + 2 + i]!;
      to[y + i] = d * ((q & 15) - 8);
      to[y + 16 + i] = d * ((q >> 4) - 8);
    }
  }
};

/** d, m (f16), 16 bytes as in Q4_0: d·q + m. */
export const q4_1: Dequantizer = (from, to) => {
  const half = halfTable();
  for (let y = 0, at = 0; y < to.length; y += 32, at += 20) {
    const d = half[from[at]! | (from[at + 1]! << 8)]!;
    const m = half[from[at + 2]! | (from[at + 3]! << 8)]!;
    for (let i = 0; i < 16; ++i) {
      const q = from[at + 4 + i]!;
      to[y + i] = d * (q & 15) + m;
      to[y + 16 + i] = d * (q >> 4) + m;
    }
  }
};

/** d (f16), the fifth bits (u32), 16 bytes as in Q4_0; 16 stands for zero. */
export const q5_0: Dequantizer = (from, to) => {
  const half = halfTable();
  for (let y = 0, at = 0; y < to.length; y += 32, at += 22) {
    const d = half[from[at]! | (from[at + 1]! << 8)]!;
    const high = from[at + 2]! | (from[at + 3]! << 8) | (from[at + 4]! << 16) | (from[at + 5]! << 24);
    for (let i = 0; i < 16; ++i) {
      const q = from[at + 6 + i]!;
      to[y + i] = d * ((q & 15) + (((high >>> i) & 1) << 4) - 16);
      to[y + 16 + i] = d * ((q >> 4) + (((high >>> (i + 16)) & 1) << 4) - 16);
    }
  }
};

/** d, m (f16), the fifth bits (u32), 16 bytes as in Q4_0: d·q + m. */
export const q5_1: Dequantizer = (from, to) => {
  const half = halfTable();
  for (let y = 0, at = 0; y < to.length; y += 32, at += 24) {
    const d = half[from[at]! | (from[at + 1]! << 8)]!;
    const m = half[from[at + 2]! | (from[at + 3]! << 8)]!;
    const high = from[at + 4]! | (from[at + 5]! << 8) | (from[at + 6]! << 16) | (from[at + 7]! << 24);
    for (let i = 0; i < 16; ++i) {
      const q = from[at + 8 + i]!;
      to[y + i] = d * ((q & 15) + (((high >>> i) & 1) << 4)) + m;
      to[y + 16 + i] = d * ((q >> 4) + (((high >>> (i + 16)) & 1) << 4)) + m;
    }
  }
};
