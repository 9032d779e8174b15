// Matrix products with AVX-512.
#define ANYMAL_LEVEL avx512
#include <immintrin.h>

#include "cpu/flash/table.h"
#include "cpu/linear/driver.h"

namespace anymal::cpu {
namespace avx512 {
namespace {

// 14 x 32: 28 accumulators, two columns of B and one broadcast fill the registers.
struct MicroF32 {
  using Element = float;
  static constexpr int64_t MR = 14, NR = 32, KB = 1, PB = 1;
  template <int64_t Rows = MR>
  static void run(int64_t kc, const float* a, const float* b, float* c, int64_t ldc) {
    __m512 sum[Rows][2];
    for (auto& row : sum) row[0] = row[1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < kc; ++k, a += Rows, b += NR) {
      const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        const __m512 x = _mm512_set1_ps(a[i]);
        sum[i][0] = _mm512_fmadd_ps(x, b0, sum[i][0]);
        sum[i][1] = _mm512_fmadd_ps(x, b1, sum[i][1]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      float* to = c + i * ldc;
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sum[i][0]));
      _mm512_storeu_ps(to + 16, _mm512_add_ps(_mm512_loadu_ps(to + 16), sum[i][1]));
    }
  }
  using Units = Transpose::Vector;
  static Units add(Units sum, Units x, Units w) {
    return reinterpret_cast<Units>(_mm512_fmadd_ps(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(w), reinterpret_cast<__m512>(sum)));
  }
};

double peak_f32(int64_t iterations) {
  constexpr int chains = 12;
  __m512 sum[chains];
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  for (auto& s : sum) s = y;
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) {
      sum[i] = _mm512_fmadd_ps(sum[i], x, y);
    }
  }
  for (auto& s : sum) asm volatile("" : : "v"(s));  // the sums are wanted
  return static_cast<double>(iterations) * chains * 16 * 2;
}

}  // namespace
}  // namespace avx512

namespace linear {
// bf16 is widened while packing.
const Kernels kernels_avx512 = {avx512::driver::gemm<avx512::MicroF32, avx512::MicroF32>,
                                avx512::driver::gemm_serial<avx512::MicroF32, avx512::MicroF32>, avx512::peak_f32, avx512::peak_f32,
                                avx512::flash::kernel_of<avx512::MicroF32, avx512::MicroF32>};
}  // namespace linear
}  // namespace anymal::cpu
