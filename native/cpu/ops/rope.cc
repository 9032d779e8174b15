// Rotary position embedding in half-split form (RoFormer, arXiv 2104.09864; Hugging Face's rotate_half): (a, b) = (x[i], x[i + D/2]) turns by
// the angle of its position. The inverse turns back: it is the gradient.
#include "cpu/cache_room.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// By how much the rows (B,T) turn.
struct Angles {
  const float* table;
  const int32_t* at;
  int64_t half;
  float sign;

  Angles(const View& t, const View& positions, int64_t D, bool inverse)
      : table(t.as<float>()), at(positions.as<int32_t>()), half(D / 2), sign(inverse ? -1.0f : 1.0f) {
    for (int64_t r = 0; r < positions.size(); ++r)
      if (at[r] < 0 || at[r] >= t.dim(0)) {
        char text[120];
        std::snprintf(text, sizeof text, "position %d at row %lld is outside the table's [0, %lld)", at[r], static_cast<long long>(r),
                      static_cast<long long>(t.dim(0)));
        throw std::out_of_range(text);
      }
  }

  // The heads of row r, x (H,D). What is rounded is written out: the bits are the same in whichever op a head turns.
  template <class T>
  void turn(T* y, const T* x, int64_t r, int64_t H) const {
    const int64_t pairs = half;
    const float *angle = table + at[r] * pairs * 2, by = sign;
    for (int64_t h = 0; h < H; ++h, x += 2 * pairs, y += 2 * pairs)
      for (int64_t i = 0; i < pairs; ++i) {
        const float c = angle[2 * i], n = by * angle[2 * i + 1], a = to_float(x[i]), b = to_float(x[i + pairs]);
        y[i] = from_float<T>(fused(a, c, -(b * n)));
        y[i + pairs] = from_float<T>(fused(b, c, a * n));
      }
  }
};

}  // namespace

void rope(Stream& s, Out y, In x, In table, In positions, bool inverse) {
  const int64_t H = x.dim(2), D = x.dim(3);
  const Angles angles(table, positions, D, inverse);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, x.dim(0) * x.dim(1), 3 * H * D, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) angles.turn(y.as<T>() + r * H * D, x.as<T>() + r * H * D, r, H);
    });
  });
}

void rope_pair(Stream& s, Out yq, Out yk, In q, In k, In table, In positions, bool inverse) {
  const int64_t H = q.dim(2), K = k.dim(2), D = q.dim(3);
  const Angles angles(table, positions, D, inverse);
  by_dtype(q.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, q.dim(0) * q.dim(1), 3 * (H + K) * D, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        angles.turn(yq.as<T>() + r * H * D, q.as<T>() + r * H * D, r, H);
        angles.turn(yk.as<T>() + r * K * D, k.as<T>() + r * K * D, r, K);
      }
    });
  });
}

void rope_cached(Stream& s, Out y, InOut k_cache, InOut v_cache, In q, In k, In v, In table, In positions, In slot) {
  const int64_t T = q.dim(1), H = q.dim(2), D = q.dim(3), Smax = k_cache.dim(1), row = k.dim(2) * D;
  const Angles angles(table, positions, D, false);
  check_room(k_cache, T, slot);
  by_dtype(q.dtype, [&](auto t) {
    using X = decltype(t);
    parallel_range(s, q.dim(0) * T, 3 * H * D + 4 * row, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t to = r / T * Smax + slot.as<int32_t>()[r / T] + r % T;
        angles.turn(y.as<X>() + r * H * D, q.as<X>() + r * H * D, r, H);
        angles.turn(k_cache.as<X>() + to * row, k.as<X>() + r * row, r, k.dim(2));
        std::memcpy(v_cache.as<char>() + to * row * static_cast<int64_t>(sizeof(X)), v.as<X>() + r * row, static_cast<size_t>(row) * sizeof(X));
      }
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
