// linear: y = x.w^T + b, and its two gradients; and the dense product that other ops use.
#include "linear/gemm.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

// budget: 255 registers, 32 KiB shared, 0 spills
template <class Tile, class T, bool TransposedA, bool TransposedB>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) dense_kernel(Rows<T> a, Rows<T> b, Work w, Matrix c) {
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, kPlanes<T>, kPlanes<T>>]);
  Sums<Tile> sums;
  multiply<kPlanes<T>, kPlanes<T>, TransposedA, TransposedB>(sums, shared, a, b, w.tile_m(Tile::kM), w.tile_n(Tile::kN), w.begin(), w.end());
  store(sums, w, c);
}

template <class T, bool TransposedA, bool TransposedB>
void run(Stream& s, Scratch& scratch, int64_t M, int64_t N, int64_t K, const Dense& a, const Dense& b, const Matrix& c, float** reuse) {
  const Rows<T> from_a = TransposedA ? rows_of<T>(a.data, K, M, a.stride) : rows_of<T>(a.data, M, K, a.stride);
  const Rows<T> from_b = TransposedB ? rows_of<T>(b.data, K, N, b.stride) : rows_of<T>(b.data, N, K, b.stride);
  const auto with = [&](auto tile) {
    using Tile = decltype(tile);
    const Work w = plan<Tile>(s, scratch, M, N, K, reuse);
    launch<dense_kernel<Tile, T, TransposedA, TransposedB>>(s, w.grid(), Tile::kThreads, 0, from_a, from_b, w, c);
    add_splits(s, w, c);
  };
  with_tile<T, !TransposedA>(s, M, N, with);
}

}  // namespace

// See gemm.cuh.
void dense(Stream& s, Scratch& scratch, DType dtype, int64_t M, int64_t N, int64_t K, const Dense& a, const Dense& b, const Matrix& c,
           float** reuse) {
  if (M == 0 || N == 0) return;
  by_dtype(dtype, [&](auto t) {
    using T = decltype(t);
    if (a.transposed) run<T, true, true>(s, scratch, M, N, K, a, b, c, reuse);
    else if (b.transposed) run<T, false, true>(s, scratch, M, N, K, a, b, c, reuse);
    else run<T, false, false>(s, scratch, M, N, K, a, b, c, reuse);
  });
}

}  // namespace gemm

void linear(Stream& s, Out y, In x, In w, InOpt b) {
  Scratch scratch(s);
  const int64_t O = w.dim(0), I = x.cols();
  gemm::dense(s, scratch, x.dtype, x.rows(), O, I, {x.data, I}, {w.data, I}, gemm::matrix_of(y, O, b));
}

void linear_dx(Stream& s, Out dx, In dy, In w) {
  Scratch scratch(s);
  const int64_t O = dy.cols(), I = w.dim(1);
  gemm::dense(s, scratch, dy.dtype, dy.rows(), I, O, {dy.data, O}, {w.data, I, true}, gemm::matrix_of(dx, I));
}

void linear_dw(Stream& s, Acc dw, Acc db, In dy, In x) {
  const int64_t N = dy.rows(), O = dy.cols(), I = x.cols();
  if (dw) {
    Scratch scratch(s);
    gemm::dense(s, scratch, dy.dtype, O, I, N, {dy.data, O, true}, {x.data, I, true}, gemm::matrix_of(dw, I, View{}, true));
  }
  if (db) gemm::add_bias_gradient(s, db.as<float>(), dy, N, O);
}

}  // namespace anymal::cuda
