// Keys split over blocks: what each has summed lies in scratch, and one more launch merges it in a fixed order. Who has few queries and many keys
// (a resampler's latents, a cached step) fills the card no other way.
#pragma once
#include "job.cuh"

namespace anymal::cuda::flash {

// Rows are queries of heads, (B,H,T).
struct Partial {
  int splits = 1;
  float2* state = nullptr;  // (rows,splits): largest score, sum of e^(score - largest)
  float* sums = nullptr;    // (rows,splits,D)
};

// `blocks` that there are without splits; no more than `most`, what each still finds worth its while.
inline int splits_for(const Stream& s, int64_t blocks, int64_t most) {
  if (blocks < 1) return 1;
  const int64_t wanted = (2 * static_cast<int64_t>(s.multiprocessors) + blocks - 1) / blocks;
  const int64_t splits = wanted < most ? wanted : most;
  return static_cast<int>(splits < 1 ? 1 : splits < 128 ? splits : 128);
}

inline Partial partial_of(Scratch& scratch, int splits, int64_t rows, int64_t D) {
  if (splits == 1) return {};
  return {splits, scratch.take<float2>(rows * splits), scratch.take<float>(rows * splits * D)};
}

// What a row's sum is divided by its total: a total of nothing gives zero, one that is NaN stays NaN.
__device__ __forceinline__ float mean_of(float sum, float total) { return total == 0.0f ? 0.0f : sum / total; }

// y and, where it is wanted, lse from the sums of all splits: a block per row.
// budget: 40 registers, 0 KiB shared, 0 spills
template <class X>
__global__ void __launch_bounds__(128) merge_kernel(Job<X> j, Partial partial) {
  const int64_t row = blockIdx.x, first = row * partial.splits;
  float high = -INFINITY;
  for (int i = 0; i < partial.splits; ++i) high = fmaxf(high, partial.state[first + i].x);
  const int t = static_cast<int>(row % j.T), h = static_cast<int>(row / j.T % j.H), b = static_cast<int>(row / j.T / j.H);
  X* y = j.y + query_offset(j, b, t, h);
  for (int column = threadIdx.x; column < j.D; column += blockDim.x) {
    float sum = 0, all = 0;
    for (int i = 0; i < partial.splits; ++i) {
      const float2 of = partial.state[first + i];
      const float factor = of.y == 0.0f ? 0.0f : exponential<X>(of.x - high);
      all += of.y * factor;
      sum += partial.sums[(first + i) * j.D + column] * factor;
    }
    y[column] = from_float<X>(mean_of(sum, all));
    if (column == 0 && j.lse) j.lse[row] = all == 0.0f ? -INFINITY : high + logf(all);
  }
}
template <class X>
void merge(Stream& s, const Job<X>& j, const Partial& partial) {
  if (partial.splits == 1) return;
  const unsigned threads = j.D <= 32 ? 32 : j.D <= 64 ? 64 : 128;
  launch<merge_kernel<X>>(s, grid_of(static_cast<int64_t>(j.B) * j.H * j.T), threads, 0, j, partial);
}

}  // namespace anymal::cuda::flash
