// One function per AMX tile instruction, with a software twin (ANYMAL_AMX_TWIN) that does the same on any CPU: the kernel's own code is
// tested where no AMX is. Tile numbers are template arguments because the instructions encode them.
// Source of the semantics: Intel 64 SDM vol. 2, TILELOADD, TDPBF16PS, TILESTORED.
#pragma once
#include <cstdint>
#include <cstring>

#ifndef ANYMAL_AMX_TWIN
#include <immintrin.h>
#endif

namespace {
namespace tile {

// Tiles of 16 rows of 64 bytes, unless told otherwise: 16 x 16 f32, 16 x 32 bf16 of A, or 16 pairs of k x 16 columns of B.
struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#ifdef ANYMAL_AMX_TWIN

struct Registers {
  uint8_t bytes[8][16][64];
  Config config;
};
inline thread_local Registers registers;

inline void configure(const Config& config) {
  std::memset(registers.bytes, 0, sizeof registers.bytes);
  registers.config = config;
}
inline void release() {}
template <int T>
inline void zero() {
  std::memset(registers.bytes[T], 0, sizeof registers.bytes[T]);
}
template <int T>
inline void load(const void* from, int64_t stride) {
  for (int r = 0; r < 16; ++r) std::memcpy(registers.bytes[T][r], static_cast<const char*>(from) + r * stride, registers.config.bytes_per_row[T]);
}
template <int T>
inline void store(void* to, int64_t stride) {
  for (int r = 0; r < 16; ++r) std::memcpy(static_cast<char*>(to) + r * stride, registers.bytes[T][r], registers.config.bytes_per_row[T]);
}
template <int C, int A, int B>
inline void dot_bf16() {
  const auto value = [](const uint8_t* p) {
    uint16_t h;
    std::memcpy(&h, p, 2);
    const uint32_t u = static_cast<uint32_t>(h) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  };
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < registers.config.bytes_per_row[C] / 4; ++n) {
      float sum;
      std::memcpy(&sum, &registers.bytes[C][m][n * 4], 4);
      for (int k = 0; k < 16; ++k)
        for (int h = 0; h < 2; ++h) sum += value(&registers.bytes[A][m][k * 4 + h * 2]) * value(&registers.bytes[B][k][n * 4 + h * 2]);
      std::memcpy(&registers.bytes[C][m][n * 4], &sum, 4);
    }
}

#else

inline void configure(const Config& c) { _tile_loadconfig(&c); }
inline void release() { _tile_release(); }
// The compiler's intrinsics are macros over literal tile numbers; this spells the same instructions with template arguments.
template <int T>
inline void zero() {
  asm volatile("tilezero\t%%tmm%c[t]" ::[t] "i"(T));
}
template <int T>
inline void load(const void* from, int64_t stride) {
  asm volatile("{tileloadd\t(%0,%1,1), %%tmm%c[t]|tileloadd\ttmm%c[t], [%0+%1*1]}" ::"r"(from), "r"(stride), [t] "i"(T) : "memory");
}
template <int T>
inline void store(void* to, int64_t stride) {
  asm volatile("{tilestored\t%%tmm%c[t], (%0,%1,1)|tilestored\t[%0+%1*1], tmm%c[t]}" ::"r"(to), "r"(stride), [t] "i"(T) : "memory");
}
template <int C, int A, int B>
inline void dot_bf16() {
  asm volatile("{tdpbf16ps\t%%tmm%c[b], %%tmm%c[a], %%tmm%c[c]|tdpbf16ps\ttmm%c[c], tmm%c[a], tmm%c[b]}" ::[a] "i"(A), [b] "i"(B), [c] "i"(C));
}

#endif

}  // namespace tile
}  // namespace
