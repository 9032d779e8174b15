// Rows of weights as 32 values of bf16: from 4-bit codes through a table of 16 weights, which already have their block's scale and are rounded, so
// that a weight costs no arithmetic; or from memory. On AVX-512 in registers; the software twin (amx_tile.h) does the same in plain loops.
#pragma once
#include "cpu/kernel.h"

namespace anymal::cpu::ANYMAL_LEVEL {

#if defined(__AVX512BF16__) && !defined(ANYMAL_AMX_TWIN)

using Values = __m512i;
using Codes = __m512i;  // 32 words
using Table = __m512i;  // twice: vpermw reads five bits, of which the fifth belongs to the next code
using Book = __m512;

inline Book book_of(const float* book) { return _mm512_loadu_ps(book); }
inline Table table_of(Book book, float scale) {
  const __m512 w = _mm512_mul_ps(book, _mm512_set1_ps(scale));
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(w, w));
}
inline Codes codes_of(const uint8_t* from) { return _mm512_loadu_si512(from); }
inline Codes half_codes_of(const uint8_t* from) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); }
template <int Nibble>
inline Values look_up(Codes codes, Table table) {
  return _mm512_permutexvar_epi16(Nibble ? _mm512_srli_epi16(codes, Nibble * 4) : codes, table);
}
inline uint32_t first(int64_t count) { return count >= 32 ? ~0u : count <= 0 ? 0u : (1u << count) - 1; }
inline Values choose(uint32_t from_a, Values a, Values b) { return _mm512_mask_blend_epi16(from_a, b, a); }
inline Values no_values() { return _mm512_setzero_si512(); }
inline Values values_at(const bf16* from) { return _mm512_loadu_si512(from); }
inline Values values_at(const bf16* from, int64_t count) { return _mm512_maskz_loadu_epi16(first(count), from); }
inline void put(bf16* to, Values v) { _mm512_store_si512(to, v); }
// Pairs (a[i], b[i]) of columns 0-3, 8-11, 16-19, 24-27 to `even`, of the others to `odd`: what vpunpck does, natural_columns() undoes.
inline void put_pairs(bf16* even, bf16* odd, Values a, Values b) {
  _mm512_store_si512(even, _mm512_unpacklo_epi16(a, b));
  _mm512_store_si512(odd, _mm512_unpackhi_epi16(a, b));
}
inline void prefetch(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T0); }
inline void prefetch_far(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T1); }  // not into L1
// Of doubly quantised blocks that share their own maximum, `nested`.
inline void maxima_of(const uint8_t* codes, int64_t count, const float* map, float nested, float offset, float* to) {
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 there = count - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (count - i)) - 1);
    const __m512i index = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(there, codes + i));
    const __m512 maxima = _mm512_fmadd_ps(_mm512_i32gather_ps(index, map, 4), _mm512_set1_ps(nested), _mm512_set1_ps(offset));
    _mm512_mask_storeu_ps(to + i, there, maxima);
  }
}

#else

struct Values {
  bf16 at[32];
};
struct Codes {
  uint16_t at[32];
};
struct Table {
  bf16 at[16];
};
using Book = const float*;

inline Book book_of(const float* book) { return book; }
inline Table table_of(Book book, float scale) {
  Table t;
  for (int i = 0; i < 16; ++i) t.at[i] = to_bf16(book[i] * scale);
  return t;
}
inline Codes codes_of(const uint8_t* from) {
  Codes c;
  for (int j = 0; j < 32; ++j) c.at[j] = static_cast<uint16_t>(from[2 * j] | from[2 * j + 1] << 8);
  return c;
}
inline Codes half_codes_of(const uint8_t* from) {
  Codes c;
  for (int j = 0; j < 32; ++j) c.at[j] = from[j];
  return c;
}
template <int Nibble>
inline Values look_up(const Codes& codes, const Table& table) {
  Values v;
  for (int j = 0; j < 32; ++j) v.at[j] = table.at[codes.at[j] >> Nibble * 4 & 15];
  return v;
}
inline uint32_t first(int64_t count) { return count >= 32 ? ~0u : count <= 0 ? 0u : (1u << count) - 1; }
inline Values choose(uint32_t from_a, const Values& a, const Values& b) {
  Values v;
  for (int j = 0; j < 32; ++j) v.at[j] = from_a >> j & 1 ? a.at[j] : b.at[j];
  return v;
}
inline Values no_values() { return {}; }
inline Values values_at(const bf16* from, int64_t count = 32) {
  Values v{};
  for (int j = 0; j < 32 && j < count; ++j) v.at[j] = from[j];
  return v;
}
inline void put(bf16* to, const Values& v) { std::memcpy(to, v.at, sizeof v.at); }
inline void put_pairs(bf16* even, bf16* odd, const Values& a, const Values& b) {
  for (int j = 0; j < 32; ++j) {
    bf16* to = (j / 4 % 2 ? odd : even) + (j / 8 * 4 + j % 4) * 2;
    to[0] = a.at[j];
    to[1] = b.at[j];
  }
}
inline void prefetch(const void*) {}
inline void prefetch_far(const void*) {}
inline void maxima_of(const uint8_t* codes, int64_t count, const float* map, float nested, float offset, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = fused(map[codes[i]], nested, offset);
}

#endif

// 32 sums of which the even and the odd columns of put_pairs are side by side, in order.
inline void natural_columns(float* to, const float* from) {
  for (int q = 0; q < 8; ++q) std::memcpy(to + q * 4, from + q % 2 * 16 + q / 2 * 4, 16);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
