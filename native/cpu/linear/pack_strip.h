// Lines of an operand as a micro-kernel takes them, side by side along K.
#pragma once
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
constexpr int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

template <class To, class From>
inline To convert(From x) {
  return from_float<To>(to_float(x));
}
template <>
inline bf16 convert<bf16, bf16>(bf16 x) {
  return x;
}

// dst [depth/G][width][G] <- the strip of `count` (<= width) lines and `k` (<= depth) steps; line i, step j at src[i*line + j*step].
// Zeros beyond. Works in blocks of 64 steps, so that a strided walk over lines writes into cache.
template <class To, class From, int G>
inline void pack_strip(To* dst, int64_t width, int64_t depth, const From* src, int64_t line, int64_t step, int64_t count, int64_t k) {
  if (depth > 0 && (count < width || k < depth)) std::memset(static_cast<void*>(dst), 0, static_cast<size_t>(width * depth) * sizeof(To));
  if (G == 1 && line == 1) {
    for (int64_t j = 0; j < k; ++j)
      for (int64_t i = 0; i < count; ++i) dst[j * width + i] = convert<To>(src[j * step + i]);
    return;
  }
  if constexpr (std::is_same_v<To, From> && sizeof(To) * G == 4) {
    if (G == 2 && line == 1) {
      uint32_t* pairs = reinterpret_cast<uint32_t*>(dst);
      for (int64_t j = 0; j < k; j += 2, pairs += width) {
        const uint16_t* first = reinterpret_cast<const uint16_t*>(src + j * step);
        const uint16_t* second = reinterpret_cast<const uint16_t*>(src + (j + 1) * step);
        if (j + 1 < k)
          for (int64_t i = 0; i < count; ++i) pairs[i] = first[i] | static_cast<uint32_t>(second[i]) << 16;
        else
          for (int64_t i = 0; i < count; ++i) pairs[i] = first[i];
      }
      return;
    }
    if (step == 1) {
      Transpose::run(reinterpret_cast<uint32_t*>(dst), width, src, line * static_cast<int64_t>(sizeof(From)), count, k / G);
      if (k % G)
        for (int64_t i = 0; i < count; ++i) dst[k / G * width * G + i * G] = src[i * line + k - 1];
      return;
    }
  }
  if constexpr (std::is_same_v<To, float> && std::is_same_v<From, bf16> && G == 1) {
    if (step == 1) {
      Transpose::widen(dst, width, src, line * static_cast<int64_t>(sizeof(From)), count, k / 2);
      for (int64_t i = 0; k % 2 && i < count; ++i) dst[(k - 1) * width + i] = to_float(src[i * line + k - 1]);
      return;
    }
  }
  for (int64_t k0 = 0; k0 < k; k0 += 64) {
    const int64_t k1 = at_most(k0 + 64, k);
    for (int64_t i = 0; i < count; ++i) {
      const From* from = src + i * line;
      for (int64_t j = k0; j < k1; ++j) dst[(j / G) * width * G + i * G + j % G] = convert<To>(from[j * step]);
    }
  }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
