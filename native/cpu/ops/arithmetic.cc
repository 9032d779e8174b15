// add, mul, scale_add, scale_by, accumulate and their gradients. A second operand whose shape is a suffix of the first's is repeated over
// the leading sizes.
#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// y[r*m + j] = f(a[r*m + j], b[j]) over rows of m = b.size(). Rows shorter than a chunk go several to a chunk.
template <class T, class F>
void with_repeated(Stream& s, const View& y, const View& a, const View& b, const F& f) {
  const int64_t n = a.size(), m = b.size();
  if (n == 0) return;
  T* to = y.as<T>();
  const T *x = a.as<T>(), *z = b.as<T>();
  if (m == n) {
    parallel_range(s, n, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(f(to_float(x[i]), to_float(z[i])));
    });
    return;
  }
  parallel_range(s, n / m, m, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t j = 0; j < m; ++j) to[r * m + j] = from_float<T>(f(to_float(x[r * m + j]), to_float(z[j])));
  });
}

// db (m) += sum over rows r of term(r*m + j): columns in parallel, rows in blocks summed in order, so the result does not depend on threads.
template <class Term>
void add_over_rows(Stream& s, float* db, int64_t rows, int64_t m, const Term& term) {
  constexpr int64_t strip = 64;
  parallel_range(s, (m + strip - 1) / strip, rows * strip, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t j0 = c * strip, w = j0 + strip < m ? strip : m - j0;
      float total[strip] = {};
      for (int64_t r0 = 0; r0 < rows; r0 += 256) {
        float sum[strip] = {};
        const int64_t r1 = r0 + 256 < rows ? r0 + 256 : rows;
        for (int64_t r = r0; r < r1; ++r)
          for (int64_t j = 0; j < w; ++j) sum[j] += term(r * m + j0 + j);
        for (int64_t j = 0; j < w; ++j) total[j] += sum[j];
      }
      for (int64_t j = 0; j < w; ++j) db[j0 + j] += total[j];
    }
  });
}

}  // namespace

void add(Stream& s, Out y, In a, In b) {
  by_dtype(a.dtype, [&](auto t) { with_repeated<decltype(t)>(s, y, a, b, [](float p, float q) { return p + q; }); });
}

void mul(Stream& s, Out y, In a, In b) {
  by_dtype(a.dtype, [&](auto t) { with_repeated<decltype(t)>(s, y, a, b, [](float p, float q) { return p * q; }); });
}

void mul_backward(Stream& s, OutOpt da, Acc db, In dy, In a, In b) {
  by_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    if (da) with_repeated<T>(s, da, dy, b, [](float p, float q) { return p * q; });
    if (!db || b.size() == 0) return;
    const T *g = dy.as<T>(), *x = a.as<T>();
    add_over_rows(s, db.as<float>(), a.size() / b.size(), b.size(), [&](int64_t i) { return to_float(g[i]) * to_float(x[i]); });
  });
}

void sum_leading(Stream& s, Acc db, In dy) {
  if (!db || db.size() == 0) return;
  by_dtype(dy.dtype, [&](auto t) {
    const auto* g = dy.as<decltype(t)>();
    add_over_rows(s, db.as<float>(), dy.size() / db.size(), db.size(), [&](int64_t i) { return to_float(g[i]); });
  });
}

void scale_add(Stream& s, Out y, In x, InOpt r, double alpha, double beta) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const T *a = x.as<T>(), *b = r.as<T>();
    T* to = y.as<T>();
    const float p = static_cast<float>(alpha), q = static_cast<float>(beta);
    parallel_range(s, x.size(), 1, [&](int64_t begin, int64_t end, int) {
      if (b)
        for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(fused(p, to_float(a[i]), q * to_float(b[i])));
      else
        for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(p * to_float(a[i]));
    });
  });
}

void scale_by(Stream& s, Out y, In x, In factor) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* a = x.as<T>();
    T* to = y.as<T>();
    const float f = *factor.as<float>();
    parallel_range(s, x.size(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(f * to_float(a[i]));
    });
  });
}

void accumulate(Stream& s, InOut y, In x, double alpha) {
  by_dtype(x.dtype, [&](auto t) {
    const auto* a = x.as<decltype(t)>();
    float* to = y.as<float>();
    const float f = static_cast<float>(alpha);
    parallel_range(s, x.size(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) to[i] += f * to_float(a[i]);
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
