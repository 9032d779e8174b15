// dq of attention: a block per tile of queries of one head walks the keys that any of them sees.
#include "backward.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D>
__global__ void __launch_bounds__(Backward<X, D>::kThreads, 1) query_gradients_kernel(Job<X> j) {
  using C = Backward<X, D>;
  using Rows = typename C::Rows;
  using Steps = typename C::Steps;
  bf16* q_tile = dynamic_shared<bf16>();
  bf16* dy_tile = q_tile + Rows::kSize;
  bf16* k_tiles = dy_tile + Rows::kSize;
  bf16* v_tiles = k_tiles + C::kStages * Steps::kSize;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int t_tiles = (j.T + C::kRows - 1) / C::kRows;
  const int t0 = (t_tiles - 1 - static_cast<int>(blockIdx.x % t_tiles)) * C::kRows;  // those that see the most keys first
  const int h = static_cast<int>(blockIdx.x / t_tiles % j.H), b = static_cast<int>(blockIdx.x / t_tiles / j.H), kv = h / (j.H / j.K);
  const int t_count = j.T - t0 < C::kRows ? j.T - t0 : C::kRows;
  const int64_t row_q = static_cast<int64_t>(j.H) * j.D, row_k = static_cast<int64_t>(j.K) * j.D;
  const Span range = range_of(j, b);
  const KeyTiles<C::kSteps> tiles(j, {keys_seen(j, range, t0).begin, keys_seen(j, range, t0 + t_count - 1).end});

  Span seen[2];
  float shift[2], delta[2];
  for (int i = 0; i < 2; ++i) {
    const int t = t0 + 16 * warp + lane / 4 + 8 * i;
    const bool there = t < j.T;
    const int64_t at = (static_cast<int64_t>(b) * j.H + h) * j.T + t;
    seen[i] = there ? keys_seen(j, range, t) : Span{0, 0};
    shift[i] = there ? shift_of(j.lse[at]) : INFINITY;
    delta[i] = there ? j.delta[at] : 0.0f;
  }
  const float* bias = j.bias ? j.bias + bias_offset(j, b, h, t0 + 16 * warp + lane / 4) : nullptr;  // of row g; row g + 8 is 8 S further

  const auto load = [&](int i, int stage) {
    if (i == 0) {
      const int64_t at = query_offset(j, b, t0, h);
      load_tile<Rows, C::kThreads>(q_tile, j.q + at, row_q, t_count, j.D, j.aligned, thread);
      load_tile<Rows, C::kThreads>(dy_tile, j.dy + at, row_q, t_count, j.D, j.aligned, thread);
    }
    const int source = tiles.source(i), start = tiles.start(i), count = tiles.count(j, i);
    const int64_t at = key_offset(j, b, source, start, kv);
    load_tile<Steps, C::kThreads>(k_tiles + stage * Steps::kSize, j.source[source].k + at, row_k, count, j.D, j.aligned, thread);
    load_tile<Steps, C::kThreads>(v_tiles + stage * Steps::kSize, j.source[source].v + at, row_k, count, j.D, j.aligned, thread);
    ptx::cp_async_commit();
  };

  constexpr int kColumns = kColumnsOf<X, D>;
  const int column = static_cast<int>(blockIdx.y) * kColumns;
  float dq[kColumns / 8][4] = {};
  walk<C::kStages>(tiles.total, load, [&](int i, int stage) {
    const bf16* k_tile = k_tiles + stage * Steps::kSize;
    const int start = tiles.start(i);
    const bool second = tiles.source(i) == 1;
    float p[C::kSteps / 8][4], ds[C::kSteps / 8][4];
    multiply_rows<Rows, Steps>(p, q_tile + 16 * warp * Rows::kStride, k_tile);
    multiply_rows<Rows, Steps>(ds, dy_tile + 16 * warp * Rows::kStride, v_tiles + stage * Steps::kSize);
#pragma unroll
    for (int n = 0; n < C::kSteps / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = start + 8 * n + lane % 4 * 2 + e % 2, r = e / 2;
        const bool holds = second ? key < j.source[1].S : seen[r].holds(key);
        float score = p[n][e] * j.scale;
        if (holds && bias) score += bias[8 * r * static_cast<int64_t>(j.source[0].S) + key];
        ds[n][e] = holds ? exponential<X>(score - shift[r]) * (ds[n][e] - delta[r]) : 0.0f;
      }
    multiply_columns<Steps>(dq, ds, k_tile + column);
  });
  store_rows(j.dq + query_offset(j, b, t0 + 16 * warp, h) + column, row_q, t_count - 16 * warp, j.D - column, j.aligned, dq, j.scale, j.scale);
}

}  // namespace

namespace flash {

template <class X>
void query_gradients(Stream& s, const Job<X>& j) {
  by_head_size(j.D, [&](auto d) {
    using C = Backward<X, d()>;
    const int64_t blocks = static_cast<int64_t>(j.B) * j.H * tiles_of(j.T, C::kRows);
    launch<query_gradients_kernel<X, d()>>(s, grid_of(blocks, d() / kColumnsOf<X, d()>), C::kThreads, C::kShared, j);
  });
}
template void query_gradients(Stream&, const Job<float>&);
template void query_gradients(Stream&, const Job<bf16>&);

}  // namespace flash
}  // namespace anymal::cuda
