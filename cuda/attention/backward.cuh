// The gradient of attention in four kernels, none of which two blocks add to one number in:
//   P = softmax(scale q.k + bias)   dP = dy.v^T   dS = P (dP - rowsum(P * dP))
//   rows: a block per tile of queries walks the keys: each query's Row
//   keys: a block per tile of keys walks the queries that see it: dv = P^T.dy, dk = scale dS^T.q
//   queries: a block per tile of queries walks the keys: dq = scale dS.k
//   bias: a block per tile of the bias walks the batch rows and heads that share it: dbias += dS
// FlashAttention (arXiv 2205.14135, algorithm 4) has no kernel for rows: it takes P from lse and the row's sum from dy * y. Where softmax is
// saturated dP - rowsum vanishes, and two ways that round apart leave noise of f32's size in its place, which AdamW would blow up to whole steps; and
// a large lse is rounded so far that P would no longer add up to 1. Hence the rule of these kernels: scores and dP have the same bits in all of them.
#pragma once
#include "job.cuh"

namespace anymal::cuda::flash {

template <class X>
void rows(Stream& s, const Job<X>& j);
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

// A score from q.k and its place in the bias, if there is one. Rounded step by step: fused with the subtraction that follows it would have other bits
// in one kernel than in another.
__device__ __forceinline__ float score_of(float product, float scale, const float* bias) {
  const float score = __fmul_rn(product, scale);
  return bias ? __fadd_rn(score, *bias) : score;
}

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
