// dq, dk and dv of attention in one walk: a block per tile of keys of one key/value head walks the queries of all its heads that meet the tile, from
// the last to the first. What both gradients need, P and dS, is made once; dq is handed from tile to tile (meetings.cuh), and the last one stores it.
//
// Scores are computed transposed, (keys, queries): the accumulators are then the first operand of dv and dk and never leave registers. For dq, dS
// goes through shared memory. This is FlashAttention-2's walk (arXiv 2307.08691, algorithm 2), its atomic additions replaced by turns.
#include "meetings.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

constexpr int kSharedBeside = 1024;  // bytes that the kernel has whatever it is asked for: what it asks for is aligned so

// budget: 255 registers, 113 KiB shared, 0 spills
template <class X, int D, int Stages>
__global__ void __launch_bounds__(Joint<X, D, Stages>::kThreads, 1) joint_gradients_kernel(Job<X> j, unsigned* begun) {
  using C = Joint<X, D, Stages>;
  using Rows = typename C::Rows;
  using Steps = typename C::Steps;
  using Slopes = typename C::Slopes;
  constexpr int kKeys = C::kKeys, kSteps = C::kSteps;
  SHARED_ARRAY(unsigned, number, [1]);
  SHARED_ARRAY(unsigned*, unsaid, [1]);  // thread 0: whose turn has ended, which nobody has been told
  bf16* k_tile = dynamic_shared<bf16>();
  bf16* v_tile = k_tile + Rows::kSize;
  bf16* q_tiles = v_tile + Rows::kSize;
  bf16* dy_tiles = q_tiles + Stages * Steps::kSize;
  bf16* ds_tile = dy_tiles + Stages * Steps::kSize;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, group = j.H / j.K;
  const int64_t row_q = static_cast<int64_t>(j.H) * j.D, row_k = static_cast<int64_t>(j.K) * j.D;

  // Blocks are numbered as they begin. The first keys go first: under a causal mask most queries see them.
  if (thread == 0) number[0] = atomicInc(begun, gridDim.x - 1);  // zero again after the last
  __syncthreads();                                               // the number is there
  const Meetings<kKeys, kSteps> meetings(j);
  const int pair = static_cast<int>(number[0] % static_cast<unsigned>(j.B * j.K)),
            tile = static_cast<int>(number[0] / static_cast<unsigned>(j.B * j.K));
  const int kv = pair % j.K, b = pair / j.K;
  const int source = meetings.keys.source(tile), start = meetings.keys.start(tile), count = meetings.keys.count(j, tile);
  const Span range = range_of(j, b), queries = meetings.queries(j, range, tile);

  Span seen[2];
  for (int i = 0; i < 2; ++i) {
    const int row = 16 * warp + lane / 4 + 8 * i;
    seen[i] = row < count ? queries_seeing(j, range, source, start + row) : Span{0, 0};
  }

  const auto load = [&](int h, int step, int stage) {
    const int t0 = step * kSteps, left = j.T - t0 < kSteps ? j.T - t0 : kSteps;
    const int64_t at = query_offset(j, b, t0, h);
    bf16* q_tile = q_tiles + stage * Steps::kSize;
    load_tile<Steps, C::kThreads>(q_tile, j.q + at, row_q, left, j.D, j.aligned, thread);
    load_tile<Steps, C::kThreads>(dy_tiles + stage * Steps::kSize, j.dy + at, row_q, left, j.D, j.aligned, thread);
    // The bytes between the rows carry what the softmax needs of each query.
    const Row* rows = j.rows + row_offset(j, b, h, t0);
    if (thread < kSteps)
      ptx::cp_async16(ptx::shared_address(q_tile + thread * Steps::kStride + D), thread < left ? rows + thread : rows, thread < left);
    ptx::cp_async_commit();
  };

  constexpr int kAcross = kSteps / 16, kColumns = D * kAcross / C::kWarps;  // dq: a warp makes sixteen rows of so many columns
  const int row0 = warp % kAcross * 16, column0 = warp / kAcross * kColumns;
  float dk[D / 8][4] = {}, dv[D / 8][4] = {};
  if (thread == 0) unsaid[0] = nullptr;
  int h = kv * group, step = queries.end - 1, stage = 0;
  const int total = (queries.end - queries.begin) * group;
  if (total > 0) {
    const int64_t at = key_offset(j, b, source, start, kv);
    load_tile<Rows, C::kThreads>(k_tile, j.source[source].k + at, row_k, count, j.D, j.aligned, thread);
    load_tile<Rows, C::kThreads>(v_tile, j.source[source].v + at, row_k, count, j.D, j.aligned, thread);
    load(h, step, 0);
  }
#pragma unroll 1
  for (int i = 0; i < total; ++i) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // this step has come, and all is done with the one before
    const bool wraps = step == queries.begin;
    const int next_h = h + wraps, next_step = wraps ? queries.end - 1 : step - 1;
    if constexpr (Stages == 2)
      if (i + 1 < total) load(next_h, next_step, 1 - stage);
    const bf16 *q_tile = q_tiles + stage * Steps::kSize, *dy_tile = dy_tiles + stage * Steps::kSize;
    const Span all = source == 1 ? Span{0, j.source[1].S} : meetings.seen_by_all(j, range, step);
    const bool whole = !j.bias && start >= all.begin && start + kKeys <= all.end;
    const float* bias = j.bias ? j.bias + bias_offset(j, b, h, 0) + start + 16 * warp + lane / 4 : nullptr;

    float p[kSteps / 8][4], ds[kSteps / 8][4];
    multiply_rows<Rows, Steps, true>(p, k_tile + 16 * warp * Rows::kStride, q_tile);
    const auto row_of = [&](int n, int c) -> const Row& {
      return *reinterpret_cast<const Row*>(q_tile + (8 * n + lane % 4 * 2 + c) * Steps::kStride + D);
    };
    const auto each = [&](const auto& f) {
#pragma unroll
      for (int n = 0; n < kSteps / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const Row row = row_of(n, c);
#pragma unroll
          for (int r = 0; r < 2; ++r) f(row, n, 2 * r + c, r, step * kSteps + 8 * n + lane % 4 * 2 + c);
        }
    };
    if (whole) {
      each([&](const Row& row, int n, int e, int, int) { p[n][e] = row.probability<X>(score_of(j, p[n][e], nullptr)); });
    } else {
      each([&](const Row& row, int n, int e, int r, int t) {
        const float* biased = bias ? bias + static_cast<int64_t>(t) * j.source[0].S + 8 * r : nullptr;
        p[n][e] = seen[r].holds(t) ? row.probability<X>(score_of(j, p[n][e], biased)) : 0.0f;
      });
    }
    multiply_columns<Steps>(dv, p, dy_tile);
    multiply_rows<Rows, Steps, true>(ds, v_tile + 16 * warp * Rows::kStride, dy_tile);
    if (whole) {
      each([&](const Row& row, int n, int e, int, int) { ds[n][e] = row.score_gradient(p[n][e], ds[n][e]); });
    } else {  // hidden keys may hold anything
      each([&](const Row& row, int n, int e, int, int) { ds[n][e] = p[n][e] == 0.0f ? 0.0f : row.score_gradient(p[n][e], ds[n][e]); });
    }
    store_operand<Slopes>(ds_tile + 16 * warp * Slopes::kStride, ds);

    const auto turn = meetings.turn(j, range, step, tile);
    const int64_t place = (static_cast<int64_t>(b) * j.H + h) * meetings.steps + step;
    if (thread == 0 && unsaid[0]) end_turn(unsaid[0]);
    if (thread == 32 && !turn.first()) await_turn(j.arrived + place, turn.before);
    __syncthreads();  // all of dS is there, and the turn
    const auto part = [&](int n) -> float4& { return j.parts[place * (kSteps * D / 4) + n * C::kThreads + thread]; };
    float dq[kColumns / 8][4] = {};
    const auto take_over = [&] {
      if (turn.first()) return;
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
        const float4 sum = part(n);
        dq[n][0] = sum.x, dq[n][1] = sum.y, dq[n][2] = sum.z, dq[n][3] = sum.w;
      }
    };
    if constexpr (C::kEarly) take_over();
    multiply_columns<Steps>(dk, ds, q_tile);
    if constexpr (!C::kEarly) take_over();
    multiply_transposed<Slopes, Rows>(dq, ds_tile + row0, k_tile + column0);
    if (turn.last()) {
      const int t0 = step * kSteps + row0;
      store_rows(j.dq + query_offset(j, b, t0, h) + column0, row_q, j.T - t0, j.D - column0, j.aligned, dq, j.scale, j.scale);
      if (thread == 0) unsaid[0] = nullptr;
    } else {
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) part(n) = make_float4(dq[n][0], dq[n][1], dq[n][2], dq[n][3]);
      if (thread == 0) unsaid[0] = j.arrived + place;
    }
    if constexpr (Stages == 1) {
      __syncthreads();  // the step has been read
      if (i + 1 < total) load(next_h, next_step, 0);
    } else {
      stage = 1 - stage;
    }
    h = next_h;
    step = next_step;
  }
  __syncthreads();  // the last part has been written
  if (thread == 0 && unsaid[0]) end_turn(unsaid[0]);

  const int64_t at = key_offset(j, b, source, start + 16 * warp, kv);
  store_rows(j.source[source].dk + at, row_k, count - 16 * warp, j.D, j.aligned, dk, j.scale, j.scale);
  store_rows(j.source[source].dv + at, row_k, count - 16 * warp, j.D, j.aligned, dv, 1.0f, 1.0f);
}

}  // namespace

namespace flash {

template <class X>
void joint_gradients(Stream& s, Scratch& scratch, Job<X> j) {
  by_head_size(j.D, [&](auto d) {
    if constexpr (d() <= kJointHead<X>) {
      const auto walk = [&](auto stages) {
        using C = Joint<X, d(), stages()>;
        const int64_t tiles = tiles_of(j.source[0].S, C::kKeys) + tiles_of(j.source[1].S, C::kKeys);
        if (tiles > 1) {
          j.tiles = static_cast<int64_t>(j.B) * j.H * tiles_of(j.T, C::kSteps);
          j.arrived = scratch.take<unsigned>(j.tiles);
          j.parts = scratch.take<float4>(j.tiles * C::kSteps * d() / 4);
        }
        rows(s, j);
        if (tiles == 0) clear(s, j.dq, static_cast<int64_t>(j.B) * j.T * j.H * j.D * static_cast<int64_t>(sizeof(X)));
        launch<joint_gradients_kernel<X, d(), stages()>>(s, grid_of(static_cast<int64_t>(j.B) * j.K * tiles), C::kThreads, C::kShared, j, s.counters);
      };
      const std::integral_constant<int, 1> one;
      const std::integral_constant<int, 2> two;
      if constexpr (kPlanesOf<X> == 3) return walk(one);
      else if constexpr (Joint<X, d(), two()>::kShared + kSharedBeside <= kSharedLimit) return walk(two);
      else if (static_cast<size_t>(Joint<X, d(), two()>::kShared + kSharedBeside) <= s.shared_limit) return walk(two);
      else return walk(one);
    }
  });
}
template void joint_gradients(Stream&, Scratch&, Job<float>);
template void joint_gradients(Stream&, Scratch&, Job<bf16>);

}  // namespace flash
}  // namespace anymal::cuda
