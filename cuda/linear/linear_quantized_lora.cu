// linear_quantized_lora (QLoRA, arXiv 2305.14314): u = dropout(x).A^T, y = x.W^T + s u.B^T + b in one accumulation and one launch (pieces.cuh), and
// its backward. With t = s dy.B:  dx = dy.W + dropout'(t.A), dA += t^T.dropout(x), dB += s dy^T.u. The mask is drawn where x is loaded, nothing is
// stored of it.
#include "linear/quantized_group.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

// A low-rank product is one tile wide: middle tiles, and sums cut where that leaves the card idle.
template <class T>
using LowRank = std::conditional_t<sizeof(T) == 4, Exact, Middle>;

// u alone.
// budget: 255 registers, 32 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) reduce_kernel(Pieces pieces, DroppedRows<T> x, Rows<T> a, Matrix u) {
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, kPlanes<T>, kPlanes<T>>]);
  make_piece<Tile, kPlanes<T>, false, false>(pieces, blockIdx.x, shared, x, a, u);
}

template <class T>
struct BranchGradients {
  Pieces of_t, of_b, of_a;
  Rows<T> dy, u, b, t;
  DroppedRows<T> x;
  Matrix to_t, db, da;
};
template <class T>
struct LoraGradients {
  BranchGradients<T> of[kMostWeights];
  int count;
  Turns turns;
};

// t, dB and dA of all branches, each in its own pieces, in this order: those of A wait for t.
// budget: 255 registers, 32 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) lora_gradients_kernel(const __grid_constant__ LoraGradients<T> all) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  SHARED_ARRAY(unsigned, turn, [1]);
  all.turns.take(turn);
  unsigned piece = *turn;
  // The branch whose piece it is; `piece` becomes its number there.
  const auto among = [&](Pieces BranchGradients<T>::*part) {
    int i = 0;
    for (; i < all.count && piece >= (all.of[i].*part).blocks(); ++i) piece -= (all.of[i].*part).blocks();
    return i;
  };
  if (const int i = among(&BranchGradients<T>::of_t); i < all.count) {
    const BranchGradients<T>& g = all.of[i];
    if (make_piece<Tile, P, false, true>(g.of_t, piece, shared, g.dy, g.b, g.to_t)) all.turns.announce();
    return;
  }
  if (const int i = among(&BranchGradients<T>::of_b); i < all.count) {
    const BranchGradients<T>& g = all.of[i];
    make_piece<Tile, P, true, true>(g.of_b, piece, shared, g.dy, g.u, g.db);
    return;
  }
  if (threadIdx.x == 0) all.turns.wait();
  __syncthreads();  // t is there for the whole block
  const BranchGradients<T>& g = all.of[among(&BranchGradients<T>::of_a)];
  make_piece<Tile, P, true, true>(g.of_a, piece, shared, g.t, g.x, g.da);
}

// Terms of a piece's sum with which the card's multiprocessors have two blocks each, as far as the sum goes.
template <class Tile>
int64_t depth_for(const Stream& s, int64_t M, int64_t N, int64_t K) {
  const int64_t tiles = (M + Tile::kM - 1) / Tile::kM * ((N + Tile::kN - 1) / Tile::kN), blocks = 2 * int64_t{s.multiprocessors};
  const int64_t splits = tiles > 0 && 2 * tiles < blocks ? (blocks + tiles - 1) / tiles : 1, depth = (K + splits - 1) / splits;
  return depth > 256 ? depth : 256;
}

template <class T>
void gradients(Stream& s, Scratch& scratch, const View& x, BranchBackward* of, int count) {
  using Tile = LowRank<T>;
  const int64_t N = x.rows(), I = x.cols(), each = (kPieceCounters - kTurnCounters) / (3 * count);
  unsigned* counters = s.counters + kTurnCounters;
  const auto pieces = [&](int64_t rows, int64_t cols, int64_t depth) {
    const Pieces p = plan_pieces<Tile>(scratch, rows, cols, depth, depth_for<Tile>(s, rows, cols, depth), counters, each);
    counters += each;
    return p;
  };
  LoraGradients<T> all{};
  all.count = count;
  int64_t blocks = 0;
  unsigned tiles = 0, readers = 0;
  for (int i = 0; i < count; ++i) {
    auto& [dy, u, a, b, da, db, scaling, dropout, t] = of[i];
    const int64_t O = dy.cols(), r = a.dim(0);
    t = u;
    t.data = scratch.take<T>(N * r);
    BranchGradients<T>& g = all.of[i];
    g.of_t = pieces(N, r, O);
    if (db) g.of_b = pieces(O, r, N);
    if (da) g.of_a = pieces(r, I, N);
    blocks += int64_t{g.of_t.blocks()} + g.of_b.blocks() + g.of_a.blocks();
    tiles += g.of_t.tiles();
    readers += g.of_a.blocks();
    g.dy = rows_of<T>(dy.data, N, O, O);
    g.u = rows_of<T>(u.data, N, r, r);
    g.b = rows_of<T>(b.data, O, r, r);
    g.t = rows_of<T>(t.data, N, r, r);
    g.x = {rows_of<T>(x.data, N, I, I), dropout};
    g.to_t = matrix_of(t, r);
    g.db = matrix_of(db, r, View{}, true);
    g.da = matrix_of(da, I, View{}, true);
    g.to_t.alpha = g.db.alpha = scaling;
  }
  all.turns = {s.counters, grid_of(blocks).x, tiles, readers};
  launch<lora_gradients_kernel<Tile, T>>(s, all.turns.blocks, Tile::kThreads, 0, all);
}

}  // namespace

Dropout dropout_of(double p, int64_t seed, int64_t offset) {
  return {static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), static_cast<float>(p), static_cast<float>(1.0 / (1.0 - p))};
}

void lora_gradients(Stream& s, Scratch& scratch, const View& x, BranchBackward* of, int count) {
  by_dtype(x.dtype, [&](auto t) { gradients<decltype(t)>(s, scratch, x, of, count); });
}

void reduce(Stream& s, Scratch& scratch, const View& x, const LoraForward& lora) {
  const int64_t M = x.rows(), I = x.cols(), r = lora.rank;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    using Tile = LowRank<T>;
    const Pieces p = plan_pieces<Tile>(scratch, M, r, I, depth_for<Tile>(s, M, r, I), s.counters, kPieceCounters);
    launch<reduce_kernel<Tile, T>>(s, p.blocks(), Tile::kThreads, 0, p, DroppedRows<T>{rows_of<T>(x.data, M, I, I), lora.dropout},
                                   rows_of<T>(lora.a, r, I, I), matrix_of(lora.u, r));
  });
}

}  // namespace gemm

void linear_quantized_lora(Stream& s, Out y, Out u, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, In lora_a,
                           In lora_b, QuantFormat format, int64_t block, int64_t out_features, double threshold, double scaling, double dropout,
                           int64_t seed, int64_t offset) {
  Scratch scratch(s);
  gemm::quantized(s, scratch, y, x, {codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols()}, b, threshold,
                  {u, lora_a.data, lora_b.data, lora_a.dim(0), static_cast<float>(scaling), gemm::dropout_of(dropout, seed, offset)});
}

void linear_quantized_lora_backward(Stream& s, OutOpt dx, Acc da, Acc db, In dy, In x, In u, In codes, In absmax, InOpt nested_absmax,
                                    InOpt nested_offset, In lora_a, In lora_b, QuantFormat format, int64_t block, double scaling, double dropout,
                                    int64_t seed, int64_t offset) {
  Scratch scratch(s);
  gemm::BranchBackward branch{dy, u, lora_a, lora_b, da, db, static_cast<float>(scaling), gemm::dropout_of(dropout, seed, offset)};
  gemm::lora_gradients(s, scratch, x, &branch, 1);
  if (!dx) return;
  const gemm::Quantized w{codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), x.cols()};
  gemm::quantized_dx(s, scratch, dx, dy, w, {branch.t.data, lora_a.data, lora_a.dim(0), branch.dropout});
}

}  // namespace anymal::cuda
