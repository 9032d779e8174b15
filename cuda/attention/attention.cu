// attention, attention_two_source: a block per tile of queries of one head walks the tiles of keys that any of them sees.
//
// FlashAttention-2 (arXiv 2307.08691): the softmax is kept up to date as keys come in, so of the (T,S) scores only a tile exists, in registers.
// Where such blocks are too few for the card, each query's keys are split over several (splits.cuh): a resampler's 64 latents at 577 keys.
#include "splits.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

template <class X, int D>
struct Forward {
  static constexpr int kPlanes = kPlanesOf<X>;
  static constexpr int kQueries = kPlanes == 3 && D == 256 ? 32 : 64;
  static constexpr int kKeys = kPlanes == 1 ? (D <= 128 ? 64 : 32) : (D <= 32 ? 64 : D <= 64 ? 32 : 16);
  static constexpr int kThreads = 2 * kQueries;                                                        // a warp per sixteen queries
  static constexpr int kBlocks = D <= 64 ? (kPlanes == 1 ? 3 : 2) : kPlanes == 1 && D <= 128 ? 2 : 1;  // of one multiprocessor
  using Queries = Tile<kQueries, D, kPlanes>;
  using Keys = Tile<kKeys, D, kPlanes>;
  // Keys and values of the next tile come while this one is used. Planes are written when they are split, so that nothing is to be waited for.
  static constexpr int kStages = kPlanes == 1 ? 2 : 1;
  static constexpr bool kSplits = kPlanes == 1 || D <= 128;  // else registers are full of sums
  static constexpr int kShared = Queries::kBytes + 2 * kStages * Keys::kBytes;
  static_assert(kShared <= kSharedLimit);
};

// Scores of two rows as the softmax wants them: -inf where hidden, and scaled and biased, unless `folded`: then softmax_step scales them. `first` is
// the key of column 0, `bias` that of row g. `whole`: no key of the tile is hidden from anybody, which is so of all tiles but those at an edge; these
// have no branch per score.
template <class X, int N>
__device__ __forceinline__ void finish_scores(const Job<X>& j, float (&s)[N][4], int first, bool whole, bool folded, const Span (&seen)[2],
                                              const float* bias) {
  const int lane = threadIdx.x % 32;
  if (whole && folded) return;
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = first + 8 * n + lane % 4 * 2 + e % 2;
      if (!seen[e / 2].holds(key)) s[n][e] = -INFINITY;
      else if (j.bias)
        s[n][e] = s[n][e] * j.unit_scale + bias[(e / 2 * 8) * static_cast<int64_t>(j.source[0].S) + key] * static_cast<float>(kUnit<X>);
      else if (!folded) s[n][e] *= j.unit_scale;
    }
}

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D>
__global__ void __launch_bounds__(Forward<X, D>::kThreads, Forward<X, D>::kBlocks) attention_kernel(Job<X> j, Partial partial) {
  using F = Forward<X, D>;
  using Queries = typename F::Queries;
  using Keys = typename F::Keys;
  bf16* q_tile = dynamic_shared<bf16>();
  bf16* k_tile = q_tile + Queries::kSize;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int t_tiles = (j.T + F::kQueries - 1) / F::kQueries;
  const int splits = F::kSplits ? partial.splits : 1;
  const unsigned block = blockIdx.x / splits, split = blockIdx.x % splits;
  // Under a causal mask the last queries see the most keys: they go first, so that no block of them ends alone.
  const int t0 = (t_tiles - 1 - static_cast<int>(block % t_tiles)) * F::kQueries;
  const int h = static_cast<int>(block / t_tiles % j.H), b = static_cast<int>(block / t_tiles / j.H), kv = h / (j.H / j.K);
  const int t_count = j.T - t0 < F::kQueries ? j.T - t0 : F::kQueries;
  const int64_t row_q = static_cast<int64_t>(j.H) * j.D, row_k = static_cast<int64_t>(j.K) * j.D;

  const Span range = range_of(j, b);
  const Span early = keys_seen(j, range, t0), late = keys_seen(j, range, t0 + t_count - 1), by_all{late.begin, early.end};
  const KeyTiles<F::kKeys> tiles(j, {early.begin, late.end});
  const int begin = static_cast<int>(static_cast<int64_t>(tiles.total) * split / splits);
  const int end = static_cast<int>(static_cast<int64_t>(tiles.total) * (split + 1) / splits);
  const auto load_keys = [&](int i, int stage) {
    bf16* to = k_tile + stage * 2 * Keys::kSize;
    const int source = tiles.source(i);
    const int64_t at = key_offset(j, b, source, tiles.start(i), kv);
    load_tile<Keys, F::kThreads>(to, j.source[source].k + at, row_k, tiles.count(j, i), j.D, j.aligned, thread);
    load_tile<Keys, F::kThreads>(to + Keys::kSize, j.source[source].v + at, row_k, tiles.count(j, i), j.D, j.aligned, thread);
    ptx::cp_async_commit();
  };

  Span seen[2];
  for (int i = 0; i < 2; ++i) {
    const int t = t0 + 16 * warp + lane / 4 + 8 * i;
    seen[i] = t < j.T ? keys_seen(j, range, t) : Span{0, 0};
  }
  const float* bias = j.bias ? j.bias + bias_offset(j, b, h, t0 + 16 * warp + lane / 4) : nullptr;
  const bool folded = !j.bias && j.unit_scale > 0;
  const float factor = folded ? j.unit_scale : 1.0f;
  constexpr int kColumns = kColumnsOf<X, D>;
  const int column = static_cast<int>(blockIdx.y) * kColumns;
  float o[kColumns / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  if (begin < end) {
    load_tile<Queries, F::kThreads>(q_tile, j.q + query_offset(j, b, t0, h), row_q, t_count, j.D, j.aligned, thread);
    load_keys(begin, 0);
  }
  for (int i = begin, stage = 0; i < end; ++i, stage = F::kStages - 1 - stage) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // this tile has come, and with two stages the last one has been read
    if constexpr (F::kStages == 2)
      if (i + 1 < end) load_keys(i + 1, 1 - stage);
    const bf16* keys = k_tile + stage * 2 * Keys::kSize;
    float s[F::kKeys / 8][4];
    multiply_rows<Queries, Keys>(s, q_tile + 16 * warp * Queries::kStride, keys);
    const bool second = tiles.source(i) == 1;
    const Span everything{0, j.source[1].S}, all = second ? everything : by_all;
    const Span now[2] = {second ? everything : seen[0], second ? everything : seen[1]};
    const int start = tiles.start(i);
    const bool whole = F::kPlanes == 1 && start >= all.begin && start + F::kKeys <= all.end;  // three planes leave it no registers
    finish_scores(j, s, start, whole, folded, now, bias);
    softmax_step<X>(s, o, most, total, factor);
    multiply_columns<Keys>(o, s, keys + Keys::kSize + column);
    if constexpr (F::kStages == 1) {
      __syncthreads();  // the tile has been read
      if (i + 1 < end) load_keys(i + 1, 0);
    }
  }

  const int first = t0 + 16 * warp;
  float inverse[2];
  for (int half = 0; half < 2; ++half) {
    total[half] = row_sum(total[half]);
    inverse[half] = total[half] > 0 ? 1.0f / total[half] : 0.0f;
    const int t = first + lane / 4 + 8 * half;
    if (blockIdx.y > 0 || lane % 4 > 0 || t >= j.T) continue;
    const int64_t row = row_offset(j, b, h, t);
    if (splits > 1) partial.state[row * splits + split] = make_float2(most[half] * factor, total[half]);
    else j.lse[row] = lse_of<X>(most[half] * factor, total[half]);
  }
  const int count = t_count - 16 * warp;
  if (splits > 1) {
    float* to = partial.sums + (row_offset(j, b, h, first) * splits + split) * j.D + column;
    store_rows(to, static_cast<int64_t>(splits) * j.D, count, j.D - column, j.aligned, o, 1.0f, 1.0f);
    merge(j, partial, blockIdx.x / splits, row_offset(j, b, h, t0), t_count, q_tile);
  } else {
    store_rows(j.y + query_offset(j, b, first, h) + column, row_q, count, j.D - column, j.aligned, o, inverse[0], inverse[1]);
  }
}

void forward(Stream& s, const View& y, const View& lse, const View& q, const View& k, const View& v, const View& k2, const View& v2,
             const View& range, const View& bias, double scale, bool causal, int64_t window) {
  by_dtype(q.dtype, [&](auto x) {
    using X = decltype(x);
    by_head_size(q.dim(3), [&](auto d) {
      using F = Forward<X, d()>;
      Job<X> j = make_job<X>(q, k, v, k2, v2, range, bias, scale, causal, window);
      j.y = y.as<X>();
      j.lse = lse.as<float>();
      j.aligned = j.aligned && aligned16({y.data});
      const int64_t blocks = q.dim(0) * q.dim(2) * tiles_of(q.dim(1), F::kQueries), columns = d() / kColumnsOf<X, d()>;
      const int64_t walked = j.window > 0 && j.window < j.source[0].S - F::kQueries ? j.window + F::kQueries : j.source[0].S;
      // Two tiles at least: the second comes while the first is used.
      const int64_t most = (tiles_of(walked, F::kKeys) + tiles_of(j.source[1].S, F::kKeys)) / 2;
      const int splits = F::kSplits ? splits_for(s, blocks * columns, most) : 1;
      Scratch scratch(s);
      const Partial partial = partial_of(s, scratch, splits, static_cast<int64_t>(j.B) * j.H * j.T, j.D);
      launch<attention_kernel<X, d()>>(s, grid_of(blocks * splits, columns), F::kThreads, F::kShared, j, partial);
    });
  });
}

}  // namespace

void attention(Stream& s, Out y, Out lse, In q, In k, In v, InOpt range, InOpt bias, double scale, bool causal, int64_t window) {
  forward(s, y, lse, q, k, v, {}, {}, range, bias, scale, causal, window);
}

void attention_two_source(Stream& s, Out y, Out lse, In q, In k1, In v1, In k2, In v2, InOpt range, double scale) {
  forward(s, y, lse, q, k1, v1, k2, v2, range, {}, scale, false, 0);
}

}  // namespace anymal::cuda
