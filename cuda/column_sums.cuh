// Sums over the rows of a matrix, column by column, in an order that depends on sizes alone. Blocks of 32 x 8 threads sum a run of rows over a
// strip of columns; a second kernel adds the runs' sums in order to what the destinations hold.
#pragma once
#include "elementwise.cuh"

namespace anymal::cuda {

constexpr int kSumRows = 8;  // threads of a block along the rows

// f.add<W>(sum, r, c) adds the terms of row r at columns c to c + W - 1 to sum[.][0..W).
template <int Sums, int W, class F>
__global__ void column_sums_kernel(int64_t rows, int64_t cols, int64_t run, float* partial, F f) {
  SHARED_ARRAY(float, part, [Sums][kSumRows][W * 32]);
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const int64_t c = (static_cast<int64_t>(blockIdx.x) * 32 + tx) * W, begin = blockIdx.y * run, end = begin + run < rows ? begin + run : rows;
  float sum[Sums][W] = {};
  if (c < cols)
    for (int64_t r = begin + ty; r < end; r += kSumRows) f.template add<W>(sum, r, c);
  for (int i = 0; i < Sums; ++i)
    for (int k = 0; k < W; ++k) part[i][ty][k * 32 + tx] = sum[i][k];
  __syncthreads();
  for (int j = threadIdx.x; j < Sums * W * 32; j += 32 * kSumRows) {
    const int i = j / (W * 32), at = j % (W * 32);
    const int64_t column = (static_cast<int64_t>(blockIdx.x) * 32 + at % 32) * W + at / 32;
    if (column >= cols) continue;
    float total = 0;
    for (int y = 0; y < kSumRows; ++y) total += part[i][y][at];
    partial[(static_cast<int64_t>(i) * gridDim.y + blockIdx.y) * cols + column] = total;
  }
}

template <int Sums>
struct ColumnTargets {
  float* to[Sums];  // null: not wanted
};
template <int Sums>
__global__ void column_totals_kernel(int64_t cols, int64_t runs, const float* partial, ColumnTargets<Sums> targets) {
  for (int64_t c = first_index(); c < cols; c += index_stride())
    for (int i = 0; i < Sums; ++i) {
      if (!targets.to[i]) continue;
      float total = 0;
#pragma unroll 8
      for (int64_t r = 0; r < runs; ++r) total += partial[(i * runs + r) * cols + c];
      targets.to[i][c] += total;
    }
}

// W > 1 where packs holds: cols and all addresses of f allow it.
template <int W, int Sums, class F>
void add_column_sums(Stream& s, int64_t rows, int64_t cols, bool packs, const F& f, ColumnTargets<Sums> targets) {
  if (rows == 0 || cols == 0) return;
  const int64_t width = 32 * (packs ? W : 1), strips = (cols + width - 1) / width;
  int64_t runs = 1024 / strips < 128 ? 1024 / strips : 128;
  runs = runs < 1 ? 1 : runs < (rows + 63) / 64 ? runs : (rows + 63) / 64;
  const int64_t run = (rows + runs - 1) / runs;
  Scratch scratch(s);
  float* partial = scratch.take<float>(Sums * runs * cols);
  const dim3 grid = grid_of(strips, runs);
  if (packs) launch<column_sums_kernel<Sums, W, F>>(s, grid, 32 * kSumRows, 0, rows, cols, run, partial, f);
  else launch<column_sums_kernel<Sums, 1, F>>(s, grid, 32 * kSumRows, 0, rows, cols, run, partial, f);
  launch_items<column_totals_kernel<Sums>>(s, cols, runs, partial, targets);
}

}  // namespace anymal::cuda
