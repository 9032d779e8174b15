// GroupNorm and inference BatchNorm over x (B,C,...): channels are dim 1, L = the product of what follows.
#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

struct Channels {
  int64_t B, C, L;
  explicit Channels(const View& x) : B(x.shape[0]), C(x.shape[1]), L(1) {
    for (int i = 2; i < x.rank; ++i) L *= x.shape[i];
  }
};

float value(const View& v, int64_t i) { return v.dtype == DType::f32 ? v.as<float>()[i] : to_float(v.as<bf16>()[i]); }

// For one line of L elements: sums of dy and of dy * (x - mean).
template <class T>
void line_sums(const T* dy, const T* x, int64_t n, float mean, double& sum, double& dot) {
  float a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
  for (int64_t i = 0; i < n; ++i) {
    a += to_float(dy[i]);
    b += to_float(dy[i]) * (to_float(x[i]) - mean);
  }
  sum = a;
  dot = b;
}

}  // namespace

void group_norm(Stream& s, Out y, Out mean, Out rstd, In x, In w, In b, int64_t groups, double eps) {
  const Channels n(x);
  const int64_t per = n.C / groups, size = per * n.L;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, n.B * groups, 6 * size, [&](int64_t begin, int64_t end, int) {
      for (int64_t g = begin; g < end; ++g) {
        const T* from = x.as<T>() + g * size;
        T* to = y.as<T>() + g * size;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < size; ++i) sum += to_float(from[i]);
        const float m = sum / static_cast<float>(size);
        float square = 0;
#pragma omp simd reduction(+ : square)
        for (int64_t i = 0; i < size; ++i) square += (to_float(from[i]) - m) * (to_float(from[i]) - m);
        const float k = 1.0f / std::sqrt(square / static_cast<float>(size) + static_cast<float>(eps));
        mean.as<float>()[g] = m;
        rstd.as<float>()[g] = k;
        for (int64_t c = 0; c < per; ++c) {
          const int64_t channel = g % groups * per + c;
          const float wk = value(w, channel) * k, shift = value(b, channel) - m * wk;
          for (int64_t i = c * n.L; i < (c + 1) * n.L; ++i) to[i] = from_float<T>(to_float(from[i]) * wk + shift);
        }
      }
    });
  });
}

void group_norm_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, In w, In mean, In rstd, int64_t groups) {
  const Channels n(x);
  const int64_t per = n.C / groups, size = per * n.L;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    // Sums per (batch, channel) serve dx and the weight gradients alike.
    double* sums = static_cast<double*>(s.shared.get(static_cast<size_t>(n.B * n.C) * 16 + 16));
    double* dots = sums + n.B * n.C;
    parallel_range(s, n.B * n.C, 4 * n.L, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t g = r / n.C * groups + r % n.C / per;
        line_sums(dy.as<T>() + r * n.L, x.as<T>() + r * n.L, n.L, mean.as<float>()[g], sums[r], dots[r]);
      }
    });
    if (dx)
      parallel_range(s, n.B * groups, 6 * size, [&](int64_t begin, int64_t end, int) {
        for (int64_t g = begin; g < end; ++g) {
          const float m = mean.as<float>()[g], k = rstd.as<float>()[g];
          const int64_t first = g % groups * per;
          double sum = 0, dot = 0;
          for (int64_t c = 0; c < per; ++c) {
            const int64_t r = g / groups * n.C + first + c;
            sum += sums[r] * value(w, first + c);
            dot += dots[r] * value(w, first + c);
          }
          const float a = static_cast<float>(sum / static_cast<double>(size));
          const float d = static_cast<float>(dot / static_cast<double>(size)) * k * k;
          for (int64_t c = 0; c < per; ++c) {
            const float wc = value(w, first + c);
            for (int64_t i = g * size + c * n.L; i < g * size + (c + 1) * n.L; ++i)
              dx.as<T>()[i] = from_float<T>(k * (to_float(dy.as<T>()[i]) * wc - a - (to_float(x.as<T>()[i]) - m) * d));
          }
        }
      });
    for (int64_t c = 0; c < n.C && (dw || db); ++c) {
      double tw = 0, tb = 0;
      for (int64_t b = 0; b < n.B; ++b) {
        tw += dots[b * n.C + c] * rstd.as<float>()[b * groups + c / per];
        tb += sums[b * n.C + c];
      }
      if (dw) dw.as<float>()[c] += static_cast<float>(tw);
      if (db) db.as<float>()[c] += static_cast<float>(tb);
    }
  });
}

void batch_norm_inference(Stream& s, Out y, In x, In mean, In var, In w, In b, double eps) {
  const Channels n(x);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, n.B * n.C, n.L + 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t c = r % n.C;
        const float k = value(w, c) / std::sqrt(var.as<float>()[c] + static_cast<float>(eps)), shift = value(b, c) - mean.as<float>()[c] * k;
        for (int64_t i = r * n.L; i < (r + 1) * n.L; ++i) y.as<T>()[i] = from_float<T>(to_float(x.as<T>()[i]) * k + shift);
      }
    });
  });
}

void batch_norm_inference_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, In mean, In var, In w, double eps) {
  const Channels n(x);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (dx)
      parallel_range(s, n.B * n.C, n.L + 8, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const float k = value(w, r % n.C) / std::sqrt(var.as<float>()[r % n.C] + static_cast<float>(eps));
          for (int64_t i = r * n.L; i < (r + 1) * n.L; ++i) dx.as<T>()[i] = from_float<T>(to_float(dy.as<T>()[i]) * k);
        }
      });
    if (!dw && !db) return;
    parallel_range(s, n.C, n.B * n.L * 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t c = begin; c < end; ++c) {
        double tw = 0, tb = 0;
        for (int64_t b = 0; b < n.B; ++b) {
          double sum, dot;
          line_sums(dy.as<T>() + (b * n.C + c) * n.L, x.as<T>() + (b * n.C + c) * n.L, n.L, mean.as<float>()[c], sum, dot);
          tb += sum;
          tw += dot;
        }
        if (dw) dw.as<float>()[c] += static_cast<float>(tw / std::sqrt(static_cast<double>(var.as<float>()[c]) + eps));
        if (db) db.as<float>()[c] += static_cast<float>(tb);
      }
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
