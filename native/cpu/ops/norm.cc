// RMSNorm and LayerNorm over the last size, L2 normalisation of rows, and their gradients. Rows go in parallel; weight gradients are summed
// by columns over row blocks in order, so that nothing depends on the number of threads.
#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// A norm's weight or bias as f32, whatever x is: itself, or widened into `room` (n floats); absent: n times `otherwise`.
const float* as_floats(const View& v, float otherwise, int64_t n, float* room) {
  if (v && v.dtype == DType::f32) return v.as<float>();
  for (int64_t i = 0; i < n; ++i) room[i] = v ? to_float(v.as<bf16>()[i]) : otherwise;
  return room;
}
float* room_for(Stream& s, int64_t floats) { return static_cast<float*>(s.shared.get(static_cast<size_t>(floats) * 4 + 4)); }

template <class T>
float sum_of(const T* x, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += to_float(x[i]);
  return sum;
}
template <class T>
float square_sum(const T* x, int64_t n, float mean) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += (to_float(x[i]) - mean) * (to_float(x[i]) - mean);
  return sum;
}

// dw (C) += sum_r dy * (x - mean_r) * rstd_r, db (C) += sum_r dy. mean null: 0.
template <class T>
void weight_gradients(Stream& s, float* dw, float* db, const T* dy, const T* x, const float* mean, const float* rstd, int64_t rows, int64_t cols) {
  constexpr int64_t strip = 64;
  parallel_range(s, (cols + strip - 1) / strip, rows * strip * 2, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t j0 = c * strip, n = j0 + strip < cols ? strip : cols - j0;
      float tw[strip] = {}, tb[strip] = {};
      for (int64_t r0 = 0; r0 < rows; r0 += 256) {
        float sw[strip] = {}, sb[strip] = {};
        const int64_t r1 = r0 + 256 < rows ? r0 + 256 : rows;
        for (int64_t r = r0; r < r1; ++r) {
          const float m = mean ? mean[r] : 0.0f, k = rstd[r];
          const T *g = dy + r * cols + j0, *v = x + r * cols + j0;
          for (int64_t j = 0; j < n; ++j) {
            sw[j] += to_float(g[j]) * (to_float(v[j]) - m) * k;
            sb[j] += to_float(g[j]);
          }
        }
        for (int64_t j = 0; j < n; ++j) tw[j] += sw[j], tb[j] += sb[j];
      }
      for (int64_t j = 0; j < n; ++j) {
        if (dw) dw[j0 + j] += tw[j];
        if (db) db[j0 + j] += tb[j];
      }
    }
  });
}

}  // namespace

void rms_norm(Stream& s, Out y, Out rstd, In x, In w, double eps) {
  const int64_t cols = x.cols();
  const float* weight = as_floats(w, 1, cols, room_for(s, cols));
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, x.rows(), 4 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const T* from = x.as<T>() + r * cols;
        T* to = y.as<T>() + r * cols;
        const float k = 1.0f / std::sqrt(square_sum(from, cols, 0) / static_cast<float>(cols) + static_cast<float>(eps));
        rstd.as<float>()[r] = k;
        for (int64_t j = 0; j < cols; ++j) to[j] = from_float<T>(to_float(from[j]) * k * weight[j]);
      }
    });
  });
}

// dx = k (dy w - xhat mean(dy w xhat)), xhat = x k
void rms_norm_backward(Stream& s, OutOpt dx, Acc dw, In dy, In x, In w, In rstd) {
  const int64_t cols = x.cols();
  const float* weight = as_floats(w, 1, cols, room_for(s, cols));
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (dx)
      parallel_range(s, x.rows(), 6 * cols, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const T *g = dy.as<T>() + r * cols, *from = x.as<T>() + r * cols;
          T* to = dx.as<T>() + r * cols;
          const float k = rstd.as<float>()[r];
          float dot = 0;
#pragma omp simd reduction(+ : dot)
          for (int64_t j = 0; j < cols; ++j) dot += to_float(g[j]) * weight[j] * to_float(from[j]);
          const float c = dot * k * k / static_cast<float>(cols);
          for (int64_t j = 0; j < cols; ++j) to[j] = from_float<T>(k * (to_float(g[j]) * weight[j] - to_float(from[j]) * c));
        }
      });
    if (dw) weight_gradients<T>(s, dw.as<float>(), nullptr, dy.as<T>(), x.as<T>(), nullptr, rstd.as<float>(), x.rows(), cols);
  });
}

void layer_norm(Stream& s, Out y, Out mean, Out rstd, In x, InOpt w, InOpt b, double eps) {
  const int64_t cols = x.cols();
  float* room = room_for(s, 2 * cols);
  const float *weight = as_floats(w, 1, cols, room), *bias = as_floats(b, 0, cols, room + cols);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, x.rows(), 6 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const T* from = x.as<T>() + r * cols;
        T* to = y.as<T>() + r * cols;
        const float m = sum_of(from, cols) / static_cast<float>(cols);
        const float k = 1.0f / std::sqrt(square_sum(from, cols, m) / static_cast<float>(cols) + static_cast<float>(eps));
        mean.as<float>()[r] = m;
        rstd.as<float>()[r] = k;
        for (int64_t j = 0; j < cols; ++j) to[j] = from_float<T>((to_float(from[j]) - m) * k * weight[j] + bias[j]);
      }
    });
  });
}

// dx = k (dy w - mean(dy w) - xhat mean(dy w xhat))
void layer_norm_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, InOpt w, In mean, In rstd) {
  const int64_t cols = x.cols();
  const float* weight = as_floats(w, 1, cols, room_for(s, cols));
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (dx)
      parallel_range(s, x.rows(), 8 * cols, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const T *g = dy.as<T>() + r * cols, *from = x.as<T>() + r * cols;
          T* to = dx.as<T>() + r * cols;
          const float m = mean.as<float>()[r], k = rstd.as<float>()[r];
          float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
          for (int64_t j = 0; j < cols; ++j) {
            const float v = to_float(g[j]) * weight[j];
            sum += v;
            dot += v * (to_float(from[j]) - m);
          }
          const float a = sum / static_cast<float>(cols), c = dot * k * k / static_cast<float>(cols);
          for (int64_t j = 0; j < cols; ++j) to[j] = from_float<T>(k * (to_float(g[j]) * weight[j] - a - (to_float(from[j]) - m) * c));
        }
      });
    if (dw || db) weight_gradients<T>(s, dw.as<float>(), db.as<float>(), dy.as<T>(), x.as<T>(), mean.as<float>(), rstd.as<float>(), x.rows(), cols);
  });
}

void l2_normalize(Stream& s, Out y, Out norm, In x, double eps) {
  const int64_t cols = x.cols();
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, x.rows(), 3 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const T* from = x.as<T>() + r * cols;
        T* to = y.as<T>() + r * cols;
        const float n = std::sqrt(square_sum(from, cols, 0)), k = 1.0f / (n > static_cast<float>(eps) ? n : static_cast<float>(eps));
        norm.as<float>()[r] = n;
        for (int64_t j = 0; j < cols; ++j) to[j] = from_float<T>(to_float(from[j]) * k);
      }
    });
  });
}

// dx = (dy - y (y . dy)) / |x|; where |x| <= eps the divisor is the constant eps and the projection is absent.
void l2_normalize_backward(Stream& s, Out dx, In dy, In y, In norm, double eps) {
  const int64_t cols = y.cols();
  by_dtype(y.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, y.rows(), 4 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const T *g = dy.as<T>() + r * cols, *v = y.as<T>() + r * cols;
        T* to = dx.as<T>() + r * cols;
        const float n = norm.as<float>()[r], least = static_cast<float>(eps);
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < cols; ++j) dot += to_float(g[j]) * to_float(v[j]);
        const float k = 1.0f / (n > least ? n : least), c = n > least ? dot : 0.0f;
        for (int64_t j = 0; j < cols; ++j) to[j] = from_float<T>(k * (to_float(g[j]) - to_float(v[j]) * c));
      }
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
