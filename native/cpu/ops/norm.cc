// RMSNorm and LayerNorm over the last size, L2 normalisation of rows, and their gradients. Rows go in parallel; weight gradients are summed in the
// same pass over the rows (cpu/row_parts.h).
#include <type_traits>

#include "cpu/ops.h"
#include "cpu/row_parts.h"

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
double sum_of(const T* x, int64_t n) {
  RowSum sum;
  along(n, [&](auto as, int64_t j) { sum.add(as.read(x + j)); });
  return sum.total();
}
template <class T>
double square_sum(const T* x, int64_t n, float mean) {
  RowSum sum;
  along(n, [&](auto as, int64_t j) {
    const auto v = as.read(x + j) - mean;
    sum.add_product(v, v);
  });
  return sum.total();
}
template <class T>
double dot(const T* x, const T* y, int64_t n) {
  RowSum sum;
  along(n, [&](auto as, int64_t j) { sum.add_product(as.read(x + j), as.read(y + j)); });
  return sum.total();
}

// y = (x - mean) k w + b
template <class T>
void normal_row(T* y, const T* x, const float* w, const float* b, int64_t n, float mean, float k) {
  if (b)
    along(n, [&](auto as, int64_t j) {
      as.write(y + j, fused((as.read(x + j) - mean) * k, as.template read_beside<T>(w + j), as.template read_beside<T>(b + j)));
    });
  else along(n, [&](auto as, int64_t j) { as.write(y + j, as.read(x + j) * k * as.template read_beside<T>(w + j)); });
}

// y = x k w; gives k = 1 / sqrt(mean(x^2) + eps)
template <class T>
float root_normal_row(T* y, const T* x, const float* w, int64_t n, double eps) {
  const float k = static_cast<float>(1.0 / std::sqrt(square_sum(x, n, 0) / static_cast<double>(n) + eps));
  normal_row(y, x, w, nullptr, n, 0, k);
  return k;
}

// sum dy w, and sum dy w (x - mean)
struct Sums {
  double plain, centred;
};
template <class T>
Sums gradient_sums(const T* dy, const T* x, const float* w, int64_t n, float mean) {
  RowSum plain, centred;
  along(n, [&](auto as, int64_t j) {
    const auto v = as.read(dy + j) * as.template read_beside<T>(w + j);
    plain.add(v);
    centred.add_product(v, as.read(x + j) - mean);
  });
  return {plain.total(), centred.total()};
}

// dx = k (dy w - a - (x - mean) c) + past where that is, and dw += dy (x - mean) k where dw is: what is read is read once for both.
template <class T>
void gradient_row(T* dx, float* dw, const T* dy, const T* x, const T* past, const float* w, int64_t n, float mean, float k, float a, float c) {
  const auto row = [&](auto with_weight, auto with_past) {
    along(n, [&](auto as, int64_t j) {
      const auto g = as.read(dy + j), centred = as.read(x + j) - mean;
      const auto d = fused(centred, -c, fused(g, as.template read_beside<T>(w + j), -a));
      if constexpr (with_past) as.write(dx + j, fused(d, k, as.read(past + j)));
      else as.write(dx + j, d * k);
      if constexpr (with_weight) as.template write_beside<T>(dw + j, fused(g * centred, k, as.template read_beside<T>(dw + j)));
    });
  };
  const auto either = [&](auto with_weight) {
    if (past) row(with_weight, std::true_type{});
    else row(with_weight, std::false_type{});
  };
  if (dw) either(std::true_type{});
  else either(std::false_type{});
}
// dw += dy (x - mean) k, db += dy
template <class T>
void add_weight_row(float* dw, const T* dy, const T* x, int64_t n, float mean, float k) {
  along(n, [&](auto as, int64_t j) {
    as.template write_beside<T>(dw + j, fused(as.read(dy + j) * (as.read(x + j) - mean), k, as.template read_beside<T>(dw + j)));
  });
}
template <class T>
void add_bias_row(float* db, const T* dy, int64_t n) {
  along(n, [&](auto as, int64_t j) { as.template write_beside<T>(db + j, as.read(dy + j) + as.template read_beside<T>(db + j)); });
}

// Both norms' gradients: LayerNorm's, or with mean null RMSNorm's, whose mean is 0 and not subtracted from the gradient either.
template <class T>
void norm_backward(Stream& s, T* dx, float* dw, float* db, const T* dy, const T* x, const T* past, const View& w, const float* mean,
                   const float* rstd, int64_t rows, int64_t cols) {
  const int64_t height = dw || db      ? rows_of_a_part(cols)
                         : cols < 8192 ? 8192 / (cols > 0 ? cols : 1)
                                       : 1,
                strips = (rows + height - 1) / height, step = ((dw ? 1 : 0) + (db ? 1 : 0)) * cols;
  float* room = room_for(s, cols + strips * step);
  const float* weight = as_floats(w, 1, cols, room);
  float* parts = room + cols;
  parallel(s, strips, [=](int64_t strip, int) {
    float *part_w = parts + strip * step, *part_b = part_w + (dw ? cols : 0);
    std::memset(part_w, 0, static_cast<size_t>(step) * 4);
    for (int64_t r = strip * height; r < rows && r < (strip + 1) * height; ++r) {
      const T *g = dy + r * cols, *from = x + r * cols;
      const float m = mean ? mean[r] : 0.0f, k = rstd[r];
      if (dx) {
        const Sums sums = gradient_sums(g, from, weight, cols, m);
        const double n = static_cast<double>(cols), k2 = static_cast<double>(k) * static_cast<double>(k);
        gradient_row(dx + r * cols, dw ? part_w : nullptr, g, from, past ? past + r * cols : nullptr, weight, cols, m, k,
                     mean ? static_cast<float>(sums.plain / n) : 0.0f, static_cast<float>(sums.centred * k2 / n));
      }
      if (dw && !dx) add_weight_row(part_w, g, from, cols, m, k);
      if (db) add_bias_row(part_b, g, cols);
    }
  });
  if (dw) add_parts(s, dw, parts, strips, cols, step);
  if (db) add_parts(s, db, parts + (dw ? cols : 0), strips, cols, step);
}

}  // namespace

void rms_norm(Stream& s, Out y, Out rstd, In x, In w, double eps) {
  const int64_t cols = x.cols();
  const float* weight = as_floats(w, 1, cols, room_for(s, cols));
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, x.rows(), 4 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) rstd.as<float>()[r] = root_normal_row(y.as<T>() + r * cols, x.as<T>() + r * cols, weight, cols, eps);
    });
  });
}

void add_rms_norm(Stream& s, Out sum, Out y, Out rstd, In a, In b, In w, double eps) {
  const int64_t cols = a.cols();
  const float* weight = as_floats(w, 1, cols, room_for(s, cols));
  by_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, a.rows(), 5 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const T *p = a.as<T>() + r * cols, *q = b.as<T>() + r * cols;
        T* to = sum.as<T>() + r * cols;
        along(cols, [&](auto as, int64_t j) { as.write(to + j, as.read(p + j) + as.read(q + j)); });
        rstd.as<float>()[r] = root_normal_row(y.as<T>() + r * cols, to, weight, cols, eps);
      }
    });
  });
}

// dx = k (dy w - xhat mean(dy w xhat)) + past, xhat = x k
void rms_norm_backward(Stream& s, OutOpt dx, Acc dw, In dy, In x, In w, In rstd, InOpt past) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    norm_backward(s, dx.as<T>(), dw.as<float>(), nullptr, dy.as<T>(), x.as<T>(), past.as<T>(), w, nullptr, rstd.as<float>(), x.rows(), x.cols());
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
        const float m = static_cast<float>(sum_of(from, cols) / static_cast<double>(cols));
        const float k = static_cast<float>(1.0 / std::sqrt(square_sum(from, cols, m) / static_cast<double>(cols) + eps));
        mean.as<float>()[r] = m;
        rstd.as<float>()[r] = k;
        normal_row(to, from, weight, bias, cols, m, k);
      }
    });
  });
}

// dx = k (dy w - mean(dy w) - xhat mean(dy w xhat))
void layer_norm_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, InOpt w, In mean, In rstd) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    norm_backward(s, dx.as<T>(), dw.as<float>(), db.as<float>(), dy.as<T>(), x.as<T>(), static_cast<const T*>(nullptr), w, mean.as<float>(),
                  rstd.as<float>(), x.rows(), x.cols());
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
        const float n = static_cast<float>(std::sqrt(square_sum(from, cols, 0))),
                    k = 1.0f / (n > static_cast<float>(eps) ? n : static_cast<float>(eps));
        norm.as<float>()[r] = n;
        along(cols, [&](auto as, int64_t j) { as.write(to + j, as.read(from + j) * k); });
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
        const float k = 1.0f / (n > least ? n : least), c = n > least ? static_cast<float>(dot(g, v, cols)) : 0.0f;
        along(cols, [&](auto as, int64_t j) { as.write(to + j, fused(as.read(v + j), -c, as.read(g + j)) * k); });
      }
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
