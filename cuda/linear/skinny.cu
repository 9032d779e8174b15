// y (M,N) = x.W^T + b for M <= 16 rows and 4-bit codes (coded.cuh): a decode step. The product waits for W's codes alone, so a lane asks for them
// kAhead tiles before it uses them, and warps go on by themselves: each makes strips from its block's part of the inputs.
//
// How a sum is cut depends on the weight and the card, not on M: a row's bits are the same among others. Nor on other weights: a launch may make
// the products of several (together.cuh), each as if it were alone.
#include <algorithm>

#include "linear/together.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

constexpr int kTile = kCodeTile, kBytes = kTile / 2, kAhead = 4;
template <class T>
constexpr int kBlocks = kPlanes<T> == 1 ? 2 : 1;  // that a multiprocessor should hold

template <class T>
constexpr int kCopies = kPlanes<T> == 1 ? 32 : 8;  // of the table; f32 has three, for which bandwidth is no matter
template <class T>
constexpr int kDeepest = kPlanes<T> == 1 ? 1024 : 512;  // inputs of a part

template <class T, bool Branched>
size_t shared_bytes(const SkinnyWork& w) {
  constexpr size_t least = Branched ? sizeof(uint4) * kSharedChunks<Small, kPlanes<T>, kPlanes<T>> : 0;
  return std::max(least, kTableBytes<T, kCopies<T>> + size_t{16} * kPlanes<T> * (w.depth / 8) * w.M + size_t{4} * w.passes * kRange * (w.depth / 64));
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

struct SkinnyProduct {
  FourBitWeight weight;
  SkinnyWork work;
  Matrix y;
};
template <class T>
struct SkinnyProducts {
  Rows<T> x;
  float unit;  // of the table
  SkinnyProduct of[kMostWeights];
};

// loop of bf16: mma.sync, at most 3 instructions a weight, 4.5 in PTX
// budget: 255 registers, 2 KiB shared, 0 spills
template <class T, int Eights, class Branch>
__global__ void __launch_bounds__(kWarps * 32, kBlocks<T>)
    skinny_kernel(const __grid_constant__ SkinnyProducts<T> all, const __grid_constant__ Branch branch, Tables tables) {
  SHARED_ARRAY(Tables, decoding, [1]);
  char* const table = dynamic_shared<char>();
  SHARED_ARRAY(unsigned, turn, [1]);
  if constexpr (Branch::kThere)
    if (branch.template makes_piece<Small>(turn, reinterpret_cast<uint4*>(table))) return;
  const SpotOf at = spot_of(all.of, branch.block(turn));
  const SkinnyProduct& p = all.of[at.product];
  const SkinnyWork& w = p.work;
  FourBitWeight weight = p.weight;
  const int M = all.x.rows, N = w.N, passes = w.passes;
  uint4* const x = reinterpret_cast<uint4*>(table + kTableBytes<T, kCopies<T>>);
  const int k0 = static_cast<int>(at.split) * w.depth, tiles = ((w.K - k0 < w.depth ? w.K - k0 : w.depth) + kTile - 1) / kTile;
  const int plane = tiles * 16 * M, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float4* const maxima = reinterpret_cast<float4*>(x + kPlanes<T> * plane);
  const int first = static_cast<int>(at.block) * passes * kWarps;  // strip of the block

  const uint8_t* const from = weight.codes + k0 / 2 + lane % 4 * 16;
  LaneCodes of(from, weight.stride, first + warp, N);
  uint4 codes[kAhead][2];
#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (i < tiles) of.fetch(codes[i], i * kBytes);

  bring(decoding, tables);
  weight.tables = decoding;
  fill_table<T, kCopies<T>>(reinterpret_cast<uint4*>(table), decoding->book, all.unit);
  bring_rows(x, plane, all.x, M, k0, tiles);
  bring_maxima(reinterpret_cast<float*>(maxima), weight, 1 / all.unit, passes, first * kStrip, k0, tiles);
  __syncthreads();  // table, rows and maxima are there

  const uint32_t copy = lane % kCopies<T> * 4;
  for (int pass = 0; pass < passes; ++pass) {
    const int in_block = pass * kWarps + warp, strip = first + in_block;
    if (strip * kStrip >= N) break;
    CodedSums<T, kCopies<T>, 1, Eights> sums;
    for (int tile = 0; tile < tiles; tile += kAhead) {
      const int next = tile_ahead(tile + kAhead, tiles, pass + 1 < passes, [&] { of = LaneCodes(from, weight.stride, strip + kWarps, N); });
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (tile + i < tiles) {
          // Beyond the last row of x its own again: what columns beyond M sum up, nobody reads.
          const uint4* of_tile = x + (tile + i) * 16 * M;
          const auto rows = [&](int n, int plane_of, int chunk) {
            const int row = 8 * n + lane / 4;
            return of_tile[plane_of * plane + (chunk * M + (row < M ? row : M - 1)) * 4 + lane % 4];
          };
          const auto eight = [&](int, int half, int block) {
            return make_uint2(word(codes[i][half], 2 * block), word(codes[i][half], 2 * block + 1));
          };
          sums.add(table, copy, eight, rows, [&](int) { return maxima[(in_block * tiles + tile + i) * 8 + lane / 4]; });
        }
        if (next + i < tiles) of.fetch(codes[i], (next + i) * kBytes);
      }
    }
    if constexpr (Branch::kThere) {
      if (at.split == 0 && branch.of[at.product].rank > 0) {
        if (pass == 0) wait_for(branch.turns);
        add_branch(sums.total[0], branch.of[at.product], strip * kStrip, 0);
      }
    }
    finish(sums.total[0], w.parts, at.split, p.y, strip, 0, M, strip * kStrip, N);
  }
}

}  // namespace

void skinny(Stream& s, Scratch& scratch, const View& x, const Member* of, int count) {
  const int64_t M = x.rows(), K = x.cols();
  const QuantFormat format = of[0].w.format;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    SkinnyProducts<T> all{rows_of<T>(x.data, M, K, K), unit_of<T>(format), {}};
    const int64_t blocks = plan_together(all.of, of, count, [&](SkinnyProduct& p, const Member& m) {
      p = {four_bit(m.w), plan_skinny(s, scratch, M, m.w.out_features, K, kBlocks<T>, kDeepest<T>, kTile), matrix_of(m.y, m.w.out_features, m.bias)};
    });
    const auto with = [&](const auto& branch, dim3 grid) {
      using Branch = std::decay_t<decltype(branch)>;
      size_t shared = 0;
      for (int i = 0; i < count; ++i) shared = std::max(shared, shared_bytes<T, Branch::kThere>(all.of[i].work));
      const auto with_eights = [&](auto eights) {
        launch<skinny_kernel<T, decltype(eights)::value, Branch>>(s, grid, kWarps * 32, shared, all, branch, tables_of(format));
      };
      if (M <= 8) with_eights(std::integral_constant<int, 1>{});
      else with_eights(std::integral_constant<int, 2>{});
    };
    with_branches<T>(s, scratch, x, all.of, of, count, blocks, with);
  });
}

}  // namespace gemm
}  // namespace anymal::cuda
