// One row against a row-major weight (O,I), as decoding meets it: the products of a panel's columns, added in the order in which the micro-kernel
// adds them, so that the row has the same bits as among others. The weight is read once and packed nowhere: four steps of all the panel's lines
// become columns in registers (transpose.h).
#pragma once
#include <algorithm>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/kernels.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

// Micro::add(sum, x, w) adds a unit's products in every lane: a float's, or a pair's of bf16. From: what the operands are in memory.
template <class Micro, class From>
struct OneRow {
  using Units = Transpose::Vector;
  static constexpr int kLanes = Transpose::kLanes;
  static constexpr bool kWidens = sizeof(typename Micro::Element) == 4 && sizeof(From) == 2;
  static constexpr int kPieces = Transpose::kPieces;
  static constexpr int64_t kWide = kWidens ? 2 : 1;                  // prepared units of x for a unit of w
  static constexpr int64_t kPerUnit = 4 / sizeof(From);              // steps of K in a unit of memory
  static constexpr int64_t kBlock = linear::kPanelDepth / kPerUnit;  // units that are summed by themselves
  static_assert(Micro::NR == 2 * kLanes);

  static int64_t units(int64_t K) { return (K + 4 * kPerUnit - 1) / (4 * kPerUnit) * 4; }
  static size_t room_bytes(int64_t K) { return static_cast<size_t>(units(K) * kWide) * 4 + 64; }

  // The row's units, zeros up to a multiple of four; widened to floats where the kernel multiplies floats.
  static void prepare(uint32_t* x, const From* row, int64_t step, int64_t K) {
    std::memset(x, 0, room_bytes(K) - 64);
    for (int64_t k = 0; k < K; ++k) {
      if constexpr (kWidens) reinterpret_cast<float*>(x)[k] = to_float(row[k * step]);
      else reinterpret_cast<From*>(x)[k] = row[k * step];
    }
  }

  // 4 N units of all lines.
  template <int N>
  static void add_units(Units (&sum)[2], const uint32_t* x, const char* w, int64_t line, int64_t there) {
    for (int g = 0; g < 2 && there > g * kLanes; ++g) {
      Units v[N][4];
      if (there >= (g + 1) * kLanes) Transpose::columns<true, N>(v, w + g * kLanes * line, line, kLanes);
      else Transpose::columns<false, N>(v, w + g * kLanes * line, line, there - g * kLanes);
#pragma GCC unroll 16
      for (int u = 0; u < 4 * N; ++u) {
        if constexpr (kWidens) {
          sum[g] = Micro::add(sum[g], Units{} + x[2 * u], v[u / 4][u % 4] << 16);
          sum[g] = Micro::add(sum[g], Units{} + x[2 * u + 1], v[u / 4][u % 4] & 0xffff0000u);
        } else {
          sum[g] = Micro::add(sum[g], Units{} + x[u], v[u / 4][u % 4]);
        }
      }
    }
  }

  // sums [NR] <- the row against `there` lines of w, `line` bytes apart.
  static void panel(float* sums, const uint32_t* x, const char* w, int64_t line, int64_t K, int64_t there) {
    const int64_t whole = K / kPerUnit / 4 * 4;
    std::memset(sums, 0, static_cast<size_t>(Micro::NR) * 4);
    for (int64_t u0 = 0; u0 < units(K); u0 += kBlock) {
      Units sum[2] = {};
      const int64_t end = std::min(u0 + kBlock, whole);
      int64_t u = u0;
      for (; u + 4 * kPieces <= end; u += 4 * kPieces) add_units<kPieces>(sum, x + u * kWide, w + u * 4, line, there);
      for (; u < end; u += 4) add_units<1>(sum, x + u * kWide, w + u * 4, line, there);
      if (u0 + kBlock > whole && units(K) > whole) {  // the last steps, of which there are no whole four units
        char last[Micro::NR * 16] = {};
        for (int64_t i = 0; i < there; ++i)
          std::memcpy(last + i * 16, w + i * line + whole * 4, static_cast<size_t>(K - whole * kPerUnit) * sizeof(From));
        add_units<1>(sum, x + whole * kWide, last, 16, Micro::NR);
      }
      for (int g = 0; g < 2; ++g) {
        float part[kLanes];
        std::memcpy(part, &sum[g], sizeof part);
        for (int i = 0; i < kLanes; ++i) sums[g * kLanes + i] += part[i];
      }
    }
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
