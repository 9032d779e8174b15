// Rotary position embedding in half-split form (RoFormer, arXiv 2104.09864; Hugging Face's rotate_half): (a, b) = (x[i], x[i + D/2]) turns by
// the angle of its position. The inverse turns back: it is the gradient.
#include "cpu/cache_room.h"
#include "cpu/lanes.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// By the bit: to the compiler that is no sum, so the product stays rounded, and it is the other one that goes into the sum as it is, in every lane.
inline Floats minus(Floats x) { return reinterpret_cast<Floats>(reinterpret_cast<Units>(x) ^ 0x80000000u); }

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

  // The heads of row r, x (H,D). What is rounded is written out: the bits are the same in whichever op a head turns. Cosines and sines are parted
  // once for all heads, so that a head's pairs are read and written in lanes.
  template <class T>
  void turn(T* __restrict y, const T* __restrict x, int64_t r, int64_t H) const {
    constexpr int64_t kTogether = 128;
    float cosine[kTogether], sine[kTogether];
    const int64_t pairs = half;
    const float* angle = table + at[r] * pairs * 2;
    for (int64_t first = 0; first < pairs; first += kTogether, angle += 2 * kTogether) {
      const int64_t count = std::min(kTogether, pairs - first);
      for (int64_t i = 0; i < count; ++i) cosine[i] = angle[2 * i], sine[i] = sign * angle[2 * i + 1];
      for (int64_t h = 0; h < H; ++h) {
        const T *low = x + h * 2 * pairs + first, *high = low + pairs;
        T *to_low = y + h * 2 * pairs + first, *to_high = to_low + pairs;
        // Left to itself the compiler takes 2 kLanes of bf16 at a time, and what remains of them, all there is of small heads, one by one.
        const int64_t bulk = count / kTwo * kTwo;
        int64_t i = bulk;
        for (; i + kLanes <= count; i += kLanes) {
          const Floats c = load(cosine + i), n = load(sine + i), a = load_lanes(low + i), b = load_lanes(high + i);
          store_lanes(to_low + i, fused(a, c, minus(b * n)));
          store_lanes(to_high + i, fused(b, c, minus(a * -n)));
        }
        const auto one_by_one = [&](int64_t begin, int64_t end) {
          for (int64_t j = begin; j < end; ++j) {
            const float c = cosine[j], n = sine[j], a = to_float(low[j]), b = to_float(high[j]);
            to_low[j] = from_float<T>(fused(a, c, -(b * n)));
            to_high[j] = from_float<T>(fused(b, c, a * n));
          }
        };
        one_by_one(0, bulk);
        one_by_one(i, count);
      }
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
