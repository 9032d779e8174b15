// dq of attention with wide heads: a block per tile of queries of one head walks the keys that any of them sees.
#include "query_tile.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D>
__global__ void __launch_bounds__(Backward<X, D>::kThreads, 1) query_gradients_kernel(Job<X> j) {
  using Queries = QueryTile<X, D>;
  const Queries queries(j);
  Row row[2];
  for (int r = 0; r < 2; ++r) row[r] = queries.holds(r) ? j.rows[queries.row(r)] : Row{INFINITY, 0, 0, 0};

  constexpr int kColumns = kColumnsOf<X, D>;
  const int column = static_cast<int>(blockIdx.y) * kColumns;
  float dq[kColumns / 8][4] = {};
  walk<Backward<X, D>::kStages>(
      queries.tiles.total, [&](int i, int stage) { queries.load(i, stage); },
      [&](int i, int stage) {
        float score[Queries::kProducts][4], ds[Queries::kProducts][4];
        queries.products(i, stage, score, ds);
#pragma unroll
        for (int n = 0; n < Queries::kProducts; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const Row& of = row[e / 2];
            ds[n][e] = of.score_gradient(exponential<X>(score[n][e] - of.most), ds[n][e]);
          }
        multiply_columns<typename Queries::Steps>(dq, ds, queries.k + stage * Queries::Steps::kSize + column);
      });
  const int begin = threadIdx.x / 32 * 16;
  store_rows(j.dq + query_offset(j, queries.b, queries.t0 + begin, queries.h) + column, static_cast<int64_t>(j.H) * j.D, queries.count - begin,
             j.D - column, j.aligned, dq, j.scale * row[0].inverse, j.scale * row[1].inverse);
}

}  // namespace

namespace flash {

template <class X>
void query_gradients(Stream& s, const Job<X>& j) {
  by_head_size(j.D, [&](auto d) {
    if constexpr (d() > kJointHead<X>) {
      using C = Backward<X, d()>;
      const int64_t blocks = static_cast<int64_t>(j.B) * j.H * tiles_of(j.T, C::kRows);
      launch<query_gradients_kernel<X, d()>>(s, grid_of(blocks, d() / kColumnsOf<X, d()>), C::kThreads, C::kShared, j);
    }
  });
}
template void query_gradients(Stream&, const Job<float>&);
template void query_gradients(Stream&, const Job<bf16>&);

}  // namespace flash
}  // namespace anymal::cuda
