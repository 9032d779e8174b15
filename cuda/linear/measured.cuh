// What a bench measured of the kernels for products with quantised weights, and how it is looked up; of the host alone.
#pragma once
#include <algorithm>
#include <cstdint>

#include "backend.h"

namespace anymal::cuda::gemm {

enum class Path {
  tiles,   // gemm.cuh: any shape
  skinny,  // skinny.cu: a few rows, W's codes as they stream by
  panels,  // panels.cu: some hundreds of rows, W decoded once for 64 of them
  hopper,  // hopper.cu: many rows, by wgmma
};
enum class Pass { forward, dx };

// Rows through W (out, in) of a format, and the kernels that were fastest.
struct Measured {
  Pass pass;
  QuantFormat format;
  int32_t out, in, rows;
  Path path;
};

// The place of what lies nearest in shape and rows, within a factor of two in each; -1: nothing is near. The first of two that are as near.
inline int nearest(const Measured* table, size_t count, Pass pass, QuantFormat format, int64_t out, int64_t in, int64_t rows) {
  const auto ratio = [](int64_t a, int64_t b) {
    return static_cast<double>(std::max(a, b)) / static_cast<double>(std::max<int64_t>(1, std::min(a, b)));
  };
  const bool int8 = format == QuantFormat::int8;  // NF4 and FP4 differ in a look-up's numbers alone
  int best = -1;
  double least = 0;
  for (size_t i = 0; i < count; ++i) {
    const Measured& m = table[i];
    if (m.pass != pass || (m.format == QuantFormat::int8) != int8) continue;
    const double by[] = {ratio(out, m.out), ratio(in, m.in), ratio(rows, m.rows)};
    const double away = by[0] * by[1] * by[2];
    if (*std::max_element(by, by + 3) > 2 || (best >= 0 && away >= least)) continue;
    best = static_cast<int>(i);
    least = away;
  }
  return best;
}

}  // namespace anymal::cuda::gemm
