// add, mul, scale_add, scale_by, accumulate and their gradients. A second operand whose shape is a suffix of the first's is repeated over
// the leading sizes.
#include "cpu/ops.h"
#include "cpu/row_parts.h"

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

// sum[j] += term(how, first + j), as `along` walks
template <class T, class Term>
void add_row(float* sum, int64_t first, int64_t m, const Term& term) {
  along(m, [&](auto as, int64_t j) { as.template write_beside<T>(sum + j, as.template read_beside<T>(sum + j) + term(as, first + j)); });
}
// db (m) += sum over rows r of term(how, r*m + j)
template <class T, class Term>
void add_over_rows(Stream& s, float* db, int64_t rows, int64_t m, const Term& term) {
  const int64_t height = rows_of_a_part(m), count = (rows + height - 1) / height;
  float* parts = static_cast<float*>(s.shared.get(static_cast<size_t>(count * m) * 4 + 4));
  parallel_range(s, count, height * m, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      float* part = parts + p * m;
      std::memset(part, 0, static_cast<size_t>(m) * 4);
      for (int64_t r = p * height; r < rows && r < (p + 1) * height; ++r) add_row<T>(part, r * m, m, term);
    }
  });
  add_parts(s, db, parts, count, m, m);
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
    add_over_rows<T>(s, db.as<float>(), a.size() / b.size(), b.size(), [=](auto as, int64_t i) { return as.read(g + i) * as.read(x + i); });
  });
}

void sum_leading(Stream& s, Acc db, In dy) {
  if (!db || db.size() == 0) return;
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    const T* g = dy.as<T>();
    add_over_rows<T>(s, db.as<float>(), dy.size() / db.size(), db.size(), [=](auto as, int64_t i) { return as.read(g + i); });
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
