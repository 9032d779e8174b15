// Where rows go in a cache of keys or values, and whether they fit.
#pragma once
#include <cstdio>
#include <stdexcept>

#include "cpu/kernel.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// Throws unless T rows of each batch row fit a cache (B,Smax,...) from position (B) i32 on.
inline void check_room(const View& cache, int64_t T, const View& position) {
  const int64_t B = cache.dim(0), Smax = cache.dim(1);
  for (int64_t b = 0; b < B; ++b) {
    const int64_t at = position.as<int32_t>()[b];
    if (at < 0 || at + T > Smax) {
      char text[140];
      std::snprintf(text, sizeof text, "rows [%lld, %lld) of batch row %lld do not fit the cache of %lld; make it longer or generate fewer tokens",
                    static_cast<long long>(at), static_cast<long long>(at + T), static_cast<long long>(b), static_cast<long long>(Smax));
      throw std::out_of_range(text);
    }
  }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
