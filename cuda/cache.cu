// cache_write: new rows of keys or values go where their positions say.
#include "common.cuh"

namespace anymal::cuda {
namespace {

// Rows of batch row b are `run` units in a row, and lie at position * unit row in its `room` units of the cache.
template <class U>
__global__ void cache_write_kernel(int64_t n, U* cache, const U* rows, const int32_t* position, int64_t run, int64_t room, int64_t row, int64_t last,
                                   FaultLog fault) {
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const int64_t b = i / run, at = i - b * run;
    if (index_holds(fault, Fault::position, b, position[b], 0, last + 1)) cache[b * room + position[b] * row + at] = rows[i];
  }
}

}  // namespace

void cache_write(Stream& s, InOut cache, In rows, In position) {
  const int64_t B = cache.dim(0), Smax = cache.dim(1), T = rows.dim(1), element = static_cast<int64_t>(dtype_bytes(cache.dtype));
  const int64_t bytes = cache.dim(2) * cache.dim(3) * element;
  if (bytes == 0 || T == 0) return;
  const auto run = [&](auto u) {
    using U = decltype(u);
    const int64_t row = bytes / static_cast<int64_t>(sizeof(U));
    launch_items<cache_write_kernel<U>>(s, B * T * row, cache.as<U>(), rows.as<U>(), position.as<int32_t>(), T * row, Smax * row, row, Smax - T,
                                        s.fault_log());
  };
  if (bytes % 16 == 0 && aligned16({cache.data, rows.data})) run(uint4{});
  else if (element == 2) run(uint16_t{});
  else if (element == 1) run(uint8_t{});
  else run(uint32_t{});
}

}  // namespace anymal::cuda
