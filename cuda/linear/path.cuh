// Which kernels make a product with a quantised weight.
#pragma once
#include "linear/quantized.cuh"

namespace anymal::cuda::gemm {

enum class Path {
  skinny,  // skinny.cu: a few rows, W's codes as they stream by
  tiles,   // gemm.cuh: any shape
};

constexpr int64_t kSkinnyRows = 16;

inline Path path_of(const Stream& s, const Quantized& w, int64_t M, int64_t rank) {
  if (w.format == QuantFormat::int8) return Path::tiles;  // its rows are quantised, its outlier columns listed: other sums
  if (rank > 0) return Path::tiles;                       // the low-rank branch rides on the sums of tiles
  if (M > kSkinnyRows) return Path::tiles;                // each eight rows decode the weight's instructions again
  // A block's maximum multiplies a sum over 64 inputs of one row.
  if (w.in_features % 64 || w.block < 64) return Path::tiles;
  if (!address_divides(w.codes.data, 16)) return Path::tiles;         // sixteen bytes at once
  if (w.out_features > 16 * s.counters_in_all()) return Path::tiles;  // one for each sixteen outputs
  return Path::skinny;
}

}  // namespace anymal::cuda::gemm
