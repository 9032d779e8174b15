// Linear layers with what stands around them (lib/ops/linear-fused.ts): weights are f32 masters, beside rows of either dtype.
import type { OpCase, TensorOperand } from "./op-cases.js";

const GELU = 2;

export function fusedCases(dtype: "f32" | "bf16"): OpCase[] {
  const x = (...shape: number[]): TensorOperand => ({ dtype, shape });
  const f = (...shape: number[]): TensorOperand => ({ dtype: "f32", shape });
  const [N, I, O] = [512, 2048, 2048];
  const product = `N ${N}, I ${I}, O ${O}`;
  const [B, L, M, W] = [2, 64, 257, 1024]; // a Perceiver's batch, latents, media tokens and width
  const [latents, media, weight] = [x(B * L, W), x(B * M, W), f(W, W)];
  const perceiver = `Perceiver, ${L} and ${M} rows of ${W}`;
  const projected = 2 * B * (2 * M + 3 * L) * W ** 2;
  return [
    { op: "linear_fused", shape: `gelu, ${product}`, args: [true, x(N, I), f(O, I), x(O), undefined, GELU], flops: 2 * N * I * O },
    {
      op: "linear_fused_backward",
      shape: product,
      args: [true, f(O, I), undefined, x(N, O), x(N, I), f(O, I), x(N, I), GELU],
      flops: 4 * N * I * O,
    },
    { op: "project_two_source", shape: perceiver, args: [media, latents, weight, weight, weight], flops: projected },
    {
      op: "project_two_source_backward",
      shape: perceiver,
      args: [
        ...[true, true, weight, weight, weight],
        ...[latents, media, media, latents, latents], // gradients of q, k1, v1, k2, v2
        ...[media, latents, weight, weight, weight],
      ],
      flops: 2 * projected,
    },
  ];
}
