// softmax_cross_entropy over logits and its gradient: a block per row, the logits read once, and twice for the gradient.
#include "log_sum.cuh"

namespace anymal::cuda {
namespace {

template <class T, int W>
__global__ void cross_entropy_kernel(float* loss, float* lse, const T* logits, const int32_t* target, int64_t cols, int64_t ignore, FaultSink fault) {
  const int64_t row = blockIdx.x;
  const int32_t at = target[row];
  if (at == ignore || (at < 0 || at >= cols)) {
    if (threadIdx.x == 0) {
      if (at != ignore) index_holds(fault, Fault::target, row, at, 0, cols);
      loss[row] = lse[row] = 0;
    }
    return;
  }
  const T* from = logits + row * cols;
  const LogSum<true> total = log_sum_of_row<true, W>(from, cols);
  if (threadIdx.x) return;
  const float log_sum = logf(total.sum);
  lse[row] = total.most + log_sum;
  loss[row] = (total.most - to_float(from[at])) + log_sum;
}

// dlogits may be the logits: a thread reads what it writes, and nothing else. lse is rounded to the last place of a large number, which at logits of
// 2000 is 6e-5 of every probability: they are divided by their sum.
template <class T, int W>
__global__ void cross_entropy_backward_kernel(T* dlogits, const float* dloss, const T* logits, const float* lse, const int32_t* target, int64_t cols,
                                              int64_t ignore) {
  const int64_t row = blockIdx.x, start = row * cols;
  const int32_t at = target[row];
  const bool counts = at != ignore;
  const float weight = dloss[row], l = lse[row];
  float part = 0;
  for (int64_t j = threadIdx.x * W; counts && j < cols; j += kThreads * W) {
    float v[W];
    load<W>(v, logits + start + j);
    for (int k = 0; k < W; ++k) part += __expf(v[k] - l);
  }
  const float sum = block_sum<kThreads>(part);
  for (int64_t j = threadIdx.x * W; j < cols; j += kThreads * W) {
    float v[W];
    load<W>(v, logits + start + j);
    for (int k = 0; k < W; ++k) {
      const float p = __expf(v[k] - l) / sum;
      v[k] = counts ? weight * (j + k == at ? p - 1.0f : p) : 0.0f;
    }
    store<W>(dlogits + start + j, v);
  }
}

}  // namespace

void softmax_cross_entropy(Stream& s, Out loss, Out lse, In logits, In target, int64_t ignore) {
  const int64_t cols = logits.cols();
  const dim3 rows = grid_of(logits.rows());
  by_dtype(logits.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int W = kWidth<T>;
    const auto run = [&](auto width) {
      launch<cross_entropy_kernel<T, width()>>(s, rows, kThreads, 0, loss.as<float>(), lse.as<float>(), logits.as<T>(), target.as<int32_t>(), cols,
                                               ignore, s.fault);
    };
    if (cols % W == 0 && aligned16({logits.data})) run(std::integral_constant<int, W>{});
    else run(std::integral_constant<int, 1>{});
  });
}

void softmax_cross_entropy_backward(Stream& s, Out dlogits, In dloss, In logits, In lse, In target, int64_t ignore) {
  const int64_t cols = logits.cols();
  const dim3 rows = grid_of(logits.rows());
  by_dtype(logits.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int W = kWidth<T>;
    const auto run = [&](auto width) {
      launch<cross_entropy_backward_kernel<T, width()>>(s, rows, kThreads, 0, dlogits.as<T>(), dloss.as<float>(), logits.as<T>(), lse.as<float>(),
                                                        target.as<int32_t>(), cols, ignore);
    };
    if (cols % W == 0 && aligned16({dlogits.data, logits.data})) run(std::integral_constant<int, W>{});
    else run(std::integral_constant<int, 1>{});
  });
}

}  // namespace anymal::cuda
