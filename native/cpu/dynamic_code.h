// Nearest entry of an 8-bit dynamic map, and its values: one at a time, and in lanes, where codes are computed and looked up once
// more.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/lanes.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// NaN gives 0, as it does in the reference.
inline int32_t dynamic_code(float x, const quant::DynamicCodes& codes) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const int32_t least = static_cast<int32_t>(codes.least[bits >> 17] >> ((bits >> 15 & 3) * 8) & 0xff);
  return x != x ? 0 : least + (x >= codes.first[least + 1]);
}

// A code that is the right one or the one below it, without a look-up in memory: within a decade of the map the values lie evenly, so a code is a
// linear function of the size. What rounding may lose of it, and of where a decade begins, is far less than kShort.
struct NearbyCodes {
  static constexpr float kShort = 1.0f / 64;
  // Of what lies below all decades, and of each of the seven; the rest of the sixteen is not read.
  alignas(64) float scale[16] = {}, offset[16] = {}, most[16] = {};
  float begins[7], zero;
  const quant::DynamicCodes& codes;
  explicit NearbyCodes(const quant::DynamicCodes& c) : zero(static_cast<float>(dynamic_code(0.0f, c))), codes(c) {
    const auto centre = static_cast<int32_t>(zero);
    int32_t values = centre > 0 ? 1 : 2, before = 1;  // of the first decade, and codes below it
    double power = 1e6;
    offset[0] = most[0] = 0.5f;
    for (int i = 0; i < 7; ++i, before += values, values *= 2, power /= 10) {
      begins[i] = codes.first[centre + before] * (1 + 2e-6f);
      scale[i + 1] = static_cast<float>(values * power / 0.9);
      offset[i + 1] = static_cast<float>(before - values / 9.0) - kShort;
      most[i + 1] = static_cast<float>(before + values) - kShort;
    }
  }

#if defined(__AVX2__)
  static Floats pick(const float* table, Ints at) {
#if defined(__AVX512F__)
    return reinterpret_cast<Floats>(_mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(at), _mm512_load_ps(table)));
#else
    return reinterpret_cast<Floats>(_mm256_permutevar8x32_ps(_mm256_load_ps(table), reinterpret_cast<__m256i>(at)));
#endif
  }
  // n + 1 in the lanes where x >= least.
  static Ints one_more(Ints n, Floats x, Floats least) {
#if defined(__AVX512F__)
    const __mmask16 reached = _mm512_cmp_ps_mask(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(least), _CMP_GE_OQ);
    return reinterpret_cast<Ints>(
        _mm512_mask_add_epi32(reinterpret_cast<__m512i>(n), reached, reinterpret_cast<__m512i>(n), reinterpret_cast<__m512i>(Ints{} + 1)));
#else
    return n - (x >= least);
#endif
  }
  // From 0 to 255 whatever x is: of a NaN and a number the comparisons below take the number.
  Ints of(Floats x) const {
    const Floats size = reinterpret_cast<Floats>(reinterpret_cast<Units>(x) & 0x7fffffffu);
    Ints decade{};
    for (const float least : begins) decade = one_more(decade, size, all(least));
    const Floats p = size * pick(scale, decade) + pick(offset, decade), highest = pick(most, decade), up = choose(p < highest, p, highest);
    const Floats code = zero + reinterpret_cast<Floats>(reinterpret_cast<Units>(up) | (reinterpret_cast<Units>(x) & 0x80000000u));
    return __builtin_convertvector(choose(code > 0.0f, code, Floats{}), Ints);
  }
#endif
};

// to[i] <- the code of x[i]; n is a multiple of 16.
inline void dynamic_codes_of(int32_t* to, const float* x, int64_t n, const NearbyCodes& nearby) {
#if defined(__AVX2__)
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats v = load(x + i);
    const Ints least = nearby.of(v);
    const float* first_of_next = nearby.codes.first + 1;
#if defined(__AVX512F__)
    const auto first =
        reinterpret_cast<Floats>(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, reinterpret_cast<__m512i>(least), first_of_next, 4));
#else
    const auto first = reinterpret_cast<Floats>(_mm256_i32gather_ps(first_of_next, reinterpret_cast<__m256i>(least), 4));
#endif
    store(to + i, choose(v == v, reinterpret_cast<Floats>(NearbyCodes::one_more(least, v, first)), Floats{}));
  }
#else
  for (int64_t i = 0; i < n; ++i) to[i] = dynamic_code(x[i], nearby.codes);
#endif
}

// to[i] <- map[codes[i]]; n is a multiple of 16.
inline void dynamic_values_of(float* to, const uint8_t* codes, int64_t n, const float* map) {
#if defined(__AVX512F__)
  __m512 part[16];  // the whole map: eight look-ups of 32 values each, of which three bits choose, take less time than a gather
  for (int k = 0; k < 16; ++k) part[k] = _mm512_loadu_ps(map + 16 * k);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512i at = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i)));
    __m512 v[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) v[k] = _mm512_permutex2var_ps(part[2 * k], at, part[2 * k + 1]);
#pragma GCC unroll 3
    for (int bit = 0; bit < 3; ++bit) {
      const __mmask16 upper = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32 << bit));
#pragma GCC unroll 4
      for (int k = 0; k < 4 >> bit; ++k) v[k] = _mm512_mask_mov_ps(v[2 * k], upper, v[2 * k + 1]);
    }
    _mm512_storeu_ps(to + i, v[0]);
  }
#elif defined(__AVX2__)
  for (int64_t i = 0; i < n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_i32gather_ps(map, _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i))), 4));
#else
  for (int64_t i = 0; i < n; ++i) to[i] = map[codes[i]];
#endif
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
