// linear_quantized_lora (QLoRA, arXiv 2305.14314): u = dropout(x).A^T, y = x.W^T + s u.B^T + b in one accumulation and one launch (pieces.cuh), and
// its backward. With t = s dy.B:  dx = dy.W + dropout'(t.A), dA += t^T.dropout(x), dB += s dy^T.u. The mask is drawn where x is loaded, nothing is
// stored of it.
#include "linear/quantized.cuh"

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
struct LoraGradients {
  Pieces of_t, of_b, of_a;  // in this order: those of A wait for t
  Turns turns;
  Rows<T> dy, u, b, t;
  DroppedRows<T> x;
  Matrix to_t, db, da;
};

// t, dB and dA, each in its own pieces.
// budget: 255 registers, 32 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) lora_gradients_kernel(LoraGradients<T> g) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  SHARED_ARRAY(unsigned, turn, [1]);
  g.turns.take(turn);
  unsigned piece = *turn;
  if (piece < g.of_t.blocks()) {
    if (make_piece<Tile, P, false, true>(g.of_t, piece, shared, g.dy, g.b, g.to_t)) g.turns.announce();
    return;
  }
  piece -= g.of_t.blocks();
  if (piece < g.of_b.blocks()) {
    make_piece<Tile, P, true, true>(g.of_b, piece, shared, g.dy, g.u, g.db);
    return;
  }
  if (threadIdx.x == 0) g.turns.wait();
  __syncthreads();  // t is there for the whole block
  make_piece<Tile, P, true, true>(g.of_a, piece - g.of_b.blocks(), shared, g.t, g.x, g.da);
}

Dropout dropout_of(double p, int64_t seed, int64_t offset) {
  return {static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), static_cast<float>(p), static_cast<float>(1.0 / (1.0 - p))};
}

// Terms of a piece's sum with which the card's multiprocessors have two blocks each, as far as the sum goes.
template <class Tile>
int64_t depth_for(const Stream& s, int64_t M, int64_t N, int64_t K) {
  const int64_t tiles = (M + Tile::kM - 1) / Tile::kM * ((N + Tile::kN - 1) / Tile::kN), blocks = 2 * int64_t{s.multiprocessors};
  const int64_t splits = tiles > 0 && 2 * tiles < blocks ? (blocks + tiles - 1) / tiles : 1, depth = (K + splits - 1) / splits;
  return depth > 256 ? depth : 256;
}

template <class T>
void lora_backward(Stream& s, const View& dx, const View& da, const View& db, const View& dy, const View& x, const View& u, const Quantized& w,
                   const View& lora_a, const View& lora_b, float scaling, const Dropout& dropout) {
  using Tile = LowRank<T>;
  Scratch scratch(s);
  const int64_t N = x.rows(), I = x.cols(), O = dy.cols(), r = lora_a.dim(0);
  View t = u;
  t.data = scratch.take<T>(N * r);
  unsigned* counters = s.counters + kTurnCounters;
  const auto pieces = [&](int64_t rows, int64_t cols, int64_t depth) {
    constexpr int64_t each = (kPieceCounters - kTurnCounters) / 3;
    const Pieces p = plan_pieces<Tile>(scratch, rows, cols, depth, depth_for<Tile>(s, rows, cols, depth), counters, each);
    counters += each;
    return p;
  };
  LoraGradients<T> g{};
  g.of_t = pieces(N, r, O);
  if (db) g.of_b = pieces(O, r, N);
  if (da) g.of_a = pieces(r, I, N);
  const int64_t blocks = int64_t{g.of_t.blocks()} + g.of_b.blocks() + g.of_a.blocks();
  g.turns = {s.counters, grid_of(blocks).x, g.of_t.tiles(), g.of_a.blocks()};
  g.dy = rows_of<T>(dy.data, N, O, O);
  g.u = rows_of<T>(u.data, N, r, r);
  g.b = rows_of<T>(lora_b.data, O, r, r);
  g.t = rows_of<T>(t.data, N, r, r);
  g.x = {rows_of<T>(x.data, N, I, I), dropout};
  g.to_t = matrix_of(t, r);
  g.db = matrix_of(db, r, View{}, true);
  g.da = matrix_of(da, I, View{}, true);
  g.to_t.alpha = g.db.alpha = scaling;
  launch<lora_gradients_kernel<Tile, T>>(s, g.turns.blocks, Tile::kThreads, 0, g);
  if (dx) quantized_dx(s, scratch, dx, dy, w, {t.data, lora_a.data, r, dropout});
}

}  // namespace

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
  const gemm::Quantized w{codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), x.cols()};
  by_dtype(x.dtype, [&](auto t) {
    gemm::lora_backward<decltype(t)>(s, dx, da, db, dy, x, u, w, lora_a, lora_b, static_cast<float>(scaling),
                                     gemm::dropout_of(dropout, seed, offset));
  });
}

}  // namespace anymal::cuda
