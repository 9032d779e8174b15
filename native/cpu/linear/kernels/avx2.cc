// Matrix products with AVX2 and FMA.
#define ANYMAL_LEVEL avx2
#include <immintrin.h>

#include "cpu/flash/table.h"
#include "cpu/linear/driver.h"

namespace anymal::cpu {
namespace avx2 {
namespace {

// 6 x 16: 12 accumulators, two columns of B and one broadcast fill the registers.
struct MicroF32 {
  using Element = float;
  static constexpr int64_t MR = 6, NR = 16, KB = 1, PB = 1;
  template <int64_t Rows = MR>
  static void run(int64_t kc, const float* a, const float* b, float* c, int64_t ldc) {
    __m256 sum[Rows][2];
    for (auto& row : sum) row[0] = row[1] = _mm256_setzero_ps();
    for (int64_t k = 0; k < kc; ++k, a += Rows, b += NR) {
      const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        const __m256 x = _mm256_set1_ps(a[i]);
        sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
        sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      float* to = c + i * ldc;
      _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), sum[i][0]));
      _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_loadu_ps(to + 8), sum[i][1]));
    }
  }
  using Units = Transpose::Vector;
  static Units add(Units sum, Units x, Units w) {
    return reinterpret_cast<Units>(_mm256_fmadd_ps(reinterpret_cast<__m256>(x), reinterpret_cast<__m256>(w), reinterpret_cast<__m256>(sum)));
  }
};

double peak_f32(int64_t iterations) {
  constexpr int chains = 12;
  __m256 sum[chains];
  const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  for (auto& s : sum) s = y;
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) {
      sum[i] = _mm256_fmadd_ps(sum[i], x, y);
    }
  }
  for (auto& s : sum) asm volatile("" : : "v"(s));  // the sums are wanted
  return static_cast<double>(iterations) * chains * 8 * 2;
}

}  // namespace
}  // namespace avx2

namespace linear {
// bf16 is widened while packing.
const Kernels kernels_avx2 = {avx2::driver::gemm<avx2::MicroF32, avx2::MicroF32>, avx2::driver::gemm_serial<avx2::MicroF32, avx2::MicroF32>,
                              avx2::peak_f32, avx2::peak_f32, avx2::flash::kernel_of<avx2::MicroF32, avx2::MicroF32>};
}  // namespace linear
}  // namespace anymal::cpu
