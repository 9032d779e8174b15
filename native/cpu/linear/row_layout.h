// Codes of 4 bit by rows, as a matrix unit takes them that wants 16 rows of consecutive inputs.
#pragma once
#include <cstdint>

#ifndef ANYMAL_LEVEL
#define ANYMAL_LEVEL generic
#endif

namespace anymal::cpu::ANYMAL_LEVEL {

// W (O,I) in panels of 16 rows, those in units of 128 inputs, 64 bytes a row. Word j (little endian) of a row's 32 holds inputs j, j + 32, j + 64 and
// j + 96 of the unit, from the lowest nibble up: the words are what a table of 16 values is indexed with, after a shift. Where at most 64 inputs
// are left, the unit is half as long: byte j holds inputs j and j + 32. Codes beyond O and I are 0, and their values not used.
struct RowLayout {
  static constexpr int64_t kPanel = 16, kUnit = 128;

  static constexpr int64_t panels(int64_t O) { return (O + kPanel - 1) / kPanel; }
  static constexpr int64_t panel_bytes(int64_t I) { return (I + 63) / 64 * 32 * kPanel; }
  // Whether the unit that begins with this input is the half one.
  static constexpr bool half(int64_t I, int64_t first) { return I - first <= kUnit / 2; }
  // Where the codes of row r of a panel lie in the panel, of the unit that begins with input `first`.
  static constexpr int64_t at(int64_t I, int64_t first, int64_t r) { return first / 2 * kPanel + r * (half(I, first) ? 32 : 64); }
  // The byte of a code in its panel, and how far up in the byte it is.
  static constexpr int64_t byte(int64_t I, int64_t r, int64_t k) {
    const int64_t first = k / kUnit * kUnit, in = k - first;
    return at(I, first, r) + (half(I, first) ? in % 32 : in % 32 * 2 + in / 64);
  }
  static constexpr int shift(int64_t k) { return static_cast<int>(k / 32 % 2 * 4); }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
