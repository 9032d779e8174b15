// A quantised weight W (O,I) in the CPU's panels (packed_weight.h says how they lie), without the code that reads it, which is each level's own:
// what an op can hand to its level's matrix products.
#pragma once
#include <cstdint>

#include "quant/tables.h"

namespace anymal::cpu::linear {

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
