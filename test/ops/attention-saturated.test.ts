// Where softmax is saturated the gradients of q, k and bias all but vanish; noise of f32's size in their place would become whole steps under AdamW,
// which divides by it. Held against the formula in double precision.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { type DType, Tensor } from "../../lib/core/tensor.js";
import { attention, attentionTwoSource } from "../../lib/ops/index.js";
import { here } from "../case.js";

const [B, T, S, H, K] = [2, 3, 5, 4, 2];

interface Options {
  /** Head size. */
  D: number;
  dtype: DType;
  causal: boolean;
  window: number;
  /** Keys outside are hidden. */
  range: [number, number];
  biased: boolean;
}
const PLAIN: Options = { D: 48, dtype: "f32", causal: true, window: 0, range: [0, S], biased: false };

/** Numbers in [-size, size) that `dtype` holds. */
function draw(count: number, seed: number, size: number, dtype: DType = "f32"): Float32Array {
  let state = seed;
  const numbers = Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return size * (state / 2 ** 31 - 1);
  });
  if (dtype === "bf16")
    new Uint32Array(numbers.buffer).forEach((bits, i, all) => {
      all[i] = bits & 0xffff0000;
    });
  return numbers;
}

interface Inputs {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  dy: Float32Array;
  bias: Float32Array;
}
/** `sharpness`: of q, which the scores are in proportion to. */
const inputs = ({ D, dtype }: Options, sharpness: number): Inputs => ({
  q: draw(B * T * H * D, 1, sharpness, dtype),
  k: draw(B * S * K * D, 2, 1, dtype),
  v: draw(B * S * K * D, 3, 100, dtype),
  dy: draw(B * T * H * D, 4, 100, dtype),
  bias: draw(B * H * T * S, 5, sharpness),
});

interface Reference {
  dq: Float64Array;
  dk: Float64Array;
  dv: Float64Array;
  dbias: Float64Array;
  /** Largest |dP|: what f32 noise would be in proportion to. */
  size: number;
}

/** The gradients with grouped heads and a scale of 1, in f64. */
function reference({ q, k, v, dy, bias }: Inputs, { D, causal, window, range, biased }: Options): Reference {
  const [dq, dk, dv, dbias] = [q, k, v, bias].map((x) => new Float64Array(x.length)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  let size = 0;
  for (let b = 0; b < B; ++b)
    for (let t = 0; t < T; ++t)
      for (let h = 0; h < H; ++h) {
        const [at, kv, row] = [((b * T + t) * H + h) * D, Math.floor(h / (H / K)), ((b * H + h) * T + t) * S];
        const keyAt = (s: number) => ((b * S + s) * K + kv) * D;
        const dot = (x: Float32Array, i: number, y: Float32Array, j: number) => {
          let sum = 0;
          for (let d = 0; d < D; ++d) sum += x[i + d]! * y[j + d]!;
          return sum;
        };
        const position = t + S - T;
        const end = Math.min(range[1], causal ? position + 1 : S);
        const begin = Math.max(range[0], window ? position - window + 1 : 0);
        const keys = Array.from({ length: Math.max(0, end - begin) }, (_, i) => begin + i);
        const scores = keys.map((s) => dot(q, at, k, keyAt(s)) + (biased ? bias[row + s]! : 0));
        const most = Math.max(...scores);
        const weights = scores.map((x) => Math.exp(x - most));
        const total = weights.reduce((a, x) => a + x, 0);
        const p = weights.map((x) => x / total);
        const dp = keys.map((s) => dot(dy, at, v, keyAt(s)));
        size = Math.max(size, ...dp.map(Math.abs));
        for (const [i, s] of keys.entries()) {
          // Not Σ p·dP subtracted from dP: near saturation that cancels in double precision too.
          const ds = p[i]! * p.reduce((sum, pj, j) => sum + pj * (dp[i]! - dp[j]!), 0);
          dbias[row + s] = ds;
          for (let d = 0; d < D; ++d) {
            dq[at + d]! += ds * k[keyAt(s) + d]!;
            dk[keyAt(s) + d]! += ds * q[at + d]!;
            dv[keyAt(s) + d]! += p[i]! * dy[at + d]!;
          }
        }
      }
  return { dq, dk, dv, dbias, size };
}

const difference = (got: Float32Array, want: Float64Array) => got.reduce((most, x, i) => Math.max(most, Math.abs(x - want[i]!)), 0);
const most = (x: Float64Array) => x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);

/** By its own size in `dtype`, and by what f32 leaves of |dP| where it cancels. */
async function holds(name: string, gradient: Tensor, exact: Float64Array, noise: number, dtype: DType = "f32"): Promise<void> {
  const own = dtype === "bf16" ? 2 ** -7 : 2e-5;
  const [off, allowed] = [difference((await gradient.data()) as Float32Array, exact), own * most(exact) + noise];
  assert.ok(off <= allowed, `${name}: off by ${off} of ${most(exact)}, allowed ${allowed}`);
}

const VARIANTS: Record<string, Partial<Options>> = {
  f32: {},
  bf16: { dtype: "bf16" },
  "no mask": { causal: false },
  "a window": { window: 2 },
  "a range": { causal: false, range: [1, 4] },
  "a bias": { biased: true },
  "a bias, bf16": { biased: true, dtype: "bf16", causal: false },
  // Heads that no rows of sixteen bytes hold, and those whose kernels divide the work otherwise.
  "heads of 9": { D: 9 },
  "heads of 100": { D: 100 },
  "heads of 100, bf16": { D: 100, dtype: "bf16" },
  "heads of 200": { D: 200, biased: true },
  "heads of 200, bf16": { D: 200, dtype: "bf16", biased: true },
};
for (const [name, sharpness, variants] of [
  ["saturated", 2000, VARIANTS],
  ["nearly saturated", 8, VARIANTS],
  ["flat", 0.5, { f32: {} }],
] as const)
  for (const [variant, options] of Object.entries(variants))
    test(`${name}, ${variant}: gradients are as small as they are`, async () => {
      const all = { ...PLAIN, ...options };
      const { D, dtype, causal, window, range, biased } = all;
      const given = inputs(all, sharpness);
      const leaf = (x: Float32Array, shape: number[], type = dtype) =>
        Tensor.from(x, shape, { device: here, dtype: type, requiresGrad: true });
      const [q, k, v] = [leaf(given.q, [B, T, H, D]), leaf(given.k, [B, S, K, D]), leaf(given.v, [B, S, K, D])];
      const bias = biased ? leaf(given.bias, [B, H, T, S], "f32") : undefined;
      const seen = Tensor.from(Int32Array.from([...range, ...range]), [B, 2], { device: here });
      const gradient = Tensor.from(given.dy, [B, T, H, D], { device: here, dtype });
      backward(attention(q, k, v, { causal, window, range: seen, bias, scale: 1 }), gradient);
      const want = reference(given, all);
      const noise = want.size * (sharpness === 2000 ? 1e-12 : 1e-7);
      await holds("dq", q.grad!, want.dq, noise, dtype);
      await holds("dk", k.grad!, want.dk, noise, dtype);
      await holds("dv", v.grad!, want.dv, 0, dtype);
      if (bias) await holds("dbias", bias.grad!, want.dbias, noise);
      for (const tensor of [q, k, v, ...(bias ? [bias] : [])]) tensor.grad!.dispose();
    });

test("saturated over two sources of keys", async () => {
  const options = { ...PLAIN, causal: false };
  const { D } = options;
  const given = inputs(options, 2000);
  const part = (x: Float32Array, from: number, to: number) =>
    Float32Array.from(Array.from({ length: B }, (_, b) => [...x.subarray((b * S + from) * K * D, (b * S + to) * K * D)]).flat());
  const leaf = (x: Float32Array, shape: number[]) => Tensor.from(x, shape, { device: here, requiresGrad: true });
  const [tq, k1, v1, k2, v2] = [
    leaf(given.q, [B, T, H, D]),
    leaf(part(given.k, 0, 2), [B, 2, K, D]),
    leaf(part(given.v, 0, 2), [B, 2, K, D]),
    leaf(part(given.k, 2, S), [B, S - 2, K, D]),
    leaf(part(given.v, 2, S), [B, S - 2, K, D]),
  ];
  backward(attentionTwoSource(tq, k1, v1, k2, v2, { scale: 1 }), Tensor.from(given.dy, [B, T, H, D], { device: here }));
  const want = reference(given, options);
  await holds("dq", tq.grad!, want.dq, 1e-12 * want.size);
  for (const tensor of [tq, k1, v1, k2, v2]) tensor.grad!.dispose();
});

test.run();
