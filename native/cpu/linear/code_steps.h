// The inner loops of few rows against a panel of 4-bit codes (packed_weight.h), one for the instructions of each level: a column of 32 codes is
// looked up and scaled in registers, and every row adds its product. What is added, and in which order, is what the panels' micro-kernel adds.
//
//   Steps(format).add<Rows>(codes, count, scale, x, part)
//     codes: the first of `count` columns of one quantisation block, a multiple of 32; scale [32]: the block's maxima
//     x [count][Rows]: the rows' values of these columns; part [Rows][32]: the sums so far. Its slot i belongs to output slot(i) of the panel: the
//     order in which the look-up leaves them.
//   Steps(format).decode(codes, count, scale, lane, to): the same columns of the outputs from `lane` on, as a packed panel of kWidth columns lies.
// Where kScalesSums, weights are unscaled, decode takes neither scale nor lane, and a block's sum is scaled when it is added.
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/kernel.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

constexpr int64_t kPanelRows = 32;  // PackedWeight::kRows

// Codes are read once, as fast as memory gives them: the hardware's own prefetching leaves a third of that unused.
template <int64_t kAhead = 3072>
inline void prefetch_codes(const uint8_t* codes) {
  __builtin_prefetch(codes + kAhead);
}

#if defined(__AVX512F__)

// sums [Rows][32] += scale times a block's.
template <int64_t Rows>
inline void add_scaled(const __m512 (&sum)[Rows][2], const float* scale, float* sums) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
    for (int h = 0; h < 2; ++h) {
      float* to = sums + r * kPanelRows + 16 * h;
      _mm512_storeu_ps(to, _mm512_fmadd_ps(sum[r][h], _mm512_loadu_ps(scale + 16 * h), _mm512_loadu_ps(to)));
    }
}

struct FloatSteps {
  __m512 table;
  static constexpr bool kScalesSums = true;
  static constexpr float factor = 1;
  explicit FloatSteps(QuantFormat format) : table(_mm512_loadu_ps(quant::code_book(format))) {}
  static int64_t slot(int64_t i) { return i; }

  void column(const uint8_t* codes, __m512& w0, __m512& w1) const {
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    w0 = _mm512_permutexvar_ps(bytes, table);  // vpermps reads the low four bits of each lane only
    w1 = _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table);
  }

  static constexpr int64_t kWidth = 32;
  void decode(const uint8_t* codes, int64_t count, float* to) const {
    for (int64_t k0 = 0; k0 < count; k0 += 4) {
      prefetch_codes(codes + k0 * 16);
#pragma GCC unroll 4
      for (int64_t k = k0; k < k0 + 4; ++k) {
        __m512 w0, w1;
        column(codes + k * 16, w0, w1);
        _mm512_storeu_ps(to + k * kPanelRows, w0);
        _mm512_storeu_ps(to + k * kPanelRows + 16, w1);
      }
    }
  }

  template <int64_t Rows>
  void add(const uint8_t* codes, int64_t count, const float* scale, const float* x, float* sums) const {
    __m512 sum[Rows][2];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (int64_t k0 = 0; k0 < count; k0 += 4) {
      prefetch_codes(codes + k0 * 16);
#pragma GCC unroll 4
      for (int64_t k = k0; k < k0 + 4; ++k) {
        __m512 w0, w1;
        column(codes + k * 16, w0, w1);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          const __m512 v = _mm512_set1_ps(x[k * Rows + r]);
          sum[r][0] = _mm512_fmadd_ps(v, w0, sum[r][0]);
          sum[r][1] = _mm512_fmadd_ps(v, w1, sum[r][1]);
        }
      }
    }
    add_scaled<Rows>(sum, scale, sums);
  }
};

#elif defined(__AVX2__)

// The table as four planes of bytes: vpshufb looks up the four bytes of 32 entries, two rounds of unpacking put them together. Lane 0 has the low
// nibbles, lane 1 the high ones: vector g holds the outputs 4 g .. 4 g + 3 and 16 + 4 g .. 16 + 4 g + 3.
struct FloatSteps {
  static constexpr bool kScalesSums = false;
  static constexpr float factor = 1;
  __m256i planes[4];
  explicit FloatSteps(QuantFormat format) {
    const float* book = quant::code_book(format);
    alignas(32) uint8_t bytes[4][32];
    for (int i = 0; i < 16; ++i) {
      uint32_t u;
      std::memcpy(&u, book + i, 4);
      for (int b = 0; b < 4; ++b) bytes[b][i] = bytes[b][i + 16] = static_cast<uint8_t>(u >> (8 * b));
    }
    for (int b = 0; b < 4; ++b) planes[b] = _mm256_load_si256(reinterpret_cast<const __m256i*>(bytes[b]));
  }
  static int64_t slot(int64_t i) { return i / 8 * 4 + i % 4 + i / 4 % 2 * 16; }

  // The weights of 32 codes, which are the low nibbles of bytes: of each lane's 16 in order, four to a vector.
  void look_up(__m256i nibbles, const __m256 (&scale)[4], __m256 (&w)[4]) const {
    const __m256i code = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
    const __m256i b0 = _mm256_shuffle_epi8(planes[0], code), b1 = _mm256_shuffle_epi8(planes[1], code);
    const __m256i b2 = _mm256_shuffle_epi8(planes[2], code), b3 = _mm256_shuffle_epi8(planes[3], code);
    const __m256i l01 = _mm256_unpacklo_epi8(b0, b1), h01 = _mm256_unpackhi_epi8(b0, b1);
    const __m256i l23 = _mm256_unpacklo_epi8(b2, b3), h23 = _mm256_unpackhi_epi8(b2, b3);
    w[0] = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(l01, l23)), scale[0]);
    w[1] = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(l01, l23)), scale[1]);
    w[2] = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(h01, h23)), scale[2]);
    w[3] = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(h01, h23)), scale[3]);
  }
  // The four vectors of a column.
  void column(const uint8_t* codes, const __m256 (&scale)[4], __m256 (&w)[4]) const {
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    look_up(_mm256_srlv_epi64(both, _mm256_setr_epi64x(0, 0, 4, 4)), scale, w);
  }

  static constexpr int64_t kWidth = 16;
  void decode(const uint8_t* codes, int64_t count, const float* scale, int64_t lane, float* to) const {
    __m256 factor[4];
    for (int g = 0; g < 4; ++g) factor[g] = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(scale + lane + 4 * g));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(lane / 16 * 4));
    for (int64_t k = 0; k < count; k += 2) {  // two columns, one to a lane
      if (k % 4 == 0) prefetch_codes(codes + k * 16);
      __m256 w[4];
      look_up(_mm256_srl_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + k * 16)), shift), factor, w);
      for (int g = 0; g < 4; ++g) {
        _mm_storeu_ps(to + k * kWidth + 4 * g, _mm256_castps256_ps128(w[g]));
        _mm_storeu_ps(to + (k + 1) * kWidth + 4 * g, _mm256_extractf128_ps(w[g], 1));
      }
    }
  }

  // sum[r][v] += x[k][r] w[v] for the steps k of `count`, whose vectors weights(k, w) gives; the sums lie 32 floats apart.
  template <int64_t Rows, class Weights>
  static void multiply(int64_t count, const Weights& weights, const float* x, int64_t x_step, float* part) {
    __m256 sum[Rows][4];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
      for (int g = 0; g < 4; ++g) sum[r][g] = _mm256_loadu_ps(part + r * kPanelRows + 8 * g);
#pragma GCC unroll 2
    for (int64_t k = 0; k < count; ++k) {
      __m256 w[4];
      weights(k, w);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const __m256 v = _mm256_set1_ps(x[k * x_step + r]);
        for (int g = 0; g < 4; ++g) sum[r][g] = _mm256_fmadd_ps(v, w[g], sum[r][g]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
      for (int g = 0; g < 4; ++g) _mm256_storeu_ps(part + r * kPanelRows + 8 * g, sum[r][g]);
  }

  template <int64_t Rows>
  void add(const uint8_t* codes, int64_t count, const float* scale, const float* x, float* part) const {
    __m256 factor[4];
    for (int g = 0; g < 4; ++g)
      factor[g] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(scale + 4 * g)), _mm_loadu_ps(scale + 16 + 4 * g), 1);
    if constexpr (Rows <= 2) {
      const auto decoded = [&](int64_t k, __m256(&w)[4]) {
        if (k % 4 == 0) prefetch_codes(codes + k * 16);
        column(codes + k * 16, factor, w);
      };
      multiply<Rows>(count, decoded, x, Rows, part);
    } else {  // the sums of more rows take all registers: the weights wait in cache, so few that the next ones are looked up meanwhile
      constexpr int64_t kDepth = 8, kGroup = 2;
      static_assert(Rows % kGroup == 0);
      alignas(32) float tile[kDepth * kPanelRows];
      for (int64_t k0 = 0; k0 < count; k0 += kDepth) {
        for (int64_t k = 0; k < kDepth; ++k) {
          __m256 w[4];
          if (k % 4 == 0) prefetch_codes(codes + (k0 + k) * 16);
          column(codes + (k0 + k) * 16, factor, w);
          for (int g = 0; g < 4; ++g) _mm256_store_ps(tile + k * kPanelRows + 8 * g, w[g]);
        }
        const auto stored = [&](int64_t k, __m256(&w)[4]) {
          for (int g = 0; g < 4; ++g) w[g] = _mm256_load_ps(tile + k * kPanelRows + 8 * g);
        };
        for (int r = 0; r < Rows; r += kGroup) multiply<kGroup>(kDepth, stored, x + k0 * Rows + r, Rows, part + r * kPanelRows);
      }
    }
  }
};

#else

// A byte's two weights, of outputs j and j + 16, side by side.
struct FloatSteps {
  struct Pair {
    float low, high;
  };
  typedef float Four __attribute__((vector_size(16)));
  static Four two(const Pair& a, const Pair& b) {
#if defined(__SSE2__)
    return reinterpret_cast<Four>(
        _mm_loadh_pi(_mm_loadl_pi(_mm_setzero_ps(), reinterpret_cast<const __m64*>(&a)), reinterpret_cast<const __m64*>(&b)));
#else
    return Four{a.low, a.high, b.low, b.high};
#endif
  }
  static constexpr bool kScalesSums = false;
  static constexpr float factor = 1;
  Pair pairs[256];
  explicit FloatSteps(QuantFormat format) {
    const float* book = quant::code_book(format);
    for (int i = 0; i < 256; ++i) pairs[i] = {book[i & 15], book[i >> 4]};
  }
  static int64_t slot(int64_t i) { return i / 2 + i % 2 * 16; }

  template <int64_t Rows>
  void add(const uint8_t* codes, int64_t count, const float* scale, const float* x, float* part) const {
    constexpr int64_t kDepth = 32;
    constexpr int kFours = Rows == 1 ? 8 : 4, kGroup = Rows == 1 ? 1 : 2;  // eight sums at a time
    static_assert(Rows % kGroup == 0);
    Four factor[8], tile[kDepth][8];
    for (int64_t i = 0; i < kPanelRows; ++i) factor[i / 4][i % 4] = scale[slot(i)];
    for (int64_t k0 = 0; k0 < count; k0 += kDepth) {
      for (int64_t k = 0; k < kDepth; ++k) {
        const uint8_t* column = codes + (k0 + k) * 16;
#pragma GCC unroll 8
        for (int v = 0; v < 8; ++v) tile[k][v] = two(pairs[column[2 * v]], pairs[column[2 * v + 1]]) * factor[v];
      }
      for (int r = 0; r < Rows; r += kGroup)
        for (int v0 = 0; v0 < 8; v0 += kFours) {
          float* to = part + r * kPanelRows + 4 * v0;
          Four sum[kGroup][kFours];
          for (int g = 0; g < kGroup; ++g) std::memcpy(sum[g], to + g * kPanelRows, sizeof sum[g]);
          for (int64_t k = 0; k < kDepth; ++k)
#pragma GCC unroll 2
            for (int g = 0; g < kGroup; ++g) {
              const float one = x[(k0 + k) * Rows + r + g];
#pragma GCC unroll 8
              for (int v = 0; v < kFours; ++v) sum[g][v] += one * tile[k][v0 + v];
            }
          for (int g = 0; g < kGroup; ++g) std::memcpy(to + g * kPanelRows, sum[g], sizeof sum[g]);
        }
    }
  }
};

#endif

#if defined(__AVX512VBMI__)
// Where look-ups take so little, what is on its way has to last for the time in which maxima are expanded (panel_scales.h).
constexpr int64_t kFarAhead = 8192;
#endif

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)

// vdpbf16ps adds two columns' products at a time; x holds pairs. Weights are entries of the code book rounded to bf16, times a unit, and 32 of them
// take one look-up: what is scaled is a block's sum. The unit is the factor with the least error, for NF4 two fifths of what rounding each scaled
// weight costs (0.03 % of the largest weight, root mean square, beside 0.08 on average); multiples of a twelfth are exact times three quarters.
struct PairSteps {
  static constexpr bool kScalesSums = true;
  static constexpr float unit_of(QuantFormat format) { return format == QuantFormat::fp4 ? 0.75f : 1.437f; }

  __m512i table, order;
  float factor;  // of the blocks' maxima
  explicit PairSteps(QuantFormat format) : factor(1 / unit_of(format)) {
    alignas(64) uint16_t values[32];
    for (int i = 0; i < 32; ++i) values[i] = to_bf16(quant::code_book(format)[i % 16] * unit_of(format)).bits;  // vpermw reads five bits
    table = _mm512_load_si512(values);
    alignas(64) uint8_t bytes[64];
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 4; ++j) bytes[4 * i + j] = static_cast<uint8_t>((j % 2 * 2 + j / 2) * 16 + i);
    order = _mm512_load_si512(bytes);
  }
  static int64_t slot(int64_t i) { return i; }

  // Columns k .. k + 3: w[0] and w[1] have the outputs' pairs of k and k + 1, w[2] and w[3] those of the other two. Each output's four bytes come
  // together first, those of a pair in neighbouring words.
  void columns(const uint8_t* codes, __m512bh (&w)[4]) const {
    const __m512i c = _mm512_permutexvar_epi8(order, _mm512_loadu_si512(codes));
    w[0] = reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(c, table));
    w[1] = reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(c, 4), table));
    w[2] = reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(c, 8), table));
    w[3] = reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(c, 12), table));
  }

  static constexpr int64_t kWidth = 32;
  void decode(const uint8_t* codes, int64_t count, bf16* to) const {
    for (int64_t k = 0; k < count; k += 4) {
      prefetch_codes<kFarAhead>(codes + k * 16);
      __m512bh w[4];
      columns(codes + k * 16, w);
      for (int i = 0; i < 4; ++i) _mm512_storeu_si512(to + k * kPanelRows + i * 32, reinterpret_cast<__m512i>(w[i]));
    }
  }

  // sums [Rows][32] += scale times the block's products.
  template <int64_t Rows>
  void add(const uint8_t* codes, int64_t count, const float* scale, const uint32_t* x, float* sums) const {
    __m512 sum[Rows][2];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < count; k += 4, x += 2 * Rows) {
      prefetch_codes<kFarAhead>(codes + k * 16);
      __m512bh w[4];
      columns(codes + k * 16, w);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
        for (int pair = 0; pair < 2; ++pair) {
          const __m512bh v = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int32_t>(x[pair * Rows + r])));
          sum[r][0] = _mm512_dpbf16_ps(sum[r][0], v, w[2 * pair]);
          sum[r][1] = _mm512_dpbf16_ps(sum[r][1], v, w[2 * pair + 1]);
        }
    }
    add_scaled<Rows>(sum, scale, sums);
  }
};

#else

using PairSteps = FloatSteps;  // never met: no micro-kernel multiplies pairs of them

#endif

}  // namespace anymal::cpu::ANYMAL_LEVEL
