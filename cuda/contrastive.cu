// Symmetric InfoNCE over a batch of pairs (CLIP, arXiv 2103.00020, figure 3): logits = f(t) a.b^T, the diagonal is right both ways. The temperature
// is read on the device.
#include "linear/gemm.cuh"

namespace anymal::cuda {
namespace {

__global__ void factor_kernel(float* factor, const float* t, TemperatureForm form) { *factor = form == TemperatureForm::exp ? expf(*t) : 1.0f / *t; }

// Log sum exp of n numbers `step` apart, by the whole block.
__device__ __forceinline__ float log_sum_exp(const float* x, int64_t n, int64_t step) {
  float most = -INFINITY, sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) most = fmaxf(most, x[i * step]);
  most = block_max<kThreads>(most);
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += expf(x[i * step] - most);
  return most + logf(block_sum<kThreads>(sum));
}

// Block i: log sum exp of row i and of column i of z (n,n).
__global__ void __launch_bounds__(kThreads) log_sums_kernel(float* rows, float* columns, const float* z, int64_t n) {
  const int64_t i = blockIdx.x;
  const float row = log_sum_exp(z + i * n, n, 1), column = log_sum_exp(z + i, n, n);
  if (threadIdx.x) return;
  rows[i] = row;
  columns[i] = column;
}

// f64: the sum over a block, for thread 0.
__device__ __forceinline__ double block_total(double v) {
  SHARED_ARRAY(double, part, [kThreads]);
  part[threadIdx.x] = v;
  __syncthreads();  // every thread's part is there
  double total = 0;
  if (threadIdx.x == 0)
    for (int i = 0; i < kThreads; ++i) total += part[i];
  return total;
}

__global__ void __launch_bounds__(kThreads) loss_kernel(float* loss, const float* rows, const float* columns, const float* z, int64_t n) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += static_cast<double>(rows[i]) + columns[i] - 2.0 * z[i * n + i];
  sum = block_total(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum / (2.0 * static_cast<double>(n)));
}

// g = dloss (softmax over rows + softmax over columns - 2 I) / 2n, and each block's share of the sum of g z.
__global__ void __launch_bounds__(kThreads)
    gradient_kernel(int64_t items, float* g, double* shares, const float* dloss, const float* rows, const float* columns, const float* z, int64_t n) {
  const float scale = *dloss / (2.0f * static_cast<float>(n));
  double sum = 0;
  for (int64_t k = first_index(); k < items; k += index_stride()) {
    const int64_t i = k / n, j = k % n;
    const float v = scale * (expf(z[k] - rows[i]) + expf(z[k] - columns[j]) - (i == j ? 2.0f : 0.0f));
    g[k] = v;
    sum += static_cast<double>(v) * z[k];
  }
  sum = block_total(sum);
  if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

// dlogits/dt is logits (exp) or -logits/t (reciprocal).
__global__ void temperature_kernel(float* dt, const double* shares, unsigned count, const float* t, TemperatureForm form) {
  double sum = 0;
  for (unsigned i = 0; i < count; ++i) sum += shares[i];
  *dt += static_cast<float>(form == TemperatureForm::exp ? sum : -sum / *t);
}

}  // namespace

void contrastive_loss(Stream& s, Out loss, Out logits, In a, In b, In t, TemperatureForm form) {
  Scratch scratch(s);
  const int64_t B = a.dim(0), C = a.dim(1);
  float *factor = scratch.take<float>(1), *rows = scratch.take<float>(2 * B), *columns = rows + B;
  launch<factor_kernel>(s, 1, 1, 0, factor, t.as<float>(), form);
  gemm::Matrix to = gemm::matrix_of(logits, B);
  to.alpha_at = factor;
  gemm::dense(s, scratch, DType::f32, B, B, C, {a.data, C}, {b.data, C}, to);
  launch<log_sums_kernel>(s, grid_of(B), kThreads, 0, rows, columns, logits.as<float>(), B);
  launch<loss_kernel>(s, 1, kThreads, 0, loss.as<float>(), rows, columns, logits.as<float>(), B);
}

void contrastive_loss_backward(Stream& s, OutOpt da, OutOpt db, Acc dt, In dloss, In a, In b, In t, In logits, TemperatureForm form) {
  Scratch scratch(s);
  const int64_t B = a.dim(0), C = a.dim(1);
  if (B == 0) return;
  const float* z = logits.as<float>();
  float *factor = scratch.take<float>(1), *rows = scratch.take<float>(2 * B), *columns = rows + B, *g = scratch.take<float>(B * B);
  const unsigned blocks = blocks_for(s, B * B);
  double* shares = scratch.take<double>(blocks);
  launch<factor_kernel>(s, 1, 1, 0, factor, t.as<float>(), form);
  launch<log_sums_kernel>(s, grid_of(B), kThreads, 0, rows, columns, z, B);
  launch_items<gradient_kernel>(s, B * B, g, shares, dloss.as<float>(), rows, columns, z, B);
  const auto product = [&](const View& to, const View& other, bool transposed) {
    gemm::Matrix c = gemm::matrix_of(to, C);
    c.alpha_at = factor;
    gemm::dense(s, scratch, DType::f32, B, C, B, {g, B, transposed}, {other.data, C, true}, c);
  };
  if (da) product(da, b, false);
  if (db) product(db, a, true);
  if (dt) launch<temperature_kernel>(s, 1, 1, 0, dt.as<float>(), shares, blocks, t.as<float>(), form);
}

}  // namespace anymal::cuda
