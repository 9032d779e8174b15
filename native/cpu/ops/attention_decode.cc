// One query per row against the cache. The heads that share a key/value head go together, so that it is read once; the keys are cut into pieces of a
// fixed number from the first that counts, and what the pieces have summed is merged in their order: how many threads there are, and how long other
// rows are, changes no bits.
#include <cstdio>
#include <stdexcept>

#include "cpu/decode_tile.h"
#include "cpu/kernel.h"
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

namespace {

constexpr int64_t kPiece = 256;  // keys

struct Job {
  View q, k, v, k_scale, v_scale;
  int64_t H, K, D, Smax;
  float scale;
  // Of (row, head, piece): the largest score, the sum of e^(score - largest), and with them the sums of the values (D).
  float* parts;
  int64_t pieces, part;
  float* part_of(int64_t b, int64_t h, int64_t piece) const { return parts + ((b * H + h) * pieces + piece) * part; }
};

// `Heads` heads from h on against n keys from `first` on.
template <class T, class Cache, int Heads>
void attend(const Job& j, int64_t b, int64_t h, int64_t kv, int64_t piece, int64_t first, int64_t n, float* room) {
  using Tile = DecodeTile<Cache>;
  constexpr bool kCodes = sizeof(Cache) == 1;
  const int64_t D = j.D, wide = Tile::padded(D), row = j.K * D, at = b * j.Smax + first;
  float *q = room, *p = q + Heads * wide, *key_factors = p + Heads * kPiece, *value_factors = key_factors + kPiece, *y = value_factors + kPiece;
  for (int64_t i = 0; i < Heads; ++i)
    for (int64_t d = 0; d < wide; ++d) q[i * wide + d] = d < D ? to_float(j.q.as<T>()[(b * j.H + h + i) * D + d]) : 0.0f;
  // Of codes the factor of a whole row: keys' go into the scores, values' into the weights.
  for (int64_t i = 0; i < kPiece && kCodes; ++i) {
    const int64_t from = (at + (i < n ? i : 0)) * j.K + kv;
    key_factors[i] = j.k_scale.as<float>()[from] * (j.scale / 127.0f);
    value_factors[i] = j.v_scale.as<float>()[from] * (1.0f / 127.0f);
  }
  const Cache *keys = j.k.as<Cache>() + at * row + kv * D, *values = j.v.as<Cache>() + at * row + kv * D;
  typename Tile::Floats scale = typename Tile::Floats{} + j.scale;
  int64_t padded = 0;
  for (; padded < n; padded += Tile::kLanes) {
    if (kCodes) std::memcpy(&scale, key_factors + padded, sizeof scale);
    const int64_t there = n - padded < Tile::kLanes ? n - padded : Tile::kLanes;
    Tile::template score<Heads>(p + padded, kPiece, q, D, keys + padded * row, row, there, scale);
  }
  float sums[Heads * 2];
  for (int64_t i = 0; i < Heads; ++i) {
    float *w = p + i * kPiece, most = -INFINITY, total = 0;
#pragma omp simd reduction(max : most)
    for (int64_t s = 0; s < padded; ++s) most = w[s] > most ? w[s] : most;
    const float base = most == -INFINITY ? 0.0f : most;
#pragma omp simd reduction(+ : total)
    for (int64_t s = 0; s < padded; ++s) {
      w[s] = exp_fast(w[s] - base);
      total += w[s];
    }
    for (int64_t s = 0; s < n && kCodes; ++s) w[s] *= value_factors[s];
    sums[2 * i] = base, sums[2 * i + 1] = total;
  }
  Tile::template weigh<Heads>(y, D, p, kPiece, values, row, n);
  for (int64_t i = 0; i < Heads; ++i) {
    float* part = j.part_of(b, h + i, piece);
    part[0] = sums[2 * i], part[1] = sums[2 * i + 1];
    std::memcpy(part + 2, y + i * D, static_cast<size_t>(D) * 4);
  }
}

template <class T, class Cache>
void attend_all(const Job& j, int64_t b, int64_t kv, int64_t piece, int64_t first, int64_t n, float* room) {
  const int64_t group = j.H / j.K, end = (kv + 1) * group;
  int64_t h = kv * group;
  if constexpr (DecodeTile<Cache>::kHeads == 8)
    for (; h + 8 <= end; h += 8) attend<T, Cache, 8>(j, b, h, kv, piece, first, n, room);
  for (; h + 4 <= end; h += 4) attend<T, Cache, 4>(j, b, h, kv, piece, first, n, room);
  for (; h + 2 <= end; h += 2) attend<T, Cache, 2>(j, b, h, kv, piece, first, n, room);
  for (; h < end; ++h) attend<T, Cache, 1>(j, b, h, kv, piece, first, n, room);
}

// y (D) of one head from its first `pieces` pieces; zeros where there is no key.
template <class T>
void merge(T* y, const Job& j, int64_t b, int64_t h, int64_t pieces) {
  float most = -INFINITY, total = 0;
  for (int64_t i = 0; i < pieces; ++i) {
    const float m = j.part_of(b, h, i)[0];
    most = m > most ? m : most;
  }
  float* sum = j.part_of(b, h, 0) + 2;
  for (int64_t i = 0; i < pieces; ++i) {
    const float *part = j.part_of(b, h, i), weight = exp_fast(part[0] - most);
    total += weight * part[1];
    if (i == 0)
      for (int64_t d = 0; d < j.D; ++d) sum[d] *= weight;
    else
      for (int64_t d = 0; d < j.D; ++d) sum[d] = fused(weight, part[2 + d], sum[d]);
  }
  for (int64_t d = 0; d < j.D; ++d) y[d] = from_float<T>(pieces > 0 ? sum[d] / total : 0.0f);
}

}  // namespace

void attention_decode(Stream& s, Out y, In q, In k_cache, In v_cache, InOpt k_scale, InOpt v_scale, In range, double scale, int64_t window) {
  const int64_t B = q.dim(0), H = q.dim(2), D = q.dim(3), Smax = k_cache.dim(1), K = k_cache.dim(2);
  const int32_t* seen = range.as<int32_t>();
  const auto first = [&](int64_t b) {
    const int64_t begin = seen[2 * b], end = seen[2 * b + 1];
    return window > 0 && end - window > begin ? end - window : begin;
  };
  const auto pieces = [&](int64_t b) {
    const int64_t n = seen[2 * b + 1] - first(b);
    return n > 0 ? (n + kPiece - 1) / kPiece : 0;
  };
  int64_t most = 1;
  for (int64_t b = 0; b < B; ++b) {
    if (seen[2 * b] < 0 || seen[2 * b + 1] > Smax) {
      char text[120];
      std::snprintf(text, sizeof text, "range [%d, %d) of row %lld is outside the cache's [0, %lld)", seen[2 * b], seen[2 * b + 1],
                    static_cast<long long>(b), static_cast<long long>(Smax));
      throw std::out_of_range(text);
    }
    most = pieces(b) > most ? pieces(b) : most;
  }
  const int64_t part = D + 2, own = (8 * (DecodeTile<int8_t>::padded(D) + kPiece + D) + 2 * kPiece + 15) / 16 * 16;  // floats; `own` of each thread
  float* parts = static_cast<float*>(s.shared.get(static_cast<size_t>(B * H * most * part + own * s.pool.threads()) * 4));
  float* room = parts + B * H * most * part;
  const Job j{q, k_cache, v_cache, k_scale, v_scale, H, K, D, Smax, static_cast<float>(scale), parts, most, part};
  by_dtype(q.dtype, [&](auto t) {
    using T = decltype(t);
    const auto head = [&](int64_t b, int64_t h) { merge(y.as<T>() + (b * H + h) * D, j, b, h, pieces(b)); };
    parallel(s, B * K * most, [&](int64_t c, int thread) {
      const int64_t piece = c % most, kv = c / most % K, b = c / most / K, begin = first(b) + piece * kPiece, left = seen[2 * b + 1] - begin;
      const int64_t n = left < 0 ? 0 : left < kPiece ? left : kPiece;
      if (n > 0 && k_scale) attend_all<T, int8_t>(j, b, kv, piece, begin, n, room + own * thread);
      else if (n > 0) attend_all<T, T>(j, b, kv, piece, begin, n, room + own * thread);
      if (most > 1) return;
      for (int64_t h = kv * (H / K); h < (kv + 1) * (H / K); ++h) head(b, h);
    });
    if (most == 1) return;
    parallel_range(s, B * H, 2 * most * D, [&](int64_t from, int64_t to, int) {
      for (int64_t i = from; i < to; ++i) head(i / H, i % H);
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
