// Rows of x in 8 bit (LLM.int8, arXiv 2208.07339), and its outlier columns, a list that the device makes.
#pragma once
#include "common.cuh"

namespace anymal::cuda::gemm {
namespace {

constexpr int kFlagRows = 64;  // rows that a thread looks through

// budget: 40 registers, 1 KiB shared, 0 spills
template <class T>
__global__ void flag_outliers_kernel(int32_t* flags, const T* x, int64_t rows, int64_t cols, float limit) {
  const int64_t c = first_index(), end = (blockIdx.y + 1) * int64_t{kFlagRows};
  if (c >= cols) return;
  bool found = false;
  for (int64_t r = blockIdx.y * int64_t{kFlagRows}; r < end && r < rows; ++r) found |= fabsf(to_float(x[r * cols + c])) >= limit;
  if (found) atomicMax(&flags[c], 1);
}

constexpr int kListThreads = 1024;

// budget: 40 registers, 1 KiB shared, 0 spills
// Flagged columns in ascending order, by one block.
__global__ void __launch_bounds__(kListThreads) list_outliers_kernel(int32_t* list, int32_t* count, const int32_t* flags, int64_t cols) {
  SHARED_ARRAY(int32_t, found, [kListThreads / 32]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int32_t before = 0;
  for (int64_t c0 = 0; c0 < cols; c0 += kListThreads) {
    const int64_t c = c0 + threadIdx.x;
    const bool flagged = c < cols && flags[c];
    const unsigned votes = __ballot_sync(~0u, flagged);
    if (lane == 0) found[warp] = __popc(votes);
    __syncthreads();  // every warp has counted
    int32_t at = before + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kListThreads / 32; ++w) {
      if (w < warp) at += found[w];
      before += found[w];
    }
    if (flagged) list[at] = static_cast<int32_t>(c);
    __syncthreads();  // the counts have been read
  }
  if (threadIdx.x == 0) *count = before;
}

// budget: 40 registers, 1 KiB shared, 0 spills
// codes = round(127 x / maximum) where |x| < limit, 0 in outlier columns; maximum over |x| < limit; outliers (rows, cols): the outlier columns side
// by side, as many as there are. One block per row.
template <class T, class Code>
__global__ void __launch_bounds__(kThreads)
    quantize_x_kernel(Code* codes, int64_t stride, float* maximum, T* outliers, const T* x, const int32_t* flags, const int32_t* list,
                      const int32_t* count, int64_t cols, float limit) {
  const T* from = x + blockIdx.x * cols;
  Code* to = codes + blockIdx.x * stride;
  float most = 0;
  for (int64_t c = threadIdx.x; c < cols; c += kThreads) {
    const float a = fabsf(to_float(from[c]));
    most = a < limit && a > most ? a : most;
  }
  most = block_max<kThreads>(most);
  if (threadIdx.x == 0) maximum[blockIdx.x] = most;
  const float factor = most > 0 ? 127.0f / most : 0.0f;
  for (int64_t c = threadIdx.x; c < cols; c += kThreads) {
    const float v = to_float(from[c]);
    const float code = fabsf(v) < limit && !(flags && flags[c]) ? rintf(v * factor) : 0.0f;
    if constexpr (std::is_same_v<Code, bf16>) to[c] = from_float<bf16>(code);
    else to[c] = static_cast<Code>(code);
  }
  if (!flags) return;
  for (int64_t c = threadIdx.x; c < *count; c += kThreads) outliers[blockIdx.x * cols + c] = from[list[c]];
}

template <class T, class Code>
struct QuantizedRows {
  Code* codes;
  int64_t stride;  // of their rows: whole sixteen bytes where a code is one
  float* maximum;
  T* outliers = nullptr;
  int32_t *list = nullptr, *count = nullptr;  // outlier columns; null: there are none
};
template <class T, class Code>
QuantizedRows<T, Code> quantize_rows(Stream& s, Scratch& scratch, const View& x, double threshold) {
  const int64_t rows = x.rows(), cols = x.cols(), stride = sizeof(Code) == 1 ? (cols + 15) / 16 * 16 : cols;
  QuantizedRows<T, Code> q{scratch.take<Code>(rows * stride), stride, scratch.take<float>(rows)};
  const float limit = threshold > 0 ? static_cast<float>(threshold) : INFINITY;
  int32_t* flags = nullptr;
  if (threshold > 0 && cols > 0) {
    flags = scratch.take<int32_t>(cols);
    q.outliers = scratch.take<T>(rows * cols);
    q.list = scratch.take<int32_t>(cols);
    q.count = scratch.take<int32_t>(1);
    clear(s, flags, cols * static_cast<int64_t>(sizeof *flags));
    // The grid's y is short: very many rows go in several launches.
    constexpr int64_t most = int64_t{kFlagRows} * 32768;
    for (int64_t r = 0; r < rows; r += most) {
      const int64_t n = rows - r < most ? rows - r : most;
      const dim3 grid = grid_of((cols + kThreads - 1) / kThreads, (n + kFlagRows - 1) / kFlagRows);
      launch<flag_outliers_kernel<T>>(s, grid, kThreads, 0, flags, x.as<T>() + r * cols, n, cols, limit);
    }
    launch<list_outliers_kernel>(s, 1, kListThreads, 0, q.list, q.count, flags, cols);
  }
  launch<quantize_x_kernel<T, Code>>(s, grid_of(rows), kThreads, 0, q.codes, stride, q.maximum, q.outliers, x.as<T>(), flags, q.list, q.count, cols,
                                     limit);
  return q;
}

}  // namespace
}  // namespace anymal::cuda::gemm
