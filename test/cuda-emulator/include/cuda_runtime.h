// The emulator's stand-in for CUDA's header: first on the include path, it makes a .cu file C++20. Every CUDA thread becomes a fiber, every
// synchronising intrinsic a meeting of threads. Semantics: the .cc files of this folder's parent.
#pragma once
#define GPU_EMU 1
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// No __shared__ on purpose: a static cannot belong to several resident blocks. Use SHARED_ARRAY(). No __noinline__: libstdc++ has an attribute of
// that name.

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#define EMU_VEC(T, N)                                                             \
  struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                 \
  struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) N##4 { T x, y, z, w; }; \
  inline N##2 make_##N##2(T x, T y) { return {x, y}; }                            \
  inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VEC(float, float);
EMU_VEC(int, int);
EMU_VEC(unsigned, uint);
EMU_VEC(unsigned char, uchar);
#undef EMU_VEC

// Those of the running thread: rewritten whenever another takes over.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#include "emu/host_api.h"
#include "emu/intrinsics.h"
#include "emu/runtime.h"

// Scalar intrinsics. The fast ones are exact here: tests allow for a card's.
using std::min, std::max;
inline unsigned __float_as_uint(float f) { return std::bit_cast<unsigned>(f); }
inline float __uint_as_float(unsigned u) { return std::bit_cast<float>(u); }
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __ffs(unsigned v) { return v ? std::countr_zero(v) + 1 : 0; }
inline int __clz(unsigned v) { return std::countl_zero(v); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline void sincospif(float x, float* s, float* c) {  // of pi x
  *s = static_cast<float>(std::sin(3.14159265358979323846 * x));
  *c = static_cast<float>(std::cos(3.14159265358979323846 * x));
}
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  uint64_t v = uint64_t(b) << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) {
    unsigned sel = s >> 4 * i & 15;
    uint8_t byte = v >> 8 * (sel & 7);
    if (sel & 8) byte = byte & 0x80 ? 0xFF : 0;
    r |= unsigned(byte) << 8 * i;
  }
  return r;
}
