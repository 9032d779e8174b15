// How the products of few rows share out a weight's strips and inputs among warps (skinny.cu, skinny_int8.cu): each warp makes strips from its
// block's part of the inputs, and goes on by itself.
#pragma once
#include "linear/coded.cuh"

namespace anymal::cuda::gemm {

constexpr int kWarps = 8, kRange = kWarps * kStrip;
constexpr int kMostPasses = 4;  // with the deepest part: 99 KiB of shared memory, what every card has

struct SkinnyWork {
  int M, N, K, depth;  // inputs of a part, in whole tiles
  int passes;          // strips that a warp makes
  Parts parts;

  __host__ __device__ int ranges() const { return (N + kRange * passes - 1) / (kRange * passes); }
  __host__ __device__ unsigned blocks() const { return static_cast<unsigned>(ranges()) * parts.count; }
  // Warps that have a strip in one part, and wait there for LoRA's u.
  unsigned warps() const {
    const int strips = (N + kStrip - 1) / kStrip, last = strips - (ranges() - 1) * kWarps * passes;
    return static_cast<unsigned>((ranges() - 1) * kWarps + (last < kWarps ? last : kWarps));
  }
};

// A lane's codes of two rows of a strip, sixteen bytes at a time; beyond the last row its own again, for nobody.
struct LaneCodes {
  const uint8_t *low, *high;

  __device__ __forceinline__ LaneCodes(const uint8_t* from, int64_t stride, int strip, int rows) {
    const int r = strip * kStrip + threadIdx.x % 32 / 4, last = rows - 1;
    low = from + (r < last ? r : last) * stride;
    high = from + (r + 8 < last ? r + 8 : last) * stride;
  }
  __device__ __forceinline__ void fetch(uint4 (&to)[2], int at) const {
    to[0] = *reinterpret_cast<const uint4*>(low + at);
    to[1] = *reinterpret_cast<const uint4*>(high + at);
  }
};
// Which tile is fetched next: behind the last the first of the next strip, at which `aim` aims; none where there is no further pass.
template <class Aim>
__device__ __forceinline__ int tile_ahead(int next, int tiles, bool further, const Aim& aim) {
  if (next < tiles) return next;
  aim();
  return further ? 0 : tiles;
}

// Of LoRA's u, by all warps of a block.
using Small = Tile<16, 128, 16, 16, 1>;
static_assert(Small::kThreads == kWarps * 32);
constexpr int64_t kPieceDepth = 256;  // inputs that a piece sums up: it takes no longer than a part

// `blocks` a multiprocessor, parts of `deepest` inputs at most, each of whole tiles.
inline SkinnyWork plan_skinny(const Stream& s, Scratch& scratch, int64_t M, int64_t N, int64_t K, int blocks, int64_t deepest, int tile) {
  const int64_t wanted = blocks * int64_t{s.multiprocessors}, ranges = (N + kRange - 1) / kRange;
  const auto parts_of = [&](int64_t depth) { return K > depth ? (K + depth - 1) / depth : 1; };
  int64_t depth = deepest;
  while (depth > 2 * tile && ranges * parts_of(depth) < wanted) depth /= 2;
  const int64_t parts = parts_of(depth), passes = ranges * parts / wanted;
  SkinnyWork w{static_cast<int>(M), static_cast<int>(N), static_cast<int>(K)};
  w.depth = static_cast<int>(round_up(K > parts ? (K + parts - 1) / parts : 1, tile));
  w.passes = static_cast<int>(passes < 1 ? 1 : passes > kMostPasses ? kMostPasses : passes);
  w.parts = make_parts(s, scratch, static_cast<unsigned>(parts_of(w.depth)), M, (N + kStrip - 1) / kStrip);
  return w;
}

}  // namespace anymal::cuda::gemm
