// log(sum exp) of a row in one pass over it: the largest number so far, and the sum of e^(x - largest).
#pragma once
#include "elementwise.cuh"

namespace anymal::cuda {

// Fast: e^x by the card's own approximation.
template <bool Fast>
__device__ __forceinline__ float exp_of(float x) {
  if constexpr (Fast) return __expf(x);
  else return expf(x);
}

template <bool Fast>
struct LogSum {
  float most, sum;  // at first -inf and 0

  __device__ __forceinline__ void add(float other_most, float other_sum) {
    const float m = fmaxf(most, other_most);
    // Both -inf: nothing yet on either side, but for NaNs.
    sum = m == -INFINITY ? sum + other_sum : sum * exp_of<Fast>(most - m) + other_sum * exp_of<Fast>(other_most - m);
    most = m;
  }
  // W numbers. What is there is seldom scaled anew: the largest of a row is soon found.
  template <int W>
  __device__ __forceinline__ void add(const float (&v)[W]) {
    float top = v[0];
    for (int k = 1; k < W; ++k) top = fmaxf(top, v[k]);
    if (top > most) {
      sum *= exp_of<Fast>(most - top);
      most = top;
    }
    if (most == -INFINITY) return;
    for (int k = 0; k < W; ++k) sum += exp_of<Fast>(v[k] - most);
  }
};

// Of a row of n numbers, in the block's first thread; every thread takes part.
template <bool Fast, int W, class T>
__device__ __forceinline__ LogSum<Fast> log_sum_of_row(const T* row, int64_t n) {
  SHARED_ARRAY(LogSum<Fast>, parts, [kThreads / 32]);
  LogSum<Fast> total{-INFINITY, 0};
  bool nan = false;  // a NaN is no largest number, but makes the sum one
  for (int64_t j = threadIdx.x * W; j < n; j += kThreads * W) {
    float v[W];
    load<W>(v, row + j);
    for (int k = 0; k < W; ++k) nan |= v[k] != v[k];
    total.add(v);
  }
  if (nan) total.sum = NAN;
  for (int o = 16; o; o >>= 1) {
    const float most = __shfl_xor_sync(~0u, total.most, o), sum = __shfl_xor_sync(~0u, total.sum, o);
    total.add(most, sum);
  }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = total;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int w = 1; w < kThreads / 32; ++w) total.add(parts[w].most, parts[w].sum);
  return total;
}

}  // namespace anymal::cuda
