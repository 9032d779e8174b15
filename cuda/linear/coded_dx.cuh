// What the kernels share that multiply by the columns of a quantised weight as it lies in memory (skinny_dx.cu, panels_dx.cu): dx^T = W^T . dy^T with
// sixteen inputs as the rows of mma.m16n8k16 and eight rows of dx as its columns; outputs are k. Codes of one output lie side by side, so a lane
// takes those of its k from as many rows of W and puts neighbours in k together after they are decoded.
#pragma once
#include "linear/coded.cuh"

namespace anymal::cuda::gemm {

constexpr int kAcross = 256;  // inputs of a block

// The low-rank branch of a gradient: dx += dropout'(t . A). The mask lies on it alone, so sums begin with it.
template <class T>
struct DxBranch {
  static constexpr bool kThere = true;
  Rows<T> t, a;
  int rank;
  Dropout dropout;
};
template <class T>
DxBranch<T> dx_branch(const LoraBackward& lora, int64_t M, int64_t I) {
  const int64_t r = lora.rank;
  return {rows_of<T>(lora.t, M, r, r), rows_of<T>(lora.a, r, I, I), static_cast<int>(r), lora.dropout};
}

// The first operand from what four neighbours in k have of two inputs each: {input, input + 1}.
__device__ __forceinline__ void across(uint32_t (&a)[4], uint32_t k0, uint32_t k1, uint32_t k2, uint32_t k3) {
  a[0] = __byte_perm(k0, k1, 0x5410), a[1] = __byte_perm(k0, k1, 0x7632);
  a[2] = __byte_perm(k2, k3, 0x5410), a[3] = __byte_perm(k2, k3, 0x7632);
}

__device__ __forceinline__ void four(const Matrix& to, int m, int n, int N, const float4& v) {
  if (to.pairs && n + 3 < N) {
    to.two(m, n, v.x, v.y);
    to.two(m, n + 2, v.z, v.w);
    return;
  }
  const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int e = 0; e < 4; ++e)
    if (n + e < N) to.one(m, n + e, values[e]);
}

__device__ __forceinline__ void add(float4& to, const float4& v) { to.x += v.x, to.y += v.y, to.z += v.z, to.w += v.w; }

// Where a block's sums go: rows [row0, row0 + rows) and inputs [i0, i0 + kAcross) of dx, or, where sums are cut, its part of them in scratch:
// [tile][part][row][kAcross].
struct Across {
  Parts parts;
  Matrix dx;
  int inputs;  // that dx has

  __device__ __forceinline__ void put(unsigned tile, unsigned part, int row0, int i0, int row, int at, const float4& v) const {
    if (parts.count > 1)
      *reinterpret_cast<float4*>(parts.partial + ((static_cast<int64_t>(tile) * parts.count + part) * parts.rows + row) * kAcross + at) = v;
    else four(dx, row0 + row, i0 + at, inputs, v);
  }
  // After the block has put its sums: the one that comes last with a tile's adds them in the order of the parts. `room`: of shared memory.
  __device__ __forceinline__ void finish(unsigned tile, int row0, int rows, int i0, void* room) const {
    if (parts.count == 1 || !last_block(parts.counters + tile, parts.count, room)) return;
    const float4* from = reinterpret_cast<const float4*>(parts.partial + static_cast<int64_t>(tile) * parts.count * parts.rows * kAcross);
    for (int i = threadIdx.x; i < rows * kAcross / 4; i += blockDim.x) {
      float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
      for (unsigned z = 0; z < parts.count; ++z) add(sum, from[static_cast<int>(z) * parts.rows * (kAcross / 4) + i]);
      four(dx, row0 + i / (kAcross / 4), i0 + i % (kAcross / 4) * 4, inputs, sum);
    }
  }
};
inline Across across_of(const Stream& s, Scratch& scratch, unsigned count, int64_t rows, int64_t tiles, const View& dx, int64_t inputs) {
  return {make_parts(s, scratch, count, rows, tiles * (kAcross / kStrip)), matrix_of(dx, inputs), static_cast<int>(inputs)};
}

}  // namespace anymal::cuda::gemm
