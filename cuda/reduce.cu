// sum, grad_norm, clip_scale, argmax. Tiles of fixed size are summed by a block each, then their sums by one block, all in f64 but for the
// elements of a pack: the same bits on every run, and an error that hardly grows.
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

constexpr int64_t kTile = 16384;
constexpr int kItems = 128;  // tensors of one launch

struct Items {
  const void* x[kItems];
  int64_t n[kItems];
  uint32_t first[kItems + 1];  // tile of the launch
};

__device__ __forceinline__ double warp_sum_f64(double v) {
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  return v;
}
// For thread 0.
template <int Threads>
__device__ double block_sum_f64(double v) {
  SHARED_ARRAY(double, partial, [Threads / 32]);
  v = warp_sum_f64(v);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  double total = 0;
  if (threadIdx.x == 0)
    for (int w = 0; w < Threads / 32; ++w) total += partial[w];
  return total;
}

template <bool Square, int W, class T>
__device__ __forceinline__ float terms(const T* x) {
  float v[W], sum = 0;
  load<W>(v, x);
  for (int k = 0; k < W; ++k) sum += Square ? v[k] * v[k] : v[k];
  return sum;
}

template <class T, bool Square>
__global__ void tile_sums_kernel(double* partial, Items items) {
  constexpr int W = kWidth<T>;
  int i = 0;
  while (blockIdx.x >= items.first[i + 1]) ++i;
  const T* x = static_cast<const T*>(items.x[i]);
  const int64_t begin = static_cast<int64_t>(blockIdx.x - items.first[i]) * kTile, end = begin + kTile < items.n[i] ? begin + kTile : items.n[i];
  const bool packs = reinterpret_cast<uintptr_t>(x) % 16 == 0;
  double sum = 0;
  for (int64_t j = begin + threadIdx.x * W; j < end; j += kThreads * W) {
    if (packs && j + W <= end) sum += terms<Square, W>(x + j);
    else
      for (int64_t k = j; k < j + W && k < end; ++k) sum += terms<Square, 1>(x + k);
  }
  sum = block_sum_f64<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// y = scale * total, or its root.
constexpr int kTotalThreads = 512;
__global__ void total_kernel(float* y, const double* partial, int64_t n, double scale, bool root) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kTotalThreads) sum += partial[i];
  sum = block_sum_f64<kTotalThreads>(sum) * scale;
  if (threadIdx.x == 0) *y = static_cast<float>(root ? sqrt(sum) : sum);
}

template <class T, bool Square>
void add_up(Stream& s, float* y, const View* xs, int64_t count, double scale) {
  int64_t tiles = 0;
  for (int64_t i = 0; i < count; ++i) tiles += (xs[i].size() + kTile - 1) / kTile;
  Scratch scratch(s);
  double* partial = scratch.take<double>(tiles);
  int64_t done = 0;
  for (int64_t i = 0; i < count;) {
    Items items{};
    int k = 0;
    for (; i < count && k < kItems; ++i) {
      if (xs[i].size() == 0) continue;
      items.x[k] = xs[i].data;
      items.n[k] = xs[i].size();
      items.first[k + 1] = items.first[k] + static_cast<uint32_t>((xs[i].size() + kTile - 1) / kTile);
      ++k;
    }
    launch<tile_sums_kernel<T, Square>>(s, items.first[k], kThreads, 0, partial + done, items);
    done += items.first[k];
  }
  launch<total_kernel>(s, 1, kTotalThreads, 0, y, partial, tiles, scale, Square);
}

__global__ void clip_scale_kernel(float* scale, const float* norm, float max_norm) {
  const float c = max_norm / (*norm + 1e-6f);
  *scale = c < 1.0f ? c : (c != c ? c : 1.0f);  // a NaN norm stays visible
}

// The largest value and the first place that has it. NaN is never the largest.
struct Best {
  float value;
  int32_t at;
  __device__ __forceinline__ void meet(float v, int32_t i) {
    if (v > value || (v == value && i < at)) {
      value = v;
      at = i;
    }
  }
};

template <class T, int W, int Group>
__global__ void argmax_kernel(int32_t* y, const T* x, int64_t rows, int64_t cols) {
  SHARED_ARRAY(Best, parts, [kThreads / 32]);
  const int64_t row = group_row<Group>();
  if (row >= rows) return;
  const T* from = x + row * cols;
  Best best{-INFINITY, INT32_MAX};
  for (int64_t j = threadIdx.x % Group * W; j < cols; j += Group * W) {
    float v[W];
    load<W>(v, from + j);
    for (int k = 0; k < W; ++k) best.meet(v[k], static_cast<int32_t>(j + k));
  }
  for (int o = 16; o; o >>= 1) {
    const float v = __shfl_xor_sync(~0u, best.value, o);
    const int32_t at = __shfl_xor_sync(~0u, best.at, o);
    best.meet(v, at);
  }
  if constexpr (Group > 32) {
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = best;
    __syncthreads();
    for (int w = 0; w < Group / 32; ++w) best.meet(parts[w].value, parts[w].at);
  }
  if (threadIdx.x % Group) return;
  const float first = cols ? to_float(from[0]) : 0.0f;
  y[row] = first != first || best.at == INT32_MAX ? 0 : best.at;  // nothing is greater than a NaN that comes first
}

}  // namespace

void sum(Stream& s, Out y, In x, double scale) {
  by_dtype(x.dtype, [&](auto t) { add_up<decltype(t), false>(s, y.as<float>(), &x, 1, scale); });
}

void grad_norm(Stream& s, Out norm, InList g) { add_up<float, true>(s, norm.as<float>(), g.items, g.count, 1); }

void clip_scale(Stream& s, Out scale, In norm, double max_norm) {
  launch<clip_scale_kernel>(s, 1, 1, 0, scale.as<float>(), norm.as<float>(), static_cast<float>(max_norm));
}

void argmax(Stream& s, Out y, In x) {
  const int64_t rows = x.rows(), cols = x.cols();
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    by_row_shape<T>(cols % kWidth<T> == 0 && aligned16({x.data}), cols, [&](auto w, auto group) {
      launch<argmax_kernel<T, w(), group()>>(s, blocks_of_rows<group()>(rows), kThreads, 0, y.as<int32_t>(), x.as<T>(), rows, cols);
    });
  });
}

}  // namespace anymal::cuda
