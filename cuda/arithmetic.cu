// add, mul, scale_add, scale_by, accumulate and their gradients; increment. A second operand whose shape is a suffix of the first's is repeated
// over the leading sizes.
#include "column_sums.cuh"

namespace anymal::cuda {
namespace {

struct Sum {
  static __device__ float of(float a, float b) { return a + b; }
};
struct Product {
  static __device__ float of(float a, float b) { return a * b; }
};

// How b (m elements) lies beside a: element for element; repeated in whole packs; repeated at any length.
enum class Repeat { none, packs, any };

template <class T, class Op, Repeat R>
struct WithRepeated {
  T* y;
  const T *a, *b;
  int64_t m;
  template <int W>
  __device__ void at(int64_t i) const {
    float p[W], q[W];
    load<W>(p, a + i);
    if constexpr (R == Repeat::none) {
      load<W>(q, b + i);
    } else if constexpr (R == Repeat::packs) {
      load<W>(q, b + i % m);
    } else {
      int64_t j = i % m;
      for (int k = 0; k < W; ++k) {
        q[k] = to_float(b[j]);
        j = j + 1 == m ? 0 : j + 1;
      }
    }
    for (int k = 0; k < W; ++k) p[k] = Op::of(p[k], q[k]);
    store<W>(y + i, p);
  }
};

template <class Op>
void with_repeated(Stream& s, const View& y, const View& a, const View& b) {
  by_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int W = kWidth<T>;
    const int64_t n = a.size(), m = b.size();
    const bool packs = aligned16({y.data, a.data}), b_packs = aligned16({b.data});
    if (m == n) for_each_element<W>(s, n, packs && b_packs, WithRepeated<T, Op, Repeat::none>{y.as<T>(), a.as<T>(), b.as<T>(), m});
    else if (packs && b_packs && m % W == 0) for_each_element<W>(s, n, true, WithRepeated<T, Op, Repeat::packs>{y.as<T>(), a.as<T>(), b.as<T>(), m});
    else for_each_element<W>(s, n, packs, WithRepeated<T, Op, Repeat::any>{y.as<T>(), a.as<T>(), b.as<T>(), m});
  });
}

template <class T>
struct ProductTerms {
  const T *dy, *a;
  int64_t cols;
  template <int W>
  __device__ void add(float (&sum)[1][W], int64_t r, int64_t c) const {
    float g[W], x[W];
    load<W>(g, dy + r * cols + c);
    load<W>(x, a + r * cols + c);
    for (int k = 0; k < W; ++k) sum[0][k] += g[k] * x[k];
  }
};
template <class T>
struct PlainTerms {
  const T* dy;
  int64_t cols;
  template <int W>
  __device__ void add(float (&sum)[1][W], int64_t r, int64_t c) const {
    float g[W];
    load<W>(g, dy + r * cols + c);
    for (int k = 0; k < W; ++k) sum[0][k] += g[k];
  }
};

template <class T>
struct ScaleAdd {
  T* y;
  const T *x, *r;
  float alpha, beta;
  template <int W>
  __device__ void at(int64_t i) const {
    float p[W], q[W] = {};
    load<W>(p, x + i);
    if (r) load<W>(q, r + i);
    for (int k = 0; k < W; ++k) p[k] = r ? alpha * p[k] + beta * q[k] : alpha * p[k];
    store<W>(y + i, p);
  }
};
template <class T>
struct ScaleBy {
  T* y;
  const T* x;
  const float* factor;
  template <int W>
  __device__ void at(int64_t i) const {
    float p[W];
    load<W>(p, x + i);
    for (int k = 0; k < W; ++k) p[k] *= *factor;
    store<W>(y + i, p);
  }
};
template <class T>
struct Accumulate {
  float* y;
  const T* x;
  float alpha;
  template <int W>
  __device__ void at(int64_t i) const {
    float p[W], q[W];
    load<W>(p, x + i);
    load<W>(q, y + i);
    for (int k = 0; k < W; ++k) q[k] += alpha * p[k];
    store<W>(y + i, q);
  }
};

__global__ void increment_kernel(int64_t n, int32_t* x, int32_t by) {
  for (int64_t i = first_index(); i < n; i += index_stride()) x[i] += by;
}

}  // namespace

void add(Stream& s, Out y, In a, In b) { with_repeated<Sum>(s, y, a, b); }
void mul(Stream& s, Out y, In a, In b) { with_repeated<Product>(s, y, a, b); }

void mul_backward(Stream& s, OutOpt da, Acc db, In dy, In a, In b) {
  if (da) with_repeated<Product>(s, da, dy, b);
  if (!db || b.size() == 0) return;
  by_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t m = b.size();
    add_column_sums<kWidth<T>, 1>(s, a.size() / m, m, m % kWidth<T> == 0 && aligned16({dy.data, a.data}), ProductTerms<T>{dy.as<T>(), a.as<T>(), m},
                                  {{db.as<float>()}});
  });
}

void sum_leading(Stream& s, Acc db, In dy) {
  if (!db || db.size() == 0) return;
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t m = db.size();
    add_column_sums<kWidth<T>, 1>(s, dy.size() / m, m, m % kWidth<T> == 0 && aligned16({dy.data}), PlainTerms<T>{dy.as<T>(), m}, {{db.as<float>()}});
  });
}

void scale_add(Stream& s, Out y, In x, InOpt r, double alpha, double beta) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    for_each_element<kWidth<T>>(s, x.size(), aligned16({y.data, x.data, r.data}),
                                ScaleAdd<T>{y.as<T>(), x.as<T>(), r.as<T>(), static_cast<float>(alpha), static_cast<float>(beta)});
  });
}

void scale_by(Stream& s, Out y, In x, In factor) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    for_each_element<kWidth<T>>(s, x.size(), aligned16({y.data, x.data}), ScaleBy<T>{y.as<T>(), x.as<T>(), factor.as<float>()});
  });
}

void accumulate(Stream& s, InOut y, In x, double alpha) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    for_each_element<kWidth<T>>(s, x.size(), aligned16({y.data, x.data}), Accumulate<T>{y.as<float>(), x.as<T>(), static_cast<float>(alpha)});
  });
}

void increment(Stream& s, InOut x, int64_t by) { launch_items<increment_kernel>(s, x.size(), x.as<int32_t>(), static_cast<int32_t>(by)); }

}  // namespace anymal::cuda
