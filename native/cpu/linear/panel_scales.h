// The maxima of the blocks of a panel (packed_weight.h), as products of few rows and of panels take them: those of 32 outputs side by side.
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/code_steps.h"
#include "cpu/linear/gemm.h"
#include "cpu/linear/quantized_weight.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

using linear::QuantizedWeight;

#if defined(__AVX512VBMI__)

// The dynamic map as four planes of bytes, each looked up 64 codes at a time: by the lower and by the upper half of its entries, bit 7 chooses.
struct MapPlanes {
  alignas(64) uint8_t bytes[4][256];
  explicit MapPlanes(const float* map) {
    for (int i = 0; i < 256; ++i) {
      uint32_t u;
      std::memcpy(&u, map + i, 4);
      for (int b = 0; b < 4; ++b) bytes[b][i] = static_cast<uint8_t>(u >> (8 * b));
    }
  }
  __m512i plane(int b, __m512i codes, __mmask64 high) const {
    const auto part = [&](int i) { return _mm512_load_si512(bytes[b] + i * 64); };
    return _mm512_mask_blend_epi8(high, _mm512_permutex2var_epi8(part(0), codes, part(1)), _mm512_permutex2var_epi8(part(2), codes, part(3)));
  }
  // Entries 4 q .. 4 q + 3 of the codes of four lines, 16 to a line: those of line l are the 16 bytes l of v[q].
  void look_up(__m512i codes, __m512i (&v)[4]) const {
    const __mmask64 high = _mm512_movepi8_mask(codes);
    const __m512i p0 = plane(0, codes, high), p1 = plane(1, codes, high), p2 = plane(2, codes, high), p3 = plane(3, codes, high);
    const __m512i low01 = _mm512_unpacklo_epi8(p0, p1), high01 = _mm512_unpackhi_epi8(p0, p1);
    const __m512i low23 = _mm512_unpacklo_epi8(p2, p3), high23 = _mm512_unpackhi_epi8(p2, p3);
    v[0] = _mm512_unpacklo_epi16(low01, low23);
    v[1] = _mm512_unpackhi_epi16(low01, low23);
    v[2] = _mm512_unpacklo_epi16(high01, high23);
    v[3] = _mm512_unpackhi_epi16(high01, high23);
  }
  // to [16 codes][kPanelRows] <- f(i, the entries of code i of 16 lines), of which `count` codes are there; the lines are `apart` bytes apart.
  template <class F>
  void columns(const uint8_t* codes, int64_t count, int64_t apart, float* to, const F& f) const {
    const __mmask16 there = static_cast<__mmask16>((1u << count) - 1);
    __m512i v[4][4];
    for (int g = 0; g < 4; ++g) {
      const auto line = [&](int64_t i) { return _mm_maskz_loadu_epi8(there, codes + (g + 4 * i) * apart); };
      const __m256i first = _mm256_inserti128_si256(_mm256_castsi128_si256(line(0)), line(1), 1);
      const __m256i second = _mm256_inserti128_si256(_mm256_castsi128_si256(line(2)), line(3), 1);
      look_up(_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1), v[g]);
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q, to += 4 * kPanelRows) {
      const __m512i a = _mm512_unpacklo_epi32(v[0][q], v[1][q]), b = _mm512_unpacklo_epi32(v[2][q], v[3][q]);
      const __m512i c = _mm512_unpackhi_epi32(v[0][q], v[1][q]), d = _mm512_unpackhi_epi32(v[2][q], v[3][q]);
      const auto put = [&](int i, __m512i entries) { _mm512_storeu_ps(to + i * kPanelRows, f(4 * q + i, _mm512_castsi512_ps(entries))); };
      put(0, _mm512_unpacklo_epi64(a, b));
      put(1, _mm512_unpackhi_epi64(a, b));
      put(2, _mm512_unpacklo_epi64(c, d));
      put(3, _mm512_unpackhi_epi64(c, d));
    }
  }
};

#endif

// Computed for some blocks at a time, each times `factor`.
class PanelScales {
 public:
  // Blocks from `end` on are not asked for.
  PanelScales(const QuantizedWeight& w, int64_t panel, int64_t end, float factor = 1.0f)
      : w_(w), row0_(panel * kPanelRows), there_(std::min(kPanelRows, w.O - row0_)), end_(end), factor_(factor) {}
  // [32] of block b of each row; zeros for rows that are not there. The next call may move it. Who asks for every block, or for the first of each
  // kPanelDepth inputs, has behind it those of the blocks that follow up to the next multiple of these.
  const float* of(int64_t b) {
    if (b < first_ || b >= first_ + kBlocks) read(b);
    return scales_ + (b - first_) * kPanelRows;
  }

 private:
  static constexpr int64_t kBlocks = 16;  // a line of cache of each row's maxima

  void read(int64_t b) {
    first_ = b;
    const int64_t per_row = w_.I / w_.block, count = std::min(kBlocks, end_ - b);
    if (!w_.absmax && in_lanes(b, count)) return;
    alignas(64) float lines[kPanelRows * kBlocks];
    const float* from = lines;
    int64_t line = kBlocks;
    if (w_.absmax) {
      from = w_.absmax + row0_ * per_row + b;
      line = per_row;
      // The next panel's: many lines far apart, which the hardware does not follow by itself.
      for (int64_t j = kPanelRows; j < 2 * kPanelRows; ++j) __builtin_prefetch(from + j * per_row, 0, 2);
    } else {
      for (int64_t j = 0; j < there_; ++j) expand((row0_ + j) * per_row + b, count, lines + j * kBlocks);
    }
    Transpose::run(reinterpret_cast<uint32_t*>(scales_), kPanelRows, from, line * 4, there_, count);
    for (int64_t i = 0; i < count * kPanelRows; ++i) scales_[i] = linear::plain_nan(scales_[i] * factor_);
  }

  // Maxima that are quantised themselves: those of `count` blocks from `at` on.
  void expand(int64_t at, int64_t count, float* to) const {
    for (int64_t i = 0; i < count;) {
      const int64_t group = (at + i) / quant::kNestedBlock, stop = std::min(count, (group + 1) * quant::kNestedBlock - at);
      const float nested = w_.nested_absmax[group];
      for (; i < stop; ++i) to[i] = fused(w_.map[w_.absmax_codes[at + i]], nested, w_.offset);
    }
  }

  static_assert(linear::kPanelDepth / 32 <= kBlocks, "blocks have 32 inputs or more");
  static constexpr int kLogNested = 8;
  static_assert(quant::kNestedBlock == 1 << kLogNested && kBlocks <= quant::kNestedBlock);

  // The same of a whole panel.
  bool in_lanes([[maybe_unused]] int64_t b, [[maybe_unused]] int64_t count) {
#if defined(__AVX512VBMI__)
    static const MapPlanes planes(w_.map);
    if (there_ < kPanelRows) return false;
    const int64_t per_row = w_.I / w_.block, first = row0_ * per_row + b;
    // The next panel's, whose rows are as many bytes further on.
    for (int64_t i = 0; i < kPanelRows * kBlocks; i += 64) __builtin_prefetch(w_.absmax_codes + (row0_ + kPanelRows) * per_row + kPanelRows * b + i);
    const __m512 offset = _mm512_set1_ps(w_.offset), factor = _mm512_set1_ps(factor_), nan = _mm512_set1_ps(std::bit_cast<float>(linear::kNanBits));
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int64_t j = 0; j < kPanelRows; j += 16) {
      // Of each row the group of its first block, that of its last, and the block that the latter begins with.
      const int64_t group0 = (first + j * per_row) / quant::kNestedBlock, in_group = first + j * per_row - group0 * quant::kNestedBlock;
      const __m512i at = _mm512_add_epi32(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int32_t>(per_row))),
                                          _mm512_set1_epi32(static_cast<int32_t>(in_group)));
      const __m512i group = _mm512_srli_epi32(at, kLogNested);
      const __m512i last = _mm512_srli_epi32(_mm512_add_epi32(at, _mm512_set1_epi32(static_cast<int32_t>(count - 1))), kLogNested);
      const __m512i change = _mm512_sub_epi32(_mm512_slli_epi32(last, kLogNested), at);
      const __m512 before = _mm512_i32gather_ps(group, w_.nested_absmax + group0, 4);
      __m512 after = before;
      if (const __mmask16 two = _mm512_cmpneq_epi32_mask(group, last))
        after = _mm512_mask_i32gather_ps(before, two, last, w_.nested_absmax + group0, 4);
      planes.columns(w_.absmax_codes + first + j * per_row, count, per_row, scales_ + j, [&](int i, __m512 entries) {
        const __m512 nested = _mm512_mask_blend_ps(_mm512_cmple_epi32_mask(change, _mm512_set1_epi32(i)), before, after);
        const __m512 scale = _mm512_mul_ps(_mm512_fmadd_ps(entries, nested, offset), factor);
        return _mm512_mask_mov_ps(scale, _mm512_cmp_ps_mask(scale, scale, _CMP_UNORD_Q), nan);
      });
    }
    return true;
#else
    return false;
#endif
  }

  const QuantizedWeight& w_;
  int64_t row0_, there_, end_, first_ = -kBlocks;
  float factor_;
  alignas(64) float scales_[kBlocks * kPanelRows];
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
