// The softmax of each query and the sum of its gradient: a block per tile of queries of one head walks the keys that any of them sees.
#include "query_tile.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

// Sums over the keys seen so far, relative to the one with the largest score: of exp(score - most), and of that times (dP - reference).
template <class X>
struct Running {
  float most = -INFINITY, reference = 0, total = 0, excess = 0;

  __device__ __forceinline__ void move_to(float score, float dp) {
    const float shrink = most == -INFINITY ? 0.0f : exponential<X>(most - score);
    excess = (excess + total * (reference - dp)) * shrink;
    total *= shrink;
    most = score;
    reference = dp;
  }
  // `shift`: most, or 0 where all keys have been hidden so far.
  __device__ __forceinline__ void add(float score, float dp, float shift) {
    const float p = exponential<X>(score - shift);
    total += p;
    excess += p * (dp - reference);
  }
  // With the sums of the lanes that hold the other columns of the row.
  __device__ __forceinline__ void join_lanes() {
#pragma unroll
    for (int o = 1; o <= 2; o *= 2) {
      Running other;
      other.most = __shfl_xor_sync(~0u, most, o);
      other.reference = __shfl_xor_sync(~0u, reference, o);
      other.total = __shfl_xor_sync(~0u, total, o);
      other.excess = __shfl_xor_sync(~0u, excess, o);
      const bool larger = other.most > most;
      const float score = larger ? other.most : most, dp = larger ? other.reference : reference;
      move_to(score, dp);
      other.move_to(score, dp);
      total += other.total;
      excess += other.excess;
    }
  }
  // A query that sees nothing gets probabilities of zero.
  __device__ __forceinline__ Row row() const {
    if (total == 0.0f) return {INFINITY, 0, 0, 0};
    return {most, 1.0f / total, reference, excess / total};
  }
};

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D>
__global__ void __launch_bounds__(Backward<X, D>::kThreads, 1) rows_kernel(Job<X> j) {
  using Queries = QueryTile<X, D>;
  const Queries queries(j);
  // Nobody has a turn before the kernel that follows.
  for (int64_t i = first_index(); i < j.tiles; i += index_stride()) j.arrived[i] = 0;
  Running<X> sums[2];
  walk<Backward<X, D>::kStages>(
      queries.tiles.total, [&](int i, int stage) { queries.load(i, stage); },
      [&](int i, int stage) {
        float score[Queries::kProducts][4], dp[Queries::kProducts][4];
        queries.products(i, stage, score, dp);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float most = sums[r].most, reference = sums[r].reference;
#pragma unroll
          for (int n = 0; n < Queries::kProducts; ++n)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; ++e)
              if (score[n][e] > most) most = score[n][e], reference = dp[n][e];
          sums[r].move_to(most, reference);
          const float shift = most == -INFINITY ? 0.0f : most;
#pragma unroll
          for (int n = 0; n < Queries::kProducts; ++n)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; ++e) sums[r].add(score[n][e], dp[n][e], shift);
        }
      });
  for (int r = 0; r < 2; ++r) {
    sums[r].join_lanes();
    if (threadIdx.x % 4 == 0 && queries.holds(r)) j.rows[queries.row(r)] = sums[r].row();
  }
}

}  // namespace

namespace flash {

template <class X>
void rows(Stream& s, const Job<X>& j) {
  by_head_size(j.D, [&](auto d) {
    using C = Backward<X, d()>;
    launch<rows_kernel<X, d()>>(s, grid_of(static_cast<int64_t>(j.B) * j.H * tiles_of(j.T, C::kRows)), C::kThreads, C::kShared, j);
  });
}
template void rows(Stream&, const Job<float>&);
template void rows(Stream&, const Job<bf16>&);

}  // namespace flash
}  // namespace anymal::cuda
