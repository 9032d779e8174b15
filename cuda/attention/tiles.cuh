// Tiles of rows in shared memory and the two products of attention on them, by tensor cores.
//
// A tile holds bf16. Float rows are split into three planes, hi = bf16(x), mid = bf16(x - hi), lo = bf16(x - hi - mid), and a product of two such
// is the six products of planes that reach the 24 bits of a float. Registers hold what a warp computes in the layout of mma's accumulators: with
// g = lane / 4 and t = 2 (lane % 4), s[j] is (row g, columns 8j + t, 8j + t + 1), then the same columns of row g + 8.
#pragma once
#include "common.cuh"

namespace anymal::cuda::flash {

template <class X>
constexpr int kPlanesOf = sizeof(X) == 2 ? 1 : 3;

// Columns of the output that one block computes: with three planes, sums of 256 leave too few registers. blockIdx.y counts the parts.
template <class X, int D>
constexpr int kColumnsOf = sizeof(X) == 4 && D == 256 ? 128 : D;

template <int Rows, int D, int Planes>
struct Tile {
  static_assert(Rows % 16 == 0 && D % 16 == 0);
  static constexpr int kRows = Rows, kColumns = D, kPlanes = Planes;
  static constexpr int kStride = D + 8;  // ldmatrix reads eight rows at once: sixteen bytes more put them in different banks
  static constexpr int kPlane = Rows * kStride;
  static constexpr int kSize = Planes * kPlane;
  static constexpr int kBytes = 2 * kSize;
};

// Two numbers as Planes pairs of bf16 that add up to them.
template <int Planes>
__device__ __forceinline__ void split(float a, float b, uint32_t (&planes)[Planes]) {
#pragma unroll
  for (int p = 0; p < Planes; ++p) {
    planes[p] = ptx::cvt_bf16x2(a, b);
    a -= __uint_as_float(planes[p] << 16);
    b -= __uint_as_float(planes[p] & 0xffff0000u);
  }
}

// The tile <- `count` rows of d numbers, `stride` apart; what lies beyond is zeros. Threads [0, Threads) take part. Complete after cp_async_wait and
// a barrier. `aligned`: every row begins at a multiple of sixteen bytes.
template <class Tile, int Threads>
__device__ __forceinline__ void load_tile(bf16* tile, const bf16* from, int64_t stride, int count, int d, bool aligned, int thread) {
  if (aligned) {
    constexpr int kPacks = Tile::kColumns / 8;
    for (int i = thread; i < Tile::kRows * kPacks; i += Threads) {
      const int row = i / kPacks, column = i % kPacks * 8;
      const bool inside = row < count && column < d;
      ptx::cp_async16(ptx::shared_address(tile + row * Tile::kStride + column), inside ? from + row * stride + column : from, inside);
    }
    return;
  }
  for (int i = thread; i < Tile::kRows * Tile::kColumns; i += Threads) {
    const int row = i / Tile::kColumns, column = i % Tile::kColumns;
    tile[row * Tile::kStride + column] = row < count && column < d ? from[row * stride + column] : bf16{0};
  }
}
template <class Tile, int Threads>
__device__ __forceinline__ void load_tile(bf16* tile, const float* from, int64_t stride, int count, int d, bool aligned, int thread) {
  constexpr int kQuads = Tile::kColumns / 4;
#pragma unroll 1  // registers are full of sums
  for (int i = thread; i < Tile::kRows * kQuads; i += Threads) {
    const int row = i / kQuads, column = i % kQuads * 4;
    float4 x = make_float4(0, 0, 0, 0);
    if (row < count && column < d) {
      const float* at = from + row * stride + column;
      if (aligned) {
        x = *reinterpret_cast<const float4*>(at);
      } else {
        x.x = at[0];
        x.y = column + 1 < d ? at[1] : 0.0f;
        x.z = column + 2 < d ? at[2] : 0.0f;
        x.w = column + 3 < d ? at[3] : 0.0f;
      }
    }
    uint32_t low[Tile::kPlanes], high[Tile::kPlanes];
    split(x.x, x.y, low);
    split(x.z, x.w, high);
#pragma unroll
    for (int p = 0; p < Tile::kPlanes; ++p)
      *reinterpret_cast<uint2*>(tile + p * Tile::kPlane + row * Tile::kStride + column) = make_uint2(low[p], high[p]);
  }
}

// d0 (16,8) += a0 (16,16) . b (16,8), d1 += a1 . the second half of b, small products first. Three planes make a sum of their own, which is added
// with rounding: tensor cores cut off what does not fit beside the sum they add to. Swapped: in the order that the product b^T . a^T has, for the
// bits that it has. d0 and d1 may be one sum, a0 and a1 one operand.
template <bool Swapped, int Planes>
__device__ __forceinline__ void multiply_add(float (&d0)[4], float (&d1)[4], const uint32_t (&a0)[Planes][4], const uint32_t (&a1)[Planes][4],
                                             const uint32_t (&b)[Planes][4]) {
  if constexpr (Planes == 1) {
    const uint32_t b0[2] = {b[0][0], b[0][1]}, b1[2] = {b[0][2], b[0][3]};
    ptx::mma_m16n8k16(d0, a0[0], b0);
    ptx::mma_m16n8k16(d1, a1[0], b1);
    return;
  }
  float e0[4] = {}, e1[4] = {};
#pragma unroll
  for (int sum = Planes - 1; sum >= 0; --sum)
#pragma unroll
    for (int p = 0; p <= sum; ++p) {
      const int of_a = Swapped ? sum - p : p, of_b = sum - of_a;
      const uint32_t b0[2] = {b[of_b][0], b[of_b][1]}, b1[2] = {b[of_b][2], b[of_b][3]};
      ptx::mma_m16n8k16(e0, a0[of_a], b0);
      ptx::mma_m16n8k16(e1, a1[of_a], b1);
    }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    d0[i] += e0[i];
    d1[i] += e1[i];
  }
}

// s (16,N) = a . b^T over the head: sixteen rows of tile A, beginning at `a`, against the N rows of tile B. Swapped: the bits of b . a^T, transposed.
template <class A, class B, bool Swapped = false>
__device__ __forceinline__ void multiply_rows(float (&s)[B::kRows / 8][4], const bf16* a, const bf16* b) {
  constexpr int kPlanes = A::kPlanes;
  const int lane = threadIdx.x % 32;
  const uint32_t a_at = ptx::shared_address(a + lane % 16 * A::kStride + lane / 16 * 8);
  const uint32_t b_at = ptx::shared_address(b + (lane % 8 + lane / 16 * 8) * B::kStride + lane / 8 % 2 * 8);
#pragma unroll
  for (int j = 0; j < B::kRows / 8; ++j) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0.0f;
  // What is loaded ahead takes registers; six products hide the loads by themselves.
  constexpr int kAhead = kPlanes == 3 ? 1 : A::kColumns % 64 == 0 ? 4 : 2;
#pragma unroll kAhead
  for (int k = 0; k < A::kColumns; k += 16) {
    uint32_t fa[kPlanes][4];
#pragma unroll
    for (int p = 0; p < kPlanes; ++p) ptx::ldmatrix_x4(fa[p], a_at + 2 * (p * A::kPlane + k));
#pragma unroll
    for (int n = 0; n < B::kRows; n += 16) {
      uint32_t fb[kPlanes][4];
#pragma unroll
      for (int p = 0; p < kPlanes; ++p) ptx::ldmatrix_x4(fb[p], b_at + 2 * (p * B::kPlane + n * B::kStride + k));
      multiply_add<Swapped>(s[n / 8], s[n / 8 + 1], fa, fa, fb);
    }
  }
}

// o (16,8P) += s (16,N) . b, b 8P columns of the N rows of tile B. The accumulators of two products of eight columns are the operand of one of
// sixteen.
template <class B, int P>
__device__ __forceinline__ void multiply_columns(float (&o)[P][4], const float (&s)[B::kRows / 8][4], const bf16* b) {
  constexpr int kPlanes = B::kPlanes;
  const int lane = threadIdx.x % 32;
  const uint32_t b_at = ptx::shared_address(b + lane % 16 * B::kStride + lane / 16 * 8);
#pragma unroll
  for (int k = 0; k < B::kRows; k += 16) {
    uint32_t fa[kPlanes][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&from)[4] = s[k / 8 + i / 2];
      uint32_t pair[kPlanes];
      split(from[i % 2 * 2], from[i % 2 * 2 + 1], pair);
#pragma unroll
      for (int p = 0; p < kPlanes; ++p) fa[p][i] = pair[p];
    }
#pragma unroll
    for (int n = 0; n < 8 * P; n += 16) {
      uint32_t fb[kPlanes][4];
#pragma unroll
      for (int p = 0; p < kPlanes; ++p) ptx::ldmatrix_x4_trans(fb[p], b_at + 2 * (p * B::kPlane + k * B::kStride + n));
      multiply_add<false>(o[n / 8], o[n / 8 + 1], fa, fa, fb);
    }
  }
}

// The warp's sixteen rows of numbers, beginning at `to`, where multiply_transposed finds them.
template <class T>
__device__ __forceinline__ void store_operand(bf16* to, const float (&s)[T::kColumns / 8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < T::kColumns / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t pair[T::kPlanes];
      split(s[n][2 * half], s[n][2 * half + 1], pair);
#pragma unroll
      for (int p = 0; p < T::kPlanes; ++p)
        *reinterpret_cast<uint32_t*>(to + p * T::kPlane + (lane / 4 + 8 * half) * T::kStride + 8 * n + lane % 4 * 2) = pair[p];
    }
}

// o (16,8P) += a^T . b: sixteen columns of tile A, beginning at `a`, and 8P of tile B, over the rows that both have.
template <class A, class B, int P>
__device__ __forceinline__ void multiply_transposed(float (&o)[P][4], const bf16* a, const bf16* b) {
  static_assert(A::kRows == B::kRows && A::kRows % 32 == 0 && A::kPlanes == B::kPlanes);
  constexpr int kPlanes = A::kPlanes;
  const int lane = threadIdx.x % 32;
  const uint32_t a_at = ptx::shared_address(a + (lane % 8 + lane / 16 * 8) * A::kStride + lane / 8 % 2 * 8);
  const uint32_t b_at = ptx::shared_address(b + lane * B::kStride);
  constexpr int kAhead = kPlanes == 3 ? 1 : 2;
#pragma unroll kAhead
  for (int k = 0; k < A::kRows; k += 32) {
    uint32_t fa[2][kPlanes][4];
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int p = 0; p < kPlanes; ++p) ptx::ldmatrix_x4_trans(fa[half][p], a_at + 2 * (p * A::kPlane + (k + 16 * half) * A::kStride));
#pragma unroll
    for (int n = 0; n < P; ++n) {
      uint32_t fb[kPlanes][4];
#pragma unroll
      for (int p = 0; p < kPlanes; ++p) ptx::ldmatrix_x4_trans(fb[p], b_at + 2 * (p * B::kPlane + k * B::kStride + 8 * n));
      multiply_add<false>(o[n], o[n], fa[0], fa[1], fb);
    }
  }
}

__device__ __forceinline__ void store_pair(float* to, float a, float b) { *reinterpret_cast<float2*>(to) = make_float2(a, b); }
__device__ __forceinline__ void store_pair(bf16* to, float a, float b) { *reinterpret_cast<uint32_t*>(to) = ptx::cvt_bf16x2(a, b); }

// The warp's sixteen rows, `count` of them there, of d numbers: rows g of o times `low`, rows g + 8 times `high`.
template <class X, int Pairs>
__device__ __forceinline__ void store_rows(X* to, int64_t stride, int count, int d, bool aligned, const float (&o)[Pairs][4], float low, float high) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    const float factor = half ? high : low;
    if (row >= count) continue;
    X* at = to + row * stride;
#pragma unroll
    for (int j = 0; j < Pairs; ++j) {
      const int column = 8 * j + lane % 4 * 2;
      const float a = o[j][2 * half] * factor, b = o[j][2 * half + 1] * factor;
      if (aligned) {
        if (column < d) store_pair(at + column, a, b);
      } else {
        if (column < d) at[column] = from_float<X>(a);
        if (column + 1 < d) at[column + 1] = from_float<X>(b);
      }
    }
  }
}

// Over the four lanes that hold a row.
__device__ __forceinline__ float row_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ __forceinline__ float row_sum(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

// Scores are counted in 1 / kUnit: those of bf16 heads in binary logarithms, since 2^x is one instruction.
template <class X>
constexpr double kUnit = sizeof(X) == 2 ? 1.4426950408889634 : 1.0;
// The exponential of a score, to the precision of what it multiplies.
template <class X>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (sizeof(X) == 2) return ptx::exp2_approx(x);
  else return expf(x);
}

// The softmax of two rows after more keys: s, their scores but for a factor c > 0, become probabilities but for a factor that is the same for all
// keys of a row; what has been summed so far, o and total, is brought to the new largest score.
template <class X, int N, int P>
__device__ __forceinline__ void softmax_step(float (&s)[N][4], float (&o)[P][4], float (&most)[2], float (&total)[2], float c) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float high = most[half];
#pragma unroll
    for (int n = 0; n < N; ++n) high = fmaxf(high, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    high = row_max(high);
    const float shift = high == -INFINITY ? 0.0f : high * c;  // a row that has seen nothing stays all zeros
    const float shrink = exponential<X>(fmaf(most[half], c, -shift));
    most[half] = high;
    total[half] *= shrink;
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        s[n][e] = exponential<X>(fmaf(s[n][e], c, -shift));
        total[half] += s[n][e];
      }
#pragma unroll
    for (int n = 0; n < P; ++n) {
      o[n][2 * half] *= shrink;
      o[n][2 * half + 1] *= shrink;
    }
  }
}

}  // namespace anymal::cuda::flash
