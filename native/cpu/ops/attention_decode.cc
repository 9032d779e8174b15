// One query per row against the cache, and the write into it. Heads that share a key/value head go one after the other, so that it is read from
// memory once.
#include <cstdio>
#include <stdexcept>

#include "cpu/kernel.h"
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

namespace {

// scores[i] = scale q.k for the n keys that lie `row` apart. Four at a time: their sums run side by side.
template <class T>
void score(float* scores, const float* q, const T* keys, int64_t n, int64_t row, int64_t D, float scale) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const T *k0 = keys + i * row, *k1 = k0 + row, *k2 = k1 + row, *k3 = k2 + row;
    float a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
    for (int64_t e = 0; e < D; ++e) {
      a += q[e] * to_float(k0[e]);
      b += q[e] * to_float(k1[e]);
      c += q[e] * to_float(k2[e]);
      d += q[e] * to_float(k3[e]);
    }
    scores[i] = a * scale, scores[i + 1] = b * scale, scores[i + 2] = c * scale, scores[i + 3] = d * scale;
  }
  for (; i < n; ++i) {
    float a = 0;
#pragma omp simd reduction(+ : a)
    for (int64_t e = 0; e < D; ++e) a += q[e] * to_float(keys[i * row + e]);
    scores[i] = a * scale;
  }
}

// y[d] = the sum of p[i] v[i,d]: strips of columns, whose sums stay in registers over all keys.
template <class T>
void weigh(T* y, const float* p, const T* values, int64_t n, int64_t row, int64_t D) {
  constexpr int64_t strip = 64;
  int64_t d0 = 0;
  for (; d0 + strip <= D; d0 += strip) {
    float sum[strip] = {};
    for (int64_t i = 0; i < n; ++i)
      for (int64_t d = 0; d < strip; ++d) sum[d] += p[i] * to_float(values[i * row + d0 + d]);
    for (int64_t d = 0; d < strip; ++d) y[d0 + d] = from_float<T>(sum[d]);
  }
  if (d0 == D) return;
  float sum[strip] = {};
  for (int64_t i = 0; i < n; ++i)
    for (int64_t d = 0; d < D - d0; ++d) sum[d] += p[i] * to_float(values[i * row + d0 + d]);
  for (int64_t d = 0; d < D - d0; ++d) y[d0 + d] = from_float<T>(sum[d]);
}

}  // namespace

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
  const int64_t per_thread = (Smax + D) * 4 + 64;
  char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(per_thread * s.pool.threads())));
  by_dtype(q.dtype, [&](auto t) {
    using T = decltype(t);
    parallel(s, B * K, [&](int64_t c, int thread) {
      const int64_t b = c / K, kv = c % K, end = seen[2 * b + 1];
      int64_t begin = seen[2 * b];
      if (window > 0 && end - window > begin) begin = end - window;
      const int64_t n = end > begin ? end - begin : 0;
      float* p = reinterpret_cast<float*>(room + per_thread * thread);  // (n)
      float* q32 = p + Smax;                                            // (D)
      const T* keys = k_cache.as<T>() + (b * Smax + begin) * row + kv * D;
      const T* values = v_cache.as<T>() + (b * Smax + begin) * row + kv * D;
      for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
        for (int64_t d = 0; d < D; ++d) q32[d] = to_float(q.as<T>()[(b * H + h) * D + d]);
        score(p, q32, keys, n, row, D, static_cast<float>(scale));
        float most = -INFINITY, total = 0;
        for (int64_t i = 0; i < n; ++i) most = p[i] > most ? p[i] : most;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < n; ++i) {
          p[i] = exp_fast(p[i] - most);
          total += p[i];
        }
        for (int64_t i = 0; i < n; ++i) p[i] /= total;
        weigh(y.as<T>() + (b * H + h) * D, p, values, n, row, D);
      }
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
