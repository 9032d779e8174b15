// Sums over the rows of a matrix, column by column, in an order that depends on sizes alone. Blocks of 32 x 8 threads sum a run of rows over a
// strip of columns; of a strip's blocks the one that comes last adds the runs' sums in order to what the destinations hold.
#pragma once
#include "elementwise.cuh"

namespace anymal::cuda {

constexpr int kSumRows = 8;  // threads of a block along the rows
static_assert(32 * kSumRows == kThreads);

template <int Sums>
struct ColumnTargets {
  float* to[Sums];  // null: not wanted
};

// The work of strips * runs blocks.
template <int Sums>
struct ColumnSums {
  int64_t rows, cols, run;  // rows of a run
  unsigned strips = 0, runs = 0;
  float* partial;     // (Sums,runs,cols), where there are several runs
  unsigned* arrived;  // a counter for each strip
  ColumnTargets<Sums> targets;
  unsigned blocks() const { return strips * runs; }
};

// W: columns of a thread.
template <int Sums, int W>
ColumnSums<Sums> plan_column_sums(const Stream& s, Scratch& scratch, int64_t rows, int64_t cols, ColumnTargets<Sums> targets) {
  ColumnSums<Sums> plan{rows, cols, 0, 0, 0, nullptr, s.counters, targets};
  if (rows == 0 || cols == 0) return plan;
  const int64_t strips = (cols + 32 * W - 1) / (32 * W);
  int64_t runs = 1024 / strips < 128 ? 1024 / strips : 128;
  runs = runs < 1 ? 1 : runs < (rows + 63) / 64 ? runs : (rows + 63) / 64;
  plan.run = (rows + runs - 1) / runs;
  plan.strips = static_cast<unsigned>(strips);
  plan.runs = static_cast<unsigned>(runs);
  if (runs > 1) plan.partial = scratch.take<float>(Sums * runs * cols);
  return plan;
}

// The whole block takes part; it is number `block` of the plan's. f.add<W>(sum, r, c) adds the terms of row r at columns c to c + W - 1 to
// sum[.][0..W).
template <int Sums, int W, class F>
__device__ __forceinline__ void sum_columns(const ColumnSums<Sums>& plan, unsigned block, const F& f) {
  SHARED_ARRAY(float, part, [Sums][kSumRows][W * 32]);
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const unsigned strip = block % plan.strips, run = block / plan.strips;
  const int64_t first = static_cast<int64_t>(strip) * 32 * W, c = first + tx * W, cols = plan.cols;
  const int64_t begin = run * plan.run, end = begin + plan.run < plan.rows ? begin + plan.run : plan.rows;
  float sum[Sums][W] = {};
  if (c < cols)
    for (int64_t r = begin + ty; r < end; r += kSumRows) f.template add<W>(sum, r, c);
  for (int i = 0; i < Sums; ++i)
    for (int k = 0; k < W; ++k) part[i][ty][k * 32 + tx] = sum[i][k];
  __syncthreads();
  const auto each_column = [&](const auto& body) {
    for (int j = threadIdx.x; j < Sums * W * 32; j += kThreads) {
      const int i = j / (W * 32), at = j % (W * 32);
      const int64_t column = first + at % 32 * W + at / 32;
      if (column < cols && plan.targets.to[i]) body(i, at, column);
    }
  };
  const auto of_run = [&](int i, unsigned r, int64_t column) { return plan.partial + (static_cast<int64_t>(i) * plan.runs + r) * cols + column; };
  each_column([&](int i, int at, int64_t column) {
    float total = 0;
    for (int y = 0; y < kSumRows; ++y) total += part[i][y][at];
    if (plan.runs > 1) *of_run(i, run, column) = total;
    else plan.targets.to[i][column] += total;
  });
  if (plan.runs == 1 || !last_block(plan.arrived + strip, plan.runs, part)) return;
  each_column([&](int i, int, int64_t column) {
    float total = 0;
#pragma unroll 8
    for (unsigned r = 0; r < plan.runs; ++r) total += *of_run(i, r, column);
    plan.targets.to[i][column] += total;
  });
}

template <int Sums, int W, class F>
__global__ void column_sums_kernel(ColumnSums<Sums> plan, F f) {
  sum_columns<Sums, W>(plan, blockIdx.x, f);
}

// W > 1 where packs holds: cols and all addresses of f allow it.
template <int W, int Sums, class F>
void add_column_sums(Stream& s, int64_t rows, int64_t cols, bool packs, const F& f, ColumnTargets<Sums> targets) {
  Scratch scratch(s);
  const auto with = [&](auto width) {
    const auto plan = plan_column_sums<Sums, width()>(s, scratch, rows, cols, targets);
    launch<column_sums_kernel<Sums, width(), F>>(s, plan.blocks(), kThreads, 0, plan, f);
  };
  if (packs) with(std::integral_constant<int, W>{});
  else with(std::integral_constant<int, 1>{});
}

}  // namespace anymal::cuda
