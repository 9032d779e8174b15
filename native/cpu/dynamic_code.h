// Nearest entry of an 8-bit dynamic map, and its values: one at a time, and in lanes, where looking up takes the gathers that compilers do not
// choose.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/kernel.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// NaN gives 0, as it does in the reference.
inline int32_t dynamic_code(float x, const quant::DynamicCodes& codes) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const int32_t least = static_cast<int32_t>(codes.least[bits >> 17] >> ((bits >> 15 & 3) * 8) & 0xff);
  return x != x ? 0 : least + (x >= codes.first[least + 1]);
}

// to[i] <- the code of x[i]; n is a multiple of 16.
inline void dynamic_codes_of(int32_t* to, const float* x, int64_t n, const quant::DynamicCodes& codes) {
#if defined(__AVX512F__)
  typedef uint32_t Lanes __attribute__((vector_size(64)));
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 v = _mm512_loadu_ps(x + i);
    const Lanes bits = reinterpret_cast<Lanes>(v);
    const __m512i none = _mm512_setzero_si512();
    const auto word = reinterpret_cast<Lanes>(_mm512_mask_i32gather_epi32(none, 0xffff, reinterpret_cast<__m512i>(bits >> 17), codes.least, 4));
    const auto least = reinterpret_cast<__m512i>((word >> ((bits >> 15 & 3) * 8)) & 0xff);
    const __m512 first = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, least, codes.first + 1, 4);
    const __m512i code = _mm512_mask_add_epi32(least, _mm512_cmp_ps_mask(v, first, _CMP_GE_OQ), least, _mm512_set1_epi32(1));
    _mm512_storeu_si512(to + i, _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), code));
  }
#elif defined(__AVX2__)
  typedef uint32_t Lanes __attribute__((vector_size(32)));
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    const Lanes bits = reinterpret_cast<Lanes>(v);
    const auto word =
        reinterpret_cast<Lanes>(_mm256_i32gather_epi32(reinterpret_cast<const int*>(codes.least), reinterpret_cast<__m256i>(bits >> 17), 4));
    const auto least = reinterpret_cast<__m256i>((word >> ((bits >> 15 & 3) * 8)) & 0xff);
    const __m256 above = _mm256_cmp_ps(v, _mm256_i32gather_ps(codes.first + 1, least, 4), _CMP_GE_OQ);
    const __m256i code = _mm256_sub_epi32(least, _mm256_castps_si256(above));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_and_si256(code, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_ORD_Q))));
  }
#else
  for (int64_t i = 0; i < n; ++i) to[i] = dynamic_code(x[i], codes);
#endif
}

// to[i] <- map[codes[i]]; n is a multiple of 16.
inline void dynamic_values_of(float* to, const uint8_t* codes, int64_t n, const float* map) {
#if defined(__AVX512F__)
  for (int64_t i = 0; i < n; i += 16) {
    const __m512i at = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i)));
    _mm512_storeu_ps(to + i, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, at, map, 4));
  }
#elif defined(__AVX2__)
  for (int64_t i = 0; i < n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_i32gather_ps(map, _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i))), 4));
#else
  for (int64_t i = 0; i < n; ++i) to[i] = map[codes[i]];
#endif
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
