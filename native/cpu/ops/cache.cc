// cache_write: new rows of keys or values go where their positions say.
#include <cstdio>
#include <stdexcept>

#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

void cache_write(Stream& s, InOut cache, In rows, In position) {
  const int64_t B = cache.dim(0), Smax = cache.dim(1), T = rows.dim(1);
  const int64_t bytes = cache.dim(2) * cache.dim(3) * static_cast<int64_t>(dtype_bytes(cache.dtype));
  for (int64_t b = 0; b < B; ++b) {
    const int64_t at = position.as<int32_t>()[b];
    if (at < 0 || at + T > Smax) {
      char text[140];
      std::snprintf(text, sizeof text, "rows [%lld, %lld) of batch row %lld do not fit the cache of %lld; make it longer or generate fewer tokens",
                    static_cast<long long>(at), static_cast<long long>(at + T), static_cast<long long>(b), static_cast<long long>(Smax));
      throw std::out_of_range(text);
    }
  }
  parallel_range(s, B, T * bytes, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b)
      std::memcpy(cache.as<char>() + (b * Smax + position.as<int32_t>()[b]) * bytes, rows.as<char>() + b * T * bytes, static_cast<size_t>(T * bytes));
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
