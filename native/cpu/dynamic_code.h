// Nearest entry of an 8-bit dynamic map.
#pragma once
#include "cpu/kernel.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// NaN gives 0, as it does in the reference.
inline uint8_t dynamic_code(float x, const quant::DynamicCodes& codes) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const int least = codes.least[bits >> 15];
  return static_cast<uint8_t>(x != x ? 0 : least + (x >= codes.first[least + 1] && least < 255));
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
