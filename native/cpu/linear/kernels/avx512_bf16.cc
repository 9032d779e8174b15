// Matrix products with AVX-512, bf16 through vdpbf16ps (Zen 4 and 5 run it at twice the f32 rate; Xeons with AMX take the amx level).
#define ANYMAL_LEVEL avx512_bf16
#include <immintrin.h>

#include "cpu/flash/table.h"
#include "cpu/linear/driver.h"
#include "cpu/linear/float_tile.h"

namespace anymal::cpu {
namespace avx512_bf16 {
namespace {

// 14 x 32 of pairs: vdpbf16ps adds two products per lane and step.
struct MicroBf16 {
  using Element = bf16;
  static constexpr int64_t MR = 14, NR = 32, KB = 2, PB = 2;
  template <int64_t Rows = MR>
  static void run(int64_t kc, const bf16* a, const bf16* b, float* c, int64_t ldc) {
    __m512 sum[Rows][2];
    multiply<Rows, Rows>(kc, a, b, sum);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      float* to = c + i * ldc;
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sum[i][0]));
      _mm512_storeu_ps(to + 16, _mm512_add_ps(_mm512_loadu_ps(to + 16), sum[i][1]));
    }
  }
  // Half of the rows at a time, so that what they come to stays in registers from block to block.
  template <int64_t Rows>
  static void run_scaled(int64_t kc, const bf16* a, const bf16* b, float* c, int64_t ldc, int64_t block, const float* scales) {
    constexpr int64_t kGroup = Rows > 7 ? Rows / 2 : Rows;
    static_assert(Rows % kGroup == 0);
    for (int64_t first = 0; first < Rows; first += kGroup) {
      __m512 total[kGroup][2];
      float* to = c + first * ldc;
#pragma GCC unroll 8
      for (int i = 0; i < kGroup; ++i) total[i][0] = _mm512_loadu_ps(to + i * ldc), total[i][1] = _mm512_loadu_ps(to + i * ldc + 16);
      const float* scale = scales;
      for (int64_t k = 0; k < kc; k += block, scale += NR) {
        __m512 sum[kGroup][2];
        multiply<kGroup, Rows>(block, a + k * Rows + first * KB, b + k * NR, sum);
        const __m512 low = _mm512_loadu_ps(scale), high = _mm512_loadu_ps(scale + 16);
#pragma GCC unroll 8
        for (int i = 0; i < kGroup; ++i)
          total[i][0] = _mm512_fmadd_ps(sum[i][0], low, total[i][0]), total[i][1] = _mm512_fmadd_ps(sum[i][1], high, total[i][1]);
      }
#pragma GCC unroll 8
      for (int i = 0; i < kGroup; ++i) _mm512_storeu_ps(to + i * ldc, total[i][0]), _mm512_storeu_ps(to + i * ldc + 16, total[i][1]);
    }
  }
  using Units = Transpose::Vector;
  static Units add(Units sum, Units x, Units w) {
    return reinterpret_cast<Units>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w)));
  }

 private:
  // sum <- the products of Rows rows of a strip packed for Apart of them.
  template <int64_t Rows, int64_t Apart>
  [[gnu::always_inline]] static inline void multiply(int64_t kc, const bf16* a, const bf16* b, __m512 (&sum)[Rows][2]) {
    for (auto& row : sum) row[0] = row[1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < kc; k += 2, a += Apart * 2, b += NR * 2) {
      const __m512bh b0 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b)), b1 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + 32));
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        int32_t pair;
        std::memcpy(&pair, a + i * 2, 4);
        const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
        sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
        sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
      }
    }
  }
};

double peak_bf16(int64_t iterations) {
  constexpr int chains = 12;
  __m512 sum[chains];
  for (auto& s : sum) s = _mm512_setzero_ps();
  const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) {
      sum[i] = _mm512_dpbf16_ps(sum[i], x, x);
    }
  }
  for (auto& s : sum) asm volatile("" : : "v"(s));  // the sums are wanted
  return static_cast<double>(iterations) * chains * 16 * 4;
}

}  // namespace
}  // namespace avx512_bf16

namespace linear {
const Kernels kernels_avx512_bf16 = {avx512_bf16::driver::gemm<avx512_bf16::MicroF32, avx512_bf16::MicroBf16>,
                                     avx512_bf16::driver::gemm_serial<avx512_bf16::MicroF32, avx512_bf16::MicroBf16>,
                                     avx512_bf16::peak_f32,
                                     avx512_bf16::peak_bf16,
                                     avx512_bf16::flash::kernel_of<avx512_bf16::MicroF32, avx512_bf16::MicroBf16>,
                                     nullptr,
                                     avx512_bf16::driver::group<avx512_bf16::MicroF32, avx512_bf16::MicroBf16>};
}  // namespace linear
}  // namespace anymal::cpu
