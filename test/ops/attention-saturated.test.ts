// Where softmax is saturated the gradients of q and k all but vanish; noise of f32's size in their place would become whole steps under AdamW, which
// divides by it. Held against the formula in double precision.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { attention, attentionTwoSource } from "../../lib/ops/index.js";
import { here } from "../case.js";

const [B, T, S, H, K, D] = [2, 3, 5, 4, 2, 48];

function draw(count: number, seed: number, size: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return size * (state / 2 ** 31 - 1);
  });
}

interface Reference {
  dq: Float64Array;
  dk: Float64Array;
  /** Largest |dP|: what f32 noise would be in proportion to. */
  size: number;
}

/** dq and dk of causal attention with grouped heads, in f64. */
function reference(q: Float32Array, k: Float32Array, v: Float32Array, dy: Float32Array, scale: number, causal: boolean): Reference {
  const [dq, dk] = [new Float64Array(q.length), new Float64Array(k.length)];
  let size = 0;
  for (let b = 0; b < B; ++b)
    for (let t = 0; t < T; ++t)
      for (let h = 0; h < H; ++h) {
        const [at, kv] = [((b * T + t) * H + h) * D, Math.floor(h / (H / K))];
        const keyAt = (s: number) => ((b * S + s) * K + kv) * D;
        const dot = (x: Float32Array, i: number, y: Float32Array, j: number) => {
          let sum = 0;
          for (let d = 0; d < D; ++d) sum += x[i + d]! * y[j + d]!;
          return sum;
        };
        const seen = causal ? t + S - T + 1 : S;
        const scores = Array.from({ length: seen }, (_, s) => scale * dot(q, at, k, keyAt(s)));
        const most = Math.max(...scores);
        const weights = scores.map((x) => Math.exp(x - most));
        const total = weights.reduce((a, x) => a + x, 0);
        const p = weights.map((x) => x / total);
        const dp = p.map((_, s) => dot(dy, at, v, keyAt(s)));
        size = Math.max(size, ...dp.map(Math.abs));
        for (const [s, ps] of p.entries()) {
          // Not Σ p·dP subtracted from dP: near saturation that cancels in double precision too.
          const ds = ps * p.reduce((sum, pj, j) => sum + pj * (dp[s]! - dp[j]!), 0);
          for (let d = 0; d < D; ++d) {
            dq[at + d]! += scale * ds * k[keyAt(s) + d]!;
            dk[keyAt(s) + d]! += scale * ds * q[at + d]!;
          }
        }
      }
  return { dq, dk, size };
}

const difference = (got: Float32Array, want: Float64Array) => got.reduce((most, x, i) => Math.max(most, Math.abs(x - want[i]!)), 0);
const most = (x: Float64Array) => x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);

for (const [name, sharpness] of [
  ["saturated", 2000],
  ["nearly saturated", 8],
  ["flat", 0.5],
] as const) {
  test(`${name}: gradients of q and k are as small as they are`, async () => {
    const [q, k] = [draw(B * T * H * D, 1, sharpness), draw(B * S * K * D, 2, 1)];
    const [v, dy] = [draw(B * S * K * D, 3, 100), draw(B * T * H * D, 4, 100)];
    const leaf = (x: Float32Array, shape: number[]) => Tensor.from(x, shape, { device: here, requiresGrad: true });
    const [tq, tk, tv] = [leaf(q, [B, T, H, D]), leaf(k, [B, S, K, D]), leaf(v, [B, S, K, D])];
    const gradient = Tensor.from(dy, [B, T, H, D], { device: here });
    const scale = 1;
    backward(attention(tq, tk, tv, { causal: true, scale }), gradient);
    const want = reference(q, k, v, dy, scale, true);
    for (const [tensor, exact] of [
      [tq, want.dq],
      [tk, want.dk],
    ] as const) {
      const off = difference((await tensor.grad!.data()) as Float32Array, exact);
      // f32 by its own size, and by what stays of |dP| where it cancels.
      const allowed = 2e-5 * most(exact) + (sharpness === 2000 ? 1e-12 * want.size : 1e-7 * want.size);
      assert.ok(off <= allowed, `${name}: off by ${off} of ${most(exact)}, allowed ${allowed}`);
    }
    for (const tensor of [tq, tk, tv]) tensor.grad!.dispose();
  });
}

test("saturated over two sources of keys", async () => {
  const [q, k] = [draw(B * T * H * D, 5, 2000), draw(B * S * K * D, 6, 1)];
  const [v, dy] = [draw(B * S * K * D, 7, 100), draw(B * T * H * D, 8, 100)];
  const part = (x: Float32Array, from: number, to: number) =>
    Float32Array.from(Array.from({ length: B }, (_, b) => [...x.subarray((b * S + from) * K * D, (b * S + to) * K * D)]).flat());
  const leaf = (x: Float32Array, shape: number[]) => Tensor.from(x, shape, { device: here, requiresGrad: true });
  const [tq, k1, v1, k2, v2] = [
    leaf(q, [B, T, H, D]),
    leaf(part(k, 0, 2), [B, 2, K, D]),
    leaf(part(v, 0, 2), [B, 2, K, D]),
    leaf(part(k, 2, S), [B, S - 2, K, D]),
    leaf(part(v, 2, S), [B, S - 2, K, D]),
  ];
  backward(attentionTwoSource(tq, k1, v1, k2, v2, { scale: 1 }), Tensor.from(dy, [B, T, H, D], { device: here }));
  const want = reference(q, k, v, dy, 1, false);
  const off = difference((await tq.grad!.data()) as Float32Array, want.dq);
  assert.ok(off <= 2e-5 * most(want.dq) + 1e-12 * want.size, `off by ${off} of ${most(want.dq)}`);
  for (const tensor of [tq, k1, v1, k2, v2]) tensor.grad!.dispose();
});

test.run();
