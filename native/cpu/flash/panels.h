// Packed operands of attention's products. The right one is a panel of NR lanes, as everywhere (linear/driver.h): NR queries along D, NR of D along
// queries, or the weights of NR queries along keys, [k / PB][NR][PB]. The left one, MR rows at a time, is a block of keys in one of two ways:
//   lines    its rows are keys (or values), steps go along D
//   turned   its rows are of D, steps go along keys
// A vector unit broadcasts numbers from wherever they lie: a plain copy of the keys, [key][D], is both; where products take pairs `turned` has pairs
// of keys side by side, [key / 2][D][2]. Tiles want strips of the micro-kernel, [row / MR][k / KB][MR][KB].
#pragma once
#include <type_traits>

#include "cpu/flash/kernel.h"
#include "cpu/flash/lanes.h"
#include "cpu/linear/driver.h"

namespace anymal::cpu::ANYMAL_LEVEL::flash {

using cpu::flash::Keys;
using cpu::flash::Queries;
using driver::at_most;
using driver::round_up;

constexpr int64_t common_multiple(int64_t a, int64_t b) {
  int64_t m = a;
  while (m % b) m += a;
  return m;
}

// From: what the tensors hold.
template <class Micro, class From>
struct Panels {
  using E = typename Micro::Element;
  using Products = driver::Driver<Micro>;
  static constexpr int64_t MR = Micro::MR, NR = Micro::NR, KB = Micro::KB, PB = Micro::PB, KG = KB > PB ? KB : PB;
  static constexpr int V = static_cast<int>(NR / kLanes);
  static constexpr int64_t step = common_multiple(common_multiple(MR, KG), 2);
  static constexpr int64_t kBlock = 128 / step * step;
  static constexpr bool kFloats = std::is_same_v<E, float>, kTiles = KB > 2;
  static_assert(kBlock > 0 && NR % kLanes == 0 && PB <= 2 && (kTiles ? KB == NR : KB == PB && V == 2));

  static int64_t depth(int64_t n) { return round_up(n, KG); }
  // In elements; a row may be read up to MR steps beyond its end.
  static int64_t lines_size(int64_t D, int64_t block) { return round_up(block * depth(D) + MR * KB, 32); }
  static int64_t turned_size(int64_t D, int64_t block) { return kTiles ? round_up(D, MR) * block : lines_size(D, block); }
  // A packed block: forward, keys as lines and values turned; backward, keys as lines and turned (if that is not the same), and values as lines.
  static constexpr bool kOneForm = kFloats && !kTiles;
  static int64_t block_size(int64_t D, int64_t block, bool backward) {
    return values_at(D, block, backward) + (backward ? lines_size(D, block) : turned_size(D, block));
  }
  static int64_t turned_keys_at(int64_t D, int64_t block) { return kOneForm ? 0 : lines_size(D, block); }
  static int64_t values_at(int64_t D, int64_t block, bool backward) {
    return lines_size(D, block) + (backward && !kOneForm ? turned_size(D, block) : 0);
  }
  static void pack(E* to, const From* k, const From* v, int64_t row, int64_t count, int64_t D, int64_t block, bool backward) {
    E* values = to + values_at(D, block, backward);
    pack_lines(to, k, row, count, D);
    if (!backward) return pack_turned(values, v, row, count, D);
    if (!kOneForm) pack_turned(to + turned_keys_at(D, block), k, row, count, D);
    pack_lines(values, v, row, count, D);
  }

  static void pack_panel(E* to, const From* from, int64_t line, int64_t along, int64_t count, int64_t k, int64_t deep) {
    driver::pack_strip<E, From, static_cast<int>(PB)>(to, NR, deep, from, line, along, count, k);
  }

  // to (keys, NR) = lines . panel for the first `rows` of `count` packed keys; up to whole strips are written.
  static void multiply(float* to, const E* lines, int64_t count, int64_t rows, const E* panel, int64_t D) {
    const int64_t deep = depth(D);
    if constexpr (kTiles) {
      for (int64_t i = 0; i < rows; i += MR)
        Products::by_width(count - i, [&](auto n) { Micro::template run<n(), true>(deep, lines + i * deep, panel, to + i * NR, NR); });
    } else {
      for (int64_t i = 0; i < rows; i += MR)
        by_rows(rows - i, [&](auto n) { product<n(), true>(lines + i * deep, deep, KB, deep / KB, 1, 0, panel, to + i * NR, NR); });
    }
  }
  // to (D, NR) += turned . panel over the first `rows` of `count` packed keys.
  static void add_turned(float* to, const E* turned, int64_t count, int64_t rows, const E* panel, int64_t D) {
    const int64_t deep = depth(rows);
    if constexpr (kTiles) {
      for (int64_t d = 0; d < D; d += MR) Products::run_strip(D - d, deep, turned + d * depth(count), panel, to + d * NR, NR);
    } else {
      for (int64_t d = 0; d < D; d += MR)
        by_rows(D - d, [&](auto n) { product<n(), false>(turned + d * KB, KB, depth(D) * KB, deep / KB, 1, 0, panel, to + d * NR, NR); });
    }
  }

  // c (Rows, NR), = or += A.B over `times` panels of `steps` steps. Row i of A at step k: a[i * row + k * along], `jump` further in the next panel.
  template <int64_t Rows, bool Fresh>
  static void product(const E* a, int64_t row, int64_t along, int64_t steps, int64_t times, int64_t jump, const E* b, float* c, int64_t ldc) {
    Floats sum[Rows][2];
    for (auto& of : sum) of[0] = of[1] = Floats{};
    for (int64_t t = 0; t < times; ++t, a += jump) {
      const E* at = a;
      for (int64_t k = 0; k < steps; ++k, at += along, b += NR * KB) {
        const Floats first = load(b), second = load(b + kLanes * KB);
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
          const Floats x = all_bits(at + i * row);
          sum[i][0] = add_products(sum[i][0], x, first);
          sum[i][1] = add_products(sum[i][1], x, second);
        }
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      float* to = c + i * ldc;
      store(to, Fresh ? sum[i][0] : load(to) + sum[i][0]);
      store(to + kLanes, Fresh ? sum[i][1] : load(to + kLanes) + sum[i][1]);
    }
  }

 private:
  static void pack_lines(E* to, const From* from, int64_t row, int64_t count, int64_t D) {
    const int64_t deep = depth(D);
    if constexpr (kTiles) {
      for (int64_t i = 0; i < count; i += MR)
        Products::by_width(count - i, [&](auto width) {
          E* strip = to + i * deep;
          for (int64_t k = 0; k < deep; k += KB)
            for (int64_t l = i; l < i + width(); ++l, strip += KB) {
              const int64_t n = l < count ? at_most(KB, D - k) : 0;
              if (n > 0) std::memcpy(strip, from + l * row + k, static_cast<size_t>(n) * sizeof(E));
              if (n < KB) std::memset(static_cast<void*>(strip + n), 0, static_cast<size_t>(KB - n) * sizeof(E));
            }
        });
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      E* line = to + i * deep;
      copy(line, from + i * row, D);
      for (int64_t d = D; d < deep; ++d) line[d] = E{};
    }
    std::memset(static_cast<void*>(to + count * deep), 0, static_cast<size_t>((round_up(count, MR) - count) * deep) * sizeof(E));
  }

  static void pack_turned(E* to, const From* from, int64_t row, int64_t count, int64_t D) {
    if constexpr (kTiles) {
      const int64_t deep = depth(count);
      for (int64_t d = 0; d < D; d += MR)
        Products::by_width(D - d, [&](auto width) {
          E* strip = to + d * deep;
          for (int64_t k = 0; k < deep; k += KB, strip += width() * KB)
            turn<width()>(strip, from + k * row + d, row, at_most(KB, count - k), at_most(MR, D - d));
        });
    } else if constexpr (kFloats) {
      pack_lines(to, from, row, count, D);
    } else {
      for (int64_t k = 0; k < count; k += 2) {
        uint32_t* pairs = reinterpret_cast<uint32_t*>(to + k * depth(D));
        const From *first = from + k * row, *second = first + row;
        if (k + 1 < count)
          for (int64_t d = 0; d < D; ++d) pairs[d] = first[d].bits | static_cast<uint32_t>(second[d].bits) << 16;
        else
          for (int64_t d = 0; d < D; ++d) pairs[d] = first[d].bits;
      }
    }
  }

  // f(rows) with how many rows a product computes where `left` are left.
  template <class F>
  static void by_rows(int64_t left, const F& f) {
    if (left <= 1) return f(std::integral_constant<int64_t, 1>{});
    if (left == 2) return f(std::integral_constant<int64_t, 2>{});
    if constexpr (MR > 4)
      if (left <= 4) return f(std::integral_constant<int64_t, 4>{});
    if constexpr (MR > 8)
      if (left <= 8) return f(std::integral_constant<int64_t, 8>{});
    f(std::integral_constant<int64_t, MR>{});
  }

  static Floats add_products(Floats sum, Floats x, Floats y) {
    if constexpr (kFloats) return sum + x * y;
    else return reinterpret_cast<Floats>(Micro::add(reinterpret_cast<Units>(sum), reinterpret_cast<Units>(x), reinterpret_cast<Units>(y)));
  }

  static void copy(E* to, const From* from, int64_t n) {
    if constexpr (std::is_same_v<E, From>) std::memcpy(static_cast<void*>(to), from, static_cast<size_t>(n) * sizeof(E));
    else
      for (int64_t i = 0; i < n; ++i) to[i] = driver::convert<E>(from[i]);
  }

  // [Width][KB] <- `keys` rows of `there` elements: pairs of keys become columns.
  template <int64_t Width>
  static void turn(E* to, const From* from, int64_t row, int64_t keys, int64_t there) {
    uint32_t pairs[KB / 2][Width];
    for (int64_t i = 0; i < KB / 2; ++i) {
      const From *first = from + 2 * i * row, *second = first + row;
      const bool both = 2 * i + 1 < keys;
      if (2 * i >= keys || there < Width) std::memset(pairs[i], 0, sizeof pairs[i]);
      if (2 * i < keys)
        for (int64_t d = 0; d < there; ++d) pairs[i][d] = first[d].bits | (both ? static_cast<uint32_t>(second[d].bits) << 16 : 0);
    }
    Transpose::run(reinterpret_cast<uint32_t*>(to), KB / 2, pairs, Width * 4, KB / 2, Width);
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::flash
