// Codes of 8-bit optimiser states without a search: a word of shared memory for each of the floats' first bits says which code begins there and where
// the next one takes over. Between them two neighbours never meet a third: the maps' steps are wider than such a piece.
#pragma once
#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "common.cuh"
#include "quant/tables.h"

namespace anymal::cuda {

struct StateCodes {
  // Of |x| from 2^-23, below which all have the code of the least of them, to 1. Pieces of 2^17 floats (six bits of the mantissa) for signed states,
  // of 2^16 for the others, whose map has twice as many steps.
  static constexpr uint32_t kLow = 104u << 23, kOne = 127u << 23;
  static constexpr int kSignedBits = 17, kPlainBits = 16;
  static constexpr int kSigned = ((kOne - kLow) >> kSignedBits) + 1, kPlain = ((kOne - kLow) >> kPlainBits) + 1;

  // (code << 24) + the first of the piece's floats, counted from its begin, with the next code away from 0; 2^bits: none has it.
  uint32_t signed_codes[2 * kSigned], plain_codes[kPlain];
  uint32_t padding[1];
  float signed_values[256], plain_values[256];

  void make() {
    fill(signed_codes, kSigned, kSignedBits, true, 0);
    fill(signed_codes + kSigned, kSigned, kSignedBits, true, 1u << 31);
    fill(plain_codes, kPlain, kPlainBits, false, 0);
    std::memset(padding, 0, sizeof padding);
    std::memcpy(signed_values, quant::dynamic_map(true), sizeof signed_values);
    std::memcpy(plain_values, quant::dynamic_map(false), sizeof plain_values);
  }
  // As a table of the stream.
  static const std::vector<char>& bytes() {
    static const std::vector<char> all = [] {
      StateCodes codes;
      codes.make();
      const char* from = reinterpret_cast<const char*>(&codes);
      return std::vector<char>(from, from + sizeof codes);
    }();
    return all;
  }

  // x = m / largest |m| of the block. A moment's sign does not change by being coded, so what is too small for a negative number has the least one.
  // NaN, of a block of zeros, has what the reference gives it.
  __device__ __forceinline__ uint32_t signed_code(float x) const {
    const uint32_t bits = __float_as_uint(x), negative = bits >> 31, at = piece(bits & 0x7fffffffu);
    const uint32_t word = signed_codes[(at >> kSignedBits) + (negative ? kSigned : 0)];
    const uint32_t beyond = (at & ((1u << kSignedBits) - 1)) >= (word & 0xffffffu);
    return x != x ? 255 : (word >> 24) + (negative ? 0 - beyond : beyond);
  }
  __device__ __forceinline__ uint32_t plain_code(float x) const {
    const uint32_t at = piece(__float_as_uint(x)), word = plain_codes[at >> kPlainBits];
    const uint32_t beyond = (at & ((1u << kPlainBits) - 1)) >= (word & 0xffffffu);
    return x != x ? 0 : (word >> 24) + beyond;
  }

 private:
  static __device__ __forceinline__ uint32_t piece(uint32_t magnitude) {
    magnitude = magnitude > kLow ? magnitude : kLow;
    return (magnitude < kOne ? magnitude : kOne) - kLow;
  }
  static void fill(uint32_t* to, int count, int bits, bool is_signed, uint32_t sign) {
    const auto& codes = quant::dynamic_codes(is_signed);
    const auto code_of = [&](uint32_t magnitude) {
      const float x = std::bit_cast<float>(magnitude | sign);
      const auto above = std::upper_bound(codes.first + 1, codes.first + 256, x);
      const int code = static_cast<int>(above - codes.first) - 1;
      return sign ? std::min(code, 126) : code;
    };
    for (int i = 0; i < count; ++i) {
      const uint32_t begin = kLow + (static_cast<uint32_t>(i) << bits), size = 1u << bits;
      uint32_t low = 0, high = size;  // the first with another code than the piece's first
      while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (code_of(begin + middle) == code_of(begin)) low = middle + 1;
        else high = middle;
      }
      to[i] = static_cast<uint32_t>(code_of(begin)) << 24 | low;
    }
  }
};

// x / y correctly rounded for 0 <= |x| <= y, from 1 / y: one product and its error. Both are scaled where 1 / y would be too large.
class Share {
 public:
  __device__ __forceinline__ explicit Share(float y) : scale_(y < 0x1p-60f ? 0x1p80f : 1.0f), y_(y * scale_), inverse_(1.0f / y_) {}
  __device__ __forceinline__ float of(float x) const {
    x *= scale_;
    const float q = x * inverse_;
    return copysignf(fmaf(fmaf(-q, y_, x), inverse_, q), x);  // of -0 too, whose code is a negative one
  }

 private:
  float scale_, y_, inverse_;
};

}  // namespace anymal::cuda
