// A few rows of 8-bit integers against a panel of int8 codes (packed_weight.h), as LLM.int8 multiplies. A float holds every sum of kPanelDepth such
// products exactly, so integer instructions give the bits of the panels' way, whatever they add first.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/few_rows.h"
#include "cpu/linear/gemm.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

#if defined(__x86_64__)

struct FewRowsInteger {
  static constexpr int64_t kOutputs = 32;                                    // PackedWeight::kRows
  static constexpr int64_t kFour = 4, kBlock = linear::kPanelDepth / kFour;  // fours of K that are summed by themselves
  static int64_t fours(int64_t K) { return (K + kFour - 1) / kFour; }
  static int64_t panel_bytes(int64_t K) { return fours(K) * kFour * kOutputs; }

#if defined(__AVX512VNNI__)
  // vpdpbusd wants one operand unsigned: codes + 128, whose surplus of 128 times the sum of x is taken back block by block.
  using Unit = uint32_t;
  static void put(Unit* x, int64_t k, int8_t v) { *x |= static_cast<uint32_t>(static_cast<uint8_t>(v)) << (k % 4 * 8); }
  using Vector = __m512i;
  static constexpr int kVectors = 2;
  struct Weights {
    Vector codes;
    explicit Weights(const uint8_t* from) : codes(_mm512_xor_si512(_mm512_loadu_si512(from), _mm512_set1_epi8(-128))) {}
  };
  static Vector start(int32_t sum_of_x) { return _mm512_set1_epi32(-128 * sum_of_x); }
  static Vector add(Vector sum, const Weights& w, Unit x) { return _mm512_dpbusd_epi32(sum, w.codes, _mm512_set1_epi32(static_cast<int32_t>(x))); }
#else
  // The even and the odd codes of a four as 16 bits each: vpmaddwd multiplies and adds two at a time.
  struct Unit {
    uint32_t even, odd;
  };
  static void put(Unit* x, int64_t k, int8_t v) { (k % 2 ? x->odd : x->even) |= static_cast<uint32_t>(static_cast<uint16_t>(v)) << (k % 4 / 2 * 16); }
#if defined(__AVX512F__)
#define ANYMAL_INTEGER(name) _mm512_##name
  using Vector = __m512i;
  static constexpr int kVectors = 2;  // at a time, of a panel's
  static Vector load(const uint8_t* from) { return _mm512_loadu_si512(from); }
#elif defined(__AVX2__)
#define ANYMAL_INTEGER(name) _mm256_##name
  using Vector = __m256i;
  static constexpr int kVectors = 1;
  static Vector load(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
#else
#define ANYMAL_INTEGER(name) _mm_##name
  using Vector = __m128i;
  static constexpr int kVectors = 1;
  static Vector load(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
#endif
  struct Weights {
    Vector even, odd;
    explicit Weights(const uint8_t* from) : odd(load(from)) {
      even = ANYMAL_INTEGER(srai_epi16)(ANYMAL_INTEGER(slli_epi16)(odd, 8), 8);
      odd = ANYMAL_INTEGER(srai_epi16)(odd, 8);
    }
  };
  static Vector start(int32_t) { return Vector{}; }
  static Vector add(Vector sum, const Weights& w, Unit x) {
    const auto two = [](Vector codes, uint32_t v) { return ANYMAL_INTEGER(madd_epi16)(codes, ANYMAL_INTEGER(set1_epi32)(static_cast<int32_t>(v))); };
    return ANYMAL_INTEGER(add_epi32)(sum, ANYMAL_INTEGER(add_epi32)(two(w.even, x.even), two(w.odd, x.odd)));
  }
#undef ANYMAL_INTEGER
#endif

  // The rows' fours side by side, [fours][rows], and behind them the sums of each row's blocks, [blocks][rows].
  struct Input {
    Unit* x;
    int32_t* sums;
  };
  static int64_t blocks(int64_t K) { return (fours(K) + kBlock - 1) / kBlock; }
  static size_t room_bytes(int64_t rows, int64_t K) {
    return static_cast<size_t>(fours(K) * rows) * sizeof(Unit) + static_cast<size_t>(blocks(K) * rows) * sizeof(int32_t) + 64;
  }
  // False where a value of x is no integer of 8 bits.
  static bool prepare(Input& in, void* room, const linear::Matrix& a, int64_t M, int64_t rows, int64_t K) {
    std::memset(room, 0, room_bytes(rows, K));
    in.x = static_cast<Unit*>(room);
    in.sums = reinterpret_cast<int32_t*>(in.x + fours(K) * rows);
    for (int64_t m = 0; m < M; ++m)
      for (int64_t k = 0; k < K; ++k) {
        const float v = to_float(static_cast<const bf16*>(a.data)[m * a.row + k * a.col]);
        if (!(std::fabs(v) <= 127) || v != std::trunc(v)) return false;
        put(in.x + k / kFour * rows + m, k, static_cast<int8_t>(v));
        in.sums[k / linear::kPanelDepth * rows + m] += static_cast<int32_t>(v);
      }
    return true;
  }

  // sums [Rows][32] <- the rows against the codes of a panel.
  template <int64_t Rows>
  static void panel(float* sums, const Input& in, const uint8_t* codes, int64_t K) {
    constexpr int64_t kLanes = sizeof(Vector) / 4;
    std::memset(sums, 0, static_cast<size_t>(Rows * kOutputs) * 4);
    for (int64_t b = 0; b < blocks(K); ++b) {
      const int64_t first = b * kBlock, end = std::min(first + kBlock, fours(K));
      for (int64_t n = 0; n < kOutputs; n += kVectors * kLanes) {
        Vector sum[kVectors][Rows];
#pragma GCC unroll 8
        for (int64_t r = 0; r < Rows; ++r)
          for (int v = 0; v < kVectors; ++v) sum[v][r] = start(in.sums[b * Rows + r]);
        for (int64_t k = first; k < end; ++k) {
          const uint8_t* at = codes + (k * kOutputs + n) * kFour;
          __builtin_prefetch(at + 3072);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) {
            const Weights w(at + v * static_cast<int64_t>(sizeof(Vector)));
#pragma GCC unroll 8
            for (int64_t r = 0; r < Rows; ++r) sum[v][r] = add(sum[v][r], w, in.x[k * Rows + r]);
          }
        }
        for (int64_t r = 0; r < Rows; ++r)
          for (int v = 0; v < kVectors; ++v) {
            int32_t lane[kLanes];
            std::memcpy(lane, &sum[v][r], sizeof lane);
            for (int64_t i = 0; i < kLanes; ++i) sums[r * kOutputs + n + v * kLanes + i] += static_cast<float>(lane[i]);
          }
      }
    }
  }
};

#endif

// The codes of int8 by themselves. False where B is no such weight, x holds other than integers, or the level has no kernel for a few rows.
template <class MicroBf16>
bool few_rows_integer(Stream& s, const linear::Problem& p) {
#if defined(__x86_64__)
  if constexpr (requires { &MicroBf16::add; }) {
    using Few = FewRowsInteger;
    const linear::QuantizedWeight* w = p.panels ? p.panels->weight : nullptr;
    if (p.M > kFewRows || !w || w->format != QuantFormat::int8 || !w->raw || p.a.dtype != DType::bf16) return false;
    bool done = false;
    by_few(p.M, [&](auto rows) {
      Few::Input in;
      if (!Few::prepare(in, s.packed.get(Few::room_bytes(rows(), p.K)), p.a, p.M, rows(), p.K)) return;
      parallel_range(s, (p.N + Few::kOutputs - 1) / Few::kOutputs, Few::kOutputs * (p.K + 1), [&](int64_t begin, int64_t end, int) {
        for (int64_t j = begin; j < end; ++j) {
          alignas(64) float sums[rows() * Few::kOutputs];
          Few::template panel<rows()>(sums, in, w->codes + j * Few::panel_bytes(p.K), p.K);
          store(p, 0, p.M, j * Few::kOutputs, std::min(Few::kOutputs, p.N - j * Few::kOutputs), sums, Few::kOutputs);
        }
      });
      done = true;
    });
    return done;
  }
#endif
  return (void)s, (void)p, false;
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
