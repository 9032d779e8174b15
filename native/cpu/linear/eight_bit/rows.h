// Rows of 8-bit inputs with 4-bit codes by rows (row_layout.h) in integer instructions of AVX-512: a unit of one row of W is one vector, looked up in
// bytes, multiplied and added four inputs to a lane. Lanes take turns at the unit's two blocks of 64 inputs, as the scales lie in memory.
#pragma once
#include "cpu/linear/code_steps.h"
#include "cpu/linear/eight_bit/input.h"
#include "cpu/linear/row_layout.h"
#include "quant/tables.h"

#if defined(__AMX_TILE__) && !defined(ANYMAL_AMX_TWIN)  // the level whose codes lie so
#include <immintrin.h>

namespace anymal::cpu::ANYMAL_LEVEL::eight_bit {

// What a unit multiplies, of one row of x.
struct alignas(64) UnitInput {
  __m512i low, high;  // inputs of the codes' lower and upper nibbles
  __m512i start[2];   // what the weights' surplus (steps.h) makes of each, taken back; where both share a scale, all of it is in the first
  __m512 scales;      // of the two blocks by turns
};

// to [end - begin] <- the maxima of blocks [begin, end).
inline void expand_maxima(const linear::QuantizedWeight& w, int64_t begin, int64_t end, float* to) {
  for (int64_t b = begin; b < end;) {
    const float nested = w.nested_absmax[b / quant::kNestedBlock];
    int64_t stop = (b / quant::kNestedBlock + 1) * quant::kNestedBlock;
    if (stop > end) stop = end;
    for (; b + 16 <= stop; b += 16, to += 16) {
      const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.absmax_codes + b)));
      _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_i32gather_ps(codes, w.map, 4), _mm512_set1_ps(nested), _mm512_set1_ps(w.offset)));
    }
    for (; b < stop; ++b) *to++ = fused(w.map[w.absmax_codes[b]], nested, w.offset);
  }
}

template <bool Small>
struct Rows {
  const linear::QuantizedWeight& w;
  __m512i table;
  int64_t units;  // the last may be half
  int64_t log_block = 5;
  bool half;

  Rows(const linear::QuantizedWeight& weight, const int8_t* book)
      : w(weight), units((weight.I + 127) / 128), half(RowLayout::half(weight.I, (units - 1) * 128)) {
    while (int64_t{1} << log_block < w.block) ++log_block;
    alignas(16) uint8_t values[16];
    for (int i = 0; i < 16; ++i) values[i] = static_cast<uint8_t>(book[i] + 128);
    table = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
  }
  static bool takes(const linear::QuantizedWeight& w) { return w.I % w.block == 0 && (w.block == 32) == Small; }
  static constexpr int64_t kScales = Small ? 4 : 2;  // of a unit
  size_t room_bytes() const { return static_cast<size_t>(16 * (units * kScales + w.I / w.block)) * 4; }

  // to [units][rows]
  void arrange(const Input& in, int64_t rows, UnitInput* to) const {
    const __m512i ones = _mm512_set1_epi8(1), first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const auto surplus = [&](__m512i x) { return _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, x); };
    for (int64_t u = 0; u < units; ++u)
      for (int64_t r = 0; r < rows; ++r, ++to) {
        const int8_t* x = in.codes + r * in.width + u * 128;
        const float* scales = in.scales + r * in.blocks + 2 * u;
        const auto part = [&](int64_t k) {
          const __m512i a = _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + k)));
          if (half && u + 1 == units) return a;
          return _mm512_permutex2var_epi32(a, first, _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + k + 64))));
        };
        to->low = part(0);
        to->high = part(32);
        const __m512i low = _mm512_slli_epi32(surplus(to->low), 7), high = _mm512_slli_epi32(surplus(to->high), 7), none = _mm512_setzero_si512();
        to->start[0] = _mm512_sub_epi32(none, Small ? low : _mm512_add_epi32(low, high));
        to->start[1] = Small ? _mm512_sub_epi32(none, high) : none;
        to->scales = _mm512_castpd_ps(_mm512_set1_pd(double_of(scales)));
        if (half && u + 1 == units) to->scales = _mm512_set1_ps(scales[0]);
      }
  }

  // sums [Count][16] <- a panel.
  template <int64_t Count>
  void panel(int64_t index, const UnitInput* x, float* room, float* sums) const {
    const int64_t line = units * kScales, whole = units - half;
    const float* scales = scales_of(index, room);
    const uint8_t* from = w.codes + index * RowLayout::panel_bytes(w.I);
    const char* next = reinterpret_cast<const char*>(w.absmax ? w.absmax + (index + 1) * 16 * line : nullptr);  // where they lie as they are used
    __m512 sum[16 * Count];
#pragma GCC unroll 16
    for (int i = 0; i < 16 * Count; ++i) sum[i] = _mm512_setzero_ps();
    for (int64_t u = 0; u < whole; ++u, from += 1024) {
      _mm_prefetch(next + u * 128, _MM_HINT_T0);
      _mm_prefetch(next + u * 128 + 64, _MM_HINT_T0);
#pragma GCC unroll 16
      for (int64_t r = 0; r < 16; ++r) {
        _mm_prefetch(reinterpret_cast<const char*>(from + r * 64 + kAhead), _MM_HINT_T0);
        unit<Count, false>(from + r * 64, scales + r * line + u * kScales, x + u * Count, sum + r * Count);
      }
    }
    if (half) {
#pragma GCC unroll 16
      for (int64_t r = 0; r < 16; ++r) unit<Count, true>(from + r * 32, scales + r * line + whole * kScales, x + whole * Count, sum + r * Count);
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < 16; ++r)
      for (int64_t m = 0; m < Count; ++m) sums[m * 16 + r] = _mm512_reduce_add_ps(sum[r * Count + m]);
  }

 private:
  static constexpr int64_t kAhead = 8192;

  static double double_of(const float* two) {
    double both;
    std::memcpy(&both, two, 8);
    return both;
  }

  template <int64_t Count, bool halved>
  __attribute__((always_inline)) void unit(const uint8_t* from, const float* scales, const UnitInput* x, __m512* sum) const {
    const __m512i low = _mm512_set1_epi8(15);
    __m512i codes;
    if (halved) {
      codes = _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    } else {
      // Bytes of a word are 64 inputs apart: fours of the first block, of the second, by turns.
      const __m512i apart = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
      codes = _mm512_shuffle_epi8(_mm512_loadu_si512(from), apart);
    }
    const __m512i a = _mm512_shuffle_epi8(table, _mm512_and_si512(codes, low));
    const __m512i b = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(codes, 4), low));
    const auto by_turns = [&](const float* two) { return halved ? _mm512_set1_ps(*two) : _mm512_castpd_ps(_mm512_set1_pd(double_of(two))); };
    const __m512 s = by_turns(scales);
#pragma GCC unroll 8
    for (int64_t m = 0; m < Count; ++m) {
      const __m512i lower = _mm512_dpbusd_epi32(x[m].start[0], a, x[m].low);
      if constexpr (Small) {
        const __m512i upper = _mm512_dpbusd_epi32(x[m].start[1], b, x[m].high);
        sum[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(lower), _mm512_mul_ps(x[m].scales, s), sum[m]);
        sum[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(upper), _mm512_mul_ps(x[m].scales, by_turns(scales + 2)), sum[m]);
      } else {
        sum[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_dpbusd_epi32(lower, b, x[m].high)), _mm512_mul_ps(x[m].scales, s), sum[m]);
      }
    }
  }

  // Of the panel's 16 rows by units: two of 64 inputs each, by turns as the lanes are, or four of 32 as (0, 2), (1, 3).
  const float* scales_of(int64_t index, float* room) const {
    const int64_t per_row = w.I / w.block, there = w.O - index * 16 < 16 ? w.O - index * 16 : 16, first = index * 16 * per_row;
    const float* maxima = room;
    if (w.absmax) maxima = w.absmax + first;
    else expand_maxima(w, first, first + there * per_row, room);
    if (w.block == 64 && w.I % 128 == 0 && there == 16) return maxima;
    constexpr int64_t kSize = Small ? 32 : 64;
    float *scales = room + 16 * per_row, *to = scales;
    std::memset(to, 0, static_cast<size_t>(16 * units * kScales) * 4);
    for (int64_t r = 0; r < there; ++r, to += units * kScales, maxima += per_row)
      for (int64_t i = 0; i < w.I / kSize; ++i) to[Small ? i / 4 * 4 + i % 2 * 2 + i / 2 % 2 : i] = maxima[i * kSize >> log_block];
    return scales;
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::eight_bit
#endif
