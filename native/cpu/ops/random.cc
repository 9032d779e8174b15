// random_uniform, random_normal, dropout, and the draws of sample_categorical's kin: all from counters (cpu/random.h).
#include "cpu/random.h"

#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
void random_uniform(Stream& s, InOut y, double low, double high, int64_t seed, int64_t offset) {
  by_dtype(y.dtype, [&](auto t) {
    using T = decltype(t);
    T* to = y.as<T>();
    const float a = static_cast<float>(low), width = static_cast<float>(high - low);
    for_each_random(s, y.size(), seed, offset, [=](int64_t i, uint32_t bits) { to[i] = from_float<T>(a + width * unit_uniform(bits)); });
  });
}

// Box-Muller: lanes (0,1) and (2,3) of a block make two normals each.
void random_normal(Stream& s, InOut y, double mean, double std, int64_t seed, int64_t offset) {
  by_dtype(y.dtype, [&](auto t) {
    using T = decltype(t);
    T* to = y.as<T>();
    const int64_t n = y.size();
    parallel_range(s, (n + 3) / 4, 120, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const RandomBlock r = random_block(static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), static_cast<uint64_t>(b));
        float z[4];
        for (int h = 0; h < 4; h += 2) {
          const float radius = std::sqrt(-2.0f * std::log(1.0f - unit_uniform(r.v[h])));  // 1 - u is in (0, 1]
          const float angle = 6.283185307f * unit_uniform(r.v[h + 1]);
          z[h] = radius * std::cos(angle);
          z[h + 1] = radius * std::sin(angle);
        }
        for (int64_t i = b * 4; i < b * 4 + 4 && i < n; ++i) to[i] = from_float<T>(static_cast<float>(mean + std * z[i % 4]));
      }
    });
  });
}

void dropout(Stream& s, Out y, In x, double p, int64_t seed, int64_t offset) {
  by_dtype(x.dtype, [&](auto t) { drop_all(s, y.as<decltype(t)>(), x.as<decltype(t)>(), x.size(), p, seed, offset); });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
