// Small products that a launch makes beside its large one, and hands over to it: LoRA's u = dropout(x).A^T and t = s dy.B. The blocks that begin
// first make them; the others sum up all else before they wait for them. So a linear with LoRA takes no launch more than one without.
#pragma once
#include "linear/gemm.cuh"

namespace anymal::cuda::gemm {

// Blocks numbered in the order in which they begin. Whoever waits for a block of a lower number waits for one that runs or has ended, in whatever
// order a card begins its blocks.
struct Turns {
  unsigned* counters;                   // three: blocks that have begun, tiles that are there, readers that have seen them all
  unsigned blocks, tiles, readers = 0;  // of the launch; no readers: nobody waits

  // The whole block takes part; its number stays where all threads find it again.
  __device__ __forceinline__ void take(unsigned* turn) const {
    if (threadIdx.x == 0) *turn = atomicInc(&counters[0], blocks - 1);  // zero again after the last
    __syncthreads();                                                    // the number is there
  }
  // Each tile is announced by the block that has written it.
  __device__ __forceinline__ void announce() const {
    if (readers == 0) return;
    __syncthreads();  // the block has written it
    if (threadIdx.x > 0) return;
    __threadfence();
    atomicAdd(&counters[1], 1u);
  }
  // Called `readers` times, by one thread each; the last one leaves the counters as they were found.
  __device__ __forceinline__ void wait() const {
    while (atomicAdd(&counters[1], 0u) != tiles) __nanosleep(100);
    __threadfence();
    if (atomicInc(&counters[2], readers - 1) == readers - 1) atomicExch(&counters[1], 0u);
  }
};
// Of Stream::counters: what a launch's own come behind.
constexpr int kTurnCounters = 3, kPieceCounters = kTurnCounters + 1024;

// A product that a launch makes in pieces, each a tile of it or a split of that tile's sum. The block that comes last with a tile's splits adds them,
// in order.
struct Pieces {
  Work work{};
  unsigned* arrived = nullptr;  // a counter for each tile

  __host__ __device__ unsigned tiles() const { return work.tiles_m * work.tiles_n; }
  __host__ __device__ unsigned blocks() const { return tiles() * work.splits; }
};

// Sums of at least `depth` terms a piece, whole steps, in at most kMostSplits; tiles that find no counter among `counters` are not cut.
template <class Tile>
Pieces plan_pieces(Scratch& scratch, int64_t M, int64_t N, int64_t K, int64_t depth, unsigned* arrived, int64_t counters, int64_t step = kDepth) {
  constexpr int64_t kMostSplits = 32, least = 2 * kDepth;
  check_sides(M, N, K);
  Pieces p{{static_cast<int>(M), static_cast<int>(N), static_cast<int>(K)}, arrived};
  Work& w = p.work;
  w.tiles_m = static_cast<unsigned>((M + Tile::kM - 1) / Tile::kM);
  w.tiles_n = static_cast<unsigned>((N + Tile::kN - 1) / Tile::kN);
  if (p.tiles() > counters) depth = K;
  depth = depth > least ? depth : least;
  depth = depth * kMostSplits > K ? depth : (K + kMostSplits - 1) / kMostSplits;
  w.depth = static_cast<int>(round_up(depth, step));
  w.splits = K > w.depth ? static_cast<unsigned>((K + w.depth - 1) / w.depth) : 1;
  if (w.splits > 1) w.partial = scratch.take<float>(w.splits * M * N);
  return p;
}

// Behind a piece that the block has written: the block that comes last with a tile's splits adds them, in order. True in the block that has written
// the tile to c. `Threads` of the block are there; `room`: see last_block.
template <int M, int N, int Threads, class Destination>
__device__ __forceinline__ bool add_splits_of(const Pieces& p, unsigned tile, int m0, int n0, void* room, const Destination& c) {
  const Work& w = p.work;
  if (w.splits == 1) return true;
  if (!last_block(p.arrived + tile, w.splits, room)) return false;
  const int64_t size = static_cast<int64_t>(w.M) * w.N;
#pragma unroll 1
  for (int i = threadIdx.x; i < M * N; i += Threads) {
    const int m = m0 + i / N, n = n0 + i % N;
    if (m >= w.M || n >= w.N) continue;
    const float* part = w.partial + static_cast<int64_t>(m) * w.N + n;
    float sum = 0;
#pragma unroll 4
    for (unsigned z = 0; z < w.splits; ++z) sum += part[z * size];
    c.one(m, n, sum);
  }
  return true;
}

// Piece number `piece` of a . b, to c: true in the block that has written a tile of it there.
template <class Tile, int P, bool TransposedA, bool TransposedB, class A, class B, class Destination>
__device__ __forceinline__ bool make_piece(const Pieces& p, unsigned piece, uint4* shared, const A& a, const B& b, const Destination& c) {
  const Work& w = p.work;
  const unsigned tile = piece % p.tiles(), split = piece / p.tiles();
  const int m0 = static_cast<int>(tile / w.tiles_n) * Tile::kM, n0 = static_cast<int>(tile % w.tiles_n) * Tile::kN;
  Sums<Tile> sums;
  multiply<P, P, TransposedA, TransposedB>(sums, shared, a, b, m0, n0, w.begin(split), w.end(split));
  store(sums, w, m0, n0, split, c);
  return add_splits_of<Tile::kM, Tile::kN, Tile::kThreads>(p, tile, m0, n0, shared, c);
}

// Which tile of the large product a block makes, and which split of its sum.
struct Spot {
  unsigned block, split;
};

// What rides on the sums of a product with a quantised weight: nothing, where a block's place is its number in the grid,
struct NoBranch {
  static constexpr bool kThere = false;
  __device__ __forceinline__ Spot spot(const unsigned*, unsigned, unsigned) const { return {blockIdx.x, blockIdx.y}; }
  __device__ __forceinline__ unsigned block(const unsigned*) const { return blockIdx.x; }
};
// A branch for those who wait for u (M,r),
template <class T>
struct ReducedRows {
  ScaledRows<T> u;
  Rows<T> b;
  int rank;
};
// or y += s u.B^T, u (M,r) = dropout(x).A^T, made by the first of the launch's blocks.
template <class T>
struct LoraBranch : ReducedRows<T> {
  static constexpr bool kThere = true;
  Turns turns;
  Pieces pieces;
  DroppedRows<T> x;
  Rows<T> a;
  Matrix to;  // u

  // True in a block that has made a piece of u, and has no more to do.
  template <class Tile>
  __device__ __forceinline__ bool makes_piece(unsigned* turn, uint4* shared) const {
    turns.take(turn);
    if (*turn >= pieces.blocks()) return false;
    if (make_piece<Tile, kPlanes<T>, false, false>(pieces, *turn, shared, x, a, to)) turns.announce();
    return true;
  }
  // Of another: splits of the highest number come first, split 0 waits for u.
  __device__ __forceinline__ Spot spot(const unsigned* turn, unsigned tiles, unsigned splits) const {
    const unsigned rest = *turn - pieces.blocks();
    return {rest % tiles, splits - 1 - rest / tiles};
  }
};

}  // namespace anymal::cuda::gemm
