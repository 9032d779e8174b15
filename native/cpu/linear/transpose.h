// Lines of 32-bit units to columns, as packed panels want them: floats, or pairs of bf16 that stay together.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace anymal::cpu::ANYMAL_LEVEL {

struct Transpose {
#if defined(__AVX512F__)
  static constexpr int kLanes = 16;
#elif defined(__AVX2__)
  static constexpr int kLanes = 8;
#else
  static constexpr int kLanes = 4;
#endif
  typedef uint32_t Vector __attribute__((vector_size(4 * kLanes)));

  // to[u * width + i] <- unit u of line i, lines `line` bytes apart, for i < count and u < units; zeros for count <= i < width.
  static void run(uint32_t* to, int64_t width, const void* from, int64_t line, int64_t count, int64_t units) {
    walk<false>(to, width, from, line, count, units);
  }
  // The same of lines of bf16, two to a unit, to floats: step k of line i becomes to[k * width + i] for k < 2 units.
  static void widen(float* to, int64_t width, const void* from, int64_t line, int64_t count, int64_t units) {
    walk<true>(reinterpret_cast<uint32_t*>(to), width, from, line, count, units);
  }

  // As many 16-byte pieces of a line as the registers take are read at a time: a line of cache is left for good where that is 64 bytes.
#if defined(__AVX512F__)
  static constexpr int kPieces = 4;
#elif defined(__AVX2__)
  static constexpr int kPieces = 2;
#else
  static constexpr int kPieces = 1;
#endif

  // 4 N units of kLanes lines, of which `there` are there (the others give zeros; not looked at where Whole): v[n][u] is unit 4 n + u of each
  // line. A register is put together from pieces of lines four apart, so all that is left to exchange lies within 16 bytes.
  template <bool Whole, int N>
  [[gnu::always_inline]] static inline void columns(Vector (&v)[N][4], const char* from, int64_t line, int64_t there) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const auto piece = [&](int i) { return Whole || i < there ? load(from + i * line + n * 16) : Piece{}; };
#if defined(__AVX512F__)
        const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(piece(r)), piece(r + 4), 1);
        const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(piece(r + 8)), piece(r + 12), 1);
        v[n][r] = reinterpret_cast<Vector>(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
#elif defined(__AVX2__)
        v[n][r] = reinterpret_cast<Vector>(_mm256_inserti128_si256(_mm256_castsi128_si256(piece(r)), piece(r + 4), 1));
#else
        v[n][r] = reinterpret_cast<Vector>(piece(r));
#endif
      }
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) exchange(v[n]);
  }

 private:
#if defined(__x86_64__)
  using Piece = __m128i;
  static Piece load(const char* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
#else
  using Piece = Vector;
  static Piece load(const char* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
#endif

  [[gnu::always_inline]] static inline void exchange(Vector (&v)[4]) {
#if defined(__AVX512F__)
#define ANYMAL_UNPACK(bits, half, a, b) \
  reinterpret_cast<Vector>(_mm512_unpack##half##_epi##bits(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)))
#elif defined(__AVX2__)
#define ANYMAL_UNPACK(bits, half, a, b) \
  reinterpret_cast<Vector>(_mm256_unpack##half##_epi##bits(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)))
#elif defined(__x86_64__)
#define ANYMAL_UNPACK(bits, half, a, b) \
  reinterpret_cast<Vector>(_mm_unpack##half##_epi##bits(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)))
#endif
#if defined(__x86_64__)
    const Vector a = ANYMAL_UNPACK(32, lo, v[0], v[1]), b = ANYMAL_UNPACK(32, hi, v[0], v[1]);
    const Vector c = ANYMAL_UNPACK(32, lo, v[2], v[3]), d = ANYMAL_UNPACK(32, hi, v[2], v[3]);
    v[0] = ANYMAL_UNPACK(64, lo, a, c);
    v[1] = ANYMAL_UNPACK(64, hi, a, c);
    v[2] = ANYMAL_UNPACK(64, lo, b, d);
    v[3] = ANYMAL_UNPACK(64, hi, b, d);
#undef ANYMAL_UNPACK
#else
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < i; ++j) {
        const uint32_t keep = v[i][j];
        v[i][j] = v[j][i];
        v[j][i] = keep;
      }
#endif
  }

  template <bool Widen>
  static void walk(uint32_t* to, int64_t width, const void* from, int64_t line, int64_t count, int64_t units) {
    constexpr int64_t steps = Widen ? 2 : 1;  // rows of `to` from one unit
    for (int64_t i0 = 0; i0 < width; i0 += kLanes) {
      const int64_t lanes = width - i0 < kLanes ? width - i0 : kLanes, there = count - i0 < 0 ? 0 : count - i0 < lanes ? count - i0 : lanes;
      const char* lines = static_cast<const char*>(from) + i0 * line;
      const auto put = [&](int64_t row, const Vector& v) {
        // Where the strip is narrower than a vector, what one row writes beyond it the next ones mend.
        const bool whole = lanes == kLanes || (i0 == 0 && row * width + kLanes <= units * steps * width);
        std::memcpy(to + row * width + i0, &v, whole ? sizeof(Vector) : static_cast<size_t>(lanes) * 4);
      };
      int64_t u = 0;
      const auto go = [&](auto whole, auto pieces) {
        constexpr int n = pieces();
        for (; u + 4 * n <= units; u += 4 * n) {
          Vector v[n][4];
          columns<whole(), n>(v, lines + u * 4, line, there);
#pragma GCC unroll 16
          for (int r = 0; r < 4 * n; ++r) {
            if constexpr (Widen) {
              put(2 * (u + r), v[r / 4][r % 4] << 16);
              put(2 * (u + r) + 1, v[r / 4][r % 4] & 0xffff0000u);
            } else {
              put(u + r, v[r / 4][r % 4]);
            }
          }
        }
      };
      const std::integral_constant<int, kPieces> many;
      const std::integral_constant<int, 1> one;
      if (there == kLanes) go(std::true_type{}, many), go(std::true_type{}, one);
      else go(std::false_type{}, many), go(std::false_type{}, one);
      for (; u < units; ++u)
        for (int64_t i = 0; i < lanes; ++i) {
          uint32_t unit = 0;
          if (i < there) std::memcpy(&unit, lines + i * line + u * 4, 4);
          uint32_t* at = to + u * steps * width + i0 + i;
          if constexpr (Widen) {
            at[0] = unit << 16;
            at[width] = unit & 0xffff0000u;
          } else {
            at[0] = unit;
          }
        }
    }
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
