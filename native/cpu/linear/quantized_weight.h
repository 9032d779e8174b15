// A quantised weight W (O,I) in the CPU's panels (packed_weight.h says how they lie), without the code that reads it, which is each level's own:
// what an op can hand to its level's matrix products.
#pragma once
#include <bit>
#include <cstdint>

#include "quant/tables.h"

namespace anymal::cpu::linear {

// What every NaN among the maxima becomes: the one that the machine makes of infinity times 0, so that a sum's NaN does not depend on which came
// first.
#if defined(__x86_64__)
inline constexpr uint32_t kNanBits = 0xffc00000u;
#else
inline constexpr uint32_t kNanBits = 0x7fc00000u;
#endif
constexpr float plain_nan(float x) { return x == x ? x : std::bit_cast<float>(kNanBits); }

struct QuantizedWeight {
  QuantFormat format;
  const uint8_t* codes;
  int64_t O, I, block;
  const float* absmax = nullptr;          // nf4, fp4: per block; int8: per row
  const uint8_t* absmax_codes = nullptr;  // double quantisation
  const float *nested_absmax = nullptr, *map = nullptr;
  float offset = 0;
  bool raw = false;  // int8: the codes themselves, without their row's scale
};

}  // namespace anymal::cpu::linear
