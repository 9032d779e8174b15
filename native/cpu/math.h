// float exp, tanh and sigmoid without branches, so that loops over them vectorise. Errors, measured by test/native/elementwise.cc against
// double: exp 2 ulp, tanh 2e-7 absolute. Coefficients: least-squares fits refined toward minimax (Lawson), made for this file.
#pragma once
#include <bit>
#include <cstdint>

#include "cpu/kernel.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// e^x = 2^n e^r with r in [-ln2/2, ln2/2]. Overflows to infinity, underflows through denormals to 0; NaN stays NaN.
inline float exp_fast(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -110.0f ? -110.0f : x;
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const float t = x * 1.44269504089f + magic;
  const float n = t - magic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.390130574e-03f;
  p = p * r + 8.363200052e-03f;
  p = p * r + 4.166685414e-02f;
  p = p * r + 1.666657696e-01f;
  p = p * r + 4.999999955e-01f;
  p = (p * r) * r + r + 1.0f;
  // 2^n in two factors: n reaches from -159 to 128, beyond one exponent field.
  const int32_t i = std::bit_cast<int32_t>(t) - std::bit_cast<int32_t>(magic), half = i >> 1;
  const float a = std::bit_cast<float>((half + 127) << 23), b = std::bit_cast<float>((i - half + 127) << 23);
  return p * a * b;
}

inline float sigmoid_fast(float x) { return 1.0f / (1.0f + exp_fast(-x)); }

inline float tanh_fast(float x) {
  const float a = x < 0 ? -x : x, z = x * x;
  float p = -5.937312090e-03f;
  p = p * z + 2.088355799e-02f;
  p = p * z - 5.382606260e-02f;
  p = p * z + 1.333260013e-01f;
  p = p * z - 3.333332720e-01f;
  const float small = x + x * z * p;
  const float large = 1.0f - 2.0f / (exp_fast(2.0f * a) + 1.0f);
  return a < 0.625f ? small : (x < 0 ? -large : large);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
