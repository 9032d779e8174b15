// What every CPU op file includes. Op files are compiled once per dispatch level (generic, avx2, avx512) into a namespace of that
// name, so plain loops vectorise for each level; see CMakeLists.txt. Nothing here may instantiate a shared template (std::vector,
// std::function ...) in an op file: the linker would merge the AVX-512 copy into the generic level. `npm run check` greps for it.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "backend.h"
#include "cpu/stream.h"

#ifndef ANYMAL_LEVEL
#define ANYMAL_LEVEL generic
#endif

namespace anymal::cpu::ANYMAL_LEVEL {

struct bf16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) {
  uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
// Round to nearest even; NaN stays NaN.
inline bf16 to_bf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return {static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded)};
}
// a b + c, rounded once where the level can. For sums of two products in loops over all elements: left to itself the compiler may fuse one product in
// the vectorised loop and the other in its remainder, and an element's bits would depend on its place.
inline float fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
template <class T>
inline T from_float(float f);
template <>
inline float from_float<float>(float f) {
  return f;
}
template <>
inline bf16 from_float<bf16>(float f) {
  return to_bf16(f);
}

// f(chunk, thread) for each chunk, on all threads.
template <class F>
inline void parallel(Stream& s, int64_t chunks, const F& f) {
  s.pool.run(
      chunks, [](void* c, int64_t chunk, int thread) { (*static_cast<const F*>(c))(chunk, thread); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

// f(begin, end, thread) over [0, n) in chunks of about `grain_work` element operations, each item costing `work`. The split depends on
// sizes alone, never on the number of threads: a body that reduces over its chunk gives the same bits everywhere.
template <class F>
inline void parallel_range(Stream& s, int64_t n, int64_t work, const F& f) {
  constexpr int64_t grain_work = 16384;  // about 4 us of vector work: below it a wake-up costs more than it wins
  if (n <= 0) return;
  int64_t per = grain_work / (work > 0 ? work : 1);
  if (per < 1) per = 1;
  int64_t chunks = (n + per - 1) / per;
  parallel(s, chunks, [&](int64_t c, int thread) {
    int64_t begin = c * per, end = begin + per < n ? begin + per : n;
    f(begin, end, thread);
  });
}

// Calls f with a value of the element type: f(float{}) or f(bf16{}).
template <class F>
inline void by_dtype(DType t, const F& f) {
  if (t == DType::bf16) f(bf16{});
  else f(float{});
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
