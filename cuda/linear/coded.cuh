// What the kernels share that multiply 4-bit codes as they lie in memory (skinny.cu, panels.cu): y^T = W . x^T with sixteen rows of W, a strip, as
// the first operand of mma.m16n8k16 and eight rows of x as the second.
//
// - A byte of codes is looked up at once: a table in shared memory has the 256 pairs of bf16, as many times as lanes shall not meet at a bank.
// - The table holds the code book alone. The block's maximum multiplies the sum over 64 inputs, not the weights.
// - Sixteen bytes of a row (operands.cuh) are a lane's operands of eight instructions; x is brought into the same order.
// - Sums that are cut into parts are added in the order of the parts, by the warp that is last with a strip's.
#pragma once
#include "linear/quantized.cuh"

namespace anymal::cuda::gemm {

constexpr int kStrip = 16, kCodeTile = 128;  // outputs; inputs of which a lane of four loads sixteen bytes

// bf16: the code book times a unit is rounded to bf16 once. FP4's values times 3/4 are exact; for NF4 the unit is that of the least error, two fifths
// of what rounding each scaled weight loses (native/cpu/linear/code_steps.h). f32: three planes hold the book itself.
template <class T>
float unit_of(QuantFormat format) {
  return kPlanes<T> > 1 ? 1.0f : format == QuantFormat::fp4 ? 0.75f : 1.437f;
}

template <class T, int Copies>
constexpr int kTableBytes = kPlanes<T> * 256 * Copies * 4;

// The pairs that bytes of codes stand for, each `Copies` times, a plane after the other.
template <class T, int Copies>
__device__ __forceinline__ void fill_table(uint4* table, const float* book, float unit) {
  constexpr int kPerEntry = Copies / 4;  // chunks of 16 bytes
  for (int i = threadIdx.x; i < 256 * kPerEntry; i += blockDim.x) {
    const int byte = i / kPerEntry;
    float low = book[byte & 15] * unit, high = book[byte >> 4] * unit;
#pragma unroll
    for (int p = 0; p < kPlanes<T>; ++p) {
      const uint32_t two = ptx::cvt_bf16x2(low, high);
      table[p * 256 * kPerEntry + i] = make_uint4(two, two, two, two);
      low -= __uint_as_float(two << 16);
      high -= __uint_as_float(two & 0xFFFF0000u);
    }
  }
}

__device__ __forceinline__ uint32_t word(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// What a byte of four stands for, in a plane. copy: the lane's own of the table, in bytes.
template <int Copies>
__device__ __forceinline__ uint32_t look_up(const char* table, uint32_t copy, int plane, uint32_t four, int byte) {
  constexpr int kEntry = Copies * 4;
  const uint32_t at = (four >> (8 * byte) & 255) * kEntry | copy;
  return *reinterpret_cast<const uint32_t*>(table + plane * 256 * kEntry + at);
}

// sum += a . x for half h of eight inputs. More planes: as in gemm.cuh, small products first on a sum of their own.
template <int P>
__device__ __forceinline__ void multiply_planes(float (&sum)[4], const uint32_t (&a)[P][4], const uint4 (&x)[P], int h) {
  if constexpr (P == 1) {
    const uint32_t b[2] = {word(x[0], 2 * h), word(x[0], 2 * h + 1)};
    ptx::mma_m16n8k16(sum, a[0], b);
  } else {
    float step[4] = {};
#pragma unroll
    for (int order = P - 1; order >= 0; --order)
#pragma unroll
      for (int p = 0; p <= order; ++p) {
        const uint32_t b[2] = {word(x[order - p], 2 * h), word(x[order - p], 2 * h + 1)};
        ptx::mma_m16n8k16(step, a[p], b);
      }
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[e] += step[e];
  }
}

// The maxima of one output in two neighbouring blocks of 64 inputs, or what they are made of: fetched ahead, finished later.
struct FetchedMaxima {
  float value[2];
  uint32_t code[2];

  __device__ __forceinline__ void fetch(const FourBitWeight& w, int o, int k) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      value[i] = 0;
      code[i] = 0;
      if (o >= w.rows || k + 64 * i >= w.cols) continue;
      const int b = static_cast<int>((static_cast<int64_t>(o) * w.cols + k + 64 * i) >> w.shift);
      value[i] = w.absmax ? w.absmax[b] : w.nested[b / quant::kNestedBlock];
      if (!w.absmax) code[i] = w.absmax_codes[b];
    }
  }
  __device__ __forceinline__ float2 finished(const FourBitWeight& w, float factor) const {
    if (w.absmax) return make_float2(factor * value[0], factor * value[1]);
    return make_float2(factor * (w.tables->map[code[0]] * value[0] + *w.offset), factor * (w.tables->map[code[1]] * value[1] + *w.offset));
  }
};

// Sums over inputs of so many strips and times eight rows of x.
template <class T, int Copies, int Strips, int Eights>
struct CodedSums {
  float total[Strips][Eights][4] = {};

  // A tile's 128 inputs, from where they are: codes(strip, half, block): of this lane's row g or g + 8, eight bytes; maxima(strip): of row g's two
  // blocks, and row g + 8's; x(n, plane, chunk): of its row of the n-th eight, eight inputs of four times. copy: this lane's of the table, in bytes.
  template <class Codes, class X, class Maxima>
  __device__ __forceinline__ void add(const char* table, uint32_t copy, const Codes& codes, const X& x, const Maxima& maxima) {
    constexpr int P = kPlanes<T>;
    constexpr int kUnrolled = Strips * Eights > 8 ? 1 : 2;  // registers hold one block's sums of so many
#pragma unroll kUnrolled
    for (int block = 0; block < 2; ++block) {
      float sum[Strips][Eights][4] = {};
      uint2 eight[Strips][2];
#pragma unroll
      for (int s = 0; s < Strips; ++s)
#pragma unroll
        for (int i = 0; i < 2; ++i) eight[s][i] = codes(s, i, block);
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        uint32_t a[2][Strips][P][4];
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
          for (int s = 0; s < Strips; ++s)
#pragma unroll
            for (int p = 0; p < P; ++p)
#pragma unroll
              for (int i = 0; i < 4; ++i) a[h][s][p][i] = look_up<Copies>(table, copy, p, c ? eight[s][i % 2].y : eight[s][i % 2].x, 2 * h + i / 2);
#pragma unroll
        for (int n = 0; n < Eights; ++n) {
          uint4 xs[P];
#pragma unroll
          for (int p = 0; p < P; ++p) xs[p] = x(n, p, block * 2 + c);
#pragma unroll
          for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int s = 0; s < Strips; ++s) multiply_planes<P>(sum[s][n], a[h][s], xs, h);
        }
      }
#pragma unroll
      for (int s = 0; s < Strips; ++s) {
        const float4 of = maxima(s);
        const float low = block ? of.y : of.x, high = block ? of.w : of.z;
#pragma unroll
        for (int n = 0; n < Eights; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) total[s][n][e] += (e < 2 ? low : high) * sum[s][n][e];
      }
    }
  }
};

// For a whole warp.
__device__ __forceinline__ void wait_for(const Turns& turns) {
  if (threadIdx.x % 32 == 0) turns.wait();
  __syncwarp();  // kept: what is there is seen by all lanes; the checker shows a warp what one of its lanes has acquired
}

// LoRA's branch on a strip's sums: outputs o0 to o0 + 15, rows of x from row0 on. A warp calls it, once u is there.
template <class T, int Eights>
__device__ __forceinline__ void add_branch(float (&total)[Eights][4], const ReducedRows<T>& branch, int o0, int row0) {
  constexpr int P = kPlanes<T>;
  const int row = threadIdx.x % 32 / 4;
#pragma unroll 1
  for (int j0 = 0; j0 < branch.rank; j0 += 32) {
    const int j = j0 + threadIdx.x % 4 * 8;  // of this lane's eight ranks
    uint4 low[P], high[P];
    branch.b.unpack(branch.b.fetch(o0 + row, j), low);
    branch.b.unpack(branch.b.fetch(o0 + row + 8, j), high);
#pragma unroll
    for (int n = 0; n < Eights; ++n) {
      uint4 us[P];
      branch.u.unpack(branch.u.fetch(row0 + 8 * n + row, j), us);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        uint32_t a[P][4];
#pragma unroll
        for (int p = 0; p < P; ++p)
#pragma unroll
          for (int i = 0; i < 4; ++i) a[p][i] = word(i % 2 ? high[p] : low[p], 2 * h + i / 2);
        multiply_planes<P>(total[n], a, us, h);
      }
    }
  }
}

// Sums that are cut into parts, each in its place of scratch.
struct Parts {
  unsigned count = 1;
  int rows = 0;                  // of x, that a strip of a block has
  float* partial = nullptr;      // [strip][part][rows][kStrip]
  unsigned* counters = nullptr;  // of each strip: parts that are summed
};
inline Parts make_parts(const Stream& s, Scratch& scratch, unsigned count, int64_t rows, int64_t strips) {
  return {count, static_cast<int>(rows), count > 1 ? scratch.take<float>(strips * count * rows * kStrip) : nullptr, s.counters + kPieceCounters};
}

// A strip's sums to y, rows [row0, row0 + rows) and outputs [o0, N); where they are cut, first to their part, and to y by the warp that finds all
// others' there. `strip` counts the launch's.
template <int Eights>
__device__ __forceinline__ void finish(const float (&total)[Eights][4], const Parts& w, unsigned number, const Matrix& y, int strip, int row0,
                                       int rows, int o0, int N) {
  const int lane = threadIdx.x % 32;
  float* partial = w.partial + static_cast<int64_t>(strip) * w.count * w.rows * kStrip;
#pragma unroll
  for (int n = 0; n < Eights; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = 8 * n + lane % 4 * 2 + e % 2, o = lane / 4 + e / 2 * 8;
      if (row >= rows) continue;
      if (w.count > 1) partial[(static_cast<int>(number) * w.rows + row) * kStrip + o] = total[n][e];
      else if (o0 + o < N) y.one(row0 + row, o0 + o, total[n][e]);
    }
  if (w.count == 1) return;
  __syncwarp();  // the part is written by all lanes
  unsigned before = 0;
  if (lane == 0) {
    __threadfence();
    before = atomicInc(&w.counters[strip], w.count - 1);  // zero again after the last
    __threadfence();
  }
  before = __shfl_sync(~0u, before, 0);
  if (before != w.count - 1) return;
  __syncwarp();  // kept: the other parts are seen by all lanes; the checker shows a warp what one of its lanes has acquired
  for (int i = lane; i < rows * kStrip / 4; i += 32) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (unsigned z = 0; z < w.count; ++z) {
      const float4 v = reinterpret_cast<const float4*>(partial)[static_cast<int>(z) * w.rows * (kStrip / 4) + i];
      sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    const int o = o0 + i % 4 * 4;
    const float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (o + e < N) y.one(row0 + i / 4, o + e, values[e]);
  }
}

}  // namespace anymal::cuda::gemm
