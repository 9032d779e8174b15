// activation, gated_activation (SwiGLU, GeGLU) and tanh_gate, with their gradients. One struct per function holds value and slope.
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

struct Relu {
  static float value(float x) { return x > 0 ? x : 0.0f; }
  static float slope(float x) { return x > 0 ? 1.0f : 0.0f; }
};
struct SquaredRelu {
  static float value(float x) { return x > 0 ? x * x : 0.0f; }
  static float slope(float x) { return x > 0 ? 2.0f * x : 0.0f; }
};
struct Gelu {
  static float value(float x) { return 0.5f * x * (1.0f + erf_fast(x * 0.70710678f)); }
  static float slope(float x) { return fused(x * 0.39894228f, exp_fast(-0.5f * x * x), 0.5f * (1.0f + erf_fast(x * 0.70710678f))); }
};
struct GeluTanh {
  static constexpr float k = 0.79788456f, c = 0.044715f;
  static float value(float x) { return 0.5f * x * (1.0f + tanh_fast(k * (x + c * x * x * x))); }
  static float slope(float x) {
    const float t = tanh_fast(k * (x + c * x * x * x));
    return fused(0.5f * x * (1.0f - t * t) * k, 1.0f + 3.0f * c * x * x, 0.5f * (1.0f + t));
  }
};
struct QuickGelu {
  static float value(float x) { return x * sigmoid_fast(1.702f * x); }
  static float slope(float x) {
    const float g = sigmoid_fast(1.702f * x);
    return g + 1.702f * x * g * (1.0f - g);
  }
};
struct Silu {
  static float value(float x) { return x * sigmoid_fast(x); }
  static float slope(float x) {
    const float g = sigmoid_fast(x);
    return g * (1.0f + x * (1.0f - g));
  }
};
struct Tanh {
  static float value(float x) { return tanh_fast(x); }
  static float slope(float x) {
    const float t = tanh_fast(x);
    return 1.0f - t * t;
  }
};
struct Sigmoid {
  static float value(float x) { return sigmoid_fast(x); }
  static float slope(float x) {
    const float g = sigmoid_fast(x);
    return g * (1.0f - g);
  }
};
struct Identity {
  static float value(float x) { return x; }
  static float slope(float) { return 1.0f; }
};

template <class F>
void by_kind(Activation kind, const F& f) {
  switch (kind) {
    case Activation::relu:
      return f(Relu{});
    case Activation::squared_relu:
      return f(SquaredRelu{});
    case Activation::gelu:
      return f(Gelu{});
    case Activation::gelu_tanh:
      return f(GeluTanh{});
    case Activation::quick_gelu:
      return f(QuickGelu{});
    case Activation::silu:
      return f(Silu{});
    case Activation::tanh:
      return f(Tanh{});
    case Activation::sigmoid:
      return f(Sigmoid{});
    case Activation::identity:
      return f(Identity{});
  }
}

constexpr int64_t kWork = 8;  // element operations in one of these functions, about

}  // namespace

void activation(Stream& s, Out y, In x, Activation kind) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      const T* from = x.as<T>();
      T* to = y.as<T>();
      parallel_range(s, x.size(), kWork, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(act.value(to_float(from[i])));
      });
    });
  });
}

void activation_backward(Stream& s, Out dx, In dy, In x, Activation kind) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      const T *g = dy.as<T>(), *from = x.as<T>();
      T* to = dx.as<T>();
      parallel_range(s, x.size(), kWork, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(to_float(g[i]) * act.slope(to_float(from[i])));
      });
    });
  });
}

void gated_activation(Stream& s, Out y, In gate, In up, Activation kind) {
  by_dtype(gate.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      const T *a = gate.as<T>(), *b = up.as<T>();
      T* to = y.as<T>();
      parallel_range(s, gate.size(), kWork, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(act.value(to_float(a[i])) * to_float(b[i]));
      });
    });
  });
}

void gated_activation_backward(Stream& s, Out dgate, Out dup, In dy, In gate, In up, Activation kind) {
  by_dtype(gate.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      const T *g = dy.as<T>(), *a = gate.as<T>(), *b = up.as<T>();
      T *da = dgate.as<T>(), *db = dup.as<T>();
      parallel_range(s, gate.size(), 2 * kWork, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const float x = to_float(a[i]), d = to_float(g[i]);
          da[i] = from_float<T>(d * to_float(b[i]) * act.slope(x));
          db[i] = from_float<T>(d * act.value(x));
        }
      });
    });
  });
}

// x as (n, G, W): gate g[j] for its W elements. One gate for all is G = 1, W = everything of a row.
void tanh_gate(Stream& s, Out y, In x, InOpt residual, In g) {
  const int64_t gates = g.size(), width = gates == 1 ? x.cols() : x.dim(-1), rows = width ? x.size() / width : 0;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const T *from = x.as<T>(), *r = residual.as<T>();
    T* to = y.as<T>();
    parallel_range(s, rows, width, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const float f = tanh_fast(g.as<float>()[i % gates]);
        for (int64_t j = i * width; j < (i + 1) * width; ++j) to[j] = from_float<T>((r ? to_float(r[j]) : 0.0f) + f * to_float(from[j]));
      }
    });
  });
}

void tanh_gate_backward(Stream& s, Out dx, Acc dg, In dy, In x, In g) {
  const int64_t gates = g.size(), width = gates == 1 ? x.cols() : x.dim(-1), rows = width ? x.size() / width : 0;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const T *from = x.as<T>(), *d = dy.as<T>();
    T* to = dx.as<T>();
    // One sum per row, then each gate adds its rows up in order (f64: there may be many).
    float* sums = static_cast<float*>(s.shared.get(static_cast<size_t>(rows) * 4 + 4));
    parallel_range(s, rows, 2 * width, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const float f = tanh_fast(g.as<float>()[i % gates]);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = i * width; j < (i + 1) * width; ++j) {
          const float v = to_float(d[j]);
          to[j] = from_float<T>(f * v);
          sum += v * to_float(from[j]);
        }
        sums[i] = sum;
      }
    });
    if (!dg) return;
    for (int64_t k = 0; k < gates; ++k) {
      double total = 0;
      for (int64_t i = k; i < rows; i += gates) total += sums[i];
      const float f = tanh_fast(g.as<float>()[k]);
      dg.as<float>()[k] += static_cast<float>(total) * (1.0f - f * f);
    }
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
