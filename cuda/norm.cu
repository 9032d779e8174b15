// RMSNorm and LayerNorm over the last size, L2 normalisation of rows, and their gradients. A warp or a block has a row; it is read from memory once
// and from the cache after that. Weight gradients are column sums.
#include "column_sums.cuh"

namespace anymal::cuda {
namespace {

// Of x, or where there is a sum to store of x + b, which counts as it is stored. A thread reads of the sum what it wrote.
template <class T, int W, int Group, bool Sum>
__global__ void rms_norm_kernel(T* sum, T* y, float* rstd, const T* x, const T* b, Weights weight, int64_t rows, int64_t cols, float eps) {
  const int64_t row = group_row<Group>(), start = row * cols;
  if (row >= rows) return;
  float square = 0;
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W];
    load<W>(v, x + start + j);
    if constexpr (Sum) {
      float u[W];
      load<W>(u, b + start + j);
      for (int k = 0; k < W; ++k) v[k] = to_float(from_float<T>(v[k] + u[k]));
      store<W>(sum + start + j, v);
    }
    for (int k = 0; k < W; ++k) square += v[k] * v[k];
  }
  const float r = 1.0f / sqrtf(group_sum<Group>(square) / static_cast<float>(cols) + eps);
  if (threadIdx.x % Group == 0) rstd[row] = r;
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W], w[W];
    load<W>(v, (Sum ? sum : x) + start + j);
    weight.load<W>(w, j, 1.0f);
    for (int k = 0; k < W; ++k) v[k] = v[k] * r * w[k];
    store<W>(y + start + j, v);
  }
}

template <class T, int W, int Group>
__global__ void layer_norm_kernel(T* y, float* mean, float* rstd, const T* x, Weights weight, Weights bias, int64_t rows, int64_t cols, float eps) {
  const int64_t row = group_row<Group>(), start = row * cols;
  if (row >= rows) return;
  float sum = 0, square = 0;
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W];
    load<W>(v, x + start + j);
    for (int k = 0; k < W; ++k) sum += v[k];
  }
  const float m = group_sum<Group>(sum) / static_cast<float>(cols);
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W];
    load<W>(v, x + start + j);
    for (int k = 0; k < W; ++k) square += (v[k] - m) * (v[k] - m);
  }
  const float r = 1.0f / sqrtf(group_sum<Group>(square) / static_cast<float>(cols) + eps);
  if (threadIdx.x % Group == 0) {
    mean[row] = m;
    rstd[row] = r;
  }
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W], w[W], b[W];
    load<W>(v, x + start + j);
    weight.load<W>(w, j, 1.0f);
    bias.load<W>(b, j, 0.0f);
    for (int k = 0; k < W; ++k) v[k] = (v[k] - m) * r * w[k] + b[k];
    store<W>(y + start + j, v);
  }
}

// With xhat = (x - mean) rstd: dx = rstd (dy w - mean(dy w) - xhat mean(dy w xhat)), and past where that is not null. RMSNorm (mean null) has neither
// mean.
template <class T>
struct NormBackward {
  T* dx;
  const T *dy, *x, *past;
  const float *mean, *rstd;
  int64_t rows, cols;

  template <int W, int Group>
  __device__ __forceinline__ void of_row(int64_t row, const Weights& weight) const {
    const int64_t start = row * cols;
    if (row >= rows) return;
    const float m = mean ? mean[row] : 0.0f, r = rstd[row];
    float sum = 0, dot = 0;
    for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
      float g[W], v[W], w[W];
      load<W>(g, dy + start + j);
      load<W>(v, x + start + j);
      weight.load<W>(w, j, 1.0f);
      for (int k = 0; k < W; ++k) {
        sum += g[k] * w[k];
        dot += g[k] * w[k] * (v[k] - m);
      }
    }
    dot = group_sum<Group>(dot) * r * r / static_cast<float>(cols);
    sum = mean ? group_sum<Group>(sum) / static_cast<float>(cols) : 0.0f;
    for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
      float g[W], v[W], w[W], beside[W] = {};
      load<W>(g, dy + start + j);
      load<W>(v, x + start + j);
      weight.load<W>(w, j, 1.0f);
      if (past) load<W>(beside, past + start + j);
      for (int k = 0; k < W; ++k) g[k] = beside[k] + r * (g[k] * w[k] - sum - (v[k] - m) * dot);
      store<W>(dx + start + j, g);
    }
  }

  // Terms of dw = sum dy xhat and db = sum dy.
  template <int W>
  __device__ __forceinline__ void add(float (&sum)[2][W], int64_t r, int64_t c) const {
    float g[W], v[W];
    load<W>(g, dy + r * cols + c);
    load<W>(v, x + r * cols + c);
    const float m = mean ? mean[r] : 0.0f, k = rstd[r];
    for (int i = 0; i < W; ++i) {
      sum[0][i] += g[i] * (v[i] - m) * k;
      sum[1][i] += g[i];
    }
  }
};

// The column sums of dw and db first, which take longer than a row of dx.
template <class T, int W, int Group>
__global__ void norm_backward_kernel(NormBackward<T> n, Weights weight, ColumnSums<2> sums) {
  const unsigned of_sums = sums.strips * sums.runs;
  if (blockIdx.x < of_sums) sum_columns<2, W>(sums, blockIdx.x, n);
  else n.template of_row<W, Group>(static_cast<int64_t>(blockIdx.x - of_sums) * (kThreads / Group) + threadIdx.x / Group, weight);
}

template <class T, int W, int Group>
__global__ void l2_normalize_kernel(T* y, float* norm, const T* x, int64_t rows, int64_t cols, float eps) {
  const int64_t row = group_row<Group>(), start = row * cols;
  if (row >= rows) return;
  float square = 0;
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W];
    load<W>(v, x + start + j);
    for (int k = 0; k < W; ++k) square += v[k] * v[k];
  }
  const float n = sqrtf(group_sum<Group>(square)), r = 1.0f / (n > eps ? n : eps);
  if (threadIdx.x % Group == 0) norm[row] = n;
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W];
    load<W>(v, x + start + j);
    for (int k = 0; k < W; ++k) v[k] *= r;
    store<W>(y + start + j, v);
  }
}

// dx = (dy - y (y . dy)) / |x|; where |x| <= eps the divisor is the constant eps and the projection is absent.
template <class T, int W, int Group>
__global__ void l2_normalize_backward_kernel(T* dx, const T* dy, const T* y, const float* norm, int64_t rows, int64_t cols, float eps) {
  const int64_t row = group_row<Group>(), start = row * cols;
  if (row >= rows) return;
  float dot = 0;
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float g[W], v[W];
    load<W>(g, dy + start + j);
    load<W>(v, y + start + j);
    for (int k = 0; k < W; ++k) dot += g[k] * v[k];
  }
  dot = group_sum<Group>(dot);
  const float n = norm[row], r = 1.0f / (n > eps ? n : eps), c = n > eps ? dot : 0.0f;
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float g[W], v[W];
    load<W>(g, dy + start + j);
    load<W>(v, y + start + j);
    for (int k = 0; k < W; ++k) g[k] = r * (g[k] - v[k] * c);
    store<W>(dx + start + j, g);
  }
}

template <class T>
bool row_packs(int64_t cols, std::initializer_list<const void*> pointers) {
  return cols % kWidth<T> == 0 && aligned16(pointers);
}

template <bool Sum>
void root_normal(Stream& s, const View& sum, const View& y, const View& rstd, const View& x, const View& b, const View& w, double eps) {
  const int64_t rows = x.rows(), cols = x.cols();
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_row_shape<T>(row_packs<T>(cols, {sum.data, y.data, x.data, b.data, w.data}), cols, [&](auto width, auto group) {
      launch<rms_norm_kernel<T, width(), group(), Sum>>(s, blocks_of_rows<group()>(rows), kThreads, 0, sum.as<T>(), y.as<T>(), rstd.as<float>(),
                                                        x.as<T>(), b.as<T>(), Weights(w), rows, cols, static_cast<float>(eps));
    });
  });
}

template <class T>
void norm_backward(Stream& s, const View& dx, const View& dw, const View& db, const View& dy, const View& x, const View& past, const View& w,
                   const float* mean, const float* rstd) {
  const NormBackward<T> n{dx.as<T>(), dy.as<T>(), x.as<T>(), past.as<T>(), mean, rstd, x.rows(), x.cols()};
  Scratch scratch(s);
  by_row_shape<T>(row_packs<T>(n.cols, {dx.data, dy.data, x.data, past.data, w.data}), n.cols, [&](auto width, auto group) {
    ColumnSums<2> sums{};
    if (dw || db) sums = plan_column_sums<2, width()>(s, scratch, n.rows, n.cols, {{dw.as<float>(), db.as<float>()}});
    const int64_t of_rows = dx ? (n.rows + kThreads / group() - 1) / (kThreads / group()) : 0;
    launch<norm_backward_kernel<T, width(), group()>>(s, grid_of(sums.blocks() + of_rows), kThreads, 0, n, Weights(w), sums);
  });
}

}  // namespace

void rms_norm(Stream& s, Out y, Out rstd, In x, In w, double eps) { root_normal<false>(s, View{}, y, rstd, x, View{}, w, eps); }

void add_rms_norm(Stream& s, Out sum, Out y, Out rstd, In a, In b, In w, double eps) { root_normal<true>(s, sum, y, rstd, a, b, w, eps); }

void rms_norm_backward(Stream& s, OutOpt dx, Acc dw, In dy, In x, In w, In rstd, InOpt past) {
  by_dtype(x.dtype, [&](auto t) { norm_backward<decltype(t)>(s, dx, dw, View{}, dy, x, past, w, nullptr, rstd.as<float>()); });
}

void layer_norm(Stream& s, Out y, Out mean, Out rstd, In x, InOpt w, InOpt b, double eps) {
  const int64_t rows = x.rows(), cols = x.cols();
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_row_shape<T>(row_packs<T>(cols, {y.data, x.data, w.data, b.data}), cols, [&](auto width, auto group) {
      launch<layer_norm_kernel<T, width(), group()>>(s, blocks_of_rows<group()>(rows), kThreads, 0, y.as<T>(), mean.as<float>(), rstd.as<float>(),
                                                     x.as<T>(), Weights(w), Weights(b), rows, cols, static_cast<float>(eps));
    });
  });
}

void layer_norm_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, InOpt w, In mean, In rstd) {
  by_dtype(x.dtype, [&](auto t) { norm_backward<decltype(t)>(s, dx, dw, db, dy, x, View{}, w, mean.as<float>(), rstd.as<float>()); });
}

void l2_normalize(Stream& s, Out y, Out norm, In x, double eps) {
  const int64_t rows = x.rows(), cols = x.cols();
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_row_shape<T>(row_packs<T>(cols, {y.data, x.data}), cols, [&](auto width, auto group) {
      launch<l2_normalize_kernel<T, width(), group()>>(s, blocks_of_rows<group()>(rows), kThreads, 0, y.as<T>(), norm.as<float>(), x.as<T>(), rows,
                                                       cols, static_cast<float>(eps));
    });
  });
}

void l2_normalize_backward(Stream& s, Out dx, In dy, In y, In norm, double eps) {
  const int64_t rows = y.rows(), cols = y.cols();
  by_dtype(y.dtype, [&](auto t) {
    using T = decltype(t);
    by_row_shape<T>(row_packs<T>(cols, {dx.data, dy.data, y.data}), cols, [&](auto width, auto group) {
      launch<l2_normalize_backward_kernel<T, width(), group()>>(s, blocks_of_rows<group()>(rows), kThreads, 0, dx.as<T>(), dy.as<T>(), y.as<T>(),
                                                                norm.as<float>(), rows, cols, static_cast<float>(eps));
    });
  });
}

}  // namespace anymal::cuda
