// linear_quantized_lora (QLoRA, arXiv 2305.14314): u = dropout(x).A^T, y = x.W^T + s u.B^T + b in one accumulation, and its backward. With
// t = s dy.B:  dx = dy.W + dropout'(t.A), dA += t^T.dropout(x), dB += s dy^T.u. The mask is drawn where x is loaded, nothing is stored of it.
#include "linear/quantized.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

// u (N,r) = dropout(x) . A^T
// budget: 255 registers, 32 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) dropped_kernel(DroppedRows<T> x, Rows<T> lora_a, Work w, Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  Sums<Tile> sums;
  multiply<P, P, false, false>(sums, shared, x, lora_a, w.tile_m(Tile::kM), w.tile_n(Tile::kN), w.begin(), w.end());
  store(sums, w, c);
}

// dA (r,I) += t^T . dropout(x)
// budget: 255 registers, 32 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) dropped_dw_kernel(Rows<T> t, DroppedRows<T> x, Work w, Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  Sums<Tile> sums;
  multiply<P, P, true, true>(sums, shared, t, x, w.tile_m(Tile::kM), w.tile_n(Tile::kN), w.begin(), w.end());
  store(sums, w, c);
}

// A low-rank product is one tile wide: middle tiles, and sums cut where that leaves the card idle.
template <class T>
using LowRank = std::conditional_t<sizeof(T) == 4, Exact, Middle>;

Dropout dropout_of(double p, int64_t seed, int64_t offset) {
  return {static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), static_cast<float>(p), static_cast<float>(1.0 / (1.0 - p))};
}

template <class T>
void lora_forward(Stream& s, const View& y, const View& u, const View& x, const Quantized& w, const View& bias, const View& lora_a,
                  const View& lora_b, double threshold, float scaling, const Dropout& dropout) {
  using Tile = LowRank<T>;
  Scratch scratch(s);
  const int64_t N = x.rows(), I = x.cols(), r = lora_a.dim(0);
  const Matrix to = matrix_of(u, r);
  const Work work = plan<Tile>(s, scratch, N, r, I);
  const DroppedRows<T> dropped{rows_of<T>(x.data, N, I, I), dropout};
  launch<dropped_kernel<Tile, T>>(s, work.grid(), Tile::kThreads, 0, dropped, rows_of<T>(lora_a.data, r, I, I), work, to);
  add_splits(s, work, to);
  quantized(s, scratch, y, x, w, bias, threshold, {u.data, lora_b.data, r, scaling});
}

template <class T>
void lora_backward(Stream& s, const View& dx, const View& da, const View& db, const View& dy, const View& x, const View& u, const Quantized& w,
                   const View& lora_a, const View& lora_b, float scaling, const Dropout& dropout) {
  using Tile = LowRank<T>;
  Scratch scratch(s);
  const int64_t N = x.rows(), I = x.cols(), O = dy.cols(), r = lora_a.dim(0);
  View t = u;
  t.data = scratch.take<T>(N * r);
  Matrix to_t = matrix_of(t, r);
  to_t.alpha = scaling;
  dense(s, scratch, x.dtype, N, r, O, {dy.data, O}, {lora_b.data, r, true}, to_t);
  if (db) {
    Matrix to = matrix_of(db, r, View{}, true);
    to.alpha = scaling;
    dense(s, scratch, x.dtype, O, r, N, {dy.data, O, true}, {u.data, r, true}, to);
  }
  if (da) {
    const Matrix to = matrix_of(da, I, View{}, true);
    const Work work = plan<Tile>(s, scratch, r, I, N);
    const DroppedRows<T> dropped{rows_of<T>(x.data, N, I, I), dropout};
    launch<dropped_dw_kernel<Tile, T>>(s, work.grid(), Tile::kThreads, 0, rows_of<T>(t.data, N, r, r), dropped, work, to);
    add_splits(s, work, to);
  }
  if (dx) quantized_dx(s, scratch, dx, dy, w, {t.data, lora_a.data, r, dropout});
}

}  // namespace
}  // namespace gemm

void linear_quantized_lora(Stream& s, Out y, Out u, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, In lora_a,
                           In lora_b, QuantFormat format, int64_t block, int64_t out_features, double threshold, double scaling, double dropout,
                           int64_t seed, int64_t offset) {
  const gemm::Quantized w{codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols()};
  by_dtype(x.dtype, [&](auto t) {
    gemm::lora_forward<decltype(t)>(s, y, u, x, w, b, lora_a, lora_b, threshold, static_cast<float>(scaling),
                                    gemm::dropout_of(dropout, seed, offset));
  });
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
