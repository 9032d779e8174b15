// The CPU's layout of quantised weights W (O,I), the same at every dispatch level but amx: panels of 32 output rows.
//   nf4, fp4: for each input k 16 bytes; byte j holds row j in its low and row j + 16 in its high nibble.
//   int8:     for each group of four inputs 32 x 4 bytes: row j's four codes side by side.
// One column of a panel decodes to vectors of 32 outputs, which is a packed row of B for y = x.W^T, the step of a matrix-vector product, and,
// transposed in cache, a piece of B for dx = dy.W. Rows beyond O decode to 0. Block maxima stay in the order of the checkpoint.
// A level with kernels of its own for 4-bit codes (Kernels::coded) has these by rows (linear/row_layout.h); they decode to rows of f32 here.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "cpu/kernel.h"
#include "cpu/linear/quantized_weight.h"
#include "cpu/linear/row_layout.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

struct PackedWeight : linear::QuantizedWeight {
  static constexpr int64_t kRows = 32;

  PackedWeight(const View& c, const View& a, const View& nested, const View& o, QuantFormat f, int64_t b, int64_t out_features, int64_t in_features)
      : QuantizedWeight{f, c.as<uint8_t>(), out_features, in_features, b} {
    if (a.dtype == DType::u8) {
      absmax_codes = a.as<uint8_t>();
      nested_absmax = nested.as<float>();
      map = quant::dynamic_map(true);
      offset = *o.as<float>();
    } else {
      absmax = a.as<float>();
    }
  }

  static int64_t panels(int64_t O) { return (O + kRows - 1) / kRows; }
  static int64_t panel_bytes(QuantFormat f, int64_t I) { return f == QuantFormat::int8 ? (I + 3) / 4 * 4 * kRows : I * kRows / 2; }

  float block_maximum(int64_t b) const { return absmax ? absmax[b] : fused(map[absmax_codes[b]], nested_absmax[b / quant::kNestedBlock], offset); }

  // tile [count][rows] <- W[32 panel + lane + j, k] for k in [k0, k0 + count): `rows` of the panel's rows from `lane` on, both multiples of 8, or of
  // 16 with AVX-512. A NaN of the maxima gives the machine's own (plain_nan).
  void decode(int64_t panel, int64_t lane, int64_t rows, int64_t k0, int64_t count, float* tile) const {
    const uint8_t* from = codes + panel * panel_bytes(format, I);
    const int64_t row0 = panel * kRows + lane, there = O - row0 < 0 ? 0 : O - row0 < rows ? O - row0 : rows;
    float scale[kRows];
    for (int64_t j = there; j < rows; ++j) scale[j] = 0.0f;
    if (format == QuantFormat::int8) {
      for (int64_t j = 0; j < there; ++j) scale[j] = raw ? 1.0f : linear::plain_nan(absmax[row0 + j] / 127.0f);
      for (int64_t k = k0; k < k0 + count; ++k, tile += rows) {
        uint32_t fours[kRows];
        std::memcpy(fours, from + k / 4 * 4 * kRows + lane * 4, static_cast<size_t>(rows) * 4);
        const uint32_t up = static_cast<uint32_t>(24 - k % 4 * 8);
        for (int64_t j = 0; j < rows; ++j) tile[j] = static_cast<float>(static_cast<int32_t>(fours[j] << up) >> 24) * scale[j];
      }
      return;
    }
    const auto columns = [&](int64_t k, int64_t end) {
      decode_columns(from + k * (kRows / 2), end - k, lane, rows, quant::code_book(format), scale, tile);
      tile += (end - k) * rows;
    };
    const int64_t last = k0 + count;
    if (I % block == 0) {  // a block lies within one row: the scales of a column hold for all columns of its block
      const int64_t per_row = I / block;
      for (int64_t b = k0 / block, k = k0; k < last; ++b) {
        for (int64_t j = 0; j < there; ++j) scale[j] = linear::plain_nan(block_maximum((row0 + j) * per_row + b));
        const int64_t end = (b + 1) * block < last ? (b + 1) * block : last;
        columns(k, end);
        k = end;
      }
      return;
    }
    for (int64_t k = k0; k < last; ++k) {
      for (int64_t j = 0; j < there; ++j) scale[j] = linear::plain_nan(block_maximum(((row0 + j) * I + k) / block));
      columns(k, k + 1);
    }
  }

  // Codes by rows: W[o, k] for the 32 inputs from k, a multiple of 32, on; 0 beyond O and I.
  void decode_row(int64_t o, int64_t k, float* to) const {
    const int64_t first = k / RowLayout::kUnit * RowLayout::kUnit, there = o < O ? I - k : 0;
    const uint8_t* from = codes + o / RowLayout::kPanel * RowLayout::panel_bytes(I) + RowLayout::at(I, first, o % RowLayout::kPanel);
    const float* book = quant::code_book(format);
    const int up = static_cast<int>((k - first) / 32 * 4);
    uint16_t words[32];
    if (there <= 0) std::memset(words, 0, sizeof words);
    else if (RowLayout::half(I, first))
      for (int j = 0; j < 32; ++j) words[j] = from[j];
    else std::memcpy(words, from, sizeof words);
#if defined(__AVX512F__)
    for (int j = 0; j < 32; j += 16) {
      const __m512i word = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + j)));
      _mm512_storeu_ps(to + j, _mm512_permutexvar_ps(_mm512_srl_epi32(word, _mm_cvtsi32_si128(up)), _mm512_loadu_ps(book)));
    }
#else
    for (int j = 0; j < 32; ++j) to[j] = book[words[j] >> up & 15];
#endif
    const int64_t n = there < 0 ? 0 : there < 32 ? there : 32;
    for (int64_t j = 0; j < n;) {
      const int64_t at = o * I + k + j, left = block - at % block, end = left < n - j ? j + left : n;
      const float scale = linear::plain_nan(block_maximum(at / block));
      for (; j < end; ++j) to[j] *= scale;
    }
    for (int64_t j = n; j < 32; ++j) to[j] = 0;
  }

 private:
  // to [count][rows]: rows g .. g + 15 of a panel are the low nibbles of a column's bytes, or the high ones.
  static void decode_columns(const uint8_t* from, int64_t count, int64_t lane, int64_t rows, const float* book, const float* scale, float* to) {
#if defined(__AVX512F__)
    const __m512 table = _mm512_loadu_ps(book);
    for (int64_t g = 0; g < rows; g += 16) {
      const __m512 factor = _mm512_loadu_ps(scale + g);
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>((lane + g) / 16 * 4));
      for (int64_t k = 0; k < count; ++k) {
        const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k * (kRows / 2))));
        // vpermps reads the low four bits of each lane only.
        _mm512_storeu_ps(to + k * rows + g, _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srl_epi32(bytes, shift), table), factor));
      }
    }
#elif defined(__AVX2__)
    const __m256 low = _mm256_loadu_ps(book), high = _mm256_loadu_ps(book + 8);
    for (int64_t g = 0; g < rows; g += 8) {
      const __m256 factor = _mm256_loadu_ps(scale + g);
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>((lane + g) / 16 * 4));
      const uint8_t* bytes = from + (lane + g) % 16;
      for (int64_t k = 0; k < count; ++k) {
        const __m256i code =
            _mm256_srl_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + k * (kRows / 2)))), shift);
        // vpermps reads three bits; bit 3 chooses between the halves of the table.
        const __m256 value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code), _mm256_permutevar8x32_ps(high, code),
                                              _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
        _mm256_storeu_ps(to + k * rows + g, _mm256_mul_ps(value, factor));
      }
    }
#else
    for (int64_t g = 0; g < rows; g += 8) {
      const int64_t shift = (lane + g) / 16 * 4;
      const uint8_t* bytes = from + (lane + g) % 16;
      for (int64_t k = 0; k < count; ++k)
        for (int64_t j = 0; j < 8; ++j) to[k * rows + g + j] = book[bytes[k * (kRows / 2) + j] >> shift & 15] * scale[g + j];
    }
#endif
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
