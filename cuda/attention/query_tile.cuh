// A tile of queries of one head and its walk over the keys that any of them sees: what the kernels for rows and for dq have in common.
#pragma once
#include "backward.cuh"

namespace anymal::cuda::flash {

template <class X, int D>
struct QueryTile {
  using C = Backward<X, D>;
  using Rows = typename C::Rows;
  using Steps = typename C::Steps;
  static constexpr int kProducts = C::kSteps / 8;

  const Job<X>& j;
  const int first, t0;  // the queries of this lane are `first` and first + 8, the tile's begin at t0
  const int h, b, kv, count;
  const Span range;
  const KeyTiles<C::kSteps> tiles;
  const Span by_all;  // keys that all queries see
  bf16 *const q, *const dy, *const k, *const v;
  Span seen[2];
  const float* bias;  // of the first query, at its first key; the other's is 8 S further

  __device__ __forceinline__ explicit QueryTile(const Job<X>& job)
      : j(job),
        first(t0_of(job) + row_of_lane()),
        t0(t0_of(job)),
        h(static_cast<int>(blockIdx.x / tiles_of_queries(job) % job.H)),
        b(static_cast<int>(blockIdx.x / tiles_of_queries(job) / job.H)),
        kv(h / (job.H / job.K)),
        count(job.T - t0 < C::kRows ? job.T - t0 : C::kRows),
        range(range_of(job, b)),
        tiles(job, {keys_seen(job, range, t0).begin, keys_seen(job, range, t0 + count - 1).end}),
        by_all{keys_seen(job, range, t0 + count - 1).begin, keys_seen(job, range, t0).end},
        q(dynamic_shared<bf16>()),
        dy(q + Rows::kSize),
        k(dy + Rows::kSize),
        v(k + C::kStages * Steps::kSize),
        bias(job.bias ? job.bias + bias_offset(job, b, h, first) : nullptr) {
    for (int i = 0; i < 2; ++i) seen[i] = holds(i) ? keys_seen(j, range, first + 8 * i) : Span{0, 0};
  }
  __device__ __forceinline__ bool holds(int i) const { return first + 8 * i < j.T; }
  __device__ __forceinline__ int64_t row(int i) const { return row_offset(j, b, h, first + 8 * i); }

  __device__ __forceinline__ void load(int i, int stage) const {
    const int64_t row_q = static_cast<int64_t>(j.H) * j.D, row_k = static_cast<int64_t>(j.K) * j.D;
    if (i == 0) {
      const int64_t at = query_offset(j, b, t0, h);
      load_tile<Rows, C::kThreads>(q, j.q + at, row_q, count, j.D, j.aligned, threadIdx.x);
      load_tile<Rows, C::kThreads>(dy, j.dy + at, row_q, count, j.D, j.aligned, threadIdx.x);
    }
    const int source = tiles.source(i), keys = tiles.count(j, i);
    const int64_t at = key_offset(j, b, source, tiles.start(i), kv);
    load_tile<Steps, C::kThreads>(k + stage * Steps::kSize, j.source[source].k + at, row_k, keys, j.D, j.aligned, threadIdx.x);
    load_tile<Steps, C::kThreads>(v + stage * Steps::kSize, j.source[source].v + at, row_k, keys, j.D, j.aligned, threadIdx.x);
    ptx::cp_async_commit();
  }
  // Scores and dP of step i; -inf and zero where a key is hidden, whose dP may be anything. Tiles that are hidden from nobody have no branch per
  // score.
  __device__ __forceinline__ void products(int i, int stage, float (&score)[kProducts][4], float (&dp)[kProducts][4]) const {
    multiply_rows<Rows, Steps>(score, q + 16 * (threadIdx.x / 32) * Rows::kStride, k + stage * Steps::kSize);
    multiply_rows<Rows, Steps>(dp, dy + 16 * (threadIdx.x / 32) * Rows::kStride, v + stage * Steps::kSize);
    const bool second = tiles.source(i) == 1;
    const int start = tiles.start(i);
    const bool whole = !bias && (second ? start + C::kSteps <= j.source[1].S : start >= by_all.begin && start + C::kSteps <= by_all.end);
    if (whole) {
#pragma unroll
      for (int n = 0; n < kProducts; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) score[n][e] = score_of(j, score[n][e], nullptr);
      return;
    }
#pragma unroll
    for (int n = 0; n < kProducts; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = start + 8 * n + threadIdx.x % 4 * 2 + e % 2, r = e / 2;
        const bool visible = second ? key < j.source[1].S : seen[r].holds(key);
        score[n][e] = visible ? score_of(j, score[n][e], bias ? bias + 8 * r * static_cast<int64_t>(j.source[0].S) + key : nullptr) : -INFINITY;
        if (score[n][e] == -INFINITY) dp[n][e] = 0.0f;
      }
  }

 private:
  static __device__ __forceinline__ int tiles_of_queries(const Job<X>& j) { return (j.T + C::kRows - 1) / C::kRows; }
  // Those that see the most keys go first.
  static __device__ __forceinline__ int t0_of(const Job<X>& j) {
    return (tiles_of_queries(j) - 1 - static_cast<int>(blockIdx.x % tiles_of_queries(j))) * C::kRows;
  }
  static __device__ __forceinline__ int row_of_lane() { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4; }
};

}  // namespace anymal::cuda::flash
