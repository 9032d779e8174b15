// dbias of attention: a block per tile of the bias adds up dS of the batch rows and heads that share it, in their order.
#include "backward.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

// Three tiles of numbers in registers: of the scores, of dS, and of the sum.
template <class X, int D>
struct BiasTiles : Backward<X, D> {
  static constexpr int kSteps = Backward<X, D>::kSteps < 32 ? Backward<X, D>::kSteps : 32;
  using Steps = Tile<kSteps, D, Backward<X, D>::kPlanes>;
  static constexpr int kShared = 2 * Backward<X, D>::Rows::kBytes + 2 * Steps::kBytes;
};

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D>
__global__ void __launch_bounds__(Backward<X, D>::kThreads, 1) bias_gradients_kernel(Job<X> j) {
  using C = BiasTiles<X, D>;
  using Rows = typename C::Rows;
  using Steps = typename C::Steps;
  bf16* q_tile = dynamic_shared<bf16>();
  bf16* dy_tile = q_tile + Rows::kSize;
  bf16* k_tile = dy_tile + Rows::kSize;
  bf16* v_tile = k_tile + Steps::kSize;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, S = j.source[0].S;
  const int s_tiles = (S + C::kSteps - 1) / C::kSteps, t_tiles = (j.T + C::kRows - 1) / C::kRows;
  const int s0 = static_cast<int>(blockIdx.x % s_tiles) * C::kSteps, t0 = static_cast<int>(blockIdx.x / s_tiles % t_tiles) * C::kRows;
  const int64_t table = blockIdx.x / s_tiles / t_tiles;  // (Bb,Hb)
  const int own_b = static_cast<int>(table / j.Hb), own_h = static_cast<int>(table % j.Hb), heads = j.Hb == 1 ? j.H : 1;
  const int t_count = j.T - t0 < C::kRows ? j.T - t0 : C::kRows, s_count = S - s0 < C::kSteps ? S - s0 : C::kSteps;
  const int64_t row_q = static_cast<int64_t>(j.H) * j.D, row_k = static_cast<int64_t>(j.K) * j.D;
  const int64_t own_rows = (table * j.T + t0 + 16 * warp + lane / 4) * S;  // row g of this warp, row g + 8 is 8 S further

  float sum[C::kSteps / 8][4] = {};
  for (int b = own_b; b < j.B; b += j.Bb) {
    const Span range = range_of(j, b);
    if (keys_seen(j, range, t0).begin >= s0 + s_count || keys_seen(j, range, t0 + t_count - 1).end <= s0) continue;
    Span seen[2];
    for (int i = 0; i < 2; ++i) {
      const int t = t0 + 16 * warp + lane / 4 + 8 * i;
      seen[i] = t < j.T ? keys_seen(j, range, t) : Span{0, 0};
    }
    for (int h = own_h; h < own_h + heads; ++h) {
      const int64_t q_at = query_offset(j, b, t0, h), k_at = key_offset(j, b, 0, s0, h / (j.H / j.K));
      load_tile<Rows, C::kThreads>(q_tile, j.q + q_at, row_q, t_count, j.D, j.aligned, thread);
      load_tile<Rows, C::kThreads>(dy_tile, j.dy + q_at, row_q, t_count, j.D, j.aligned, thread);
      load_tile<Steps, C::kThreads>(k_tile, j.source[0].k + k_at, row_k, s_count, j.D, j.aligned, thread);
      load_tile<Steps, C::kThreads>(v_tile, j.source[0].v + k_at, row_k, s_count, j.D, j.aligned, thread);
      ptx::cp_async_commit();
      Row row[2];
      for (int i = 0; i < 2; ++i) {
        const int t = t0 + 16 * warp + lane / 4 + 8 * i;
        row[i] = t < j.T ? j.rows[row_offset(j, b, h, t)] : Row{INFINITY, 0, 0, 0};
      }
      ptx::cp_async_wait<0>();
      __syncthreads();  // the tiles have come
      float p[C::kSteps / 8][4], ds[C::kSteps / 8][4];
      multiply_rows<Rows, Steps>(p, q_tile + 16 * warp * Rows::kStride, k_tile);
      multiply_rows<Rows, Steps>(ds, dy_tile + 16 * warp * Rows::kStride, v_tile);
      __syncthreads();  // and have been read
#pragma unroll
      for (int n = 0; n < C::kSteps / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = s0 + 8 * n + lane % 4 * 2 + e % 2, r = e / 2;
          if (!seen[r].holds(key)) continue;
          const float score = score_of(j, p[n][e], j.bias + own_rows + 8 * r * static_cast<int64_t>(S) + key);
          sum[n][e] += row[r].score_gradient(exponential<X>(score - row[r].most) * row[r].inverse, ds[n][e]);
        }
    }
  }
#pragma unroll
  for (int n = 0; n < C::kSteps / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = s0 + 8 * n + lane % 4 * 2 + e % 2, r = e / 2;
      if (key < S && t0 + 16 * warp + lane / 4 + 8 * r < j.T) j.dbias[own_rows + 8 * r * static_cast<int64_t>(S) + key] += sum[n][e];
    }
}

}  // namespace

namespace flash {

template <class X>
void bias_gradients(Stream& s, const Job<X>& j) {
  by_head_size(j.D, [&](auto d) {
    using C = BiasTiles<X, d()>;
    const int64_t blocks = static_cast<int64_t>(j.Bb) * j.Hb * tiles_of(j.T, C::kRows) * tiles_of(j.source[0].S, C::kSteps);
    launch<bias_gradients_kernel<X, d()>>(s, grid_of(blocks), C::kThreads, C::kShared, j);
  });
}
template void bias_gradients(Stream&, const Job<float>&);
template void bias_gradients(Stream&, const Job<bf16>&);

}  // namespace flash
}  // namespace anymal::cuda
