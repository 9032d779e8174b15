// ggml's "K" blocks: 256 weights under one pair of half floats, in groups with small integer scales of their own (ggml-quants.c).
import { type Dequantizer, halfTable } from "./gguf-blocks.js";

// Twelve bytes hold eight scales and eight minima of six bits: the first four of each in the low bits of bytes 0 to 7, the last four in halves
// of bytes 8 to 11 with their upper two bits on top of bytes 0 to 7.
const scaleOf = (from: Uint8Array, at: number, j: number): number =>
  j < 4 ? from[at + j]! & 63 : (from[at + j + 4]! & 15) | ((from[at + j - 4]! >> 6) << 4);
const minimumOf = (from: Uint8Array, at: number, j: number): number =>
  j < 4 ? from[at + j + 4]! & 63 : (from[at + j + 4]! >> 4) | ((from[at + j]! >> 6) << 4);

/** d, dmin (f16), 12 bytes of scales, 128 bytes: each 32 bytes hold two groups of 32 in their low and high halves. */
export const q4_k: Dequantizer = (from, to) => {
  const half = halfTable();
  for (let y = 0, at = 0; at < from.length && y < to.length; at += 144) {
    const d = half[from[at]! | (from[at + 1]! << 8)]!;
    const dmin = half[from[at + 2]! | (from[at + 3]! << 8)]!;
    for (let j = 0, q = at + 16; j < 8; j += 2, q += 32, y += 64) {
      const [d1, m1] = [d * scaleOf(from, at + 4, j), dmin * minimumOf(from, at + 4, j)];
      const [d2, m2] = [d * scaleOf(from, at + 4, j + 1), dmin * minimumOf(from, at + 4, j + 1)];
      for (let i = 0; i < 32; ++i) {
        const code = from[q + i]!;
        to[y + i] = d1 * (code & 15) - m1;
        to[y + 32 + i] = d2 * (code >> 4) - m2;
      }
    }
  }
};

/** As Q4_K with 32 bytes of fifth bits before the 128: bit j of byte i belongs to weight i of group j. */
export const q5_k: Dequantizer = (from, to) => {
  const half = halfTable();
  for (let y = 0, at = 0; at < from.length && y < to.length; at += 176) {
    const d = half[from[at]! | (from[at + 1]! << 8)]!;
    const dmin = half[from[at + 2]! | (from[at + 3]! << 8)]!;
    const high = at + 16;
    for (let j = 0, q = at + 48; j < 8; j += 2, q += 32, y += 64) {
      const [d1, m1] = [d * scaleOf(from, at + 4, j), dmin * minimumOf(from, at + 4, j)];
      const [d2, m2] = [d * scaleOf(from, at + 4, j + 1), dmin * minimumOf(from, at + 4, j + 1)];
      for (let i = 0; i < 32; ++i) {
        const code = from[q + i]!;
        const fifth = from[high + i]! >> j;
        to[y + i] = d1 * ((code & 15) + ((fifth & 1) << 4)) - m1;
        to[y + 32 + i] = d2 * ((code >> 4) + ((fifth & 2) << 3)) - m2;
      }
    }
  }
};

/** 128 bytes of low halves, 64 of upper two bits, 16 × i8 scales for groups of 16, d (f16); 32 stands for zero. */
export const q6_k: Dequantizer = (from, to) => {
  const half = halfTable();
  const signed = new Int8Array(from.buffer, from.byteOffset, from.length);
  for (let y = 0, at = 0; at < from.length && y < to.length; at += 210) {
    const d = half[from[at + 208]! | (from[at + 209]! << 8)]!;
    for (let n = 0; n < 2; ++n, y += 128) {
      const [low, high, scales] = [at + 64 * n, at + 128 + 32 * n, at + 192 + 8 * n];
      for (let g = 0; g < 2; ++g) {
        const [d0, d1] = [d * signed[scales + g]!, d * signed[scales + g + 2]!];
        const [d2, d3] = [d * signed[scales + g + 4]!, d * signed[scales + g + 6]!];
        for (let i = 16 * g; i < 16 * g + 16; ++i) {
          const [a, b, h] = [from[low + i]!, from[low + 32 + i]!, from[high + i]!];
          to[y + i] = d0 * (((a & 15) | ((h & 3) << 4)) - 32);
          to[y + 32 + i] = d1 * (((b & 15) | ((h & 12) << 2)) - 32);
          to[y + 64 + i] = d2 * (((a >> 4) | (h & 48)) - 32);
          to[y + 96 + i] = d3 * (((b >> 4) | ((h & 192) >> 2)) - 32);
        }
      }
    }
  }
};
