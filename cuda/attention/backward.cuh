// The gradient of attention, in kernels none of which adds to a number in an order that hangs on a schedule:
//   P = softmax(scale q.k + bias)   dP = dy.v^T   dS = P (dP - rowsum(P * dP))
//   rows: a block per tile of queries walks the keys: each query's Row
//   joint: a block per tile of keys walks the queries that see it: dv = P^T.dy, dk = scale dS^T.q, and its part of dq = scale dS.k
//   bias: a block per tile of the bias walks the batch rows and heads that share it: dbias += dS
// Where sums of dv and dk do not fit into registers together (heads beyond kJointHead) there are three in the second's place:
//   keys: the same walk for dv, and again for dk
//   queries: a block per tile of queries walks the keys: dq
// FlashAttention (arXiv 2205.14135, algorithm 4) has no kernel for rows: it takes P from lse and the row's sum from dy * y. Where softmax is
// saturated dP - rowsum vanishes, and two ways that round apart leave noise of f32's size in its place, which AdamW would blow up to whole steps; and
// a large lse is rounded so far that P would no longer add up to 1. Hence the rule of these kernels: scores and dP have the same bits in all of them.
#pragma once
#include "job.cuh"

namespace anymal::cuda::flash {

template <class X>
void rows(Stream& s, const Job<X>& j);
template <class X>
void joint_gradients(Stream& s, Scratch& scratch, Job<X> j);  // and rows
template <class X>
void key_gradients(Stream& s, const Job<X>& j);
template <class X>
void query_gradients(Stream& s, const Job<X>& j);
template <class X>
void bias_gradients(Stream& s, const Job<X>& j);

template <class X>
constexpr int kJointHead = kPlanesOf<X> == 1 ? 128 : 64;  // the largest head that the kernel for all three gradients holds

// A block keeps k and v of kKeys keys and walks tiles of kSteps queries. With two stages the next tile comes while one is used; wide heads have room
// for that on large cards alone.
template <class X, int D, int Stages>
struct Joint {
  static constexpr int kPlanes = kPlanesOf<X>;
  static constexpr int kKeys = kPlanes == 1 ? 128 : 64;  // the more, the fewer rounds of dq through memory
  static constexpr int kSteps = kPlanes == 1 && D <= 64 ? 64 : 32;
  static constexpr int kWarps = kKeys / 16, kThreads = 32 * kWarps;
  using Rows = Tile<kKeys, D, kPlanes>;
  using Steps = Tile<kSteps, D, kPlanes>;
  using Slopes = Tile<kKeys, kSteps, kPlanes>;  // dS
  static constexpr bool kEarly = kPlanes == 1;  // there are registers for dq's sum while dk is made
  static constexpr int kShared = 2 * Rows::kBytes + 2 * Stages * Steps::kBytes + Slopes::kBytes;
};

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
template <class X>
__device__ __forceinline__ float score_of(const Job<X>& j, float product, const float* bias) {
  const float score = __fmul_rn(product, j.unit_scale);
  return bias ? __fadd_rn(score, __fmul_rn(*bias, static_cast<float>(kUnit<X>))) : score;
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
