// activation, gated_activation (SwiGLU, GeGLU) and tanh_gate, with their gradients. One struct per function holds value and slope.
#include "cpu/lane_math.h"
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// What a function is at x, and how steep; whoever uses one of the two pays for that alone.
struct Point {
  Floats value, slope;
};
struct Relu {
  static Point at(Floats x) { return {choose(x > 0.0f, x, Floats{}), choose(x > 0.0f, all(1), Floats{})}; }
};
struct SquaredRelu {
  static Point at(Floats x) { return {choose(x > 0.0f, x * x, Floats{}), choose(x > 0.0f, 2.0f * x, Floats{})}; }
};
struct Gelu {
  static Point at(Floats x) {
    const Normal n(x);
    return {x * n.below, x * n.density + n.below};
  }
};
struct GeluTanh {
  static Point at(Floats x) {
    constexpr float k = 2 * 0.79788456f, c = 0.044715f;
    const Floats g = sigmoid_fast(k * (x + c * x * x * x));  // 1 + tanh(u) is 2 sigmoid(2 u)
    return {x * g, g + x * g * (1.0f - g) * (k + 3.0f * k * c * x * x)};
  }
};
struct QuickGelu {
  static Point at(Floats x) {
    const Floats g = sigmoid_fast(1.702f * x);
    return {x * g, g + 1.702f * x * g * (1.0f - g)};
  }
};
struct Silu {
  static Point at(Floats x) {
    const Floats g = sigmoid_fast(x);
    return {x * g, g * (1.0f + x * (1.0f - g))};
  }
};
struct Tanh {
  static Point at(Floats x) {
    const Floats t = tanh_fast(x);
    return {t, 1.0f - t * t};
  }
};
struct Sigmoid {
  static Point at(Floats x) {
    const Floats g = sigmoid_fast(x);
    return {g, g * (1.0f - g)};
  }
};
struct Identity {
  static Point at(Floats x) { return {x, all(1)}; }
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

// dx = f dy; the sum of dy x
template <class T>
float gate_row(T* dx, const T* dy, const T* x, int64_t n, float f) {
  RowSum sum;
  along(n, [&](auto as, int64_t j) {
    const auto v = as.read(dy + j);
    as.write(dx + j, v * f);
    sum.add_product(v, as.read(x + j));
  });
  return static_cast<float>(sum.total());
}

constexpr int64_t kWork = 8;  // element operations in one of these functions, about

}  // namespace

void activation(Stream& s, Out y, In x, Activation kind) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      each<T, 1, 1>(s, {y.as<T>()}, {x.as<T>()}, x.size(), kWork, [=](const Floats(&in)[1], Floats(&out)[1]) { out[0] = act.at(in[0]).value; });
    });
  });
}

void activation_backward(Stream& s, Out dx, In dy, In x, Activation kind) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      each<T, 1, 2>(s, {dx.as<T>()}, {dy.as<T>(), x.as<T>()}, x.size(), kWork,
                    [=](const Floats(&in)[2], Floats(&out)[1]) { out[0] = in[0] * act.at(in[1]).slope; });
    });
  });
}

void gated_activation(Stream& s, Out y, In gate, In up, Activation kind) {
  by_dtype(gate.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      each<T, 1, 2>(s, {y.as<T>()}, {gate.as<T>(), up.as<T>()}, gate.size(), kWork,
                    [=](const Floats(&in)[2], Floats(&out)[1]) { out[0] = act.at(in[0]).value * in[1]; });
    });
  });
}

void gated_activation_backward(Stream& s, Out dgate, Out dup, In dy, In gate, In up, Activation kind) {
  by_dtype(gate.dtype, [&](auto t) {
    using T = decltype(t);
    by_kind(kind, [&](auto act) {
      each<T, 2, 3>(s, {dgate.as<T>(), dup.as<T>()}, {dy.as<T>(), gate.as<T>(), up.as<T>()}, gate.size(), 2 * kWork,
                    [=](const Floats(&in)[3], Floats(&out)[2]) {
                      const Point p = act.at(in[1]);
                      out[0] = in[0] * in[2] * p.slope;
                      out[1] = in[0] * p.value;
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
        sums[i] = gate_row(to + i * width, d + i * width, from + i * width, width, f);
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
