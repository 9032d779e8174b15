// One query per row against the cache, and the write into it. The cache is read once: all heads that share a key/value head go together.
#include <cstdio>
#include <stdexcept>

#include "cpu/kernel.h"
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

void attention_decode(Stream& s, Out y, In q, In k_cache, In v_cache, In range, double scale, int64_t window) {
  const int64_t B = q.dim(0), H = q.dim(2), D = q.dim(3), Smax = k_cache.dim(1), K = k_cache.dim(2), group = H / K, row = K * D;
  const int32_t* seen = range.as<int32_t>();
  for (int64_t b = 0; b < B; ++b)
    if (seen[2 * b] < 0 || seen[2 * b + 1] > Smax) {
      char text[120];
      std::snprintf(text, sizeof text, "range [%d, %d) of row %lld is outside the cache's [0, %lld)", seen[2 * b], seen[2 * b + 1],
                    static_cast<long long>(b), static_cast<long long>(Smax));
      throw std::out_of_range(text);
    }
  const int64_t per_thread = group * (Smax + D) * 4 + 64;
  char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(per_thread * s.pool.threads())));
  by_dtype(q.dtype, [&](auto t) {
    using T = decltype(t);
    parallel(s, B * K, [&](int64_t c, int thread) {
      const int64_t b = c / K, kv = c % K, end = seen[2 * b + 1];
      int64_t begin = seen[2 * b];
      if (window > 0 && end - window > begin) begin = end - window;
      const int64_t n = end > begin ? end - begin : 0;
      float* scores = reinterpret_cast<float*>(room + per_thread * thread);  // (group, n)
      float* sums = scores + group * Smax;                                   // (group, D)
      const T* keys = k_cache.as<T>() + (b * Smax + begin) * row + kv * D;
      const T* values = v_cache.as<T>() + (b * Smax + begin) * row + kv * D;
      const T* queries = q.as<T>() + (b * H + kv * group) * D;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t g = 0; g < group; ++g) {
          float dot = 0;
#pragma omp simd reduction(+ : dot)
          for (int64_t d = 0; d < D; ++d) dot += to_float(queries[g * D + d]) * to_float(keys[i * row + d]);
          scores[g * n + i] = dot * static_cast<float>(scale);
        }
      for (int64_t g = 0; g < group; ++g) {
        float* p = scores + g * n;
        float most = -INFINITY, total = 0;
        for (int64_t i = 0; i < n; ++i) most = p[i] > most ? p[i] : most;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < n; ++i) {
          p[i] = exp_fast(p[i] - most);
          total += p[i];
        }
        for (int64_t i = 0; i < n; ++i) p[i] /= total;
      }
      std::memset(sums, 0, static_cast<size_t>(group * D) * 4);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t g = 0; g < group; ++g) {
          const float p = scores[g * n + i];
          for (int64_t d = 0; d < D; ++d) sums[g * D + d] += p * to_float(values[i * row + d]);
        }
      T* to = y.as<T>() + (b * H + kv * group) * D;
      for (int64_t i = 0; i < group * D; ++i) to[i] = from_float<T>(sums[i]);
    });
  });
}

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
