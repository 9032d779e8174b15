// The f32 micro-kernel of the levels that fuse a multiplication with an addition, in their vectors (driver.h says what a micro-kernel is), and their
// peak.
#pragma once
#include <immintrin.h>

#include "cpu/linear/code_steps.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL {

#if defined(__AVX512F__)

using FloatVector = __m512;
inline FloatVector load_floats(const float* from) { return _mm512_loadu_ps(from); }
inline void store_floats(float* to, FloatVector v) { _mm512_storeu_ps(to, v); }
inline FloatVector all_floats(float v) { return _mm512_set1_ps(v); }
inline FloatVector fused_floats(FloatVector a, FloatVector b, FloatVector c) { return _mm512_fmadd_ps(a, b, c); }
// 28 accumulators, two columns of B and one broadcast fill the registers.
constexpr int64_t kFloatRows = 14;

#else

using FloatVector = __m256;
inline FloatVector load_floats(const float* from) { return _mm256_loadu_ps(from); }
inline void store_floats(float* to, FloatVector v) { _mm256_storeu_ps(to, v); }
inline FloatVector all_floats(float v) { return _mm256_set1_ps(v); }
inline FloatVector fused_floats(FloatVector a, FloatVector b, FloatVector c) { return _mm256_fmadd_ps(a, b, c); }
// 12 accumulators, two columns of B and one broadcast fill the registers.
constexpr int64_t kFloatRows = 6;

#endif

struct MicroF32 {
  using Element = float;
  static constexpr int64_t kLanes = sizeof(FloatVector) / 4, MR = kFloatRows, NR = 2 * kLanes, KB = 1, PB = 1;

  template <int64_t Rows = MR>
  static void run(int64_t kc, const float* a, const float* b, float* c, int64_t ldc) {
    FloatVector sum[Rows][2];
    multiply<Rows, 2>(kc, a, b, sum);
    each<Rows, 2>([&](int i, int v) { store_floats(c + i * ldc + v * kLanes, load_floats(c + i * ldc + v * kLanes) + sum[i][v]); });
  }

#if defined(__AVX512F__)
  // Half of the columns at a time, so that what they come to stays in registers from block to block.
  template <int64_t Rows>
  static void run_scaled(int64_t kc, const float* a, const float* b, float* c, int64_t ldc, int64_t block, const float* scales) {
    constexpr int64_t kVectors = Rows > 7 ? 1 : 2;
    for (int64_t n = 0; n < NR; n += kVectors * kLanes) {
      FloatVector total[Rows][kVectors];
      each<Rows, kVectors>([&](int i, int v) { total[i][v] = load_floats(c + i * ldc + n + v * kLanes); });
      const float* scale = scales + n;
      for (int64_t k = 0; k < kc; k += block, scale += kPanelRows) {
        FloatVector sum[Rows][kVectors];
        multiply<Rows, kVectors>(block, a + k * Rows, b + k * NR + n, sum);
        each<Rows, kVectors>([&](int i, int v) { total[i][v] = fused_floats(sum[i][v], load_floats(scale + v * kLanes), total[i][v]); });
      }
      each<Rows, kVectors>([&](int i, int v) { store_floats(c + i * ldc + n + v * kLanes, total[i][v]); });
    }
  }
#endif

  using Units = Transpose::Vector;
  static Units add(Units sum, Units x, Units w) {
    return reinterpret_cast<Units>(
        fused_floats(reinterpret_cast<FloatVector>(x), reinterpret_cast<FloatVector>(w), reinterpret_cast<FloatVector>(sum)));
  }

 private:
  template <int64_t Rows, int64_t Vectors, class F>
  [[gnu::always_inline]] static inline void each(const F& f) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) f(i, v);
  }

  // sum <- the products of a strip of Rows rows with Vectors of the panel's columns.
  template <int64_t Rows, int64_t Vectors>
  [[gnu::always_inline]] static inline void multiply(int64_t kc, const float* a, const float* b, FloatVector (&sum)[Rows][Vectors]) {
    each<Rows, Vectors>([&](int i, int v) { sum[i][v] = FloatVector{}; });
    for (int64_t k = 0; k < kc; ++k, a += Rows, b += NR) {
      FloatVector w[Vectors];
      for (int v = 0; v < Vectors; ++v) w[v] = load_floats(b + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        const FloatVector x = all_floats(a[i]);
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sum[i][v] = fused_floats(x, w[v], sum[i][v]);
      }
    }
  }
};

inline double peak_f32(int64_t iterations) {
  constexpr int chains = 12;
  FloatVector sum[chains];
  const FloatVector x = all_floats(0.999f), y = all_floats(0.001f);
  for (auto& s : sum) s = y;
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) sum[i] = fused_floats(sum[i], x, y);
  }
  for (auto& s : sum) asm volatile("" : : "v"(s));  // the sums are wanted
  return static_cast<double>(iterations) * chains * MicroF32::kLanes * 2;
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
