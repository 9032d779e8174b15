// max_pool1d and mean_pool, with their gradients.
#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

void max_pool1d(Stream& s, Out y, Out index, In x, int64_t kernel, int64_t stride) {
  const int64_t L = x.cols(), n = y.cols();
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, x.rows(), n * kernel, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t i = 0; i < n; ++i) {
          const T* from = x.as<T>() + r * L;
          int64_t best = i * stride;
          for (int64_t j = best + 1; j < i * stride + kernel; ++j)
            if (to_float(from[j]) > to_float(from[best]) || to_float(from[j]) != to_float(from[j])) best = j;
          y.as<T>()[r * n + i] = from[best];
          index.as<int32_t>()[r * n + i] = static_cast<int32_t>(best);
        }
    });
  });
}

void max_pool1d_backward(Stream& s, Out dx, In dy, In index, int64_t length) {
  const int64_t n = dy.cols();
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, dy.rows(), n + length, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        T* to = dx.as<T>() + r * length;
        std::memset(static_cast<void*>(to), 0, static_cast<size_t>(length) * sizeof(T));
        for (int64_t i = 0; i < n; ++i) {  // windows may overlap
          T& at = to[index.as<int32_t>()[r * n + i]];
          at = from_float<T>(to_float(at) + to_float(dy.as<T>()[r * n + i]));
        }
      }
    });
  });
}

// x as (outer, n, inner)
void mean_pool(Stream& s, Out y, In x, int64_t dim) {
  int64_t outer = 1, inner = 1;
  const int64_t n = x.shape[dim];
  for (int64_t i = 0; i < dim; ++i) outer *= x.shape[i];
  for (int64_t i = dim + 1; i < x.rank; ++i) inner *= x.shape[i];
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const float factor = 1.0f / static_cast<float>(n);
    constexpr int64_t strip = 64;
    const int64_t strips = (inner + strip - 1) / strip;
    parallel_range(s, outer * strips, n * strip, [&](int64_t begin, int64_t end, int) {
      for (int64_t c = begin; c < end; ++c) {
        const int64_t o = c / strips, j0 = c % strips * strip, w = j0 + strip < inner ? strip : inner - j0;
        float sum[strip] = {};
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < w; ++j) sum[j] += to_float(x.as<T>()[(o * n + i) * inner + j0 + j]);
        for (int64_t j = 0; j < w; ++j) y.as<T>()[o * inner + j0 + j] = from_float<T>(sum[j] * factor);
      }
    });
  });
}

void mean_pool_backward(Stream& s, Out dx, In dy, int64_t dim, int64_t length) {
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < dim; ++i) outer *= dy.shape[i];
  for (int64_t i = dim; i < dy.rank; ++i) inner *= dy.shape[i];
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    const float factor = 1.0f / static_cast<float>(length);
    parallel_range(s, outer * length, inner, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t j = 0; j < inner; ++j) dx.as<T>()[r * inner + j] = from_float<T>(to_float(dy.as<T>()[r / length * inner + j]) * factor);
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
