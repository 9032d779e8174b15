// Integer sums of a panel's 32 rows (packed_weight.h) with rows of 8-bit inputs, one for the instructions of each level.
//
//   Nibbles(book).add<Rows>(from, count, x, apart, sums, to)   4-bit codes;  Bytes().add<Rows>(...): codes of int8
//     from: the codes of `count` inputs, which is a multiple of 32, of 4 with int8; x [Rows], `apart` bytes between them: their codes
//     sums [Rows], sums_apart between them: of the x that this is given; to [Rows][32]: the sums, output i of the panel at i.
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/kernel.h"
#include "cpu/linear/code_steps.h"
#include "cpu/linear/eight_bit/problem.h"

namespace anymal::cpu::ANYMAL_LEVEL::eight_bit {

inline int32_t four_of(const int8_t* x) {
  int32_t four;
  std::memcpy(&four, x, 4);
  return four;
}

#if defined(__AVX512F__)

#if defined(__AVX512VNNI__)
// vpdpbusd wants one operand unsigned: weights + 128, whose surplus of 128 times the sum of x is taken back at the start.
constexpr int kSurplus = 128;
inline __m512i start(int32_t sum_of_x) { return _mm512_set1_epi32(-kSurplus * sum_of_x); }
inline __m512i add_products(__m512i sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, w, x); }
#else
// The weight's sign goes over to x: no pair of products, 128 times 127 each at most, is beyond 16 bits.
constexpr int kSurplus = 0;
inline __m512i start(int32_t) { return _mm512_setzero_si512(); }
inline __m512i add_products(__m512i sum, __m512i w, __m512i x) {
  const __m512i turned = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_abs_epi8(w), turned), _mm512_set1_epi16(1)));
}
#endif

template <int64_t Rows, class Weights>
inline void add_fours(const Weights& weights, int64_t count, const int8_t* x, int64_t apart, const int32_t* sums, int64_t sums_apart,
                      int32_t (*to)[kPanelRows]) {
  __m512i sum[Rows][2];
#pragma GCC unroll 8
  for (int64_t r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = start(sums[r * sums_apart]);
  for (int64_t k = 0; k < count; k += 4) {
    __m512i w0, w1;
    weights(k, w0, w1);
#pragma GCC unroll 8
    for (int64_t r = 0; r < Rows; ++r) {
      const __m512i four = _mm512_set1_epi32(four_of(x + r * apart + k));
      sum[r][0] = add_products(sum[r][0], w0, four);
      sum[r][1] = add_products(sum[r][1], w1, four);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < Rows; ++r) {
    _mm512_storeu_si512(to[r], sum[r][0]);
    _mm512_storeu_si512(to[r] + 16, sum[r][1]);
  }
}

#if defined(__AVX512VBMI__)
// vpermb reads six bits of each byte: what stands above a code does not matter where the table is there four times.
struct Nibbles {
  __m512i table, order;
  explicit Nibbles(const int8_t* book) {
    alignas(64) uint8_t values[64], bytes[64];
    for (int i = 0; i < 64; ++i) {
      values[i] = static_cast<uint8_t>(book[i % 16] + kSurplus);
      bytes[i] = static_cast<uint8_t>(i % 4 * 16 + i / 4);  // each output's codes of four columns follow each other
    }
    table = _mm512_load_si512(values);
    order = _mm512_load_si512(bytes);
  }
  template <int64_t Rows>
  void add(const uint8_t* from, int64_t count, const int8_t* x, int64_t apart, const int32_t* sums, int64_t sums_apart,
           int32_t (*to)[kPanelRows]) const {
    const auto weights = [&](int64_t k, __m512i& w0, __m512i& w1) {
      prefetch_codes<kFarAhead>(from + k * 16);
      const __m512i codes = _mm512_permutexvar_epi8(order, _mm512_loadu_si512(from + k * 16));
      w0 = _mm512_permutexvar_epi8(codes, table);
      w1 = _mm512_permutexvar_epi8(_mm512_srli_epi16(codes, 4), table);
    };
    add_fours<Rows>(weights, count, x, apart, sums, sums_apart, to);
  }
};
#else
struct Nibbles {
  __m512i table;
  explicit Nibbles(const int8_t* book) {
    alignas(16) uint8_t values[16];
    for (int i = 0; i < 16; ++i) values[i] = static_cast<uint8_t>(book[i] + kSurplus);
    table = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
  }
  template <int64_t Rows>
  void add(const uint8_t* from, int64_t count, const int8_t* x, int64_t apart, const int32_t* sums, int64_t sums_apart,
           int32_t (*to)[kPanelRows]) const {
    // Four columns of 16 bytes: first their fours of bytes, then bytes side by side, so that each output's four codes follow each other.
    const __m512i columns = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), low = _mm512_set1_epi8(15);
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const auto weights = [&](int64_t k, __m512i& w0, __m512i& w1) {
      prefetch_codes(from + k * 16);
      const __m512i codes = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(columns, _mm512_loadu_si512(from + k * 16)), bytes);
      w0 = _mm512_shuffle_epi8(table, _mm512_and_si512(codes, low));
      w1 = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(codes, 4), low));
    };
    add_fours<Rows>(weights, count, x, apart, sums, sums_apart, to);
  }
};
#endif

struct Bytes {
  template <int64_t Rows>
  void add(const uint8_t* from, int64_t count, const int8_t* x, int64_t apart, const int32_t* sums, int64_t sums_apart,
           int32_t (*to)[kPanelRows]) const {
    const __m512i surplus = _mm512_set1_epi8(static_cast<char>(kSurplus));
    const auto weights = [&](int64_t k, __m512i& w0, __m512i& w1) {
      prefetch_codes(from + k * 32);
      prefetch_codes(from + k * 32 + 64);
      w0 = _mm512_xor_si512(_mm512_loadu_si512(from + k * 32), surplus);
      w1 = _mm512_xor_si512(_mm512_loadu_si512(from + k * 32 + 64), surplus);
    };
    add_fours<Rows>(weights, count, x, apart, sums, sums_apart, to);
  }
};

#elif defined(__AVX2__)

// As above: signs go over to x.
inline __m256i add_products(__m256i sum, __m256i w, __m256i x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)), _mm256_set1_epi16(1)));
}

struct Nibbles {
  __m256i table;
  explicit Nibbles(const int8_t* book) { table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(book))); }

  // Eight columns: vector g has outputs 4 g .. 4 g + 3, g + 4 those beyond 16; the first four inputs' codes in the lower lane.
  void eight(const uint8_t* from, __m256i (&w)[8]) const {
    const __m256i low = _mm256_set1_epi8(15);
    const auto two = [&](int64_t k) {
      return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k * 16))),
                                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + (k + 4) * 16)), 1);
    };
    prefetch_codes(from);
    prefetch_codes(from + 64);
    const __m256i c0 = two(0), c1 = two(1), c2 = two(2), c3 = two(3);
    const __m256i a0 = _mm256_unpacklo_epi8(c0, c1), a1 = _mm256_unpackhi_epi8(c0, c1);
    const __m256i b0 = _mm256_unpacklo_epi8(c2, c3), b1 = _mm256_unpackhi_epi8(c2, c3);
    const __m256i codes[4] = {_mm256_unpacklo_epi16(a0, b0), _mm256_unpackhi_epi16(a0, b0), _mm256_unpacklo_epi16(a1, b1),
                              _mm256_unpackhi_epi16(a1, b1)};
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      w[g] = _mm256_shuffle_epi8(table, _mm256_and_si256(codes[g], low));
      w[g + 4] = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes[g], 4), low));
    }
  }

  template <int64_t Rows>
  void add(const uint8_t* from, int64_t count, const int8_t* x, int64_t apart, const int32_t*, int64_t, int32_t (*to)[kPanelRows]) const {
    constexpr int64_t kDepth = 32;
    const __m256i fours = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
    const auto inputs = [&](const int8_t* at) {
      int64_t eight;
      std::memcpy(&eight, at, 8);
      return _mm256_shuffle_epi8(_mm256_set1_epi64x(eight), fours);
    };
    const auto put = [](const __m256i(&sum)[8], int32_t* out) {
      for (int g = 0; g < 8; ++g)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 4 * g), _mm_add_epi32(_mm256_castsi256_si128(sum[g]), _mm256_extracti128_si256(sum[g], 1)));
    };
    if constexpr (Rows == 1) {
      __m256i sum[8] = {};
      for (int64_t k = 0; k < count; k += 8) {
        __m256i w[8];
        eight(from + k * 16, w);
        const __m256i v = inputs(x + k);
#pragma GCC unroll 8
        for (int g = 0; g < 8; ++g) sum[g] = add_products(sum[g], w[g], v);
      }
      put(sum, to[0]);
    } else {  // the sums of more rows take all registers: the weights wait in cache
      std::memset(to, 0, sizeof(int32_t) * Rows * kPanelRows);
      for (int64_t k0 = 0; k0 < count; k0 += kDepth) {
        __m256i w[kDepth / 8][8];
        for (int64_t k = 0; k < kDepth; k += 8) eight(from + (k0 + k) * 16, w[k / 8]);
        for (int64_t r = 0; r < Rows; ++r) {
          __m256i sum[8] = {};
          for (int64_t k = 0; k < kDepth; k += 8) {
            const __m256i v = inputs(x + r * apart + k0 + k);
#pragma GCC unroll 8
            for (int g = 0; g < 8; ++g) sum[g] = add_products(sum[g], w[k / 8][g], v);
          }
          int32_t some[kPanelRows];
          put(sum, some);
          for (int64_t i = 0; i < kPanelRows; ++i) to[r][i] += some[i];
        }
      }
    }
  }
};

struct Bytes {
  template <int64_t Rows>
  void add(const uint8_t* from, int64_t count, const int8_t* x, int64_t apart, const int32_t*, int64_t, int32_t (*to)[kPanelRows]) const {
    constexpr int64_t kGroup = Rows == 1 ? 1 : 2;
    static_assert(Rows % kGroup == 0);
    for (int64_t r = 0; r < Rows; r += kGroup) {
      __m256i sum[kGroup][4] = {};
      for (int64_t k = 0; k < count; k += 4) {
        if (r == 0) prefetch_codes(from + k * 32), prefetch_codes(from + k * 32 + 64);
#pragma GCC unroll 2
        for (int64_t g = 0; g < kGroup; ++g) {
          const __m256i v = _mm256_set1_epi32(four_of(x + (r + g) * apart + k));
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i)
            sum[g][i] = add_products(sum[g][i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + k * 32 + i * 32)), v);
        }
      }
      for (int64_t g = 0; g < kGroup; ++g)
        for (int i = 0; i < 4; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to[r + g] + 8 * i), sum[g][i]);
    }
  }
};

#else

// Two products fit in 16 bits.
template <int64_t Rows>
inline void add_two(const int16_t (&w)[2][kPanelRows], const int8_t* x, int64_t apart, int32_t (*to)[kPanelRows]) {
  for (int64_t r = 0; r < Rows; ++r) {
    const int16_t a = x[r * apart], b = x[r * apart + 1];
    for (int64_t i = 0; i < kPanelRows; ++i) to[r][i] += static_cast<int16_t>(a * w[0][i] + b * w[1][i]);
  }
}

struct Nibbles {
  int8_t values[16];
  explicit Nibbles(const int8_t* book) { std::memcpy(values, book, sizeof values); }
  template <int64_t Rows>
  void add(const uint8_t* from, int64_t count, const int8_t* x, int64_t apart, const int32_t*, int64_t, int32_t (*to)[kPanelRows]) const {
    std::memset(to, 0, sizeof(int32_t) * Rows * kPanelRows);
    for (int64_t k = 0; k < count; k += 2) {
      int16_t w[2][kPanelRows];
      for (int64_t i = 0; i < 2; ++i)
        for (int64_t j = 0; j < 16; ++j) {
          const uint8_t both = from[(k + i) * 16 + j];
          w[i][j] = values[both & 15];
          w[i][j + 16] = values[both >> 4];
        }
      add_two<Rows>(w, x + k, apart, to);
    }
  }
};

struct Bytes {
  template <int64_t Rows>
  void add(const uint8_t* from, int64_t count, const int8_t* x, int64_t apart, const int32_t*, int64_t, int32_t (*to)[kPanelRows]) const {
    std::memset(to, 0, sizeof(int32_t) * Rows * kPanelRows);
    for (int64_t k = 0; k < count; k += 2) {
      int16_t w[2][kPanelRows];
      for (int64_t i = 0; i < 2; ++i)
        for (int64_t j = 0; j < kPanelRows; ++j) w[i][j] = static_cast<int8_t>(from[(k + i) / 4 * 128 + j * 4 + (k + i) % 4]);
      add_two<Rows>(w, x + k, apart, to);
    }
  }
};

#endif

}  // namespace anymal::cpu::ANYMAL_LEVEL::eight_bit
