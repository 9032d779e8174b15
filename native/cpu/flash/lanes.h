// Vectors whose lanes belong to queries.
#pragma once
#include "cpu/lane_math.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL::flash {

static_assert(kLanes == Transpose::kLanes);

// Rows r and r + 1 as pairs, and each by itself.
#if defined(__AVX512BF16__)
inline void store_pairs(bf16* to, Floats first, Floats second) {
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first)));
  alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(order), both));
}
inline void store_halves(bf16* to, Floats x) {
  const __m256bh h = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  std::memcpy(to, &h, sizeof h);
}
#else
inline void store_pairs(bf16* to, Floats first, Floats second) {
  const Units pairs = nearest(first) >> 16 | (nearest(second) & 0xffff0000u);
  std::memcpy(to, &pairs, sizeof pairs);
}
inline void store_halves(bf16* to, Floats x) { store_lanes(to, x); }
#endif

}  // namespace anymal::cpu::ANYMAL_LEVEL::flash
