// dk or dv of attention with wide heads: a block per tile of keys of one key/value head walks all queries of all its heads that see the tile. The
// sums of both would fill all registers.
//
// Scores are computed transposed, (keys, queries): the accumulators are then the first operand of both gradients and never leave registers.
#include "backward.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

enum Gradients { values, keys };

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D, Gradients Wanted>
__global__ void __launch_bounds__(Backward<X, D>::kThreads, 1) key_gradients_kernel(Job<X> j) {
  using C = Backward<X, D>;
  using Rows = typename C::Rows;
  using Steps = typename C::Steps;
  constexpr int kSteps = C::kSteps;
  bf16* k_tile = dynamic_shared<bf16>();
  bf16* v_tile = k_tile + Rows::kSize;
  bf16* q_tiles = v_tile + Rows::kSize;
  bf16* dy_tiles = q_tiles + C::kStages * Steps::kSize;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, group = j.H / j.K;
  const int64_t row_q = static_cast<int64_t>(j.H) * j.D, row_k = static_cast<int64_t>(j.K) * j.D;

  const KeyTiles<C::kRows> tiles(j, {0, j.source[0].S});
  const int tile = static_cast<int>(blockIdx.x % tiles.total), kv = static_cast<int>(blockIdx.x / tiles.total % j.K),
            b = static_cast<int>(blockIdx.x / tiles.total / j.K);
  const int source = tiles.source(tile), start = tiles.start(tile), count = tiles.count(j, tile);
  const Span range = range_of(j, b);
  // Queries that see any key of the tile.
  Span queries{0, j.T};
  if (source == 0) {
    const int first = start > range.begin ? start : range.begin, end = start + count < range.end ? start + count : range.end;
    queries = first < end ? Span{queries_seeing(j, range, 0, first).begin, queries_seeing(j, range, 0, end - 1).end} : Span{0, 0};
  }
  const int steps = queries.end > queries.begin ? (queries.end - queries.begin + kSteps - 1) / kSteps : 0;

  Span seen[2];
  int key[2];
  for (int i = 0; i < 2; ++i) {
    const int row = 16 * warp + lane / 4 + 8 * i;
    key[i] = start + row;
    seen[i] = row < count ? queries_seeing(j, range, source, key[i]) : Span{0, 0};
  }

  const auto load = [&](int i, int stage) {
    const int h = kv * group + i / steps, t0 = queries.begin + i % steps * kSteps;
    const int left = queries.end - t0 < kSteps ? queries.end - t0 : kSteps;
    bf16* q_tile = q_tiles + stage * Steps::kSize;
    if (i == 0) {
      const int64_t at = key_offset(j, b, source, start, kv);
      load_tile<Rows, C::kThreads>(k_tile, j.source[source].k + at, row_k, count, j.D, j.aligned, thread);
      if constexpr (Wanted == keys) load_tile<Rows, C::kThreads>(v_tile, j.source[source].v + at, row_k, count, j.D, j.aligned, thread);
    }
    const int64_t at = query_offset(j, b, t0, h);
    load_tile<Steps, C::kThreads>(q_tile, j.q + at, row_q, left, j.D, j.aligned, thread);
    load_tile<Steps, C::kThreads>(dy_tiles + stage * Steps::kSize, j.dy + at, row_q, left, j.D, j.aligned, thread);
    ptx::cp_async_commit();
    // The bytes between the rows carry what the softmax needs of each query.
    for (int row = thread; row < kSteps; row += C::kThreads) {
      *reinterpret_cast<Row*>(q_tile + row * Steps::kStride + D) = row < left ? j.rows[row_offset(j, b, h, t0 + row)] : Row{INFINITY, 0, 0, 0};
    }
  };

  constexpr int kColumns = kColumnsOf<X, D>;
  const int out = static_cast<int>(blockIdx.y) * kColumns;
  float sum[kColumns / 8][4] = {};
  walk<C::kStages>(steps * group, load, [&](int i, int stage) {
    const int h = kv * group + i / steps, t0 = queries.begin + i % steps * kSteps;
    const bf16 *q_tile = q_tiles + stage * Steps::kSize, *dy_tile = dy_tiles + stage * Steps::kSize;
    const float* bias = j.bias ? j.bias + bias_offset(j, b, h, 0) : nullptr;
    float p[kSteps / 8][4];
    multiply_rows<Rows, Steps, true>(p, k_tile + 16 * warp * Rows::kStride, q_tile);
#pragma unroll
    for (int n = 0; n < kSteps / 8; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int column = 8 * n + lane % 4 * 2 + c, t = t0 + column;
        const Row& row = *reinterpret_cast<const Row*>(q_tile + column * Steps::kStride + D);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float& x = p[n][2 * r + c];
          if (!seen[r].holds(t)) x = 0.0f;
          else x = exponential<X>(score_of(j, x, bias ? bias + static_cast<int64_t>(t) * j.source[0].S + key[r] : nullptr) - row.most) * row.inverse;
        }
      }
    if constexpr (Wanted == values) {
      multiply_columns<Steps>(sum, p, dy_tile + out);
    } else {
      float ds[kSteps / 8][4];
      multiply_rows<Rows, Steps, true>(ds, v_tile + 16 * warp * Rows::kStride, dy_tile);
#pragma unroll
      for (int n = 0; n < kSteps / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = 8 * n + lane % 4 * 2 + e % 2;
          const Row& row = *reinterpret_cast<const Row*>(q_tile + column * Steps::kStride + D);
          ds[n][e] = p[n][e] == 0.0f ? 0.0f : row.score_gradient(p[n][e], ds[n][e]);  // hidden keys may hold anything
        }
      multiply_columns<Steps>(sum, ds, q_tile + out);
    }
  });

  const int64_t at = key_offset(j, b, source, start + 16 * warp, kv) + out;
  const Source<X>& of = j.source[source];
  const float factor = Wanted == keys ? j.scale : 1.0f;
  store_rows((Wanted == keys ? of.dk : of.dv) + at, row_k, count - 16 * warp, j.D - out, j.aligned, sum, factor, factor);
}

}  // namespace

namespace flash {

template <class X>
void key_gradients(Stream& s, const Job<X>& j) {
  by_head_size(j.D, [&](auto d) {
    if constexpr (d() > kJointHead<X>) {
      using C = Backward<X, d()>;
      const int64_t tiles = tiles_of(j.source[0].S, C::kRows) + tiles_of(j.source[1].S, C::kRows);
      const dim3 blocks = grid_of(static_cast<int64_t>(j.B) * j.K * tiles, d() / kColumnsOf<X, d()>);
      launch<key_gradients_kernel<X, d(), values>>(s, blocks, C::kThreads, C::kShared, j);
      launch<key_gradients_kernel<X, d(), keys>>(s, blocks, C::kThreads, C::kShared, j);
    }
  });
}
template void key_gradients(Stream&, const Job<float>&);
template void key_gradients(Stream&, const Job<bf16>&);

}  // namespace flash
}  // namespace anymal::cuda
