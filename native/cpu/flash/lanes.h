// Vectors whose lanes belong to queries.
#pragma once
#include "cpu/kernel.h"
#include "cpu/linear/transpose.h"

namespace anymal::cpu::ANYMAL_LEVEL::flash {

constexpr int kLanes = Transpose::kLanes;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Units __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

inline Floats load(const void* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }
inline Floats all_bits(const void* from) {  // 32 of them, in every lane
  uint32_t bits;
  std::memcpy(&bits, from, 4);
  return reinterpret_cast<Floats>(Units{} + bits);
}
inline Floats all(float x) { return all_bits(&x); }

// e^x for x <= 0, 0 below -87 (softmax's largest term is 1); NaN stays NaN. Error 2 ulp where e^x > 0.01, 4 ulp below: ln 2 is one constant.
inline Floats exp_below(Floats x) {
  constexpr float magic = 12582912.0f + 127.0f;  // adding it rounds to an integer, and leaves that and an exponent's bias in the low bits
  const Floats t = x * 1.44269504089f + magic;
  const Floats n = t - magic;
  const Floats r = x - n * 0.693147180560f;
  Floats p = all(1.390130574e-03f);
  p = p * r + 8.363200052e-03f;
  p = p * r + 4.166685414e-02f;
  p = p * r + 1.666657696e-01f;
  p = p * r + 4.999999955e-01f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Floats power = reinterpret_cast<Floats>(reinterpret_cast<Units>(t) << 23);
  return x < -87.0f ? Floats{} : p * power;
}

// The bits of the nearest bf16 (ties to even; NaN stays NaN) in the upper halves, with other bits below them.
inline Units nearest(Floats x) {
  const Units u = reinterpret_cast<Units>(x);
  const Units rounded = u + 0x7fffu + ((u >> 16) & 1u);
  return x == x ? rounded : u | 0x400000u;
}
inline Floats rounded_to(Floats x, bf16) { return reinterpret_cast<Floats>(nearest(x) & 0xffff0000u); }
inline Floats rounded_to(Floats x, float) { return x; }

// Rows r and r + 1 as pairs, and each by itself.
#if defined(__AVX512BF16__)
inline void store_pairs(bf16* to, Floats first, Floats second) {
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first)));
  alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(order), both));
}
inline void store_halves(bf16* to, Floats x) {
  const __m256bh h = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  std::memcpy(to, &h, sizeof h);
}
#else
inline void store_pairs(bf16* to, Floats first, Floats second) {
  const Units pairs = nearest(first) >> 16 | (nearest(second) & 0xffff0000u);
  std::memcpy(to, &pairs, sizeof pairs);
}
inline void store_halves(bf16* to, Floats x) {
  const Halves h = __builtin_convertvector(nearest(x) >> 16, Halves);
  std::memcpy(to, &h, sizeof h);
}
#endif

}  // namespace anymal::cpu::ANYMAL_LEVEL::flash
