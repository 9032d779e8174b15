// The L2 norm of many tensors together, and the factor that clips them, in one launch: a block adds up a tile, and the last one to come adds what
// they all found, always in the order of the tiles. In f64 but for the elements of a pack: the same bits on every run, and an error that hardly
// grows.
#pragma once
#include "elementwise.cuh"
#include "tensor_list.cuh"

namespace anymal::cuda {

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
// Of x[begin, end), for thread 0.
template <bool Square, class T>
__device__ __forceinline__ double tile_sum(const T* x, int64_t begin, int64_t end) {
  constexpr int W = kWidth<T>;
  const bool packs = reinterpret_cast<uintptr_t>(x) % 16 == 0;
  double sum = 0;
  for (int64_t j = begin + threadIdx.x * W; j < end; j += kThreads * W) {
    if (packs && j + W <= end) sum += terms<Square, W>(x + j);
    else
      for (int64_t k = j; k < j + W && k < end; ++k) sum += terms<Square, 1>(x + k);
  }
  return block_sum_f64<kThreads>(sum);
}

// As torch.nn.utils.clip_grad_norm_; a NaN norm stays visible.
__device__ __forceinline__ float clip_factor(float norm, float max_norm) {
  const float c = max_norm / (norm + 1e-6f);
  return c < 1.0f ? c : (c != c ? c : 1.0f);
}

// What the last block writes: the norm, and where there is a place for it the factor; infinite: 1 whatever the norm.
struct NormResult {
  float* norm;
  float* clip;
  float max_norm;
};

// budget: 40 registers, 1 KiB shared, 0 spills
template <class Item, int Walks>
__global__ void __launch_bounds__(kThreads) norm_kernel(TensorList<Item, Walks> list, int64_t tile, double* partial, NormResult to) {
  SHARED_ARRAY(bool, last, [1]);
  const int i = tensor_of(list, 0, blockIdx.x);
  double sum = 0;
  if (i >= 0) {
    const int64_t n = list.items[i].size(), begin = static_cast<int64_t>(blockIdx.x - list.first[0][i]) * tile;
    sum = tile_sum<true>(list.items[i].g, begin, begin + tile < n ? begin + tile : n);
  }
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last[0] = atomicAdd(list.blocks_done, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last[0]) return;
  sum = 0;
  for (uint32_t b = threadIdx.x; b < gridDim.x; b += kThreads) sum += partial[b];
  sum = block_sum_f64<kThreads>(sum);
  if (threadIdx.x) return;
  const float norm = static_cast<float>(sqrt(sum));
  *to.norm = norm;
  if (to.clip) *to.clip = to.max_norm < INFINITY ? clip_factor(norm, to.max_norm) : 1.0f;
  *list.blocks_done = 0;
}

// Elements of a tile: many tiles keep a card busy, few keep the last block's sum short. By sizes alone, so that all cards add in one order.
template <class Item>
int64_t norm_tile(const std::vector<Item>& items) {
  int64_t total = 0, tile = 16384;
  for (const Item& item : items) total += item.size();
  while (total / tile > 4096) tile *= 2;
  return tile;
}

// `list`: walked in such tiles.
template <class Item, int Walks>
void norm_of(Stream& s, Scratch& scratch, const TensorList<Item, Walks>& list, int64_t tile, const NormResult& to) {
  const uint32_t blocks = list.tiles[0] ? list.tiles[0] : 1;  // of nothing it is 0
  launch<norm_kernel<Item, Walks>>(s, blocks, kThreads, 0, list, tile, scratch.take<double>(blocks), to);
}

}  // namespace anymal::cuda
