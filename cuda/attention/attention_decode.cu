// attention_decode: one query per batch row against a cache whose filled part the card knows and the host does not.
//
// The heads that share a key/value head are the rows of one tile, so the cache is read once for up to sixteen of them. The keys are split over
// blocks, within a block over warps that never wait for each other; what each has summed is merged in a fixed order. The number of splits follows
// from the cache's size alone: a captured graph serves every length.
#include "splits.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

constexpr int kHeads = 16, kKeys = 16;

template <class X, int D>
struct Decode {
  static constexpr int kPlanes = kPlanesOf<X>;
  // Keys and values of the next tile come while this one is used. Planes are written when they are split, so that nothing is to be waited for.
  static constexpr int kStages = kPlanes == 1 ? 2 : 1;
  static constexpr int kWarps = kPlanes == 1 ? (D <= 128 ? 4 : 2) : D <= 96 ? 4 : D <= 128 ? 2 : 1;
  static constexpr int kThreads = 32 * kWarps;
  using Queries = Tile<kHeads, D, kPlanes>;
  using Keys = Tile<kKeys, D, kPlanes>;
  static constexpr int kWarpSize = 2 * kStages * Keys::kSize;
  static constexpr int kColumns = kPlanes > 1 && D >= 128 ? 64 : D;  // of y, that one block computes: more would fill all registers
  static constexpr int kSumStride = kColumns + 8;                    // floats; the eight rows of a store lie in different banks
  static constexpr int kShared = Queries::kBytes + kWarps * 2 * kWarpSize;
  static_assert(kHeads * kSumStride * 4 <= 2 * kWarpSize && kShared + kWarps * kHeads * 8 <= kSharedLimit);
};

// budget: 255 registers, 99 KiB shared, 0 spills
template <class X, int D>
__global__ void __launch_bounds__(Decode<X, D>::kThreads, 1) decode_kernel(Job<X> j, Partial partial, FaultSink fault) {
  using C = Decode<X, D>;
  using Queries = typename C::Queries;
  using Keys = typename C::Keys;
  SHARED_ARRAY(float2, state, [C::kWarps * kHeads]);
  bf16* q_tile = dynamic_shared<bf16>();
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  bf16* mine = q_tile + Queries::kSize + warp * C::kWarpSize;
  const int group = j.H / j.K, parts = (group + kHeads - 1) / kHeads;
  const int split = static_cast<int>(blockIdx.x % partial.splits), part = static_cast<int>(blockIdx.x / partial.splits % parts);
  const int pair = static_cast<int>(blockIdx.x / partial.splits / parts), kv = pair % j.K, b = pair / j.K;
  const int heads = group - part * kHeads < kHeads ? group - part * kHeads : kHeads;
  const int64_t head0 = static_cast<int64_t>(b) * j.H + kv * group + part * kHeads, row_k = static_cast<int64_t>(j.K) * j.D;

  // This split's keys [begin, end).
  const int size = j.source[0].S;
  int begin = j.range[2 * b], end = j.range[2 * b + 1];
  if (begin < 0 || end > size) {
    if (thread == 0) {
      index_holds(fault, Fault::position, 2 * b, begin, 0, static_cast<int64_t>(INT32_MAX) + 1);
      index_holds(fault, Fault::position, 2 * b + 1, end, INT32_MIN, static_cast<int64_t>(size) + 1);
    }
    begin = end = 0;
  }
  if (j.window > 0 && end - j.window > begin) begin = end - j.window;
  const int seen = end > begin ? end - begin : 0;
  const int each = (seen + partial.splits * kKeys - 1) / (partial.splits * kKeys) * kKeys;
  const int first = begin + (split * each < seen ? split * each : seen), last = begin + ((split + 1) * each < seen ? (split + 1) * each : seen);
  const int tiles = (last - first + kKeys - 1) / kKeys;

  const auto load = [&](int i, int stage) {
    if (i < tiles) {
      const int s0 = first + i * kKeys, count = last - s0 < kKeys ? last - s0 : kKeys;
      const int64_t at = key_offset(j, b, 0, s0, kv);
      load_tile<Keys, 32>(mine + stage * 2 * Keys::kSize, j.source[0].k + at, row_k, count, j.D, j.aligned, lane);
      load_tile<Keys, 32>(mine + (stage * 2 + 1) * Keys::kSize, j.source[0].v + at, row_k, count, j.D, j.aligned, lane);
    }
    ptx::cp_async_commit();
  };
  load_tile<Queries, C::kThreads>(q_tile, j.q + head0 * j.D, j.D, heads, j.D, j.aligned, thread);
  ptx::cp_async_commit();
  load(warp, 0);
  ptx::cp_async_wait<1>();
  __syncthreads();  // the queries have come

  const int out = static_cast<int>(blockIdx.y) * C::kColumns;
  float o[C::kColumns / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  for (int i = warp, stage = 0; i < tiles; i += C::kWarps, stage = C::kStages - 1 - stage) {
    if constexpr (C::kStages == 2) {
      load(i + C::kWarps, 1 - stage);
      ptx::cp_async_wait<1>();
    }
    __syncwarp();  // this tile has come
    const bf16* k_tile = mine + stage * 2 * Keys::kSize;
    float s[kKeys / 8][4];
    multiply_rows<Queries, Keys>(s, q_tile, k_tile);
    const int count = last - first - i * kKeys;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] = 8 * n + lane % 4 * 2 + e % 2 < count ? s[n][e] * j.unit_scale : -INFINITY;
    softmax_step<X>(s, o, most, total, 1.0f);
    multiply_columns<Keys>(o, s, k_tile + Keys::kSize + out);
    __syncwarp();  // and has been read
    if constexpr (C::kStages == 1) load(i + C::kWarps, 0);
  }

  float* sums = reinterpret_cast<float*>(mine);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    total[half] = row_sum(total[half]);
    if (lane % 4 == 0) state[warp * kHeads + row] = make_float2(most[half], total[half]);
#pragma unroll
    for (int n = 0; n < C::kColumns / 8; ++n)
      *reinterpret_cast<float2*>(sums + row * C::kSumStride + 8 * n + lane % 4 * 2) = make_float2(o[n][2 * half], o[n][2 * half + 1]);
  }
  __syncthreads();  // every warp's sums lie in shared memory
  const int columns = j.D - out < C::kColumns ? j.D - out : C::kColumns;
  for (int i = thread; i < heads * columns; i += C::kThreads) {
    const int row = i / columns, column = i % columns;
    float high = -INFINITY, sum = 0, all = 0;
    for (int w = 0; w < C::kWarps; ++w) high = fmaxf(high, state[w * kHeads + row].x);
    for (int w = 0; w < C::kWarps; ++w) {
      const float2 of = state[w * kHeads + row];
      const float factor = of.y == 0.0f ? 0.0f : exponential<X>(of.x - high);
      all += of.y * factor;
      sum += reinterpret_cast<const float*>(q_tile + Queries::kSize + w * C::kWarpSize)[row * C::kSumStride + column] * factor;
    }
    if (partial.splits == 1) {
      j.y[(head0 + row) * j.D + out + column] = from_float<X>(mean_of(sum, all));
    } else {
      const int64_t at = (head0 + row) * partial.splits + split;
      partial.sums[at * j.D + out + column] = sum;
      if (out + column == 0) partial.state[at] = make_float2(high, all);
    }
  }
  if (partial.splits > 1) merge(j, partial, blockIdx.x / partial.splits, head0, heads, q_tile);
}

void decode(Stream& s, Out y, In q, In k_cache, In v_cache, In range, double scale, int64_t window) {
  by_dtype(q.dtype, [&](auto x) {
    using X = decltype(x);
    by_head_size(q.dim(3), [&](auto d) {
      using C = Decode<X, d()>;
      Job<X> j = make_job<X>(q, k_cache, v_cache, {}, {}, range, {}, scale, false, window);
      j.y = y.as<X>();
      const int64_t blocks = static_cast<int64_t>(j.B) * j.K * tiles_of(j.H / j.K, kHeads), rows = static_cast<int64_t>(j.B) * j.H;
      Scratch scratch(s);
      // None for fewer than 64 keys of a full cache.
      const Partial partial = partial_of(s, scratch, splits_for(s, blocks, tiles_of(j.source[0].S, 64)), rows, j.D);
      launch<decode_kernel<X, d()>>(s, grid_of(blocks * partial.splits, d() / C::kColumns), C::kThreads, C::kShared, j, partial, s.fault);
    });
  });
}

// A cache of codes, whole, in the dtype of the queries.
In widened(Stream& s, Scratch& scratch, DType dtype, const View& codes, const View& scale) {
  Out whole;
  static_cast<View&>(whole) = codes;
  whole.dtype = dtype;
  whole.data = scratch.take<char>(codes.size() * static_cast<int64_t>(dtype_bytes(dtype)));
  if (codes.size() > 0) dequantize_rows_int8(s, whole, In{codes}, In{scale});
  return In{whole};
}

}  // namespace

void attention_decode(Stream& s, Out y, In q, In k_cache, In v_cache, InOpt k_scale, InOpt v_scale, In range, double scale, int64_t window) {
  if (y.size() == 0) return;
  if (!k_scale) return decode(s, y, q, k_cache, v_cache, range, scale, window);
  Scratch scratch(s);
  decode(s, y, q, widened(s, scratch, q.dtype, k_cache, k_scale), widened(s, scratch, q.dtype, v_cache, v_scale), range, scale, window);
}

}  // namespace anymal::cuda
