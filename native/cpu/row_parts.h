// Sums over rows, as gradients of weights are: strips of rows, whose height the sizes alone give, sum their part while the rows are in the cache, and
// the parts are added in order, so that nothing depends on the number of threads.
#pragma once
#include "cpu/lanes.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// High enough that a strip's part is little beside its rows.
inline int64_t rows_of_a_part(int64_t cols) {
  const int64_t rows = 32768 / (cols > 0 ? cols : 1);
  return rows < 8 ? 8 : rows > 64 ? 64 : rows;
}

// d (C) += the sum of `count` parts, each C floats and `step` after the one before: 64 of them first, so that small terms are not lost in a long sum.
inline void add_parts(Stream& s, float* d, const float* parts, int64_t count, int64_t cols, int64_t step) {
  constexpr int64_t width = 64;
  parallel_range(s, (cols + width - 1) / width, count * width, [=](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t j0 = c * width, n = j0 + width < cols ? width : cols - j0;
      float total[width] = {};
      for (int64_t p0 = 0; p0 < count; p0 += 64) {
        float sum[width] = {};
        for (int64_t p = p0; p < count && p < p0 + 64; ++p)
          for (int64_t j = 0; j < n; ++j) sum[j] += parts[p * step + j0 + j];
        for (int64_t j = 0; j < n; ++j) total[j] += sum[j];
      }
      for (int64_t j = 0; j < n; ++j) d[j0 + j] += total[j];
    }
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
