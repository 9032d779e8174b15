// Rotary position embedding in half-split form (RoFormer, arXiv 2104.09864; Hugging Face's rotate_half): (a, b) = (x[i], x[i + D/2]) turns by
// the angle of its position. The inverse turns back: it is the gradient.
#include <cstdio>
#include <stdexcept>

#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

void rope(Stream& s, Out y, In x, In table, In positions, bool inverse) {
  const int64_t H = x.dim(2), D = x.dim(3), half = D / 2, rows = x.dim(0) * x.dim(1);
  const int32_t* at = positions.as<int32_t>();
  for (int64_t r = 0; r < rows; ++r)
    if (at[r] < 0 || at[r] >= table.dim(0)) {
      char text[120];
      std::snprintf(text, sizeof text, "position %d at row %lld is outside the table's [0, %lld)", at[r], static_cast<long long>(r),
                    static_cast<long long>(table.dim(0)));
      throw std::out_of_range(text);
    }
  const float sign = inverse ? -1.0f : 1.0f;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, rows, 3 * H * D, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const float* angle = table.as<float>() + at[r] * half * 2;
        for (int64_t h = 0; h < H; ++h) {
          const T* from = x.as<T>() + (r * H + h) * D;
          T* to = y.as<T>() + (r * H + h) * D;
          for (int64_t i = 0; i < half; ++i) {
            const float c = angle[2 * i], n = sign * angle[2 * i + 1], a = to_float(from[i]), b = to_float(from[i + half]);
            to[i] = from_float<T>(a * c - b * n);
            to[i + half] = from_float<T>(b * c + a * n);
          }
        }
      }
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
