// Nearest entry of an 8-bit dynamic map.
#pragma once
#include "cpu/kernel.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// The reference's bisection: it ends on a pivot next to x, and on an exact tie the pivot wins. NaN compares false throughout and gives 0.
inline uint8_t dynamic_code(float x, const float* map) {
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

}  // namespace anymal::cpu::ANYMAL_LEVEL
