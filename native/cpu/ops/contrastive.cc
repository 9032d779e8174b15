// Symmetric InfoNCE over a batch of pairs (CLIP, arXiv 2103.00020, figure 3): logits = f(t) a.b^T, the diagonal is right both ways.
#include "cpu/kernel.h"
#include "cpu/linear/gemm.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

float factor(float t, TemperatureForm form) { return form == TemperatureForm::exp ? std::exp(t) : 1.0f / t; }

// log sum exp of n elements `step` apart.
double log_sum_exp(const float* x, int64_t n, int64_t step) {
  double most = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; ++i) most = x[i * step] > most ? x[i * step] : most;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i * step] - most);
  return most + std::log(sum);
}

}  // namespace

void contrastive_loss(Stream& s, Out loss, Out logits, In a, In b, In t, TemperatureForm form) {
  const int64_t B = a.dim(0), C = a.dim(1);
  float* z = logits.as<float>();
  linear::gemm(s, B, B, C, {a.data, DType::f32, C, 1}, {b.data, DType::f32, 1, C}, {z, DType::f32, B}, {.alpha = factor(*t.as<float>(), form)});
  double total = 0;
  for (int64_t i = 0; i < B; ++i) total += log_sum_exp(z + i * B, B, 1) + log_sum_exp(z + i, B, B) - 2.0 * z[i * B + i];
  *loss.as<float>() = static_cast<float>(total / (2.0 * static_cast<double>(B)));
}

// dlogits = dloss (softmax over rows + softmax over columns - 2 I) / 2B
void contrastive_loss_backward(Stream& s, OutOpt da, OutOpt db, Acc dt, In dloss, In a, In b, In t, In logits, TemperatureForm form) {
  const int64_t B = a.dim(0), C = a.dim(1);
  const float* z = logits.as<float>();
  float* g = static_cast<float*>(s.shared.get(static_cast<size_t>(B * B + 2 * B) * 4 + 64));
  float *rows = g + B * B, *columns = rows + B;
  parallel_range(s, B, 60 * B, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      rows[i] = static_cast<float>(log_sum_exp(z + i * B, B, 1));
      columns[i] = static_cast<float>(log_sum_exp(z + i, B, B));
    }
  });
  const float scale = *dloss.as<float>() / (2.0f * static_cast<float>(B));
  parallel_range(s, B, 40 * B, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < B; ++j)
        g[i * B + j] = scale * (std::exp(z[i * B + j] - rows[i]) + std::exp(z[i * B + j] - columns[j]) - (i == j ? 2.0f : 0.0f));
  });
  const float temperature = *t.as<float>(), f = factor(temperature, form);
  if (da) linear::gemm(s, B, C, B, {g, DType::f32, B, 1}, {b.data, DType::f32, C, 1}, {da.data, DType::f32, C}, {.alpha = f});
  if (db) linear::gemm(s, B, C, B, {g, DType::f32, 1, B}, {a.data, DType::f32, C, 1}, {db.data, DType::f32, C}, {.alpha = f});
  if (!dt) return;
  double sum = 0;  // dlogits/dt is logits (exp) or -logits/t (reciprocal)
  for (int64_t i = 0; i < B * B; ++i) sum += static_cast<double>(g[i]) * z[i];
  *dt.as<float>() += static_cast<float>(form == TemperatureForm::exp ? sum : -sum / temperature);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
