// A few rows against a row-major weight (O,I), as decoding meets it: the products of a panel's columns, added in the order in which the micro-kernel
// adds them, so that a row has the same bits as among others. The weight is read once for all rows and packed nowhere: four steps of all the panel's
// lines become columns in registers (transpose.h).
#pragma once
#include <algorithm>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/kernels.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

// The rows' units as the kernels broadcast them, side by side: [units][rows], a unit being a float, or a pair of bf16 where the level multiplies
// those; zeros up to a multiple of four units. From: what the operands are in memory.
template <class Micro, class From>
struct FewRowsInput {
  static constexpr bool kWidens = sizeof(typename Micro::Element) == 4 && sizeof(From) == 2;
  static constexpr int64_t kWide = kWidens ? 2 : 1;      // prepared units for a unit of memory
  static constexpr int64_t kPerUnit = 4 / sizeof(From);  // steps of K in a unit of memory

  static int64_t units(int64_t K) { return (K + 4 * kPerUnit - 1) / (4 * kPerUnit) * 4; }
  static size_t room_bytes(int64_t rows, int64_t K) { return static_cast<size_t>(units(K) * kWide * rows) * 4 + 64; }

  // M rows, and zeros for more of them up to `rows`.
  static void prepare(uint32_t* x, const linear::Matrix& a, int64_t M, int64_t rows, int64_t K) {
    constexpr int64_t kSteps = kWidens ? 1 : kPerUnit;
    using To = std::conditional_t<kWidens, float, From>;
    std::memset(x, 0, room_bytes(rows, K) - 64);
    for (int64_t m = 0; m < M; ++m) {
      const From* from = static_cast<const From*>(a.data) + m * a.row;
      To* to = reinterpret_cast<To*>(x + m);
      for (int64_t k = 0; k < K; ++k) {
        const int64_t at = k / kSteps * rows * kSteps + k % kSteps;
        if constexpr (kWidens) to[at] = to_float(from[k * a.col]);
        else to[at] = from[k * a.col];
      }
    }
  }
};

// Micro::add(sum, x, w) adds a unit's products in every lane: a float's, or a pair's of bf16.
template <class Micro, class From>
struct FewRows {
  using Input = FewRowsInput<Micro, From>;
  using Units = Transpose::Vector;
  static constexpr int kLanes = Transpose::kLanes;
  static constexpr int64_t kWide = Input::kWide, kPerUnit = Input::kPerUnit;
  static constexpr int64_t kBlock = linear::kPanelDepth / kPerUnit;  // units that are summed by themselves
  static constexpr int kTile = 16;                                   // units: a line of cache
  static_assert(Micro::NR == 2 * kLanes);

  // A unit of x and one of w.
  static Units add_unit(Units sum, const uint32_t* x, int64_t step, Units w) {
    if constexpr (Input::kWidens) return Micro::add(Micro::add(sum, Units{} + x[0], w << 16), Units{} + x[step], w & 0xffff0000u);
    else return Micro::add(sum, Units{} + x[0], w);
  }

  // 4 N units of the lines of group g; where Whole, all of them are there.
  template <int64_t Rows, int N, bool Whole>
  static void add_units(Units (&sum)[2][Rows], int g, const uint32_t* x, const char* w, int64_t line, int64_t there) {
    Units v[N][4];
    Transpose::columns<Whole, N>(v, w + g * kLanes * line, line, there - g * kLanes);
#pragma GCC unroll 16
    for (int u = 0; u < 4 * N; ++u)
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) sum[g][r] = add_unit(sum[g][r], x + u * kWide * Rows + r, Rows, v[u / 4][u % 4]);
  }

  // Rows [first, first + Group) and the units of a tile.
  template <int64_t Rows, int64_t Group>
  static void add_tile(Units (&sum)[2][Rows], int first, const uint32_t* x, const Units (&tile)[kTile][2]) {
    Units s[2][Group];
#pragma GCC unroll 8
    for (int r = 0; r < Group; ++r) s[0][r] = sum[0][first + r], s[1][r] = sum[1][first + r];
    for (int u = 0; u < kTile; ++u) {
#pragma GCC unroll 8
      for (int r = 0; r < Group; ++r)
#pragma GCC unroll 2
        for (int g = 0; g < 2; ++g) s[g][r] = add_unit(s[g][r], x + u * kWide * Rows + first + r, Rows, tile[u][g]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Group; ++r) sum[0][first + r] = s[0][r], sum[1][first + r] = s[1][r];
  }

  // Units [u, end) of all lines, in tiles; gives the first unit that is left.
  template <int64_t Rows>
  static int64_t add_tiles(Units (&sum)[2][Rows], const uint32_t* x, const char* w, int64_t line, int64_t u, int64_t end) {
    constexpr int kPieces = Transpose::kPieces;
    for (; u + kTile <= end; u += kTile) {
      const uint32_t* at = x + u * kWide * Rows;
      if constexpr (Rows <= 2) {
        for (int g = 0; g < 2; ++g)
          for (int q = 0; q < kTile; q += 4 * kPieces)
            add_units<Rows, kPieces, true>(sum, g, at + q * kWide * Rows, w + (u + q) * 4, line, Micro::NR);
      } else {  // the columns of both groups wait in cache, so that there are enough sums to be busy with, and registers for them
        constexpr int64_t kGroup = kLanes == 16 || Rows <= 4 ? Rows : Rows / 2;
        static_assert(Rows % kGroup == 0);
        Units tile[kTile][2];
        for (int g = 0; g < 2; ++g)
          for (int q = 0; q < kTile; q += 4 * kPieces) {
            Units v[kPieces][4];
            Transpose::columns<true, kPieces>(v, w + g * kLanes * line + (u + q) * 4, line, kLanes);
#pragma GCC unroll 16
            for (int i = 0; i < 4 * kPieces; ++i) tile[q + i][g] = v[i / 4][i % 4];
          }
        for (int r = 0; r < Rows; r += kGroup) add_tile<Rows, kGroup>(sum, r, at, tile);
      }
    }
    return u;
  }

  // sums [Rows][NR] <- the rows against `there` lines of w, `line` bytes apart.
  template <int64_t Rows>
  static void panel(float* sums, const uint32_t* x, const char* w, int64_t line, int64_t K, int64_t there) {
    constexpr int64_t kRow = kWide * Rows;
    const int64_t units = Input::units(K), whole = K / kPerUnit / 4 * 4;
    std::memset(sums, 0, static_cast<size_t>(Rows * Micro::NR) * 4);
    for (int64_t u0 = 0; u0 < units; u0 += kBlock) {
      Units sum[2][Rows] = {};
      const int64_t end = std::min(u0 + kBlock, whole);
      int64_t u = u0;
      if (there == Micro::NR) u = add_tiles<Rows>(sum, x, w, line, u, end);
      for (; u < end; u += 4)
        for (int g = 0; g < 2 && there > g * kLanes; ++g) add_units<Rows, 1, false>(sum, g, x + u * kRow, w + u * 4, line, there);
      if (u0 + kBlock > whole && units > whole) {  // the last steps, of which there are no whole four units
        char last[Micro::NR * 16] = {};
        for (int64_t i = 0; i < there; ++i)
          std::memcpy(last + i * 16, w + i * line + whole * 4, static_cast<size_t>(K - whole * kPerUnit) * sizeof(From));
        for (int g = 0; g < 2; ++g) add_units<Rows, 1, false>(sum, g, x + whole * kRow, last, 16, Micro::NR);
      }
      for (int r = 0; r < Rows; ++r)
        for (int g = 0; g < 2; ++g) {
          float part[kLanes];
          std::memcpy(part, &sum[g][r], sizeof part);
          for (int i = 0; i < kLanes; ++i) sums[r * Micro::NR + g * kLanes + i] += part[i];
        }
    }
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
