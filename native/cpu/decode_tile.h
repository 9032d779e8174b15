// The two products of attention for the queries of one position, in vectors: several heads against the keys and values that they share, each of which
// is widened once for all of them. Keys become columns in registers (transpose.h), so that a vector holds the scores of as many keys; of values a
// vector holds neighbouring columns.
#pragma once
#include <bit>
#include <cstring>
#include <type_traits>

#include "cpu/kernel.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// Cache: what the keys and values are in memory: float, bf16, or int8_t, whose factors are the caller's.
template <class Cache>
struct DecodeTile {
  static constexpr int kLanes = Transpose::kLanes;
  static constexpr int kHeads = kLanes == 16 ? 8 : 4;  // at most, that share what is read: their sums stay in registers
  static constexpr int64_t kPerUnit = 4 / sizeof(Cache);
  using Units = Transpose::Vector;
  typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));
  typedef float Floats __attribute__((vector_size(4 * kLanes)));

  // Floats that a query takes: zeros up to whole pieces of a line.
  static int64_t padded(int64_t D) { return (D + 4 * kPerUnit - 1) / (4 * kPerUnit) * (4 * kPerUnit); }

  // scores[h * room + i] = scale q[h].keys[i] for `there` keys of a tile, and -inf for the lanes behind them. The keys lie `row` elements apart.
  template <int Heads>
  static void score(float* scores, int64_t room, const float* q, int64_t D, const Cache* keys, int64_t row, int64_t there, Floats scale) {
    constexpr int kParts = Heads >= 4 ? 1 : 4 / Heads;  // sums of a head, so that one addition does not wait for the one before
    const char* at = reinterpret_cast<const char*>(keys);
    const int64_t line = row * static_cast<int64_t>(sizeof(Cache)), wide = padded(D), whole = D / (4 * kPerUnit) * 4;
    Floats sum[Heads][kParts] = {};
    const auto add = [&](const Units& units, int64_t unit, int part) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int j = 0; j < kPerUnit; ++j) {
        const Floats k = widen(units, j);
#pragma GCC unroll 8
        for (int h = 0; h < Heads; ++h) sum[h][part] += k * q[h * wide + unit * kPerUnit + j];
      }
    };
    const auto go = [&](auto all, auto pieces, const char* from, int64_t line, int64_t u, int64_t first) __attribute__((always_inline)) {
      constexpr int n = pieces();
      Units v[n][4];
      Transpose::columns<all(), n>(v, from + u * 4, line, there);
#pragma GCC unroll 16
      for (int r = 0; r < 4 * n; ++r) add(v[r / 4][r % 4], first + r, r % kParts);
    };
    const std::integral_constant<int, Transpose::kPieces> many;
    const std::integral_constant<int, 1> one;
    const auto walk = [&](auto all) __attribute__((always_inline)) {
      int64_t u = 0;
      for (; u + 4 * many() <= whole; u += 4 * many()) go(all, many, at, line, u, u);
      for (; u < whole; u += 4) go(all, one, at, line, u, u);
    };
    if (there == kLanes) walk(std::true_type{});
    else walk(std::false_type{});
    if (whole * kPerUnit < D) {
      char last[kLanes * 16] = {};
      for (int64_t i = 0; i < there; ++i)
        std::memcpy(last + i * 16, at + i * line + whole * 4, static_cast<size_t>(D - whole * kPerUnit) * sizeof(Cache));
      go(std::true_type{}, one, last, 16, 0, whole);
    }
    for (int h = 0; h < Heads; ++h) {
      Floats s = sum[h][0];
      for (int p = 1; p < kParts; ++p) s += sum[h][p];
      s *= scale;
      for (int64_t i = there; i < kLanes; ++i) s[i] = -INFINITY;
      std::memcpy(scores + h * room, &s, sizeof s);
    }
  }

  // y[h * D + d] = the sum of p[h * room + i] values[i,d] over n values that lie `row` elements apart.
  template <int Heads>
  static void weigh(float* y, int64_t D, const float* p, int64_t room, const Cache* values, int64_t row, int64_t n) {
    constexpr int kWide = kLanes == 16 && Heads <= 4 ? 4 : Heads <= 2 ? 4 : 2;  // vectors of a strip
    int64_t d = 0;
    for (; d + kWide * kLanes <= D; d += kWide * kLanes) strip<Heads, kWide>(y + d, D, p, room, values + d, row, n, kLanes);
    for (; d + kLanes <= D; d += kLanes) strip<Heads, 1>(y + d, D, p, room, values + d, row, n, kLanes);
    if (d < D) strip<Heads, 1>(y + d, D, p, room, values + d, row, n, D - d);
  }

 private:
  // Element j of each unit.
  static Floats widen(const Units& u, int j) {
    if constexpr (sizeof(Cache) == 4) return std::bit_cast<Floats>(u);
    else if constexpr (sizeof(Cache) == 2) return std::bit_cast<Floats>(j == 0 ? u << 16 : u & 0xffff0000u);
    else return __builtin_convertvector(std::bit_cast<Integers>(u << (24 - 8 * j)) >> 24, Floats);
  }
  // kLanes neighbours, of which `there` are there.
  static Floats load(const Cache* from, int64_t there) {
    typedef std::conditional_t<sizeof(Cache) == 4, float, std::conditional_t<sizeof(Cache) == 2, uint16_t, int8_t>> Stored;
    typedef Stored Few __attribute__((vector_size(sizeof(Cache) * kLanes)));
    Few v = {};
    if (there == kLanes) std::memcpy(&v, from, sizeof v);
    else std::memcpy(&v, from, static_cast<size_t>(there) * sizeof(Cache));
    if constexpr (sizeof(Cache) == 2) return std::bit_cast<Floats>(__builtin_convertvector(v, Units) << 16);
    else return __builtin_convertvector(v, Floats);
  }
  template <int Heads, int Wide>
  static void strip(float* y, int64_t D, const float* p, int64_t room, const Cache* values, int64_t row, int64_t n, int64_t there) {
    Floats sum[Heads][Wide] = {};
    for (int64_t i = 0; i < n; ++i) {
      Floats v[Wide];
#pragma GCC unroll 4
      for (int w = 0; w < Wide; ++w) v[w] = load(values + i * row + w * kLanes, Wide > 1 ? kLanes : there);
#pragma GCC unroll 8
      for (int h = 0; h < Heads; ++h)
#pragma GCC unroll 4
        for (int w = 0; w < Wide; ++w) sum[h][w] += v[w] * p[h * room + i];
    }
    for (int h = 0; h < Heads; ++h)
      for (int w = 0; w < Wide; ++w) std::memcpy(y + h * D + w * kLanes, &sum[h][w], static_cast<size_t>(Wide > 1 ? kLanes : there) * 4);
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
