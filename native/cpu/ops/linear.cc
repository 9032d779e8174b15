// linear: y = x.w^T + b, and its two gradients. All three are one product (linear/gemm.h) with strides that say which operand is transposed.
#include "cpu/kernel.h"
#include "cpu/linear/gemm.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

using linear::Destination;
using linear::Matrix;

namespace {
Matrix plain(const View& v) { return {v.data, v.dtype, v.cols(), 1}; }
Matrix transposed(const View& v) { return {v.data, v.dtype, 1, v.cols()}; }
Destination to(const View& v) { return {v.data, v.dtype, v.cols()}; }

// db (O) += column sums of dy (N,O): a fixed cut into row chunks, partial sums added in order.
template <class T>
void add_column_sums(Stream& s, float* db, const T* dy, int64_t rows, int64_t cols) {
  constexpr int64_t lane = 64;  // columns per task: each row of the strip is a few cache lines
  parallel_range(s, (cols + lane - 1) / lane, rows * lane, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t c0 = c * lane, n = c0 + lane < cols ? lane : cols - c0;
      // Blocks of rows are summed first: a long column does not lose its small terms.
      float total[lane] = {};
      for (int64_t r0 = 0; r0 < rows; r0 += 256) {
        float sum[lane] = {};
        const int64_t r1 = r0 + 256 < rows ? r0 + 256 : rows;
        for (int64_t r = r0; r < r1; ++r)
          for (int64_t j = 0; j < n; ++j) sum[j] += to_float(dy[r * cols + c0 + j]);
        for (int64_t j = 0; j < n; ++j) total[j] += sum[j];
      }
      for (int64_t j = 0; j < n; ++j) db[c0 + j] += total[j];
    }
  });
}
}  // namespace

void linear(Stream& s, Out y, In x, In w, InOpt b) {
  linear::gemm(s, x.rows(), w.dim(0), x.cols(), plain(x), transposed(w), to(y), {.bias = b.data});
}

void linear_dx(Stream& s, Out dx, In dy, In w) { linear::gemm(s, dy.rows(), w.dim(1), dy.cols(), plain(dy), plain(w), to(dx)); }

void linear_dw(Stream& s, Acc dw, Acc db, In dy, In x) {
  if (dw) linear::gemm(s, dy.cols(), x.cols(), dy.rows(), transposed(dy), plain(x), to(dw), {.accumulate = true});
  if (db) by_dtype(dy.dtype, [&](auto t) { add_column_sums(s, db.as<float>(), dy.as<decltype(t)>(), dy.rows(), dy.cols()); });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
