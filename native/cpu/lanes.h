// Vectors as wide as the level's registers, and loops that send every element of a tensor through the same instructions wherever it lies: left to
// itself the compiler vectorises the bulk and rounds what remains of it in another way (see fused() in kernel.h).
#pragma once
#include "cpu/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace anymal::cpu::ANYMAL_LEVEL {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef double Doubles __attribute__((vector_size(4 * kLanes)));  // half as many
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Units __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

inline Floats load(const void* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store(void* to, Floats v) { std::memcpy(to, &v, sizeof v); }
inline Floats all_bits(const void* from) {  // 32 of them, in every lane
  uint32_t bits;
  std::memcpy(&bits, from, 4);
  return reinterpret_cast<Floats>(Units{} + bits);
}
inline Floats all(float x) { return all_bits(&x); }

// holds ? a : b
inline Floats choose(Ints holds, Floats a, Floats b) { return holds ? a : b; }

// a b + c in every lane, rounded once where the level can.
inline Floats fused(Floats a, Floats b, Floats c) { return a * b + c; }  // a product that is used once is never left beside its sum

inline Floats root(Floats x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_maskz_sqrt_ps(0xffff, reinterpret_cast<__m512>(x)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#elif defined(__x86_64__)
  return reinterpret_cast<Floats>(_mm_sqrt_ps(reinterpret_cast<__m128>(x)));
#else
  for (int i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

// The bits of the nearest bf16 (ties to even; NaN stays NaN) in the upper halves, with other bits below them.
inline Units nearest_number(Floats x) {  // of what is no NaN
  const Units u = reinterpret_cast<Units>(x);
  return u + 0x7fffu + ((u >> 16) & 1u);
}
inline Units nearest(Floats x) { return x == x ? nearest_number(x) : reinterpret_cast<Units>(x) | 0x400000u; }
// Whether a lane of one of them is a NaN.
inline bool any_nan(Floats x, Floats y) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(y), _CMP_UNORD_Q) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(reinterpret_cast<__m256>(x), reinterpret_cast<__m256>(y), _CMP_UNORD_Q)) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_ps(_mm_cmpunord_ps(reinterpret_cast<__m128>(x), reinterpret_cast<__m128>(y))) != 0;
#else
  Ints found = (x != x) | (y != y);
  int32_t any = 0;
  for (int i = 0; i < kLanes; ++i) any |= found[i];
  return any != 0;
#endif
}
inline Floats rounded_to(Floats x, bf16) { return reinterpret_cast<Floats>(nearest(x) & 0xffff0000u); }
inline Floats rounded_to(Floats x, float) { return x; }

// 2 kLanes neighbours. Of bf16 the even ones stand in `a` and the odd ones in `b`, which needs no exchange of lanes on the way in or out.
struct Two {
  Floats a, b;
};
constexpr int64_t kTwo = 2 * kLanes;
inline Two operator+(Two x, Two y) { return {x.a + y.a, x.b + y.b}; }
inline Two operator-(Two x, Two y) { return {x.a - y.a, x.b - y.b}; }
inline Two operator*(Two x, Two y) { return {x.a * y.a, x.b * y.b}; }
inline Two operator+(Two x, float y) { return {x.a + y, x.b + y}; }
inline Two operator-(Two x, float y) { return {x.a - y, x.b - y}; }
inline Two operator*(Two x, float y) { return {x.a * y, x.b * y}; }
inline Two fused(Two x, Two y, Two z) { return {fused(x.a, y.a, z.a), fused(x.b, y.b, z.b)}; }
inline Two fused(Two x, Two y, float z) { return {fused(x.a, y.a, all(z)), fused(x.b, y.b, all(z))}; }
inline Two fused(Two x, float y, Two z) { return {fused(x.a, all(y), z.a), fused(x.b, all(y), z.b)}; }

inline Two load_two(const float* from) { return {load(from), load(from + kLanes)}; }
inline Two load_two(const bf16* from) {
  const Units u = reinterpret_cast<Units>(load(from));
  return {reinterpret_cast<Floats>(u << 16), reinterpret_cast<Floats>(u & 0xffff0000u)};
}
inline void store_two(float* to, Two v) {
  store(to, v.a);
  store(to + kLanes, v.b);
}
inline void store_two(bf16* to, Two v) {
  const auto put = [to](Units a, Units b) { store(to, reinterpret_cast<Floats>(a >> 16 | (b & 0xffff0000u))); };
  if (__builtin_expect(any_nan(v.a, v.b), 0)) put(nearest(v.a), nearest(v.b));
  else put(nearest_number(v.a), nearest_number(v.b));
}

// kLanes neighbours in the order of lanes.
inline Floats load_lanes(const float* from) { return load(from); }
inline Floats load_lanes(const bf16* from) {
  Halves h;
  std::memcpy(&h, from, sizeof h);
  return reinterpret_cast<Floats>(__builtin_convertvector(h, Units) << 16);
}
inline void store_lanes(float* to, Floats v) { store(to, v); }
inline void store_lanes(bf16* to, Floats v) {
  const Halves h = __builtin_convertvector(nearest(v) >> 16, Halves);
  std::memcpy(to, &h, sizeof h);
}

// Neighbours in a row of f32 as those of a row of bf16 stand, and back.
inline Two apart(Two v) {
#if defined(__AVX512F__)
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512 a = reinterpret_cast<__m512>(v.a), b = reinterpret_cast<__m512>(v.b);
  return {reinterpret_cast<Floats>(_mm512_permutex2var_ps(a, even, b)),
          reinterpret_cast<Floats>(_mm512_permutex2var_ps(a, _mm512_or_si512(even, _mm512_set1_epi32(1)), b))};
#elif defined(__AVX2__)
  const __m256 a = reinterpret_cast<__m256>(v.a), b = reinterpret_cast<__m256>(v.b);
  const auto sorted = [](__m256 x) { return reinterpret_cast<Floats>(_mm256_permute4x64_epi64(_mm256_castps_si256(x), 0xd8)); };
  return {sorted(_mm256_shuffle_ps(a, b, 0x88)), sorted(_mm256_shuffle_ps(a, b, 0xdd))};
#elif defined(__x86_64__)
  const __m128 a = reinterpret_cast<__m128>(v.a), b = reinterpret_cast<__m128>(v.b);
  return {reinterpret_cast<Floats>(_mm_shuffle_ps(a, b, 0x88)), reinterpret_cast<Floats>(_mm_shuffle_ps(a, b, 0xdd))};
#else
  Two w;
  for (int i = 0; i < kLanes; ++i) {
    w.a[i] = 2 * i < kLanes ? v.a[2 * i % kLanes] : v.b[2 * i % kLanes];
    w.b[i] = 2 * i < kLanes ? v.a[2 * i % kLanes + 1] : v.b[2 * i % kLanes + 1];
  }
  return w;
#endif
}
inline Two together(Two v) {
#if defined(__AVX512F__)
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512 a = reinterpret_cast<__m512>(v.a), b = reinterpret_cast<__m512>(v.b);
  return {reinterpret_cast<Floats>(_mm512_permutex2var_ps(a, low, b)),
          reinterpret_cast<Floats>(_mm512_permutex2var_ps(a, _mm512_add_epi32(low, _mm512_set1_epi32(8)), b))};
#elif defined(__AVX2__)
  const __m256 a = reinterpret_cast<__m256>(v.a), b = reinterpret_cast<__m256>(v.b), low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
  return {reinterpret_cast<Floats>(_mm256_permute2f128_ps(low, high, 0x20)), reinterpret_cast<Floats>(_mm256_permute2f128_ps(low, high, 0x31))};
#elif defined(__x86_64__)
  const __m128 a = reinterpret_cast<__m128>(v.a), b = reinterpret_cast<__m128>(v.b);
  return {reinterpret_cast<Floats>(_mm_unpacklo_ps(a, b)), reinterpret_cast<Floats>(_mm_unpackhi_ps(a, b))};
#else
  Two w;
  for (int i = 0; i < kLanes; ++i) {
    w.a[i] = i % 2 ? v.b[i / 2] : v.a[i / 2];
    w.b[i] = i % 2 ? v.b[(i + kLanes) / 2] : v.a[(i + kLanes) / 2];
  }
  return w;
#endif
}

// How a row is walked: in blocks of kTwo, then one by one. What is f32 whatever the row's type T is read, and written, beside<T>.
struct InBlocks {
  static constexpr int64_t step = kTwo;
  template <class T>
  static Two read(const T* from) {
    return load_two(from);
  }
  template <class T>
  static void write(T* to, Two v) {
    store_two(to, v);
  }
  template <class T>
  static Two read_beside(const float* from) {
    return sizeof(T) == 4 ? load_two(from) : apart(load_two(from));
  }
  template <class T>
  static void write_beside(float* to, Two v) {
    store_two(to, sizeof(T) == 4 ? v : together(v));
  }
};
struct Singly {
  static constexpr int64_t step = 1;
  template <class T>
  static float read(const T* from) {
    return to_float(*from);
  }
  template <class T>
  static void write(T* to, float v) {
    *to = from_float<T>(v);
  }
  template <class T>
  static float read_beside(const float* from) {
    return *from;
  }
  template <class T>
  static void write_beside(float* to, float v) {
    *to = v;
  }
};
// f(how, j) for the blocks of a row, then for what is left of it.
template <class F>
[[gnu::always_inline]] inline void along(int64_t n, const F& f) {
  int64_t j = 0;
  for (; j + kTwo <= n; j += kTwo) f(InBlocks{}, j);
  for (; j < n; ++j) f(Singly{}, j);
}

// A sum along a row, in an order that its length alone gives; what the lanes come to is added in f64.
struct RowSum {
  Two blocks{};
  float rest = 0;
  void add(Two v) { blocks = blocks + v; }
  void add(float v) { rest += v; }
  void add_product(Two x, Two y) { blocks = fused(x, y, blocks); }
  void add_product(float x, float y) { rest = fused(x, y, rest); }
  double total() const {
    float x[kTwo];
    store(x, blocks.a);
    store(x + kLanes, blocks.b);
    double sum = static_cast<double>(rest);
    for (const float v : x) sum += static_cast<double>(v);
    return sum;
  }
};

// The same of so many that f32 would lose the small ones: 256 terms at a time in f32, what these make in f64.
class LongSum {
 public:
  // The sum of term(how, j), as `along` walks, for j < n.
  template <class F>
  [[gnu::always_inline]] inline void add(int64_t n, const F& term) {
    for (int64_t first = 0; first < n; first += 256) {
      RowSum part;
      along(n - first < 256 ? n - first : 256, [&](auto as, int64_t j) { part.add(term(as, first + j)); });
      widen(part.blocks.a, 0);
      widen(part.blocks.b, 2);
      rest_ += static_cast<double>(part.rest);
    }
  }
  double total() const {
    double x[2 * kLanes];
    std::memcpy(x, sums_, sizeof x);
    for (int width = kLanes; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) x[i] += x[i + width];
    return x[0] + rest_;
  }

 private:
  typedef float Half __attribute__((vector_size(2 * kLanes)));
  void widen(Floats v, int at) {
    Half half[2];
    std::memcpy(half, &v, sizeof v);
    sums_[at] += __builtin_convertvector(half[0], Doubles);
    sums_[at + 1] += __builtin_convertvector(half[1], Doubles);
  }
  Doubles sums_[4] = {};
  double rest_ = 0;
};

// The greatest number of a row, -inf where it has none; a NaN is not one.
template <class T>
inline float greatest(const T* x, int64_t n) {
  Two most{all(-INFINITY), all(-INFINITY)};
  float rest = -INFINITY;
  int64_t j = 0;
  for (; j + kTwo <= n; j += kTwo) {
    const Two v = load_two(x + j);
    most = {choose(v.a > most.a, v.a, most.a), choose(v.b > most.b, v.b, most.b)};
  }
  for (; j < n; ++j) rest = to_float(x[j]) > rest ? to_float(x[j]) : rest;
  float lanes[kTwo];
  store_two(lanes, most);
  for (float v : lanes) rest = v > rest ? v : rest;
  return rest;
}

// to[i] <- f(from[i]) for whole blocks of kTwo: f takes K vectors and gives M. Never inlined: there is one such loop for the elements of the bulk and
// for those of the rest.
template <class T, int M, int K, class F>
[[gnu::noinline]] void each_block(T* const (&to)[M], const T* const (&from)[K], int64_t n, const F& f) {
  T* t[M];
  const T* p[K];
  for (int m = 0; m < M; ++m) t[m] = to[m];
  for (int k = 0; k < K; ++k) p[k] = from[k];
  const F g = f;
  for (int64_t i = 0; i < n; i += kTwo) {
    Floats a[K], b[K], ya[M], yb[M];
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const Two x = load_two(p[k] + i);
      a[k] = x.a;
      b[k] = x.b;
    }
    g(a, ya);
    g(b, yb);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) store_two(t[m] + i, {ya[m], yb[m]});
  }
}

// The same for any n: what fills no block goes through a padded one.
template <class T, int M, int K, class F>
inline void each_of(T* const (&to)[M], const T* const (&from)[K], int64_t n, const F& f) {
  const int64_t bulk = n / kTwo * kTwo, rest = n - bulk;
  if (bulk) each_block(to, from, bulk, f);
  if (!rest) return;
  T x[K][kTwo] = {}, y[M][kTwo];
  T* out[M];
  const T* in[K];
  for (int k = 0; k < K; ++k) in[k] = static_cast<const T*>(std::memcpy(x[k], from[k] + bulk, static_cast<size_t>(rest) * sizeof(T)));
  for (int m = 0; m < M; ++m) out[m] = y[m];
  each_block(out, in, kTwo, f);
  for (int m = 0; m < M; ++m) std::memcpy(static_cast<void*>(to[m] + bulk), y[m], static_cast<size_t>(rest) * sizeof(T));
}

// On all threads; `work` as in parallel_range.
template <class T, int M, int K, class F>
inline void each(Stream& s, T* const (&to)[M], const T* const (&from)[K], int64_t n, int64_t work, const F& f) {
  parallel_range(s, n, work, [&](int64_t begin, int64_t end, int) {
    T* out[M];
    const T* in[K];
    for (int m = 0; m < M; ++m) out[m] = to[m] + begin;
    for (int k = 0; k < K; ++k) in[k] = from[k] + begin;
    each_of(out, in, end - begin, f);
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
