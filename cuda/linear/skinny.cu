// y (M,N) = x.W^T + b for M <= 16 rows and 4-bit codes: a decode step. The product waits for W's codes alone, so all else is made to cost little:
//
// - W is the instruction's first operand, sixteen of its rows a strip, and the rows of x its columns: one mma.sync decodes 256 weights for eight
// rows.
// - A byte of codes is looked up at once: a table of 256 pairs of bf16 in shared memory, as many times as there are banks, so that lanes do not meet.
// - The table holds the code book alone. The block's maximum multiplies the sum over 64 inputs, not the weights.
// - A lane loads sixteen bytes of a row, kAhead tiles of 128 inputs before they are used. The order of codes in memory (operands.cuh) is such that
//   these are its operands of eight instructions; x is brought into the same order once per block.
// - Warps go on by themselves: each makes strips from its block's part of the inputs, and the warp that is last with a strip adds the strip's parts
// in
//   their order. How a sum is cut depends on the weight and the card, not on M: a row's bits are the same among others.
#include "linear/quantized.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

constexpr int kWarps = 8, kStrip = 16, kTile = 128, kAhead = 4, kRange = kWarps * kStrip;
constexpr int kMostPasses = 4;  // with the deepest part: 99 KiB of shared memory, what every card has
template <class T>
constexpr int kBlocks = kPlanes<T> == 1 ? 2 : 1;  // that a multiprocessor should hold

template <class T>
constexpr int kCopies = kPlanes<T> == 1 ? 32 : 8;  // of the table; f32 has three, for which bandwidth is no matter
template <class T>
constexpr int kDeepest = kPlanes<T> == 1 ? 1024 : 512;  // inputs of a part
template <class T>
constexpr int kTableBytes = kPlanes<T> * 256 * kCopies<T> * 4;

struct SkinnyWork {
  int M, N, K, depth;  // inputs of a part, a multiple of kTile
  int passes;          // strips that a warp makes
  unsigned parts;
  float* partial;      // [strip][part][M][kStrip]
  unsigned* counters;  // of each strip: parts that are summed

  __host__ __device__ int ranges() const { return (N + kRange * passes - 1) / (kRange * passes); }
};

template <class T>
SkinnyWork plan_skinny(const Stream& s, Scratch& scratch, int64_t M, int64_t N, int64_t K) {
  const int64_t wanted = kBlocks<T> * int64_t{s.multiprocessors}, ranges = (N + kRange - 1) / kRange;
  const auto parts_of = [&](int64_t depth) { return (K + depth - 1) / depth; };
  int64_t depth = kDeepest<T>;
  while (depth > 2 * kTile && ranges * parts_of(depth) < wanted) depth /= 2;
  const int64_t parts = parts_of(depth), passes = ranges * parts / wanted;
  SkinnyWork w{static_cast<int>(M), static_cast<int>(N), static_cast<int>(K)};
  w.depth = static_cast<int>(round_up((K + parts - 1) / parts, kTile));
  w.parts = static_cast<unsigned>(parts_of(w.depth));
  w.passes = static_cast<int>(passes < 1 ? 1 : passes > kMostPasses ? kMostPasses : passes);
  w.partial = w.parts > 1 ? scratch.take<float>(round_up(N, kStrip) * w.parts * M) : nullptr;
  w.counters = s.counters;
  return w;
}

template <class T>
size_t shared_bytes(const SkinnyWork& w) {
  return kTableBytes<T> + size_t{16} * kPlanes<T> * (w.depth / 8) * w.M + size_t{4} * w.passes * kRange * (w.depth / 64);
}

// The pairs that bytes of codes stand for, each kCopies times, a plane after the other.
template <class T>
__device__ __forceinline__ void fill_table(uint4* table, const float* book, float unit) {
  constexpr int kPerEntry = kCopies<T> / 4;  // chunks of 16 bytes
  for (int i = threadIdx.x; i < 256 * kPerEntry; i += kWarps * 32) {
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

// Rows of x in the order of codes: of each tile four chunks of eight inputs for each row and lane of four. A chunk's place but for row and lane.
template <class T>
__device__ __forceinline__ void bring_rows(uint4* to, int plane, const Rows<T>& x, int M, int k0, int tiles) {
  for (int i = threadIdx.x; i < M * tiles * 16; i += kWarps * 32) {
    const int row = i / (tiles * 16), chunk = i % (tiles * 16), tile = chunk / 16, c = chunk % 16;
    uint4 planes[kPlanes<T>];
    x.unpack(x.fetch(row, k0 + chunk * 8), planes);
#pragma unroll
    for (int p = 0; p < kPlanes<T>; ++p) to[p * plane + ((tile * 4 + c / 8 * 2 + c % 2) * M + row) * 4 + c % 8 / 2] = planes[p];
  }
}

// Block maxima of the block's weights in the order that lanes take them: [strip][tile][row % 8][row / 8][first, second 64 inputs].
__device__ __forceinline__ void bring_maxima(float* to, const FourBitWeight& weight, float factor, int passes, int o0, int k0, int tiles) {
  for (int i = threadIdx.x; i < passes * kRange * tiles * 2; i += kWarps * 32) {
    const int row = i / (tiles * 2), half = i % (tiles * 2), o = o0 + row, k = k0 + half * 64;
    const bool inside = o < weight.rows && k < weight.cols;
    to[((row / kStrip * tiles + half / 2) * 8 + row % 8) * 4 + row % kStrip / 8 * 2 + half % 2] =
        inside ? factor * weight.block_maximum(static_cast<int>((static_cast<int64_t>(o) * weight.cols + k) >> weight.shift)) : 0.0f;
  }
}

__device__ __forceinline__ uint32_t word(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// Sums over a tile's inputs: strip x columns, eight rows of x to an instruction.
template <class T, int Eights>
struct Columns {
  float total[Eights][4] = {};

  // low, high: codes of this lane's rows g and g + 8. x: this lane's chunk of the tile's first, for each eight rows; chunks lie `apart`.
  __device__ __forceinline__ void add(const char* table, uint32_t copy, const uint4& low, const uint4& high, const uint4* const (&x)[Eights],
                                      int apart, int plane, const float4& maxima) {
    constexpr int P = kPlanes<T>, kEntry = kCopies<T> * 4;
    const auto look_up = [&](int p, uint32_t codes, int byte) {
      const uint32_t at = (codes >> (8 * byte) & 255) * kEntry | copy;
      return *reinterpret_cast<const uint32_t*>(table + p * 256 * kEntry + at);
    };
#pragma unroll
    for (int block = 0; block < 2; ++block) {
      float sum[Eights][4] = {};
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        uint4 xs[Eights][P];
#pragma unroll
        for (int n = 0; n < Eights; ++n)
#pragma unroll
          for (int p = 0; p < P; ++p) xs[n][p] = x[n][p * plane + (block * 2 + c) * apart];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          uint32_t a[P][4];
#pragma unroll
          for (int p = 0; p < P; ++p) {
            a[p][0] = look_up(p, word(low, block * 2 + c), 2 * h);
            a[p][1] = look_up(p, word(high, block * 2 + c), 2 * h);
            a[p][2] = look_up(p, word(low, block * 2 + c), 2 * h + 1);
            a[p][3] = look_up(p, word(high, block * 2 + c), 2 * h + 1);
          }
#pragma unroll
          for (int n = 0; n < Eights; ++n) multiply_planes(sum[n], a, xs[n], h);
        }
      }
#pragma unroll
      for (int n = 0; n < Eights; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) total[n][e] += (e < 2 ? block ? maxima.y : maxima.x : block ? maxima.w : maxima.z) * sum[n][e];
    }
  }

 private:
  // Half h of eight inputs. More planes: as in gemm.cuh, small products first on a sum of their own.
  static __device__ __forceinline__ void multiply_planes(float (&sum)[4], const uint32_t (&a)[kPlanes<T>][4], const uint4 (&x)[kPlanes<T>], int h) {
    constexpr int P = kPlanes<T>;
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
};

// A strip's sums to y; where the inputs are cut, first to their part, and to y by the warp that finds all others' there.
template <class T, int Eights>
__device__ __forceinline__ void finish(const Columns<T, Eights>& sums, const SkinnyWork& w, const Matrix& y, int strip) {
  const int lane = threadIdx.x % 32, o0 = strip * kStrip;
  float* partial = w.partial + static_cast<int64_t>(strip) * w.parts * w.M * kStrip;
#pragma unroll
  for (int n = 0; n < Eights; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = 8 * n + lane % 4 * 2 + e % 2, o = lane / 4 + e / 2 * 8;
      if (row >= w.M) continue;
      if (w.parts > 1) partial[(static_cast<int>(blockIdx.y) * w.M + row) * kStrip + o] = sums.total[n][e];
      else if (o0 + o < w.N) y.one(row, o0 + o, sums.total[n][e]);
    }
  if (w.parts == 1) return;
  __syncwarp();  // the part is written by all lanes
  unsigned before = 0;
  if (lane == 0) {
    __threadfence();
    before = atomicInc(&w.counters[strip], w.parts - 1);  // zero again after the last
    __threadfence();
  }
  before = __shfl_sync(~0u, before, 0);
  if (before != w.parts - 1) return;
  __syncwarp();  // kept: the other parts are seen by all lanes; the checker shows a warp what one of its lanes has acquired
  for (int i = lane; i < w.M * kStrip / 4; i += 32) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (unsigned z = 0; z < w.parts; ++z) {
      const float4 v = reinterpret_cast<const float4*>(partial)[static_cast<int>(z) * w.M * (kStrip / 4) + i];
      sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    const int o = o0 + i % 4 * 4;
    const float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (o + e < w.N) y.one(i / 4, o + e, values[e]);
  }
}

template <class T>
struct SkinnyProduct {
  Rows<T> x;
  FourBitWeight weight;
  float unit;  // of the table
};

// loop of bf16: mma.sync, at most 3 instructions a weight, 4.5 in PTX
// budget: 255 registers, 2 KiB shared, 0 spills
template <class T, int Eights>
__global__ void __launch_bounds__(kWarps * 32, kBlocks<T>) skinny_kernel(SkinnyProduct<T> p, Tables tables, SkinnyWork w, Matrix y) {
  SHARED_ARRAY(Tables, decoding, [1]);
  char* const table = dynamic_shared<char>();
  uint4* const x = reinterpret_cast<uint4*>(table + kTableBytes<T>);
  const int k0 = static_cast<int>(blockIdx.y) * w.depth, tiles = ((w.K - k0 < w.depth ? w.K - k0 : w.depth) + kTile - 1) / kTile;
  const int plane = tiles * 16 * w.M, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float4* const maxima = reinterpret_cast<float4*>(x + kPlanes<T> * plane);
  const int first = static_cast<int>(blockIdx.x) * w.passes * kWarps;  // strip of the block

  const uint8_t *low = nullptr, *high = nullptr;  // this lane's codes of two rows; beyond the last row its own again, for nobody
  const auto aim = [&](int strip) {
    const int r = strip * kStrip + lane / 4, last = w.N - 1;
    const uint8_t* from = p.weight.codes + k0 / 2 + lane % 4 * 16;
    low = from + (r < last ? r : last) * p.weight.stride;
    high = from + (r + 8 < last ? r + 8 : last) * p.weight.stride;
  };
  uint4 codes[kAhead][2];
  const auto fetch = [&](uint4(&to)[2], int tile) {
    to[0] = *reinterpret_cast<const uint4*>(low + tile * (kTile / 2));
    to[1] = *reinterpret_cast<const uint4*>(high + tile * (kTile / 2));
  };
  aim(first + warp);
#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (i < tiles) fetch(codes[i], i);

  bring(decoding, tables);
  p.weight.tables = decoding;
  fill_table<T>(reinterpret_cast<uint4*>(table), decoding->book, p.unit);
  bring_rows(x, plane, p.x, w.M, k0, tiles);
  bring_maxima(reinterpret_cast<float*>(maxima), p.weight, 1 / p.unit, w.passes, first * kStrip, k0, tiles);
  __syncthreads();  // table, rows and maxima are there

  // Beyond the last row of x its own again: what columns beyond M sum up, nobody reads.
  const uint4* x_of_lane[Eights];
#pragma unroll
  for (int n = 0; n < Eights; ++n) {
    const int row = 8 * n + lane / 4;
    x_of_lane[n] = x + (row < w.M ? row : w.M - 1) * 4 + lane % 4;
  }
  const uint32_t copy = lane % kCopies<T> * 4;
  for (int pass = 0; pass < w.passes; ++pass) {
    const int in_block = pass * kWarps + warp, strip = first + in_block;
    if (strip * kStrip >= w.N) break;
    Columns<T, Eights> sums;
    for (int tile = 0; tile < tiles; tile += kAhead) {
      int next = tile + kAhead;
      bool more = true;
      if (next >= tiles) {
        next = 0;
        more = pass + 1 < w.passes;
        aim(strip + kWarps);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (tile + i < tiles) {
          const uint4* at[Eights];
#pragma unroll
          for (int n = 0; n < Eights; ++n) at[n] = x_of_lane[n] + (tile + i) * 16 * w.M;
          sums.add(table, copy, codes[i][0], codes[i][1], at, 4 * w.M, plane, maxima[(in_block * tiles + tile + i) * 8 + lane / 4]);
        }
        if (more && next + i < tiles) fetch(codes[i], next + i);
      }
    }
    finish(sums, w, y, strip);
  }
}

// bf16: the code book times a unit is rounded to bf16 once. FP4's values times 3/4 are exact; for NF4 the unit is that of the least error, two fifths
// of what rounding each scaled weight loses (native/cpu/linear/code_steps.h). f32: three planes hold the book itself.
template <class T>
float unit_of(QuantFormat format) {
  return kPlanes<T> > 1 ? 1.0f : format == QuantFormat::fp4 ? 0.75f : 1.437f;
}

}  // namespace

void skinny(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias) {
  const int64_t M = x.rows(), N = w.out_features, K = w.in_features;
  const Matrix to = matrix_of(y, N, bias);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const SkinnyWork work = plan_skinny<T>(s, scratch, M, N, K);
    const SkinnyProduct<T> p{rows_of<T>(x.data, M, K, K), four_bit(w), unit_of<T>(w.format)};
    const auto with = [&](auto eights) {
      launch<skinny_kernel<T, decltype(eights)::value>>(s, grid_of(work.ranges(), work.parts), kWarps * 32, shared_bytes<T>(work), p,
                                                        tables_of(w.format), work, to);
    };
    if (M <= 8) with(std::integral_constant<int, 1>{});
    else with(std::integral_constant<int, 2>{});
  });
}

}  // namespace gemm
}  // namespace anymal::cuda
