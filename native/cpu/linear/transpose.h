// Lines of 32-bit units to columns, as packed panels want them: floats, or pairs of bf16 that stay together.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

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
    for (int64_t i0 = 0; i0 < width; i0 += kLanes) {
      const int64_t lanes = width - i0 < kLanes ? width - i0 : kLanes, there = count - i0 < 0 ? 0 : count - i0 < lanes ? count - i0 : lanes;
      const char* lines = static_cast<const char*>(from) + i0 * line;
      int64_t u = 0;
      for (; u + kLanes <= units; u += kLanes) {
        Vector rows[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          if (i < there) std::memcpy(&rows[i], lines + i * line + u * 4, sizeof(Vector));
          else rows[i] = Vector{};
        }
        square(rows);
        for (int r = 0; r < kLanes; ++r) {
          // Where the strip is narrower than a vector, what one row writes beyond it the next ones mend.
          const bool whole = lanes == kLanes || (i0 == 0 && (u + r) * width + kLanes <= units * width);
          std::memcpy(to + (u + r) * width + i0, &rows[r], whole ? sizeof(Vector) : static_cast<size_t>(lanes) * 4);
        }
      }
      for (; u < units; ++u)
        for (int64_t i = 0; i < lanes; ++i) {
          uint32_t unit = 0;
          if (i < there) std::memcpy(&unit, lines + i * line + u * 4, 4);
          to[u * width + i0 + i] = unit;
        }
    }
  }

 private:
  // Rows become columns: off-diagonal blocks of 1, 2, 4 ... change places.
  static void square(Vector (&rows)[kLanes]) { blocks<1>(rows); }
  template <int Size>
  static void blocks(Vector (&rows)[kLanes]) {
    if constexpr (Size < kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        if (!(i & Size)) exchange<Size>(rows[i], rows[i + Size], std::make_integer_sequence<int, kLanes>{});
      blocks<2 * Size>(rows);
    }
  }
  template <int Size, int... J>
  static void exchange(Vector& upper, Vector& lower, std::integer_sequence<int, J...>) {
    const Vector a = upper, b = lower;
#if defined(__clang__) || __GNUC__ >= 12
    upper = __builtin_shufflevector(a, b, (J & Size ? kLanes + J - Size : J)...);
    lower = __builtin_shufflevector(a, b, (J & Size ? kLanes + J : J + Size)...);
#else
    upper = __builtin_shuffle(a, b, Vector{(J & Size ? kLanes + J - Size : J)...});
    lower = __builtin_shuffle(a, b, Vector{(J & Size ? kLanes + J : J + Size)...});
#endif
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
