// Rows of x as codes of 8 bit (problem.h).
#pragma once
#include <cmath>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/eight_bit/problem.h"

namespace anymal::cpu::ANYMAL_LEVEL::eight_bit {

using linear::EightBitProblem;
using linear::kEightBitBlock;

// Codes [rows][width], zeros beyond I, and for each 64 of them what an integer is times (with the weight's own scale), and their sum.
struct Input {
  int64_t I, width, blocks;
  int8_t* codes;
  float* scales;
  int32_t* sums;

  explicit Input(int64_t in_features) : I(in_features), width((I + 127) / 128 * 128), blocks(width / kEightBitBlock) {}
  size_t bytes(int64_t rows) const { return static_cast<size_t>(rows * (width + blocks * 8)); }
  void place(void* room, int64_t rows) {
    codes = static_cast<int8_t*>(room);
    scales = reinterpret_cast<float*>(codes + rows * width);
    sums = reinterpret_cast<int32_t*>(scales + rows * blocks);
  }
};

// What is smaller counts as 0: its factor would not be finite.
constexpr float kSmallest = 0x1p-100f;

inline void quantize_block(const float* x, float weight_scale, int8_t* codes, float& scale, int32_t& sum) {
  uint32_t bits[kEightBitBlock], most = 0;
  std::memcpy(bits, x, sizeof bits);
  for (int64_t j = 0; j < kEightBitBlock; ++j) {
    const uint32_t size = bits[j] & 0x7fffffffu;  // ordered as the sizes are, NaN above all
    most = size > most ? size : most;
  }
  float largest;
  std::memcpy(&largest, &most, 4);
  const bool finite = most < 0x7f800000u;
  const float factor = finite && largest >= kSmallest ? 127.0f / largest : 0.0f;
  int32_t total = 0;
  for (int64_t j = 0; j < kEightBitBlock; ++j) {
    // To the nearest, halves to even, after the product is rounded: the machine's own conversion at every level.
    const int32_t code = factor > 0 ? __builtin_irintf(x[j] * factor) : 0;
    codes[j] = static_cast<int8_t>(code);
    total += code;
  }
  scale = finite ? (factor > 0 ? largest / (127.0f * weight_scale) : 0.0f) : NAN;  // one that is no number makes none of all outputs
  sum = total;
}

// Rows [0, there) of x from row m0 on; further ones up to `rows` are zeros.
template <class T>
inline void quantize(const EightBitProblem& p, float weight_scale, int64_t m0, int64_t there, int64_t rows, Input& in) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t b = 0; b < in.blocks; ++b) {
      const int64_t at = r * in.blocks + b, k = b * kEightBitBlock, count = in.I - k < kEightBitBlock ? in.I - k : kEightBitBlock;
      alignas(64) float block[kEightBitBlock] = {};
      if (r < there) {
        const T* x = static_cast<const T*>(p.x) + (m0 + r) * p.x_row + k;
        if (count == kEightBitBlock)
          for (int64_t j = 0; j < kEightBitBlock; ++j) block[j] = to_float(x[j]);
        else
          for (int64_t j = 0; j < count; ++j) block[j] = to_float(x[j]);
      }
      quantize_block(block, weight_scale, in.codes + r * in.width + k, in.scales[at], in.sums[at]);
    }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::eight_bit
