// The operands of every op in the benchmark: sizes as in a LLaMA-7B layer, CLIP ViT-L, HTSAT and IMU2CLIP, cut to a batch that two cores
// finish in milliseconds. Letters as in native/backend.h.
import { type Handle, native } from "../lib/core/native.js";
import type { DType } from "../lib/index.js";
import { fusedCases } from "./fused-cases.js";
import { groupCases } from "./group-cases.js";

export interface TensorOperand {
  dtype: DType;
  shape: readonly number[];
  below?: number | undefined;
}
/** A tensor to make, a list of them, a plain number list, a scalar, or a function that makes a handle on the device. */
export type Operand =
  | TensorOperand
  | Operand[]
  | { numbers: readonly number[] }
  | number
  | boolean
  | undefined
  | ((device: number) => Handle);

export interface OpCase {
  op: string;
  shape: string;
  args: Operand[];
  flops?: number;
  /** Whose peak its arithmetic is held against; default: the dtype of the row. */
  arithmetic?: "f32" | "bf16";
  /** Bytes moved, where operands are not read whole. */
  moved?: number;
  /** What PyTorch is asked for beside it, each with its name, where that is not the op itself. */
  beside?: readonly (readonly [request: object, as: string])[];
  /** The op knows this dtype alone. */
  only?: "f32" | "bf16";
  /** A model calls it once per token and reads others between: on the CPU too its operands are not to be found in the cache. */
  cold?: boolean;
}

const BLOCK = 64;
const NF4 = 0;
const INT8 = 2;
const [GELU, GELU_TANH, SILU] = [2, 3, 5];

export function opCases(dtype: "f32" | "bf16"): OpCase[] {
  const x = (...shape: number[]): TensorOperand => ({ dtype, shape });
  const f = (...shape: number[]): TensorOperand => ({ dtype: "f32", shape });
  const u8 = (...shape: number[]): TensorOperand => ({ dtype: "u8", shape });
  const ids = (below: number, ...shape: number[]): TensorOperand => ({ dtype: "i32", shape, below });
  const packed =
    (format: number, O: number, I: number): Operand =>
    (device) => {
      const n = native();
      const codes = n.tensor_from(
        device,
        3,
        format === INT8 ? [O, I] : [(O * I) / 2],
        new Uint8Array(format === INT8 ? O * I : (O * I) / 2).fill(0x5a),
      );
      const handle = n.pack_codes(codes, format, O, I, n.packed_bytes(device, format, O, I));
      n.tensor_dispose(codes);
      return handle;
    };
  const [R, C] = [4096, 4096]; // rows by width of what only moves data: 64 MiB in f32
  const big = x(R, C);
  const [N, I, O, r] = [512, 2048, 2048, 16];
  const nf4 = [packed(NF4, O, I), f((O * I) / BLOCK), undefined, undefined] as const;
  // QLoRA's default: the maxima in 8 bit, with one in f32 per 256 of them.
  const nested = [packed(NF4, O, I), u8((O * I) / BLOCK), f((O * I) / BLOCK / 256), f(1)] as const;
  const [B, T, H, K, D, S] = [2, 512, 16, 4, 64, 512];
  const [q, kv] = [x(B, T, H, D), x(B, S, K, D)];
  const lse = f(B, H, T);
  const [cache, row] = [x(8, 2048, 8, 64), x(8, 1, 8, 64)];
  const attentionFlops = 4 * B * H * T * S * D;
  const [L, M] = [64, 257]; // Perceiver: latents, media tokens
  const [V, W] = [32000, 2048];
  const product = `N ${N}, I ${I}, O ${O}`;
  const optimized = 1 << 24;

  return [
    { op: "copy", shape: `${R}x${C}`, args: [big] },
    { op: "fill", shape: `${R}x${C}`, args: [big, 0.5] },
    { op: "cast", shape: `${R}x${C}`, args: [big, dtype === "f32" ? 1 : 0] },
    { op: "concat", shape: `2 of ${R}x${C / 2}, width`, args: [[x(R, C / 2), x(R, C / 2)], 1] },
    { op: "slice_copy", shape: `half the width of ${R}x${C}`, args: [big, 1, C / 4, C / 2], moved: R * C * (dtype === "f32" ? 4 : 2) },
    { op: "slice_place", shape: `${R}x${C / 2} into ${R}x${C}`, args: [x(R, C / 2), 1, C / 4, C] },
    { op: "transpose_copy", shape: `${R}x${C}`, args: [big, 0, 1] },
    { op: "gather_rows", shape: `${R} of ${R}x${C}`, args: [big, ids(R, R)] },
    { op: "gather_rows_backward", shape: `${R} into ${R}x${C}`, args: [big, ids(R, R), R] },
    { op: "splice_rows", shape: `${R}x${C} from two halves`, args: [x(R / 2, C), x(R / 2, C), ids(R, R)] },
    { op: "splice_rows_backward", shape: `${R}x${C} to two halves`, args: [true, true, big, ids(R, R), R / 2, R / 2] },
    { op: "random_uniform", shape: `${R}x${C}`, args: [big, -1, 1, 1, 2] },
    { op: "random_normal", shape: `${R}x${C}`, args: [big, 0, 1, 1, 2] },
    { op: "add", shape: `${R}x${C}`, args: [big, big] },
    { op: "mul", shape: `${R}x${C} by ${C}`, args: [big, x(C)] },
    { op: "mul_backward", shape: `${R}x${C} by ${C}`, args: [true, f(C), big, big, x(C)] },
    { op: "sum_leading", shape: `${R}x${C}`, args: [f(C), big] },
    { op: "scale_add", shape: `${R}x${C}`, args: [big, big, 0.5, 2] },
    { op: "scale_by", shape: `${R}x${C}`, args: [big, f(1)] },
    { op: "accumulate", shape: `${R}x${C}`, args: [f(R, C), big, 0.5] },
    { op: "activation", shape: `gelu ${R}x${C}`, args: [big, GELU] },
    { op: "activation_backward", shape: `gelu ${R}x${C}`, args: [big, big, GELU] },
    { op: "activation", shape: `silu ${R}x${C}`, args: [big, SILU] },
    { op: "activation_backward", shape: `silu ${R}x${C}`, args: [big, big, SILU] },
    { op: "gated_activation", shape: `geglu ${R}x${C}`, args: [big, big, GELU_TANH] },
    { op: "gated_activation_backward", shape: `geglu ${R}x${C}`, args: [big, big, big, GELU_TANH] },
    { op: "gated_activation", shape: `swiglu ${R}x${C}`, args: [big, big, SILU] },
    { op: "gated_activation_backward", shape: `swiglu ${R}x${C}`, args: [big, big, big, SILU] },
    { op: "tanh_gate", shape: `${R}x${C}`, args: [big, big, f(1)] },
    { op: "tanh_gate_backward", shape: `${R}x${C}`, args: [f(1), big, big, f(1)] },
    { op: "dropout", shape: `${R}x${C}`, args: [big, 0.1, 1, 2] },

    { op: "linear", shape: product, args: [x(N, I), x(O, I), x(O)], flops: 2 * N * I * O },
    { op: "linear_dx", shape: product, args: [x(N, O), x(O, I)], flops: 2 * N * I * O },
    { op: "linear_dw", shape: product, args: [f(O, I), f(O), x(N, O), x(N, I)], flops: 2 * N * I * O },
    ...fusedCases(dtype),
    { op: "linear", shape: `decode, N 1, I ${I}, O ${16 * O}`, args: [x(1, I), x(16 * O, I), undefined], flops: 32 * I * O, cold: true },
    { op: "linear_quantized", shape: `nf4, ${product}`, args: [x(N, I), ...nf4, undefined, NF4, BLOCK, O, 0], flops: 2 * N * I * O },
    {
      op: "linear_quantized",
      shape: `nf4 nested, ${product}`,
      args: [x(N, I), ...nested, undefined, NF4, BLOCK, O, 0],
      flops: 2 * N * I * O,
    },
    {
      op: "linear_quantized",
      shape: `nf4 decode, N 1, I ${I}, O ${O}`,
      args: [x(1, I), ...nf4, undefined, NF4, BLOCK, O, 0],
      flops: 2 * I * O,
      cold: true,
    },
    {
      op: "linear_quantized",
      shape: `nf4 nested decode, N 1, I ${I}, O ${O}`,
      args: [x(1, I), ...nested, undefined, NF4, BLOCK, O, 0],
      flops: 2 * I * O,
      cold: true,
    },
    {
      op: "linear_quantized",
      shape: `int8, ${product}`,
      args: [x(N, I), packed(INT8, O, I), f(O), undefined, undefined, undefined, INT8, 0, O, 6],
      flops: 2 * N * I * O,
    },
    { op: "linear_quantized_dx", shape: `nf4, ${product}`, args: [x(N, O), ...nf4, NF4, BLOCK, I], flops: 2 * N * I * O },
    { op: "linear_quantized_dx", shape: `nf4 nested, ${product}`, args: [x(N, O), ...nested, NF4, BLOCK, I], flops: 2 * N * I * O },
    {
      op: "linear_quantized_lora",
      shape: `nf4, ${product}, r ${r}`,
      args: [x(N, I), ...nf4, undefined, x(r, I), x(O, r), NF4, BLOCK, O, 0, 1, 0.05, 1, 2],
      flops: 2 * N * (I * O + r * (I + O)),
    },
    {
      op: "linear_quantized_lora",
      shape: `nf4 nested, ${product}, r ${r}`,
      args: [x(N, I), ...nested, undefined, x(r, I), x(O, r), NF4, BLOCK, O, 0, 1, 0.05, 1, 2],
      flops: 2 * N * (I * O + r * (I + O)),
    },
    {
      op: "linear_quantized_lora_backward",
      shape: `nf4 nested, ${product}, r ${r}`,
      args: [true, f(r, I), f(O, r), x(N, O), x(N, I), x(N, r), ...nested, x(r, I), x(O, r), NF4, BLOCK, 1, 0.05, 1, 2],
      flops: 2 * N * (I * O + 2 * r * (I + O)),
    },
    {
      op: "linear_quantized_lora_backward",
      shape: `nf4, ${product}, r ${r}`,
      args: [true, f(r, I), f(O, r), x(N, O), x(N, I), x(N, r), ...nf4, x(r, I), x(O, r), NF4, BLOCK, 1, 0.05, 1, 2],
      flops: 2 * N * (I * O + 2 * r * (I + O)),
    },
    ...groupCases(dtype, packed),

    { op: "quantize_4bit", shape: `nf4 ${R}x${C}`, args: [big, NF4, BLOCK] },
    {
      op: "dequantize_4bit",
      shape: `nf4 ${R}x${C}`,
      args: [u8((R * C) / 2), f((R * C) / BLOCK), NF4, BLOCK, dtype === "f32" ? 0 : 1, { numbers: [R, C] }],
    },
    { op: "quantize_rows_int8", shape: `${R}x${C}`, args: [big] },
    { op: "dequantize_rows_int8", shape: `${R}x${C}`, args: [u8(R, C), f(R), dtype === "f32" ? 0 : 1] },
    { op: "quantize_dynamic", shape: `${R}x${C}`, args: [f(R * C), 256, true], only: "f32" },
    { op: "dequantize_dynamic", shape: `${R}x${C}`, args: [u8(R * C), f((R * C) / 256), 256, true], only: "f32" },
    { op: "quantize_absmax", shape: `${R * 64}`, args: [f(R * 64)], only: "f32" },
    { op: "dequantize_absmax", shape: `${R * 64}`, args: [u8(R * 64), f(R / 4), f(1)], only: "f32" },
    { op: "pack_codes", shape: `nf4 ${R}x${C}`, args: [u8((R * C) / 2), NF4, R, C, (R * C) / 2], only: "f32" },
    { op: "unpack_codes", shape: `nf4 ${R}x${C}`, args: [packed(NF4, R, C), NF4, R, C], only: "f32" },

    { op: "rms_norm", shape: `${R}x${C}`, args: [big, f(C), 1e-5] },
    { op: "add_rms_norm", shape: `${R}x${C}`, args: [big, big, f(C), 1e-5] },
    { op: "rms_norm_backward", shape: `${R}x${C}`, args: [true, f(C), big, big, f(C), f(R), undefined] },
    { op: "rms_norm_backward", shape: `${R}x${C}, past`, args: [true, f(C), big, big, f(C), f(R), big] },
    { op: "layer_norm", shape: `${R}x${C}`, args: [big, f(C), f(C), 1e-5] },
    { op: "layer_norm_backward", shape: `${R}x${C}`, args: [true, f(C), f(C), big, big, f(C), f(R), f(R)] },
    { op: "group_norm", shape: "64x512x1000, 8 groups", args: [x(64, 512, 1000), f(512), f(512), 8, 1e-5] },
    {
      op: "group_norm_backward",
      shape: "64x512x1000, 8 groups",
      args: [true, f(512), f(512), x(64, 512, 1000), x(64, 512, 1000), f(512), f(64, 8), f(64, 8), 8],
    },
    { op: "batch_norm_inference", shape: "64x64x4096", args: [x(64, 64, 4096), f(64), f(64), f(64), f(64), 1.5] },
    {
      op: "batch_norm_inference_backward",
      shape: "64x64x4096",
      args: [true, f(64), f(64), x(64, 64, 4096), x(64, 64, 4096), f(64), f(64), f(64), 1.5],
    },
    { op: "l2_normalize", shape: `${R}x${C}`, args: [big, 1e-12] },
    { op: "l2_normalize_backward", shape: `${R}x${C}`, args: [big, big, f(R), 1e-12] },

    { op: "rope", shape: "8x1024x32x64", args: [x(8, 1024, 32, 64), f(1024, 32, 2), ids(1024, 8, 1024), false] },
    {
      op: "rope_pair",
      shape: "8x1024, 32 and 8x64",
      args: [x(8, 1024, 32, 64), x(8, 1024, 8, 64), f(1024, 32, 2), ids(1024, 8, 1024), false],
    },
    {
      op: "rope_cached",
      shape: "8 rows, 32 and 8x64",
      args: [cache, cache, x(8, 1, 32, 64), row, row, f(2048, 32, 2), ids(2048, 8, 1), ids(2048, 8)],
      moved: 8 * 64 * (2 * 32 + 4 * 8) * (dtype === "f32" ? 4 : 2),
    },
    {
      op: "attention",
      shape: `B ${B}, T ${T}, H ${H}, K ${K}, D ${D}`,
      args: [q, kv, kv, undefined, undefined, 0.125, false, 0],
      flops: attentionFlops,
    },
    {
      op: "attention",
      shape: `causal, T ${T}`,
      args: [q, kv, kv, undefined, undefined, 0.125, true, 0],
      flops: attentionFlops / 2,
    },
    {
      op: "attention_backward",
      shape: `causal, T ${T}`,
      args: [undefined, q, q, kv, kv, q, lse, undefined, undefined, 0.125, true, 0],
      flops: (5 / 4) * attentionFlops,
    },
    {
      op: "attention_two_source",
      shape: `B 8, ${L} latents, ${M} media, D 64`,
      args: [x(8, L, 8, 64), x(8, M, 8, 64), x(8, M, 8, 64), x(8, L, 8, 64), x(8, L, 8, 64), undefined, 0.125],
      flops: 4 * 8 * 8 * L * (M + L) * 64,
    },
    {
      op: "attention_two_source_backward",
      shape: `B 8, ${L} latents, ${M} media, D 64`,
      args: [
        ...[x(8, L, 8, 64), x(8, L, 8, 64), x(8, M, 8, 64), x(8, M, 8, 64), x(8, L, 8, 64), x(8, L, 8, 64)],
        ...[x(8, L, 8, 64), f(8, 8, L), undefined, 0.125],
      ],
      flops: 10 * 8 * 8 * L * (M + L) * 64,
    },
    {
      op: "attention_decode",
      shape: "B 4, 2048 keys, H 32, K 8, D 128",
      args: [
        x(4, 1, 32, 128),
        x(4, 2048, 8, 128),
        x(4, 2048, 8, 128),
        undefined,
        undefined,
        (d) => native().tensor_from(d, 2, [4, 2], Int32Array.of(0, 2048, 0, 2048, 0, 2048, 0, 2048)),
        0.1,
        0,
      ],
      flops: 4 * 4 * 32 * 2048 * 128,
      arithmetic: "f32",
      cold: true,
    },
    {
      op: "cache_write",
      shape: "4x512 rows of 8x128",
      args: [x(4, 2048, 8, 128), x(4, 512, 8, 128), ids(1, 4)],
      moved: 2 * 4 * 512 * 1024 * (dtype === "f32" ? 4 : 2),
    },

    {
      op: "conv1d",
      shape: "32x64x1000, 128 out, k 5",
      args: [x(32, 64, 1000), x(128, 64, 5), x(128), 1, 0, 1],
      flops: 2 * 32 * 996 * 128 * 64 * 5,
    },
    {
      op: "conv1d_backward",
      shape: "32x64x1000, 128 out, k 5",
      args: [true, f(128, 64, 5), f(128), x(32, 128, 996), x(32, 64, 1000), x(128, 64, 5), 1, 0, 1],
      flops: 4 * 32 * 996 * 128 * 64 * 5,
    },
    {
      op: "conv2d",
      shape: "8x3x224x224, ViT-L patch 14",
      args: [x(8, 3, 224, 224), x(1024, 3, 14, 14), undefined, 14, 14, 0, 0],
      flops: 2 * 8 * 256 * 1024 * 588,
    },
    {
      op: "conv2d_backward",
      shape: "8x3x224x224, ViT-L patch 14",
      args: [true, f(1024, 3, 14, 14), undefined, x(8, 1024, 16, 16), x(8, 3, 224, 224), x(1024, 3, 14, 14), 14, 14, 0, 0],
      flops: 4 * 8 * 256 * 1024 * 588,
    },
    { op: "max_pool1d", shape: "64x512x1000, k 4", args: [x(64, 512, 1000), 4, 4] },
    { op: "max_pool1d_backward", shape: "64x512x1000, k 4", args: [x(64, 512, 250), ids(1000, 64, 512, 250), 1000] },
    { op: "mean_pool", shape: "64x256x1024 over 256", args: [x(64, 256, 1024), 1] },
    { op: "mean_pool_backward", shape: "64x256x1024 over 256", args: [x(64, 1024), 1, 256] },
    { op: "interpolate_bicubic", shape: "16x64x64x64 to 96x96", args: [x(16, 64, 64, 64), 96, 96, false, false] },
    { op: "interpolate_bicubic_backward", shape: "16x64x64x64 to 96x96", args: [x(16, 64, 96, 96), 64, 64, false, false] },
    {
      op: "gru",
      shape: "8x250x512, H 512",
      args: [f(8, 250, 512), f(1536, 512), f(1536, 512), f(1536), f(1536)],
      flops: 2 * 8 * 250 * 1536 * 1024,
      only: "f32",
    },
    {
      op: "gru_backward",
      shape: "8x250x512, H 512",
      args: [
        ...[true, f(1536, 512), f(1536, 512), f(1536), f(1536), f(8, 250, 512), f(8, 250, 512), f(8, 250, 2048)],
        ...[f(8, 250, 512), f(1536, 512), f(1536, 512)],
      ],
      flops: 4 * 8 * 250 * 1536 * 1024,
      only: "f32",
    },

    { op: "embedding", shape: `${R} of ${V}x${W}`, args: [ids(V, R), x(V, W)], moved: 2 * R * W * (dtype === "f32" ? 4 : 2) },
    {
      op: "embedding_backward",
      shape: `${R} into ${V}x${W}`,
      args: [f(V, W), x(R, W), ids(V, R)],
      moved: R * W * (8 + (dtype === "f32" ? 4 : 2)),
    },
    { op: "softmax_cross_entropy", shape: `512x${V}`, args: [x(512, V), ids(V, 512), -100] },
    { op: "softmax_cross_entropy_backward", shape: `512x${V}`, args: [f(512), x(512, V), f(512), ids(V, 512), -100] },
    {
      op: "head_cross_entropy",
      shape: `256x${W}, V ${V}, dx`,
      args: [true, undefined, x(256, W), x(V, W), ids(V, 256), undefined, -100, 0],
      flops: 4 * 256 * W * V,
    },
    { op: "contrastive_loss", shape: "1024x512", args: [f(1024, 512), f(1024, 512), f(1), 0], flops: 2 * 1024 * 1024 * 512, only: "f32" },
    {
      op: "contrastive_loss_backward",
      shape: "1024x512",
      args: [true, true, f(1), f(1), f(1024, 512), f(1024, 512), f(1), f(1024, 1024), 0],
      flops: 4 * 1024 * 1024 * 512,
      only: "f32",
    },
    { op: "sum", shape: `${R}x${C}`, args: [big, 1] },
    { op: "argmax", shape: `512x${V}`, args: [x(512, V)] },
    { op: "sample_categorical", shape: `512x${V}`, args: [x(512, V), ids(1, 1), 1] },
    { op: "increment", shape: `${R * 256}`, args: [ids(8, R * 256), 1], only: "f32" },

    {
      op: "adamw",
      shape: `${optimized} parameters`,
      args: [
        [f(optimized)],
        [f(optimized)],
        [f(optimized)],
        [{ dtype: "f32", shape: [optimized] }],
        undefined,
        1e-4,
        0.9,
        0.95,
        1e-8,
        0.01,
        3,
      ],
      moved: optimized * 28,
      only: "f32",
    },
    {
      op: "adamw_8bit",
      shape: `${optimized} parameters`,
      args: [
        ...[[f(optimized)], [f(optimized)], [u8(optimized)], [f(optimized / 256)], [u8(optimized)], [f(optimized / 256)]],
        ...[undefined, 1e-4, 0.9, 0.95, 1e-8, 0.01, 3],
      ],
      moved: optimized * 16,
      only: "f32",
    },
    {
      op: "adamw_clipped",
      shape: `${optimized} parameters, 8-bit states`,
      args: [
        ...[[f(optimized)], [f(optimized)], [u8(optimized)], [u8(optimized)], [f(optimized / 256)], [f(optimized / 256)]],
        ...[{ numbers: [1e-4] }, { numbers: [0.01] }, { numbers: [3] }, 0.9, 0.95, 1e-8, 1],
      ],
      moved: optimized * 20,
      only: "f32",
    },
    { op: "grad_norm", shape: `${optimized} parameters`, args: [[f(optimized)]], only: "f32" },
    { op: "clip_scale", shape: "1", args: [f(1), 1], only: "f32" },
  ];
}
