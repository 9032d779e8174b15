// The gradient of attention in three kernels, none of which two blocks add to one number in:
//   P = exp(scale q.k + bias - lse)   dP = dy.v^T   dS = P (dP - delta), delta = rowsum(dy * y)
//   keys: a block per tile of keys walks the queries that see it: dv = P^T.dy, dk = scale dS^T.q
//   queries: a block per tile of queries walks the keys: dq = scale dS.k
//   bias: a block per tile of the bias walks the batch rows and heads that share it: dbias += dS
// (FlashAttention, arXiv 2205.14135, algorithm 4.)
#pragma once
#include "job.cuh"

namespace anymal::cuda::flash {

template <class X>
void key_gradients(Stream& s, const Job<X>& j);
template <class X>
void query_gradients(Stream& s, const Job<X>& j);
template <class X>
void bias_gradients(Stream& s, const Job<X>& j);

// A block keeps two tiles of kRows (k and v, or q and dy) and walks pairs of tiles of kSteps of the others.
template <class X, int D>
struct Backward {
  static constexpr int kPlanes = kPlanesOf<X>;
  static constexpr int kRows = kPlanes == 1 || D <= 64 ? 64 : D <= 128 ? 32 : 16;
  static constexpr int kSteps = kPlanes == 1 ? (D <= 64 ? 64 : 32) : D <= 64 ? 32 : 16;
  static constexpr int kStages = kPlanes == 1 && D <= 128 ? 2 : 1;
  static constexpr int kThreads = 2 * kRows;  // a warp per sixteen rows
  using Rows = Tile<kRows, D, kPlanes>;
  using Steps = Tile<kSteps, D, kPlanes>;
  static constexpr int kShared = 2 * Rows::kBytes + 2 * kStages * Steps::kBytes;
  static_assert(kShared <= kSharedLimit);
};

// Walks `total` steps: load(i, stage) begins the copies of step i, use(i, stage) follows when they have come. With two stages the next step's copies
// run while this one is used.
template <int Stages, class Load, class Use>
__device__ __forceinline__ void walk(int total, const Load& load, const Use& use) {
  if (total > 0) load(0, 0);
  for (int i = 0; i < total; ++i) {
    if constexpr (Stages == 2) {
      if (i + 1 < total) load(i + 1, (i + 1) % 2);
      else ptx::cp_async_commit();  // so that "all but the last" is this step again
      ptx::cp_async_wait<1>();
    } else {
      ptx::cp_async_wait<0>();
    }
    __syncthreads();  // this step has come
    use(i, i % Stages);
    __syncthreads();  // and has been read
    if constexpr (Stages == 1)
      if (i + 1 < total) load(i + 1, 0);
  }
}

}  // namespace anymal::cuda::flash
