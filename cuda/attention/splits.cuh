// Keys split over blocks: what each has summed lies in scratch, and the block that comes last merges it in a fixed order. Who has few queries and
// many keys (a resampler's latents, a cached step) fills the card no other way.
#pragma once
#include "job.cuh"

namespace anymal::cuda::flash {

// Rows are queries of heads, (B,H,T).
struct Partial {
  int splits = 1;
  float2* state = nullptr;      // (rows,splits): largest score, sum of e^(score - largest)
  float* sums = nullptr;        // (rows,splits,D)
  unsigned* arrived = nullptr;  // a counter for each group of blocks that have the same queries
};

// `blocks` that there are without splits; no more than `most`, what each still finds worth its while.
inline int splits_for(const Stream& s, int64_t blocks, int64_t most) {
  if (blocks < 1) return 1;
  const int64_t wanted = (2 * static_cast<int64_t>(s.multiprocessors) + blocks - 1) / blocks;
  const int64_t splits = wanted < most ? wanted : most;
  return static_cast<int>(splits < 1 ? 1 : splits < 128 ? splits : 128);
}

inline Partial partial_of(const Stream& s, Scratch& scratch, int splits, int64_t rows, int64_t D) {
  if (splits == 1) return {};
  return {splits, scratch.take<float2>(rows * splits), scratch.take<float>(rows * splits * D), s.counters};
}

// What a row's sum is divided by its total: a total of nothing gives zero, one that is NaN stays NaN.
__device__ __forceinline__ float mean_of(float sum, float total) { return total == 0.0f ? 0.0f : sum / total; }

// The logarithm of a row's sum of exponentials, relative to its largest score.
template <class X>
__device__ __forceinline__ float lse_of(float most, float total) {
  return total == 0.0f ? -INFINITY : most * static_cast<float>(1 / kUnit<X>) + logf(total);
}

// y and, where it is wanted, lse of `count` rows from the sums of all splits. `group` numbers the blocks that have these rows; all of them call it
// when they have written their sums, and the last one does it. `room`: see last_block.
template <class X>
__device__ __forceinline__ void merge(const Job<X>& j, const Partial& partial, unsigned group, int64_t first_row, int count, void* room) {
  if (!last_block(partial.arrived + group, static_cast<unsigned>(partial.splits) * gridDim.y, room)) return;
#pragma unroll 1
  for (int at = threadIdx.x; at < count * j.D; at += blockDim.x) {
    const int column = at % j.D;
    const int64_t row = first_row + at / j.D, first = row * partial.splits;
    float high = -INFINITY, sum = 0, all = 0;
#pragma unroll 1
    for (int i = 0; i < partial.splits; ++i) high = fmaxf(high, partial.state[first + i].x);
#pragma unroll 1
    for (int i = 0; i < partial.splits; ++i) {
      const float2 of = partial.state[first + i];
      const float factor = of.y == 0.0f ? 0.0f : exponential<X>(of.x - high);
      all += of.y * factor;
      sum += partial.sums[(first + i) * j.D + column] * factor;
    }
    const int t = static_cast<int>(row % j.T), h = static_cast<int>(row / j.T % j.H), b = static_cast<int>(row / j.T / j.H);
    j.y[query_offset(j, b, t, h) + column] = from_float<X>(mean_of(sum, all));
    if (column == 0 && j.lse) j.lse[row] = lse_of<X>(high, all);
  }
}

}  // namespace anymal::cuda::flash
