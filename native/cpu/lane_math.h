// exp and its kin in lanes, the same functions as for one number (cpu/math.h), and the normal distribution. What they lose against double precision
// is held by test/native/elementwise.cc at every level. Coefficients: least-squares fits refined toward minimax (Lawson), made for these files.
#pragma once
#include <bit>
#include <cstdint>

#include "cpu/lanes.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// x, or the nearer end of [low, high]; NaN stays NaN: of a NaN and a number these instructions take the second.
inline Floats within(Floats x, float low, float high) {
#if defined(__AVX512F__)
  const __m512 y = _mm512_maskz_min_ps(0xffff, reinterpret_cast<__m512>(all(high)), reinterpret_cast<__m512>(x));
  return reinterpret_cast<Floats>(_mm512_maskz_max_ps(0xffff, reinterpret_cast<__m512>(all(low)), y));
#elif defined(__AVX2__)
  const __m256 y = _mm256_min_ps(reinterpret_cast<__m256>(all(high)), reinterpret_cast<__m256>(x));
  return reinterpret_cast<Floats>(_mm256_max_ps(reinterpret_cast<__m256>(all(low)), y));
#elif defined(__x86_64__)
  const __m128 y = _mm_min_ps(reinterpret_cast<__m128>(all(high)), reinterpret_cast<__m128>(x));
  return reinterpret_cast<Floats>(_mm_max_ps(reinterpret_cast<__m128>(all(low)), y));
#else
  x = choose(x > high, all(high), x);
  return choose(x < low, all(low), x);
#endif
}

constexpr float kRounds = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which stands in the low bits

// p 2^n, where t is n + kRounds. In two factors: n reaches from -159 to 128, beyond one exponent field.
inline Floats times_power(Floats p, Floats t) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_maskz_scalef_ps(0xffff, reinterpret_cast<__m512>(p), reinterpret_cast<__m512>(t - kRounds)));
#else
  const Ints n = reinterpret_cast<Ints>(t), half = n >> 1;  // what kRounds adds to either is shifted out below
  return p * reinterpret_cast<Floats>((half << 23) + std::bit_cast<int32_t>(1.0f)) *
         reinterpret_cast<Floats>(((n - half) << 23) + std::bit_cast<int32_t>(1.0f));
#endif
}
// 2^n for n + bias from 0 to 255, where t is n + bias + kRounds.
inline Floats power_of_two(Floats t) { return reinterpret_cast<Floats>(reinterpret_cast<Units>(t) << 23); }

// x - n ln 2
inline Floats less_logarithms(Floats x, Floats n) {
#if defined(__FMA__)
  return x - n * 0.693147180560f;  // the product is not rounded
#else
  return (x - n * 0.693359375f) + n * 2.12194440e-4f;
#endif
}

// e^r for r in [-ln2/2, ln2/2].
inline Floats exp_near_zero(Floats r) {
  const Floats s = r * r, high = s * 1.390130574e-03f + (r * 8.363200052e-03f + 4.166685414e-02f);
  const Floats p = high * s + (r * 1.666657696e-01f + 4.999999955e-01f);
  return (p * r + 1.0f) * r + 1.0f;
}

// e^x = 2^n e^r with r in [-ln2/2, ln2/2]. Overflows to infinity, underflows through denormals to 0; NaN stays NaN.
inline Floats exp_fast(Floats x) {
  x = within(x, -110.0f, 89.0f);
  const Floats t = x * 1.44269504089f + kRounds;
  const Floats n = t - kRounds;
  return times_power(exp_near_zero((x - n * 0.693359375f) + n * 2.12194440e-4f), t);
}

// e^x for x <= 0, 0 below -87 (softmax's largest term is 1); NaN stays NaN. Error 2 ulp where e^x > 0.01, 4 ulp below: ln 2 is one constant.
inline Floats exp_below(Floats x) {
  constexpr float magic = kRounds + 127.0f;
  const Floats t = x * 1.44269504089f + magic;
  return choose(x < -87.0f, Floats{}, exp_near_zero(less_logarithms(x, t - magic)) * power_of_two(t));
}

// 1 / (1 + e^y) where y is -x; e^y is made a half as large as it is, so that its power fits where it is infinite.
inline Floats sigmoid_fast(Floats x) {
  constexpr float magic = kRounds + 126.0f;
  const Floats y = within(-x, -80.0f, 89.0f);
  const Floats t = y * 1.44269504089f + magic;
  const Floats half = exp_near_zero(less_logarithms(y, t - magic)) * power_of_two(t);
  return 1.0f / (2.0f * half + 1.0f);
}

inline Floats tanh_fast(Floats x) {
  const Floats a = choose(x < 0.0f, -x, x), z = x * x;
  Floats p = all(-5.937312090e-03f);
  p = p * z + 2.088355799e-02f;
  p = p * z - 5.382606260e-02f;
  p = p * z + 1.333260013e-01f;
  p = p * z - 3.333332720e-01f;
  const Floats small = x + x * z * p;
  const Floats large = 1.0f - 2.0f / (exp_fast(2.0f * a) + 1.0f);
  return choose(a < 0.625f, small, choose(x < 0.0f, -large, large));
}

// The standard normal distribution: its density, and its share below x. The tail beyond |x| is e^(-x^2/2) times a polynomial in 1 / (1 + 0.35 |x|),
// so that it keeps its digits however small it is.
struct Normal {
  Floats density, below;
  explicit Normal(Floats x) {
    const Floats e = exp_below(x * x * -0.5f), t = 1.0f / (1.0f + 0.35f * choose(x < 0.0f, -x, x));
    Floats q = all(-2.911804514e-02f);
    q = q * t + 1.438341888e-01f;
    q = q * t - 2.554260805e-01f;
    q = q * t + 1.588399232e-01f;
    q = q * t - 2.287590899e-02f;
    q = q * t + 1.054071730e-01f;
    q = q * t + 1.198589217e-01f;
    q = q * t + 1.398581912e-01f;
    q = q * t + 1.396216210e-01f;
    const Floats tail = e * (q * t);
    density = 0.39894228f * e;
    below = choose(x < 0.0f, tail, 1.0f - tail);
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
