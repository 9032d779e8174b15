// How sums become elements of C: alpha, bias, the old C, rounding.
#pragma once
#include "cpu/kernel.h"
#include "cpu/linear/kernels.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

using linear::Destination;
using linear::Epilogue;

// Rows [m0, m0 + rows) and columns [n0, n0 + cols) of C from their sums, whose rows are `apart`.
template <class Out>
inline void store_rows(const Destination& c, const Epilogue& e, int64_t m0, int64_t rows, int64_t n0, int64_t cols, const float* sums,
                       int64_t apart) {
  const Out* bias = static_cast<const Out*>(e.bias);
  for (int64_t i = 0; i < rows; ++i) {
    Out* to = static_cast<Out*>(c.data) + (m0 + i) * c.row + n0;
    const float* from = sums + i * apart;
    for (int64_t j = 0; j < cols; ++j) {
      float v = e.alpha * from[j];
      if (bias) v += to_float(bias[n0 + j]);
      if (e.accumulate) v += to_float(to[j]);
      to[j] = from_float<Out>(v);
    }
  }
}

inline void store(const linear::Problem& p, int64_t m0, int64_t rows, int64_t n0, int64_t cols, const float* sums, int64_t width) {
  if (p.c.dtype == DType::f32) store_rows<float>(p.c, p.e, m0, rows, n0, cols, sums, width);
  else store_rows<bf16>(p.c, p.e, m0, rows, n0, cols, sums, width);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
