// Products of one x with several weights in one launch of the kernels for few rows: a block belongs to one of them, and knows by its number which.
// LoRA's branches have their u from the blocks that begin first: without dropout from one product of x with all A, one below the other.
#pragma once
#include "linear/skinny_work.cuh"

namespace anymal::cuda::gemm {

// Which of rows that lie one below the other in `of` r is in; r becomes its number there. Rows beyond all are the last one's.
template <class Stack>
__device__ __forceinline__ int find(const Stack (&of)[kMostWeights], int* r) {
  int i = 0;
  for (; i + 1 < kMostWeights && *r >= of[i].rows; ++i) *r -= of[i].rows;
  return i;
}

template <class T>
struct StackedRows {
  Rows<T> of[kMostWeights];

  using Raw = typename Rows<T>::Raw;
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    const int i = find(of, &r);
    return of[i].fetch(r, c);
  }
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    planes_of(raw, planes);
  }
};
// Where the product with them goes: its columns are theirs.
template <class T>
struct StackedColumns {
  struct {
    T* data;
    int rows;  // of A: a row's elements here
  } of[kMostWeights];
  static constexpr bool pairs = false;

  __device__ __forceinline__ void one(int m, int n, float v) const {
    const int i = find(of, &n);
    of[i].data[static_cast<int64_t>(m) * of[i].rows + n] = from_float<T>(v);
  }
  __device__ __forceinline__ void two(int m, int n, float v, float w) const {
    one(m, n, v);
    one(m, n + 1, w);
  }
};

template <class T>
struct LoraBranches {
  static constexpr bool kThere = true;
  struct Stack {
    Pieces pieces;
    DroppedRows<T> x;
    StackedRows<T> a;
    StackedColumns<T> u;
  };
  Turns turns;
  Stack stacks[kMostWeights];       // one, or, as masks differ, as many as branches
  unsigned count, pieces;           // of stacks, of all their blocks
  ReducedRows<T> of[kMostWeights];  // of each product; rank 0: it has none

  // True in a block that has made a piece of a u, and has no more to do.
  template <class Tile>
  __device__ __forceinline__ bool makes_piece(unsigned* turn, uint4* shared) const {
    turns.take(turn);
    unsigned piece = *turn;
    if (piece >= pieces) return false;
    unsigned i = 0;
    for (; piece >= stacks[i].pieces.blocks(); ++i) piece -= stacks[i].pieces.blocks();
    const Stack& of_piece = stacks[i];
    if (make_piece<Tile, kPlanes<T>, false, false>(of_piece.pieces, piece, shared, of_piece.x, of_piece.a, of_piece.u)) turns.announce();
    return true;
  }
  // The number of another among others.
  __device__ __forceinline__ unsigned block(const unsigned* turn) const { return *turn - pieces; }
};

struct SpotOf {
  unsigned product, block, split;
};
// Splits of the highest number come first: split 0 waits for u.
template <class Product>
__device__ __forceinline__ SpotOf spot_of(const Product (&of)[kMostWeights], unsigned block) {
  unsigned i = 0;
  for (; i + 1 < kMostWeights && block >= of[i].work.blocks(); ++i) block -= of[i].work.blocks();
  const unsigned ranges = static_cast<unsigned>(of[i].work.ranges());
  return {i, block % ranges, of[i].work.parts.count - 1 - block / ranges};
}

// Counters of strips that products take, behind those of pieces; tiles of pieces must find one each as well.
inline bool counters_suffice(const Stream& s, const Member* of, int count) {
  int64_t strips = 0, tiles = 0;
  for (int i = 0; i < count; ++i) {
    strips += (of[i].w.out_features + kStrip - 1) / kStrip;
    tiles += (of[i].lora.rank + Small::kN - 1) / Small::kN;
  }
  return strips <= s.counters_in_all() - kPieceCounters && tiles <= kPieceCounters - kTurnCounters;
}

// Each product as plan(product, member) plans it by itself, with counters of its own. The blocks of all.
template <class Product, class Plan>
int64_t plan_together(Product (&to)[kMostWeights], const Member* of, int count, const Plan& plan) {
  int64_t blocks = 0, strips = 0;
  for (int i = 0; i < count; ++i) {
    plan(to[i], of[i]);
    to[i].work.parts.counters += strips;
    strips += (of[i].w.out_features + kStrip - 1) / kStrip;
    blocks += to[i].work.blocks();
  }
  return blocks;
}

// f(branches, grid) for a launch whose other blocks are `blocks`, of `products`.
template <class T, class Product, class F>
void with_branches(const Stream& s, Scratch& scratch, const View& x, const Product (&products)[kMostWeights], const Member* of, int count,
                   int64_t blocks, const F& f) {
  const int64_t M = x.rows(), I = x.cols();
  LoraBranches<T> all{};
  bool dropped = false;
  int64_t ranks[kMostWeights] = {};  // of stacks
  int in_stack = 0;
  unsigned readers = 0;
  for (int i = 0; i < count; ++i) {
    const LoraForward& lora = of[i].lora;
    if (lora.rank == 0) continue;
    all.of[i] = reduced_rows<T>(lora, M, of[i].w.out_features);
    readers += products[i].work.warps();
    dropped = lora.dropout.p > 0;
    if (all.count == 0 || dropped) {
      auto& stack = all.stacks[all.count++];
      stack.x = {rows_of<T>(x.data, M, I, I), lora.dropout};
      for (auto& a : stack.a.of) a = rows_of<T>(lora.a, 0, I, I);
      in_stack = 0;
    }
    auto& stack = all.stacks[all.count - 1];
    stack.a.of[in_stack] = rows_of<T>(lora.a, lora.rank, I, I);
    stack.u.of[in_stack].data = lora.u.as<T>();
    stack.u.of[in_stack++].rows = static_cast<int>(lora.rank);
    ranks[all.count - 1] += lora.rank;
  }
  if (all.count == 0) return f(NoBranch{}, grid_of(blocks));
  unsigned tiles = 0;
  for (unsigned i = 0; i < all.count; ++i) {
    Pieces& pieces = all.stacks[i].pieces;
    pieces = plan_pieces<Small>(scratch, M, ranks[i], I, kPieceDepth, s.counters + kTurnCounters + tiles, kPieceCounters - kTurnCounters - tiles);
    tiles += pieces.tiles();
    all.pieces += pieces.blocks();
  }
  all.turns = {s.counters, grid_of(all.pieces + blocks).x, tiles, readers};
  f(all, grid_of(all.turns.blocks));
}

}  // namespace anymal::cuda::gemm
