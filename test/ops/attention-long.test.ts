// Attention over more keys than one block or one piece of a cache holds, at every level, against the formula in double precision: what kernels of all
// levels share, a comparison of levels with each other does not show.
import { test } from "uvu";
import { backward, noGrad } from "../../lib/core/autograd.js";
import type { Device } from "../../lib/core/device.js";
import { type DType, Tensor } from "../../lib/core/tensor.js";
import { attention, attentionDecode, cast } from "../../lib/ops/index.js";
import { near } from "../case.js";
import { levels, random } from "../harness.js";

const [B, H, K, D] = [2, 4, 2, 24];
const scale = 1 / Math.sqrt(D);

/** Numbers in [-size, size) that `dtype` holds. */
function draw(count: number, seed: number, dtype: DType, size = 1): Float32Array {
  const next = random(seed);
  const numbers = Float32Array.from({ length: count }, () => size * next());
  if (dtype === "bf16")
    for (const [i, bits] of new Uint32Array(numbers.buffer).entries()) new Uint32Array(numbers.buffer)[i] = bits & 0xffff0000;
  return numbers;
}
const tensor = (device: Device, dtype: DType, numbers: Float32Array, shape: number[]): Tensor => {
  using f32 = Tensor.from(numbers, shape, { device });
  return cast(f32, dtype);
};

async function numbers(x: Tensor): Promise<Float32Array> {
  using f32 = noGrad(() => cast(x, "f32"));
  return (await f32.data()) as Float32Array;
}

/** Weights of query t of head h over the keys that `sees` lets it see: [key, weight] of each. */
function weights(q: Float32Array, k: Float32Array, at: number, keyAt: (s: number) => number, S: number, sees: (s: number) => boolean) {
  const scores: [number, number][] = [];
  for (let s = 0; s < S; ++s) {
    if (!sees(s)) continue;
    let score = 0;
    for (let d = 0; d < D; ++d) score += q[at + d]! * k[keyAt(s) + d]!;
    scores.push([s, score * scale]);
  }
  const most = Math.max(...scores.map(([, score]) => score));
  const total = scores.reduce((sum, [, score]) => sum + Math.exp(score - most), 0);
  return scores.map(([s, score]): [number, number] => [s, Math.exp(score - most) / total]);
}

/** 300 queries, each with all keys before it: what comes out, and the gradients. */
function square(dtype: DType) {
  const T = 300;
  const [q, k, v, dy] = [H, K, K, H].map((heads, i) => draw(B * T * heads * D, 20 + i, dtype, 2)) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const [y, dq, dk, dv] = [q, q, k, v].map(({ length }) => new Float64Array(length)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  for (let b = 0; b < B; ++b)
    for (let h = 0; h < H; ++h)
      for (let t = 0; t < T; ++t) {
        const at = ((b * T + t) * H + h) * D;
        const keyAt = (s: number) => ((b * T + s) * K + Math.floor((h * K) / H)) * D;
        const seen = weights(q, k, at, keyAt, T, (s) => s <= t);
        const dp = seen.map(([s]) => dot(dy, at, v, keyAt(s)));
        const mean = seen.reduce((sum, [, p], i) => sum + p * dp[i]!, 0);
        for (const [i, [s, p]] of seen.entries())
          for (let d = 0; d < D; ++d) {
            const ds = p * (dp[i]! - mean) * scale;
            y[at + d]! += p * v[keyAt(s) + d]!;
            dv[keyAt(s) + d]! += p * dy[at + d]!;
            dq[at + d]! += ds * k[keyAt(s) + d]!;
            dk[keyAt(s) + d]! += ds * q[at + d]!;
          }
      }
  return { T, q, k, v, dy, y, dq, dk, dv };
}

/** One query against a cache of 700, of which each row sees a range. */
function cached(dtype: DType) {
  const S = 700;
  const ranges = [3, 690, 20, 600];
  const [q, k, v] = [draw(B * H * D, 30, dtype, 2), draw(B * S * K * D, 31, dtype, 2), draw(B * S * K * D, 32, dtype, 2)];
  const y = new Float64Array(q.length);
  for (let b = 0; b < B; ++b)
    for (let h = 0; h < H; ++h) {
      const keyAt = (s: number) => ((b * S + s) * K + Math.floor((h * K) / H)) * D;
      const at = (b * H + h) * D;
      for (const [s, p] of weights(q, k, at, keyAt, S, (s) => s >= ranges[2 * b]! && s < ranges[2 * b + 1]!))
        for (let d = 0; d < D; ++d) y[at + d]! += p * v[keyAt(s) + d]!;
    }
  return { S, ranges, q, k, v, y };
}

for (const dtype of ["f32", "bf16"] as const) {
  const bound = dtype === "f32" ? 3e-6 : 8e-3;
  const [long, cache] = [square(dtype), cached(dtype)];
  for (const [level, device] of levels())
    test(`${level}, ${dtype}`, async () => {
      const { T, y, dq, dk, dv } = long;
      using q = tensor(device, dtype, long.q, [B, T, H, D]);
      using k = tensor(device, dtype, long.k, [B, T, K, D]);
      using v = tensor(device, dtype, long.v, [B, T, K, D]);
      for (const x of [q, k, v]) x.requiresGrad = true;
      using out = attention(q, k, v, { causal: true });
      using g = tensor(device, dtype, long.dy, [B, T, H, D]);
      close(await numbers(out), y, bound, "y");
      backward(out, g);
      for (const [name, x, want] of [
        ["dq", q, dq],
        ["dk", k, dk],
        ["dv", v, dv],
      ] as const) {
        using grad = x.grad!;
        close(await numbers(grad), want, bound, name);
      }

      const { S, ranges } = cache;
      using one = tensor(device, dtype, cache.q, [B, 1, H, D]);
      using keys = tensor(device, dtype, cache.k, [B, S, K, D]);
      using values = tensor(device, dtype, cache.v, [B, S, K, D]);
      using range = Tensor.from(Int32Array.from(ranges), [B, 2], { device });
      using decoded = attentionDecode(one, keys, values, range);
      close(await numbers(decoded), cache.y, bound, "against a cache");
    });
}

function dot(x: Float32Array, i: number, y: Float32Array, j: number): number {
  let sum = 0;
  for (let d = 0; d < D; ++d) sum += x[i + d]! * y[j + d]!;
  return sum;
}
/** Within `bound` of the largest. */
function close(got: Float32Array, want: Float64Array, bound: number, what: string): void {
  const size = want.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  near(got, Float32Array.from(want), bound * size, what);
}

test.run();
