// attention, attention_two_source: a block per tile of queries of one head walks the tiles of keys that any of them sees.
//
// FlashAttention-2 (arXiv 2307.08691): the softmax is kept up to date as keys come in, so of the (T,S) scores only a tile exists, in registers.
#include "job.cuh"

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
  static constexpr int kShared = Queries::kBytes + 2 * Keys::kBytes;
  static_assert(kShared <= kSharedLimit);
};

// Scores of two rows as the softmax wants them: scaled, biased, -inf where hidden. `first` is the key of column 0, `bias` that of row g.
template <class X, int N>
__device__ __forceinline__ void finish_scores(const Job<X>& j, float (&s)[N][4], int first, const Span (&seen)[2], const float* bias) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = first + 8 * n + lane % 4 * 2 + e % 2;
      if (!seen[e / 2].holds(key)) s[n][e] = -INFINITY;
      else if (j.bias) s[n][e] = s[n][e] * j.scale + bias[(e / 2 * 8) * static_cast<int64_t>(j.source[0].S) + key];
      else s[n][e] *= j.scale;
    }
}

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D>
__global__ void __launch_bounds__(Forward<X, D>::kThreads, Forward<X, D>::kBlocks) attention_kernel(Job<X> j) {
  using F = Forward<X, D>;
  using Queries = typename F::Queries;
  using Keys = typename F::Keys;
  bf16* q_tile = dynamic_shared<bf16>();
  bf16* k_tile = q_tile + Queries::kSize;
  bf16* v_tile = k_tile + Keys::kSize;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int t_tiles = (j.T + F::kQueries - 1) / F::kQueries;
  // Under a causal mask the last queries see the most keys: they go first, so that no block of them ends alone.
  const int t0 = (t_tiles - 1 - static_cast<int>(blockIdx.x % t_tiles)) * F::kQueries;
  const int h = static_cast<int>(blockIdx.x / t_tiles % j.H), b = static_cast<int>(blockIdx.x / t_tiles / j.H), kv = h / (j.H / j.K);
  const int t_count = j.T - t0 < F::kQueries ? j.T - t0 : F::kQueries;
  const int64_t row_q = static_cast<int64_t>(j.H) * j.D, row_k = static_cast<int64_t>(j.K) * j.D;

  const Span range = range_of(j, b);
  const KeyTiles<F::kKeys> tiles(j, {keys_seen(j, range, t0).begin, keys_seen(j, range, t0 + t_count - 1).end});
  const auto load_keys = [&](bf16* to, const X* Source<X>::*from, int i) {
    const int source = tiles.source(i), start = tiles.start(i);
    load_tile<Keys, F::kThreads>(to, j.source[source].*from + key_offset(j, b, source, start, kv), row_k, tiles.count(j, i), j.D, j.aligned, thread);
    ptx::cp_async_commit();
  };

  Span seen[2];
  for (int i = 0; i < 2; ++i) {
    const int t = t0 + 16 * warp + lane / 4 + 8 * i;
    seen[i] = t < j.T ? keys_seen(j, range, t) : Span{0, 0};
  }
  const float* bias = j.bias ? j.bias + bias_offset(j, b, h, t0 + 16 * warp + lane / 4) : nullptr;
  constexpr int kColumns = kColumnsOf<X, D>;
  const int column = static_cast<int>(blockIdx.y) * kColumns;
  float o[kColumns / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  if (tiles.total > 0) {
    load_tile<Queries, F::kThreads>(q_tile, j.q + query_offset(j, b, t0, h), row_q, t_count, j.D, j.aligned, thread);
    load_keys(k_tile, &Source<X>::k, 0);
  }
  for (int i = 0; i < tiles.total; ++i) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // these keys have come, the last values have been read
    load_keys(v_tile, &Source<X>::v, i);
    float s[F::kKeys / 8][4];
    multiply_rows<Queries, Keys>(s, q_tile + 16 * warp * Queries::kStride, k_tile);
    const bool second = tiles.source(i) == 1;
    const Span everything{0, j.source[1].S};
    const Span now[2] = {second ? everything : seen[0], second ? everything : seen[1]};
    finish_scores(j, s, tiles.start(i), now, bias);
    softmax_step<X>(s, o, most, total);
    ptx::cp_async_wait<0>();
    __syncthreads();  // these values have come, the keys have been read
    if (i + 1 < tiles.total) load_keys(k_tile, &Source<X>::k, i + 1);
    multiply_columns<Keys>(o, s, v_tile + column);
  }

  float inverse[2];
  for (int half = 0; half < 2; ++half) {
    total[half] = row_sum(total[half]);
    inverse[half] = total[half] > 0 ? 1.0f / total[half] : 0.0f;
    const int t = t0 + 16 * warp + lane / 4 + 8 * half;
    if (blockIdx.y == 0 && lane % 4 == 0 && t < j.T) j.lse[row_offset(j, b, h, t)] = total[half] > 0 ? most[half] + logf(total[half]) : -INFINITY;
  }
  store_rows(j.y + query_offset(j, b, t0 + 16 * warp, h) + column, row_q, t_count - 16 * warp, j.D - column, j.aligned, o, inverse[0], inverse[1]);
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
      const int64_t blocks = q.dim(0) * q.dim(2) * tiles_of(q.dim(1), F::kQueries);
      launch<attention_kernel<X, d()>>(s, grid_of(blocks, d() / kColumnsOf<X, d()>), F::kThreads, F::kShared, j);
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
