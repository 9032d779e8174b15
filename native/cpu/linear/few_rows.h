// A few rows against a row-major weight (O,I), as decoding meets it: the products of a panel's columns, added in the order in which the micro-kernel
// adds them, so that a row has the same bits as among others. The weight is read once for all rows and packed nowhere: four steps of all the panel's
// lines become columns in registers (transpose.h).
#pragma once
#include <algorithm>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/epilogue.h"
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

  // All rows of A, and zeros for more of them up to `rows`.
  static void prepare(uint32_t* x, const linear::Problem& p, int64_t rows) {
    constexpr int64_t kSteps = kWidens ? 1 : kPerUnit;
    using To = std::conditional_t<kWidens, float, From>;
    std::memset(x, 0, room_bytes(rows, p.K) - 64);
    const int64_t own = p.K - p.more.steps, turned = turn(x, p, rows, own);
    for (int64_t m = 0; m < p.M; ++m) {
      const From* from = static_cast<const From*>(p.a.data) + m * p.a.row;
      const From* more = static_cast<const From*>(p.more.data) + m * p.more.row;
      To* to = reinterpret_cast<To*>(x + m);
      for (int64_t k = turned; k < p.K; ++k) {
        const From v = k < own ? from[k * p.a.col] : more[k - own];
        const int64_t at = k / kSteps * rows * kSteps + k % kSteps;
        if constexpr (kWidens) to[at] = to_float(v);
        else to[at] = v;
      }
    }
  }

 private:
  // The first steps of lines whose steps follow each other, in registers; gives the first that is left of `own`.
  static int64_t turn(uint32_t* x, const linear::Problem& p, int64_t rows, int64_t own) {
    if (p.a.col != 1) return 0;
    const int64_t units = own / kPerUnit, line = p.a.row * static_cast<int64_t>(sizeof(From));
    if (rows > 1) {
      if constexpr (kWidens) Transpose::widen(reinterpret_cast<float*>(x), rows, p.a.data, line, p.M, units);
      else Transpose::run(x, rows, p.a.data, line, p.M, units);
    } else if constexpr (kWidens) {
      for (int64_t k = 0; k < units * kPerUnit; ++k) reinterpret_cast<float*>(x)[k] = to_float(static_cast<const From*>(p.a.data)[k]);
    } else {
      std::memcpy(x, p.a.data, static_cast<size_t>(units) * 4);
    }
    return units * kPerUnit;
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

  // What of the panel's lines is read a kibibyte on, or of the next panel's: more lines than the hardware follows by itself. Into L2: lines that are
  // a multiple of 4 KiB apart have one set of L1 between them.
  static void prefetch_lines(const char* w, int64_t line, int64_t at) {
    constexpr int64_t kAhead = 1024;
    const char* from = w + (at + kAhead < line ? at + kAhead : Micro::NR * line + at + kAhead - line);
#pragma GCC unroll 4
    for (int64_t i = 0; i < Micro::NR; ++i) __builtin_prefetch(from + i * line, 0, 2);
  }

  // Units [u, end) of all lines, in tiles; gives the first unit that is left.
  template <int64_t Rows>
  static int64_t add_tiles(Units (&sum)[2][Rows], const uint32_t* x, const char* w, int64_t line, int64_t u, int64_t end) {
    constexpr int kPieces = Transpose::kPieces;
    for (; u + kTile <= end; u += kTile) {
      const uint32_t* at = x + u * kWide * Rows;
      prefetch_lines(w, line, u * 4);
      if constexpr (Rows <= 2) {
        for (int q = 0; q < kTile; q += 4 * kPieces)
          for (int g = 0; g < 2; ++g) add_units<Rows, kPieces, true>(sum, g, at + q * kWide * Rows, w + (u + q) * 4, line, Micro::NR);
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

constexpr int64_t kFewRows = 8;

// f with the number of rows, of which M are there, that a kernel is made for.
template <class F>
void by_few(int64_t M, const F& f) {
  if (M <= 1) f(std::integral_constant<int64_t, 1>{});
  else if (M <= 2) f(std::integral_constant<int64_t, 2>{});
  else if (M <= 4) f(std::integral_constant<int64_t, 4>{});
  else if (M <= 6) f(std::integral_constant<int64_t, 6>{});
  else f(std::integral_constant<int64_t, kFewRows>{});
}

// f(Micro, From) by what the operands are.
template <class MicroF32, class MicroBf16, class F>
void by_operand(const linear::Problem& p, const F& f) {
  if (p.a.dtype == DType::f32) f(static_cast<MicroF32*>(nullptr), float{});
  else f(static_cast<MicroBf16*>(nullptr), bf16{});
}

// f(problem, panel) for the panels [begin, end) of all problems, one's behind the other's.
template <class F>
void each_panel(const linear::Problem* of, int64_t width, int64_t begin, int64_t end, const F& f) {
  for (int64_t t = begin; t < end; ++t) {
    const linear::Problem* p = of;
    int64_t j = t;
    for (int64_t panels; j >= (panels = (p->N + width - 1) / width); ++p) j -= panels;
    f(*p, j);
  }
}
inline int64_t all_panels(const linear::Problem* of, int64_t count, int64_t width) {
  int64_t n = 0;
  for (int64_t q = 0; q < count; ++q) n += (of[q].N + width - 1) / width;
  return n;
}

// Plain matrices whose columns are contiguous, and one A. `each` runs its body on ranges of the panels. False where these are other operands, or the
// level has no kernel for a few rows.
template <class MicroF32, class MicroBf16, class Each>
bool few_rows(Scratch& room, const linear::Problem* of, int64_t count, const Each& each) {
  for (int64_t q = 0; q < count; ++q)
    if (of[q].M > kFewRows || of[q].panels || of[q].b.row != 1 || of[q].a.dtype != of[q].b.dtype) return false;
  bool done = false;
  const linear::Problem& p = of[0];
  by_operand<MicroF32, MicroBf16>(p, [&](auto* micro, auto from) {
    using Micro = std::remove_pointer_t<decltype(micro)>;
    using From = decltype(from);
    if constexpr (requires { &Micro::add; }) {
      using Few = FewRows<Micro, From>;
      constexpr int64_t NR = Micro::NR;
      by_few(p.M, [&](auto rows) {
        uint32_t* x = static_cast<uint32_t*>(room.get(Few::Input::room_bytes(rows(), p.K)));
        Few::Input::prepare(x, p, rows());
        each(all_panels(of, count, NR), NR, [&](int64_t begin, int64_t end) {
          each_panel(of, NR, begin, end, [&](const linear::Problem& own, int64_t j) {
            alignas(64) float sums[rows() * NR];
            const int64_t n0 = j * NR, there = std::min(NR, own.N - n0), line = own.b.col * static_cast<int64_t>(sizeof(From));
            Few::template panel<rows()>(sums, x, static_cast<const char*>(own.b.data) + n0 * line, line, own.K, there);
            store(own, 0, own.M, n0, there, sums, NR);
          });
        });
      });
      done = true;
    }
  });
  return done;
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
