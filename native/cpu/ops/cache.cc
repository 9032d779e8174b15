// cache_write: new rows of keys or values go where their positions say.
#include "cpu/cache_room.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

void cache_write(Stream& s, InOut cache, In rows, In position) {
  const int64_t B = cache.dim(0), Smax = cache.dim(1), T = rows.dim(1);
  const int64_t bytes = cache.dim(2) * cache.dim(3) * static_cast<int64_t>(dtype_bytes(cache.dtype));
  check_room(cache, T, position);
  parallel_range(s, B, T * bytes, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b)
      std::memcpy(cache.as<char>() + (b * Smax + position.as<int32_t>()[b]) * bytes, rows.as<char>() + b * T * bytes, static_cast<size_t>(T * bytes));
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
