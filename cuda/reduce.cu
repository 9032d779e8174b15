// sum, grad_norm, clip_scale, argmax. A sum is one of tiles of fixed size, a block each, and then of their sums by one block, as grad_norm.cuh has
// it.
#include "grad_norm.cuh"

namespace anymal::cuda {
namespace {

constexpr int64_t kTile = 16384;

template <class T>
__global__ void tile_sums_kernel(double* partial, const T* x, int64_t n) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTile;
  const double sum = tile_sum<false>(x, begin, begin + kTile < n ? begin + kTile : n);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// y = scale * total
constexpr int kTotalThreads = 512;
__global__ void total_kernel(float* y, const double* partial, int64_t n, double scale) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kTotalThreads) sum += partial[i];
  sum = block_sum_f64<kTotalThreads>(sum) * scale;
  if (threadIdx.x == 0) *y = static_cast<float>(sum);
}

struct Gradient {
  const float* g;
  int64_t n;
  __host__ __device__ int64_t size() const { return n; }
};

__global__ void clip_scale_kernel(float* scale, const float* norm, float max_norm) { *scale = clip_factor(*norm, max_norm); }

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
  Scratch scratch(s);
  const int64_t n = x.size(), tiles = (n + kTile - 1) / kTile;
  double* partial = scratch.take<double>(tiles);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    launch<tile_sums_kernel<T>>(s, grid_of(tiles), kThreads, 0, partial, x.as<T>(), n);
  });
  launch<total_kernel>(s, 1, kTotalThreads, 0, y.as<float>(), partial, tiles, scale);
}

void grad_norm(Stream& s, Out norm, InList g) {
  std::vector<Gradient> items;
  for (int64_t i = 0; i < g.count; ++i)
    if (g.items[i].size()) items.push_back({g.items[i].as<float>(), g.items[i].size()});
  const int64_t tile = norm_tile(items);
  const auto list = to_device(s, items, [=](const Gradient&) { return tile; });
  Scratch scratch(s);
  norm_of(s, scratch, list, tile, {norm.as<float>(), nullptr, 0});
}

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
