// head_cross_entropy: cross entropy of x.w^T, whose logits are held for a chunk of rows only: product, loss and gradient in turn (the method of
// Liger's fused linear cross entropy, arXiv 2410.10989 section 3.2). Logits are f32; their gradient has the dtype of x.
#include "linear/gemm.cuh"
#include "log_sum.cuh"

namespace anymal::cuda {
namespace {

// One block per row: its loss, then weight * (softmax - onehot) to `gradient`, which may be the logits' own place. Ignored rows: zeros. A row is read
// twice, once where no gradient is wanted.
template <class T, int W>
__global__ void __launch_bounds__(kThreads)
    loss_row_kernel(float* loss, T* gradient, const float* logits, const int32_t* target, const float* row_scale, int64_t first, int64_t vocabulary,
                    int64_t ignore, FaultSink fault) {
  const int64_t row = first + blockIdx.x;
  const float* x = logits + blockIdx.x * vocabulary;
  const int64_t id = target[row];
  const bool counts = id != ignore && id >= 0 && id < vocabulary;
  if (threadIdx.x == 0 && id != ignore) index_holds(fault, Fault::target, row, id, 0, vocabulary);
  SHARED_ARRAY(float, found, [2]);  // the largest logit, and 1 over the sum
  if (counts) {                     // the same for the whole block
    const LogSum<false> all = log_sum_of_row<false, W>(x, vocabulary);
    if (threadIdx.x == 0) {
      // By the largest and the sum, not by lse: that is rounded to the last place of a large number.
      loss[row] = (all.most - x[id]) + logf(all.sum);
      found[0] = all.most;
      found[1] = 1.0f / all.sum;
    }
  } else if (threadIdx.x == 0) {
    loss[row] = 0;
  }
  if (!gradient) return;
  __syncthreads();  // the target's logit has been read before it may be written
  const float weight = row_scale ? row_scale[row] : 1.0f, most = counts ? found[0] : 0.0f, inverse = counts ? found[1] : 0.0f;
  T* to = gradient + blockIdx.x * vocabulary;
  for (int64_t j = threadIdx.x * W; j < vocabulary; j += kThreads * W) {
    float v[W] = {};
    if (counts) {
      load<W>(v, x + j);
      for (int k = 0; k < W; ++k) v[k] = weight * (expf(v[k] - most) * inverse - (j + k == id ? 1.0f : 0.0f));
    }
    store<W>(to + j, v);
  }
}

}  // namespace

void head_cross_entropy(Stream& s, Out loss, OutOpt dx, Acc dw, In x, In w, In target, InOpt row_scale, int64_t ignore, int64_t first_row) {
  const int64_t rows = x.rows(), C = x.cols(), V = w.dim(0);
  const bool gradients = dx || dw;
  // So many rows that the head's weight is worth reading anew for them, so few that their logits stay small beside it.
  int64_t chunk = (int64_t{64} << 20) / (V > 0 ? V : 1);
  chunk = chunk < 64 ? 64 : chunk > 1024 ? 1024 : chunk;
  chunk = chunk < rows ? chunk : rows;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    for (int64_t first = 0; first < rows; first += chunk) {
      Scratch scratch(s);
      const int64_t n = rows - first < chunk ? rows - first : chunk;
      const T* xs = x.as<T>() + first * C;
      float* logits = scratch.take<float>(n * V);
      T* gradient = nullptr;
      if constexpr (sizeof(T) == 4) gradient = gradients ? logits : nullptr;
      else gradient = gradients ? scratch.take<T>(n * V) : nullptr;
      gemm::Matrix to{logits, DType::f32, V};
      to.pairs = V % 2 == 0;
      gemm::dense(s, scratch, x.dtype, n, V, C, {xs, C}, {w.data, C}, to);
      const auto lose = [&](auto width) {
        launch<loss_row_kernel<T, width()>>(s, grid_of(n), kThreads, 0, loss.as<float>(), gradient, logits, target.as<int32_t>(),
                                            row_scale.as<float>(), first, V, ignore, s.fault);
      };
      if (V % 8 == 0 && aligned16({logits, gradient})) lose(std::integral_constant<int, 8>{});
      else lose(std::integral_constant<int, 1>{});
      if (dx) {
        View part = dx;
        part.data = dx.as<T>() + first * C;
        gemm::dense(s, scratch, x.dtype, n, C, V, {gradient, V}, {w.data, C, true}, gemm::matrix_of(part, C));
      }
      if (dw) gemm::dense(s, scratch, x.dtype, dw.dim(0), C, n, {gradient + first_row, V, true}, {xs, C, true}, gemm::matrix_of(dw, C, View{}, true));
    }
  });
}

}  // namespace anymal::cuda
