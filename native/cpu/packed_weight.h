// The CPU's layout of quantised weights W (O,I), the same at every dispatch level: panels of 32 output rows.
//   nf4, fp4: for each input k 16 bytes; byte j holds row j in its low and row j + 16 in its high nibble.
//   int8:     for each group of four inputs 32 x 4 bytes: row j's four codes side by side.
// One column of a panel decodes to vectors of 32 outputs, which is a packed row of B for y = x.W^T, the step of a matrix-vector product, and,
// transposed in cache, a piece of B for dx = dy.W. Rows beyond O decode to 0. Block maxima stay in the order of the checkpoint.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "cpu/kernel.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

struct PackedWeight {
  static constexpr int64_t kRows = 32;

  QuantFormat format;
  const uint8_t* codes;
  int64_t O, I, block;
  const float* absmax = nullptr;          // nf4, fp4: per block; int8: per row
  const uint8_t* absmax_codes = nullptr;  // double quantisation
  const float* nested_absmax = nullptr;
  float offset = 0;
  bool raw = false;  // int8: the codes themselves, without their row's scale

  PackedWeight(const View& c, const View& a, const View& nested, const View& o, QuantFormat f, int64_t b, int64_t out_features, int64_t in_features)
      : format(f), codes(c.as<uint8_t>()), O(out_features), I(in_features), block(b) {
    if (a.dtype == DType::u8) {
      absmax_codes = a.as<uint8_t>();
      nested_absmax = nested.as<float>();
      offset = *o.as<float>();
    } else {
      absmax = a.as<float>();
    }
  }

  static int64_t panels(int64_t O) { return (O + kRows - 1) / kRows; }
  static int64_t panel_bytes(QuantFormat f, int64_t I) { return f == QuantFormat::int8 ? (I + 3) / 4 * 4 * kRows : I * kRows / 2; }

  float block_maximum(int64_t b) const {
    return absmax ? absmax[b] : quant::dynamic_map(true)[absmax_codes[b]] * nested_absmax[b / quant::kNestedBlock] + offset;
  }

  // tile [count][32] <- W[32 panel + j, k] for k in [k0, k0 + count).
  void decode(int64_t panel, int64_t k0, int64_t count, float* tile) const {
    const uint8_t* from = codes + panel * panel_bytes(format, I);
    float scale[kRows];
    if (format == QuantFormat::int8) {
      for (int64_t j = 0; j < kRows; ++j) {
        const int64_t row = panel * kRows + j;
        scale[j] = row >= O ? 0.0f : raw ? 1.0f : absmax[row] / 127.0f;
      }
      for (int64_t k = k0; k < k0 + count; ++k, tile += kRows)
        for (int64_t j = 0; j < kRows; ++j) tile[j] = static_cast<float>(static_cast<int8_t>(from[k / 4 * 4 * kRows + j * 4 + k % 4])) * scale[j];
      return;
    }
    const float* book = quant::code_book(format);
    if (I % block == 0) {  // a block lies within one row: the scales of a column hold for all columns of its block
      for (int64_t k = k0; k < k0 + count;) {
        const int64_t end = (k / block + 1) * block < k0 + count ? (k / block + 1) * block : k0 + count;
        for (int64_t j = 0; j < kRows; ++j) {
          const int64_t row = panel * kRows + j;
          scale[j] = row < O ? block_maximum((row * I + k) / block) : 0.0f;
        }
        for (; k < end; ++k, tile += kRows) decode_column(from + k * (kRows / 2), book, scale, tile);
      }
      return;
    }
    for (int64_t k = k0; k < k0 + count; ++k, tile += kRows) {
      for (int64_t j = 0; j < kRows; ++j) {
        const int64_t row = panel * kRows + j;
        scale[j] = row < O ? block_maximum((row * I + k) / block) : 0.0f;
      }
      decode_column(from + k * (kRows / 2), book, scale, tile);
    }
  }

 private:
  static void decode_column(const uint8_t* from, const float* book, const float* scale, float* to) {
#if defined(__AVX512F__)
    const __m512 table = _mm512_loadu_ps(book);
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    // vpermps reads the low four bits of each lane only.
    _mm512_storeu_ps(to, _mm512_mul_ps(_mm512_permutexvar_ps(bytes, table), _mm512_loadu_ps(scale)));
    _mm512_storeu_ps(to + 16, _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table), _mm512_loadu_ps(scale + 16)));
#elif defined(__AVX2__)
    const __m256 low = _mm256_loadu_ps(book), high = _mm256_loadu_ps(book + 8);
    for (int64_t h = 0; h < 2; ++h) {
      const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8 * h)));
      const auto pick = [&](__m256i code, const float* s, float* t) {
        // vpermps reads three bits; bit 3 chooses between the halves of the table.
        const __m256 eighths = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code), _mm256_permutevar8x32_ps(high, code),
                                                _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
        _mm256_storeu_ps(t, _mm256_mul_ps(eighths, _mm256_loadu_ps(s)));
      };
      pick(bytes, scale + 8 * h, to + 8 * h);
      pick(_mm256_srli_epi32(bytes, 4), scale + 16 + 8 * h, to + 16 + 8 * h);
    }
#else
    for (int64_t j = 0; j < 16; ++j) {
      to[j] = book[from[j] & 15] * scale[j];
      to[j + 16] = book[from[j] >> 4] * scale[j + 16];
    }
#endif
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
