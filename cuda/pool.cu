// max_pool1d and mean_pool, with their gradients.
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

template <class T>
__global__ void max_pool1d_kernel(int64_t items, T* y, int32_t* index, const T* x, int64_t L, int64_t n, int64_t kernel, int64_t stride) {
  for (int64_t item = first_index(); item < items; item += index_stride()) {
    const int64_t row = item / n, begin = (item - row * n) * stride;
    const T* from = x + row * L;
    int64_t best = begin;
    float most = to_float(from[begin]);
    for (int64_t j = begin + 1; j < begin + kernel; ++j) {
      const float v = to_float(from[j]);
      if (v > most || v != v) {
        best = j;
        most = v;
      }
    }
    y[item] = from[best];
    index[item] = static_cast<int32_t>(best);
  }
}

// A block per row. Windows may overlap, and add up in their order: of those among kThreads windows that name one place, the first adds all.
template <class T>
__global__ void max_pool1d_backward_kernel(T* dx, const T* dy, const int32_t* index, int64_t n, int64_t length, FaultLog fault) {
  SHARED_ARRAY(int32_t, places, [kThreads]);
  SHARED_ARRAY(float, values, [kThreads]);
  const int64_t row = blockIdx.x;
  T* to = dx + row * length;
  const int t = threadIdx.x;
  for (int64_t i = t; i < length; i += kThreads) to[i] = from_float<T>(0.0f);
  for (int64_t first = 0; first < n; first += kThreads) {
    const int64_t i = first + t;
    const int32_t place = i < n ? index[row * n + i] : -1;
    __syncthreads();  // zeros are written, the last windows added
    places[t] = i < n && index_holds(fault, Fault::pool_index, row * n + i, place, 0, length) ? place : -1;
    values[t] = i < n ? to_float(dy[row * n + i]) : 0.0f;
    __syncthreads();
    bool leads = places[t] >= 0;
    for (int j = 0; leads && j < t; ++j) leads = places[j] != place;
    if (!leads) continue;
    float sum = to_float(to[place]);
    for (int j = t; j < kThreads; ++j)
      if (places[j] == place) sum = to_float(from_float<T>(sum + values[j]));  // each addition is rounded, as the CPU's
    to[place] = from_float<T>(sum);
  }
}

// y (outer, inner) = mean of x (outer, n, inner). A block has `across` neighbouring columns, its threads share their elements.
template <class T>
__global__ void mean_pool_kernel(T* y, const T* x, int64_t outer, int64_t n, int64_t inner, int across) {
  SHARED_ARRAY(float, part, [kThreads]);
  const int tx = threadIdx.x % across, ty = threadIdx.x / across, down = kThreads / across;
  const int64_t strips = (inner + across - 1) / across;
  for (int64_t block = blockIdx.x; block < outer * strips; block += gridDim.x) {
    const int64_t o = block / strips, c = (block - o * strips) * across + tx;
    float sum = 0;
    if (c < inner)
      for (int64_t i = ty; i < n; i += down) sum += to_float(x[(o * n + i) * inner + c]);
    part[threadIdx.x] = sum;
    __syncthreads();
    if (ty == 0 && c < inner) {
      for (int j = 1; j < down; ++j) sum += part[j * across + tx];
      y[o * inner + c] = from_float<T>(sum / static_cast<float>(n));
    }
    __syncthreads();
  }
}

template <class T>
__global__ void mean_pool_backward_kernel(int64_t items, T* dx, const T* dy, int64_t n, int64_t inner, float factor) {
  for (int64_t i = first_index(); i < items; i += index_stride()) {
    const int64_t row = i / inner;
    dx[i] = from_float<T>(to_float(dy[row / n * inner + (i - row * inner)]) * factor);
  }
}

}  // namespace

void max_pool1d(Stream& s, Out y, Out index, In x, int64_t kernel, int64_t stride) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    launch_items<max_pool1d_kernel<T>>(s, y.size(), y.as<T>(), index.as<int32_t>(), x.as<T>(), x.cols(), y.cols(), kernel, stride);
  });
}

void max_pool1d_backward(Stream& s, Out dx, In dy, In index, int64_t length) {
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    launch<max_pool1d_backward_kernel<T>>(s, grid_of(dy.rows()), kThreads, 0, dx.as<T>(), dy.as<T>(), index.as<int32_t>(), dy.cols(), length,
                                          s.fault_log());
  });
}

void mean_pool(Stream& s, Out y, In x, int64_t dim) {
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < dim; ++i) outer *= x.shape[i];
  for (int64_t i = dim + 1; i < x.rank; ++i) inner *= x.shape[i];
  int across = 1;
  while (across < 32 && across < inner) across *= 2;
  const int64_t blocks = outer * ((inner + across - 1) / across), most = int64_t{8} * s.multiprocessors;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    launch<mean_pool_kernel<T>>(s, grid_of(blocks < most ? blocks : most), kThreads, 0, y.as<T>(), x.as<T>(), outer, x.shape[dim], inner, across);
  });
}

void mean_pool_backward(Stream& s, Out dx, In dy, int64_t dim, int64_t length) {
  int64_t inner = 1;
  for (int64_t i = dim; i < dy.rank; ++i) inner *= dy.shape[i];
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    launch_items<mean_pool_backward_kernel<T>>(s, dx.size(), dx.as<T>(), dy.as<T>(), length, inner, 1.0f / static_cast<float>(length));
  });
}

}  // namespace anymal::cuda
