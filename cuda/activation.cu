// activation, gated_activation (SwiGLU, GeGLU) and tanh_gate, with their gradients.
#include "functions.cuh"

namespace anymal::cuda {
namespace {

template <class T, class Act>
struct Apply {
  T* y;
  const T* x;
  template <int W>
  __device__ void at(int64_t i) const {
    float v[W];
    load<W>(v, x + i);
    for (int k = 0; k < W; ++k) v[k] = Act::value(v[k]);
    store<W>(y + i, v);
  }
};
template <class T, class Act>
struct ApplySlope {
  T* dx;
  const T *dy, *x;
  template <int W>
  __device__ void at(int64_t i) const {
    float g[W], v[W];
    load<W>(g, dy + i);
    load<W>(v, x + i);
    for (int k = 0; k < W; ++k) g[k] *= Act::slope(v[k]);
    store<W>(dx + i, g);
  }
};
template <class T, class Act>
struct Gated {
  T* y;
  const T *gate, *up;
  template <int W>
  __device__ void at(int64_t i) const {
    float a[W], b[W];
    load<W>(a, gate + i);
    load<W>(b, up + i);
    for (int k = 0; k < W; ++k) a[k] = Act::value(a[k]) * b[k];
    store<W>(y + i, a);
  }
};
template <class T, class Act>
struct GatedBackward {
  T *dgate, *dup;
  const T *dy, *gate, *up;
  template <int W>
  __device__ void at(int64_t i) const {
    float d[W], a[W], b[W];
    load<W>(d, dy + i);
    load<W>(a, gate + i);
    load<W>(b, up + i);
    for (int k = 0; k < W; ++k) {
      b[k] = d[k] * b[k] * Act::slope(a[k]);
      a[k] = d[k] * Act::value(a[k]);
    }
    store<W>(dgate + i, b);
    store<W>(dup + i, a);
  }
};

// x as rows of one gate each: row i has gate g[i % gates].
struct Gates {
  int64_t count, width, rows;
  Gates(const View& x, const View& g) : count(g.size()), width(x.cols()), rows(width ? x.size() / width : 0) {}
};

template <class T, int W, int Group>
__global__ void tanh_gate_kernel(T* y, const T* x, const T* residual, const float* g, Gates n) {
  const int64_t row = group_row<Group>();
  if (row >= n.rows) return;
  const float f = tanhf(g[row % n.count]);
  for (int64_t j = threadIdx.x % Group * W; j < n.width; j += Group * W) {
    float v[W], r[W] = {};
    load<W>(v, x + row * n.width + j);
    if (residual) load<W>(r, residual + row * n.width + j);
    for (int k = 0; k < W; ++k) v[k] = r[k] + f * v[k];
    store<W>(y + row * n.width + j, v);
  }
}

// dx, and the sum of dy * x of each row.
template <class T, int W, int Group>
__global__ void tanh_gate_backward_kernel(T* dx, float* sums, const T* dy, const T* x, const float* g, Gates n) {
  const int64_t row = group_row<Group>();
  if (row >= n.rows) return;
  const float f = tanhf(g[row % n.count]);
  float sum = 0;
  for (int64_t j = threadIdx.x % Group * W; j < n.width; j += Group * W) {
    float d[W], v[W];
    load<W>(d, dy + row * n.width + j);
    load<W>(v, x + row * n.width + j);
    for (int k = 0; k < W; ++k) {
      sum += d[k] * v[k];
      d[k] *= f;
    }
    store<W>(dx + row * n.width + j, d);
  }
  sum = group_sum<Group>(sum);
  if (threadIdx.x % Group == 0) sums[row] = sum;
}

// A block per gate: its rows' sums in f64, for there may be many.
__global__ void gate_gradient_kernel(float* dg, const float* sums, const float* g, Gates n) {
  SHARED_ARRAY(double, part, [kThreads]);
  const int64_t gate = blockIdx.x;
  double sum = 0;
  for (int64_t i = gate + threadIdx.x * n.count; i < n.rows; i += kThreads * n.count) sum += sums[i];
  part[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x) return;
  for (int t = 1; t < kThreads; ++t) sum += part[t];
  const float f = tanhf(g[gate]);
  dg[gate] += static_cast<float>(sum) * (1.0f - f * f);
}

}  // namespace

void activation(Stream& s, Out y, In x, Activation kind) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      for_each_element<kWidth<T>>(s, x.size(), aligned16({y.data, x.data}), Apply<T, decltype(act)>{y.as<T>(), x.as<T>()});
    });
  });
}

void activation_backward(Stream& s, Out dx, In dy, In x, Activation kind) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      for_each_element<kWidth<T>>(s, x.size(), aligned16({dx.data, dy.data, x.data}),
                                  ApplySlope<T, decltype(act)>{dx.as<T>(), dy.as<T>(), x.as<T>()});
    });
  });
}

void gated_activation(Stream& s, Out y, In gate, In up, Activation kind) {
  by_dtype(gate.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      for_each_element<kWidth<T>>(s, gate.size(), aligned16({y.data, gate.data, up.data}),
                                  Gated<T, decltype(act)>{y.as<T>(), gate.as<T>(), up.as<T>()});
    });
  });
}

void gated_activation_backward(Stream& s, Out dgate, Out dup, In dy, In gate, In up, Activation kind) {
  by_dtype(gate.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      for_each_element<kWidth<T>>(s, gate.size(), aligned16({dgate.data, dup.data, dy.data, gate.data, up.data}),
                                  GatedBackward<T, decltype(act)>{dgate.as<T>(), dup.as<T>(), dy.as<T>(), gate.as<T>(), up.as<T>()});
    });
  });
}

void tanh_gate(Stream& s, Out y, In x, InOpt residual, In g) {
  const Gates n(x, g);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_row_shape<T>(n.width % kWidth<T> == 0 && aligned16({y.data, x.data, residual.data}), n.width, [&](auto w, auto group) {
      launch<tanh_gate_kernel<T, w(), group()>>(s, blocks_of_rows<group()>(n.rows), kThreads, 0, y.as<T>(), x.as<T>(), residual.as<T>(),
                                                g.as<float>(), n);
    });
  });
}

void tanh_gate_backward(Stream& s, Out dx, Acc dg, In dy, In x, In g) {
  const Gates n(x, g);
  Scratch scratch(s);
  float* sums = scratch.take<float>(n.rows);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_row_shape<T>(n.width % kWidth<T> == 0 && aligned16({dx.data, dy.data, x.data}), n.width, [&](auto w, auto group) {
      launch<tanh_gate_backward_kernel<T, w(), group()>>(s, blocks_of_rows<group()>(n.rows), kThreads, 0, dx.as<T>(), sums, dy.as<T>(), x.as<T>(),
                                                         g.as<float>(), n);
    });
  });
  if (dg && n.rows) launch<gate_gradient_kernel>(s, grid_of(n.count), kThreads, 0, dg.as<float>(), sums, g.as<float>(), n);
}

}  // namespace anymal::cuda
