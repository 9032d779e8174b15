// Which kernels make a product with a quantised weight.
#pragma once
#include "linear/quantized.cuh"

namespace anymal::cuda::gemm {

enum class Path {
  skinny,  // skinny.cu: a few rows, W's codes as they stream by
  panels,  // panels.cu: some hundreds of rows, W decoded once for 64 of them
  tiles,   // gemm.cuh: any shape
};

// In rows of x. Computed, not measured: up to sixteen rows a product waits for W alone; beyond 256 W is decoded five times and more, and a tile of
// 128 rows does no worse.
constexpr int64_t kSkinnyRows = 16, kPanelRows = 256;

inline Path path_of(const Stream& s, const View& x, const Quantized& w) {
  const int64_t M = x.rows();
  if (w.format == QuantFormat::int8) return Path::tiles;  // its rows are quantised, its outlier columns listed: other sums
  // A block's maximum multiplies a sum over 64 inputs of one row.
  if (w.in_features % 64 || w.block < 64) return Path::tiles;
  if (!address_divides(w.codes.data, 16)) return Path::tiles;  // sixteen bytes at once
  // A counter for each sixteen outputs of a block, behind those of LoRA's branch.
  const int64_t strips = (w.out_features + 15) / 16, counters = s.counters_in_all() - kPieceCounters;
  if (M <= kSkinnyRows) return strips <= counters ? Path::skinny : Path::tiles;
  if (M > kPanelRows || x.dtype != DType::bf16) return Path::tiles;  // f32 takes six products for one: tiles reuse what they have split
  if (!address_divides(x.data, 16)) return Path::tiles;              // cp.async
  return strips * ((M + 31) / 32) <= counters ? Path::panels : Path::tiles;
}

}  // namespace anymal::cuda::gemm
