// IEEE half precision as checkpoints store it. No backend computes in it: it is widened on the way in.
#pragma once
#include <cstdint>
#include <cstring>

namespace anymal {

// The f32 bits of the number that the bits of an f16 stand for: exact. Without branches, so that loops over it are vectorised.
inline uint32_t half_to_f32_bits(uint16_t half) {
  const uint32_t magnitude = (half & 0x7fffu) << 13;  // exponent and fraction in their places, the exponent's bias still that of f16
  const uint32_t exponent = magnitude & 0x0f800000u;
  const uint32_t normal = magnitude + (112u << 23) + (exponent == 0x0f800000u ? 112u << 23 : 0u);  // infinity and NaN stay what they are
  // A subnormal is fraction * 2^-24: as the fraction of 2^-14 it is a normal f32, from which 2^-14 is taken again.
  const uint32_t shifted = magnitude + (113u << 23), least = 113u << 23;
  float value, base;
  std::memcpy(&value, &shifted, 4);
  std::memcpy(&base, &least, 4);
  value -= base;
  uint32_t small;
  std::memcpy(&small, &value, 4);
  return (exponent == 0 ? small : normal) | (static_cast<uint32_t>(half & 0x8000u) << 16);
}

// Rounded to nearest even; NaN stays NaN.
inline uint16_t f32_bits_to_bf16(uint32_t u) {
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
}

}  // namespace anymal
