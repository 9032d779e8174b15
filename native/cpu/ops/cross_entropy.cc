// softmax_cross_entropy over logits, and head_cross_entropy, which never holds all logits: chunks of rows go through head product, loss and
// gradient in turn (the method of Liger's fused linear cross entropy, arXiv 2410.10989 section 3.2).
#include <cstdio>
#include <stdexcept>

#include "cpu/lane_math.h"
#include "cpu/linear/gemm.h"
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

void check_targets(const int32_t* target, int64_t n, int64_t vocabulary, int64_t ignore) {
  for (int64_t i = 0; i < n; ++i)
    if (target[i] != ignore && (target[i] < 0 || target[i] >= vocabulary)) {
      char text[160];
      std::snprintf(text, sizeof text, "target %d at row %lld is neither in [0, %lld) nor the ignored value %lld", target[i],
                    static_cast<long long>(i), static_cast<long long>(vocabulary), static_cast<long long>(ignore));
      throw std::out_of_range(text);
    }
}

float exp_of(float x) { return exp_fast(x); }
Two exp_of(Two x) { return {exp_below(x.a), exp_below(x.b)}; }

// sum exp(row - reference)
template <class T>
double sum_exp(const T* row, int64_t n, float reference) {
  LongSum sum;
  sum.add(n, [&](auto as, int64_t j) { return exp_of(as.read(row + j) - reference); });
  return sum.total();
}

// log(sum exp(row)) in two parts. Together they are rounded to the last place of a large number: at logits of 2000 that is 6e-5 of every probability.
struct LogSum {
  float most;
  double total;  // relative to it
  float log_total() const { return static_cast<float>(std::log(total)); }
};
template <class T>
LogSum log_sum_exp(const T* row, int64_t n) {
  const float most = greatest(row, n);
  return {most, sum_exp(row, n, most)};
}

// to = weight * (softmax(row) - onehot(target)), by the sum of the row relative to `reference`; `to` may be `row`.
template <class T>
void gradient_row(T* to, const T* row, int64_t n, float reference, double total, int64_t target, float weight) {
  const float at_target = to_float(row[target]), sum = static_cast<float>(total), factor = weight / sum;
  along(n, [&](auto as, int64_t j) { as.write(to + j, exp_of(as.read(row + j) - reference) * factor); });
  to[target] = from_float<T>(weight * (exp_fast(at_target - reference) / sum - 1.0f));
}

}  // namespace

void softmax_cross_entropy(Stream& s, Out loss, Out lse, In logits, In target, int64_t ignore) {
  const int64_t cols = logits.cols(), rows = logits.rows();
  const int32_t* at = target.as<int32_t>();
  check_targets(at, rows, cols, ignore);
  by_dtype(logits.dtype, [&](auto t) {
    const auto* from = logits.as<decltype(t)>();
    parallel_range(s, rows, 8 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const bool counts = at[r] != ignore;
        const LogSum sum = counts ? log_sum_exp(from + r * cols, cols) : LogSum{0, 1};
        lse.as<float>()[r] = sum.most + sum.log_total();
        loss.as<float>()[r] = counts ? (sum.most - to_float(from[r * cols + at[r]])) + sum.log_total() : 0.0f;
      }
    });
  });
}

void softmax_cross_entropy_backward(Stream& s, Out dlogits, In dloss, In logits, In lse, In target, int64_t ignore) {
  const int64_t cols = logits.cols(), rows = logits.rows();
  const int32_t* at = target.as<int32_t>();
  by_dtype(logits.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, rows, 8 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        T* to = dlogits.as<T>() + r * cols;
        const T* row = logits.as<T>() + r * cols;
        const float reference = lse.as<float>()[r];
        if (at[r] == ignore) std::memset(static_cast<void*>(to), 0, static_cast<size_t>(cols) * sizeof(T));
        else gradient_row(to, row, cols, reference, sum_exp(row, cols, reference), at[r], dloss.as<float>()[r]);
      }
    });
  });
}

void head_cross_entropy(Stream& s, Out loss, OutOpt dx, Acc dw, In x, In w, In target, InOpt row_scale, int64_t ignore, int64_t first) {
  using linear::Matrix;
  const int64_t rows = x.rows(), C = x.cols(), V = w.dim(0);
  const int32_t* at = target.as<int32_t>();
  check_targets(at, rows, V, ignore);
  // A chunk's logits take at most 64 MiB in f32 (or 64 rows): the head is packed anew for every chunk, which few rows would not repay.
  int64_t chunk = (16 << 20) / (V > 0 ? V : 1);
  chunk = chunk < 64 ? 64 : chunk;
  chunk = chunk < rows ? chunk : rows;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t element = sizeof(T);
    char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(chunk * V * (4 + (element == 4 ? 0 : element))) + 64));
    float* logits = reinterpret_cast<float*>(room);
    T* gradient = element == 4 ? reinterpret_cast<T*>(room) : reinterpret_cast<T*>(room + chunk * V * 4);  // f32: in place
    for (int64_t r0 = 0; r0 < rows; r0 += chunk) {
      const int64_t n = r0 + chunk < rows ? chunk : rows - r0;
      const T* xs = x.as<T>() + r0 * C;
      linear::gemm(s, n, V, C, {xs, x.dtype, C, 1}, {w.data, w.dtype, 1, C}, {logits, DType::f32, V});
      parallel_range(s, n, 16 * V, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          float* row = logits + i * V;
          const int32_t target_id = at[r0 + i];
          const bool counts = target_id != ignore;
          const LogSum sum = counts ? log_sum_exp(row, V) : LogSum{0, 1};
          loss.as<float>()[r0 + i] = counts ? (sum.most - row[target_id]) + sum.log_total() : 0.0f;
          if (!dx && !dw) continue;
          const float weight = counts ? (row_scale ? row_scale.as<float>()[r0 + i] : 1.0f) : 0.0f;
          if (counts) gradient_row(row, row, V, sum.most, sum.total, target_id, weight);
          else std::memset(row, 0, static_cast<size_t>(V) * 4);
          if constexpr (sizeof(T) != 4)
            for (int64_t j = 0; j < V; ++j) gradient[i * V + j] = from_float<T>(row[j]);
        }
      });
      if (dx) linear::gemm(s, n, C, V, {gradient, x.dtype, V, 1}, {w.data, w.dtype, C, 1}, {dx.as<T>() + r0 * C, x.dtype, C});
      if (dw)
        linear::gemm(s, dw.dim(0), C, n, {gradient + first, x.dtype, 1, V}, {xs, x.dtype, C, 1}, {dw.data, DType::f32, C}, {.accumulate = true});
    }
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
