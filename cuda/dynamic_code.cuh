// The 8-bit dynamic map on the card: it travels as a kernel argument, a block copies it to shared memory.
#pragma once
#include <cstring>

#include "common.cuh"
#include "quant/tables.h"

namespace anymal::cuda {

struct DynamicMap {
  float v[256];
  explicit DynamicMap(bool is_signed) { std::memcpy(v, quant::dynamic_map(is_signed), sizeof v); }
};

// Nearest entry, as the CPU's native/cpu/dynamic_code.h: the reference's bisection ends on a pivot next to x, and on an exact tie the pivot wins.
// NaN compares false throughout and gives 0.
__device__ __forceinline__ uint8_t dynamic_code(float x, const float* map) {
  int pivot = 127, lower = 0, upper = 255;
  for (int step = 64; step > 0; step >>= 1) {
    const bool right = x > map[pivot];
    lower = right ? pivot : lower;
    upper = right ? upper : pivot;
    pivot += right ? step : -step;
  }
  const bool right = x > map[pivot];
  const int other = right ? upper : lower;
  const float middle = (map[other] + map[pivot]) * 0.5f;
  return static_cast<uint8_t>((right ? x > middle : x < middle) ? other : pivot);
}

}  // namespace anymal::cuda
