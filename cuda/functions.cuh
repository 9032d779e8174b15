// The activation functions: one struct for each, with its value and its slope.
#pragma once
#include "elementwise.cuh"

namespace anymal::cuda {

// The fast forms cost a handful of instructions, which memory's pace hides; their errors are a few units of the last place of f32.
__device__ __forceinline__ float sigmoid_of(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
// Absolute error 1e-7: for sums like 1 + tanh(x).
__device__ __forceinline__ float tanh_of(float x) { return 1.0f - __fdividef(2.0f, 1.0f + __expf(2.0f * fminf(x, 40.0f))); }

struct Relu {
  static __device__ float value(float x) { return x > 0 ? x : 0.0f; }
  static __device__ float slope(float x) { return x > 0 ? 1.0f : 0.0f; }
};
struct SquaredRelu {
  static __device__ float value(float x) { return x > 0 ? x * x : 0.0f; }
  static __device__ float slope(float x) { return x > 0 ? 2.0f * x : 0.0f; }
};
struct Gelu {
  static __device__ float value(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
  static __device__ float slope(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * __expf(-0.5f * x * x); }
};
struct GeluTanh {
  static constexpr float k = 0.79788456f, c = 0.044715f;
  static __device__ float value(float x) { return 0.5f * x * (1.0f + tanh_of(k * (x + c * x * x * x))); }
  static __device__ float slope(float x) {
    const float t = tanh_of(k * (x + c * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * k * (1.0f + 3.0f * c * x * x);
  }
};
struct QuickGelu {
  static __device__ float value(float x) { return x * sigmoid_of(1.702f * x); }
  static __device__ float slope(float x) {
    const float g = sigmoid_of(1.702f * x);
    return g + 1.702f * x * g * (1.0f - g);
  }
};
struct Silu {
  static __device__ float value(float x) { return x * sigmoid_of(x); }
  static __device__ float slope(float x) {
    const float g = sigmoid_of(x);
    return g * (1.0f + x * (1.0f - g));
  }
};
struct Tanh {
  static __device__ float value(float x) { return tanhf(x); }
  static __device__ float slope(float x) {
    const float t = tanhf(x);
    return 1.0f - t * t;
  }
};
struct Sigmoid {
  static __device__ float value(float x) { return sigmoid_of(x); }
  static __device__ float slope(float x) {
    const float g = sigmoid_of(x);
    return g * (1.0f - g);
  }
};
struct Identity {
  static __device__ float value(float x) { return x; }
  static __device__ float slope(float) { return 1.0f; }
};

// Of hosts and of kernels: f is of one of them.
#pragma nv_exec_check_disable
template <class F>
__host__ __device__ __forceinline__ void by_kind(Activation kind, const F& f) {
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

}  // namespace anymal::cuda
