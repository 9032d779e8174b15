// GroupNorm and inference BatchNorm over x (B,C,...): channels are dim 1, L = the product of what follows. A line is the L elements of one channel
// of one batch row.
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

struct Channels {
  int64_t B, C, L;
  explicit Channels(const View& x) : B(x.shape[0]), C(x.shape[1]), L(1) {
    for (int i = 2; i < x.rank; ++i) L *= x.shape[i];
  }
};

template <class T>
bool line_packs(int64_t L, std::initializer_list<const void*> pointers) {
  return L % kWidth<T> == 0 && aligned16(pointers);
}

// A block per (batch row, group), which are `size` elements in a row.
template <class T, int W>
__global__ void group_norm_kernel(T* y, float* mean, float* rstd, const T* x, Weights weight, Weights bias, int64_t groups, int64_t per, int64_t L,
                                  float eps) {
  const int64_t g = blockIdx.x, size = per * L, start = g * size;
  float sum = 0, square = 0;
  for (int64_t i = threadIdx.x * W; i < size; i += kThreads * W) {
    float v[W];
    load<W>(v, x + start + i);
    for (int k = 0; k < W; ++k) sum += v[k];
  }
  const float m = block_sum<kThreads>(sum) / static_cast<float>(size);
  for (int64_t i = threadIdx.x * W; i < size; i += kThreads * W) {
    float v[W];
    load<W>(v, x + start + i);
    for (int k = 0; k < W; ++k) square += (v[k] - m) * (v[k] - m);
  }
  const float r = 1.0f / sqrtf(block_sum<kThreads>(square) / static_cast<float>(size) + eps);
  if (threadIdx.x == 0) {
    mean[g] = m;
    rstd[g] = r;
  }
  for (int64_t i = threadIdx.x * W; i < size; i += kThreads * W) {
    const int64_t channel = g % groups * per + i / L;  // the same for all of a pack
    const float wr = weight[channel] * r, shift = (bias.data ? bias[channel] : 0.0f) - m * wr;
    float v[W];
    load<W>(v, x + start + i);
    for (int k = 0; k < W; ++k) v[k] = v[k] * wr + shift;
    store<W>(y + start + i, v);
  }
}

// Sums of dy and of dy (x - mean) of each line; mean per group of `per` channels, or per channel of the batch (by_channel).
template <class T, int W>
__global__ void line_sums_kernel(float* sums, float* dots, const T* dy, const T* x, const float* mean, Channels n, int64_t per, bool by_channel) {
  const int64_t line = blockIdx.x, start = line * n.L;
  const float m = mean[by_channel ? line % n.C : line / n.C * (n.C / per) + line % n.C / per];
  float sum = 0, dot = 0;
  for (int64_t i = threadIdx.x * W; i < n.L; i += kThreads * W) {
    float g[W], v[W];
    load<W>(g, dy + start + i);
    load<W>(v, x + start + i);
    for (int k = 0; k < W; ++k) {
      sum += g[k];
      dot += g[k] * (v[k] - m);
    }
  }
  sum = block_sum<kThreads>(sum);
  dot = block_sum<kThreads>(dot);
  if (threadIdx.x == 0) {
    sums[line] = sum;
    dots[line] = dot;
  }
}
template <class T>
void line_sums(Stream& s, float* sums, float* dots, const View& dy, const View& x, const View& mean, const Channels& n, int64_t per,
               bool by_channel) {
  const dim3 lines = grid_of(n.B * n.C);
  const auto run = [&](auto w) {
    launch<line_sums_kernel<T, w()>>(s, lines, kThreads, 0, sums, dots, dy.as<T>(), x.as<T>(), mean.as<float>(), n, per, by_channel);
  };
  if (line_packs<T>(n.L, {dy.data, x.data})) run(std::integral_constant<int, kWidth<T>>{});
  else run(std::integral_constant<int, 1>{});
}

// dx = rstd (dy w - mean(dy w) - xhat mean(dy w xhat)) over a group.
template <class T, int W>
__global__ void group_norm_backward_kernel(T* dx, const T* dy, const T* x, Weights weight, const float* mean, const float* rstd, const float* sums,
                                           const float* dots, int64_t groups, int64_t per, int64_t L) {
  const int64_t g = blockIdx.x, size = per * L, start = g * size, first = g % groups * per;
  const float m = mean[g], r = rstd[g];
  float sum = 0, dot = 0;
  for (int64_t c = threadIdx.x; c < per; c += kThreads) {
    sum += sums[g * per + c] * weight[first + c];
    dot += dots[g * per + c] * weight[first + c];
  }
  sum = block_sum<kThreads>(sum) / static_cast<float>(size);
  dot = block_sum<kThreads>(dot) / static_cast<float>(size) * r * r;
  for (int64_t i = threadIdx.x * W; i < size; i += kThreads * W) {
    const float w = weight[first + i / L];
    float d[W], v[W];
    load<W>(d, dy + start + i);
    load<W>(v, x + start + i);
    for (int k = 0; k < W; ++k) d[k] = r * (d[k] * w - sum - (v[k] - m) * dot);
    store<W>(dx + start + i, d);
  }
}

// dw (C) += sum over the batch of dots times rstd, db (C) += that of sums. rstd by (batch row, group), or 1 / sqrt(var + eps) by channel.
__global__ void channel_gradients_kernel(int64_t C, int64_t B, float* dw, float* db, const float* sums, const float* dots, const float* rstd,
                                         const float* var, int64_t groups, double eps) {
  for (int64_t c = first_index(); c < C; c += index_stride()) {
    double tw = 0, tb = 0;
    for (int64_t b = 0; b < B; ++b) {
      tw += static_cast<double>(dots[b * C + c]) * (rstd ? rstd[b * groups + c / (C / groups)] : 1.0f);
      tb += sums[b * C + c];
    }
    if (var) tw /= sqrt(static_cast<double>(var[c]) + eps);
    if (dw) dw[c] += static_cast<float>(tw);
    if (db) db[c] += static_cast<float>(tb);
  }
}

// y = x scale + shift, both of the channel.
template <class T>
struct BatchNorm {
  T* y;
  const T* x;
  const float *mean, *var;  // mean null: no shift, for the gradient
  Weights weight, bias;
  int64_t C, L;
  float eps;
  template <int W>
  __device__ void at(int64_t i) const {
    float v[W];
    load<W>(v, x + i);
    // A pack may span channels where L is no multiple of it.
    int64_t line = i / L, left = (line + 1) * L - i;
    float scale = 0, shift = 0;
#pragma unroll
    for (int k = 0; k < W; ++k, --left) {
      if (k == 0 || left == 0) {
        if (k > 0) ++line, left = L;
        const int64_t c = line % C;
        scale = weight[c] / sqrtf(var[c] + eps);
        shift = mean ? bias[c] - mean[c] * scale : 0.0f;
      }
      v[k] = v[k] * scale + shift;
    }
    store<W>(y + i, v);
  }
};

}  // namespace

void group_norm(Stream& s, Out y, Out mean, Out rstd, In x, In w, In b, int64_t groups, double eps) {
  const Channels n(x);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const auto run = [&](auto width) {
      launch<group_norm_kernel<T, width()>>(s, grid_of(n.B * groups), kThreads, 0, y.as<T>(), mean.as<float>(), rstd.as<float>(), x.as<T>(),
                                            Weights(w), Weights(b), groups, n.C / groups, n.L, static_cast<float>(eps));
    };
    if (line_packs<T>(n.L, {y.data, x.data})) run(std::integral_constant<int, kWidth<T>>{});
    else run(std::integral_constant<int, 1>{});
  });
}

void group_norm_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, In w, In mean, In rstd, int64_t groups) {
  const Channels n(x);
  const int64_t per = n.C / groups;
  Scratch scratch(s);
  float *sums = scratch.take<float>(n.B * n.C), *dots = scratch.take<float>(n.B * n.C);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    line_sums<T>(s, sums, dots, dy, x, mean, n, per, false);
    if (!dx) return;
    const auto run = [&](auto width) {
      launch<group_norm_backward_kernel<T, width()>>(s, grid_of(n.B * groups), kThreads, 0, dx.as<T>(), dy.as<T>(), x.as<T>(), Weights(w),
                                                     mean.as<float>(), rstd.as<float>(), sums, dots, groups, per, n.L);
    };
    if (line_packs<T>(n.L, {dx.data, dy.data, x.data})) run(std::integral_constant<int, kWidth<T>>{});
    else run(std::integral_constant<int, 1>{});
  });
  if (dw || db)
    launch_items<channel_gradients_kernel>(s, n.C, n.B, dw.as<float>(), db.as<float>(), sums, dots, rstd.as<float>(), nullptr, groups, 0.0);
}

void batch_norm_inference(Stream& s, Out y, In x, In mean, In var, In w, In b, double eps) {
  const Channels n(x);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    for_each_element<kWidth<T>>(
        s, x.size(), aligned16({y.data, x.data}),
        BatchNorm<T>{y.as<T>(), x.as<T>(), mean.as<float>(), var.as<float>(), Weights(w), Weights(b), n.C, n.L, static_cast<float>(eps)});
  });
}

void batch_norm_inference_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, In mean, In var, In w, double eps) {
  const Channels n(x);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (dx)
      for_each_element<kWidth<T>>(
          s, x.size(), aligned16({dx.data, dy.data}),
          BatchNorm<T>{dx.as<T>(), dy.as<T>(), nullptr, var.as<float>(), Weights(w), Weights(w), n.C, n.L, static_cast<float>(eps)});
    if (!dw && !db) return;
    Scratch scratch(s);
    float *sums = scratch.take<float>(n.B * n.C), *dots = scratch.take<float>(n.B * n.C);
    line_sums<T>(s, sums, dots, dy, x, mean, n, 1, true);
    launch_items<channel_gradients_kernel>(s, n.C, n.B, dw.as<float>(), db.as<float>(), sums, dots, nullptr, var.as<float>(), 1, eps);
  });
}

}  // namespace anymal::cuda
