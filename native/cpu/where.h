// A choice without a branch, for loops over lanes.
#pragma once
#include <bit>
#include <cstdint>

#include "cpu/kernel.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// holds ? a : b, made of bits: of a plain choice the compiler makes a branch around what leads to a, and loops with that stay scalar.
inline float where(bool holds, float a, float b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(holds);
  return std::bit_cast<float>((std::bit_cast<uint32_t>(a) & mask) | (std::bit_cast<uint32_t>(b) & ~mask));
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
