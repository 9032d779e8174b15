// Elementwise kernels: each thread takes W neighbouring elements, in packs of sixteen bytes where addresses allow it.
#pragma once
#include <type_traits>

#include "common.cuh"

namespace anymal::cuda {

template <class T>
inline constexpr int kWidth = Pack<T>::kSize;

// The W elements at p as floats and back: one element, or whole packs.
template <int W, class T>
__device__ __forceinline__ void load(float (&v)[W], const T* p) {
  if constexpr (W == 1) {
    v[0] = to_float(*p);
  } else {
    constexpr int size = kWidth<T>;
    static_assert(W % size == 0);
    for (int k = 0; k < W; k += size) {
      const Pack<T> pack = load_pack(p + k);
      for (int j = 0; j < size; ++j) v[k + j] = to_float(pack.v[j]);
    }
  }
}
template <int W, class T>
__device__ __forceinline__ void store(T* p, const float (&v)[W]) {
  if constexpr (W == 1) {
    *p = from_float<T>(v[0]);
  } else if constexpr (std::is_same_v<T, bf16>) {
    static_assert(W % 8 == 0);
    for (int k = 0; k < W; k += 8)
      *reinterpret_cast<uint4*>(p + k) = make_uint4(ptx::cvt_bf16x2(v[k], v[k + 1]), ptx::cvt_bf16x2(v[k + 2], v[k + 3]),
                                                    ptx::cvt_bf16x2(v[k + 4], v[k + 5]), ptx::cvt_bf16x2(v[k + 6], v[k + 7]));
  } else {
    static_assert(W % 4 == 0);
    for (int k = 0; k < W; k += 4) *reinterpret_cast<float4*>(p + k) = make_float4(v[k], v[k + 1], v[k + 2], v[k + 3]);
  }
}

// A norm's weight or bias, f32 or bf16 whatever x is, or absent.
struct Weights {
  const void* data;
  bool half;
  explicit Weights(const View& v) : data(v.data), half(v.dtype == DType::bf16) {}
  template <int W>
  __device__ __forceinline__ void load(float (&v)[W], int64_t at, float otherwise) const {
    if (!data) {
      for (int k = 0; k < W; ++k) v[k] = otherwise;
    } else if (half) {
      if constexpr (W != 4) cuda::load<W>(v, static_cast<const bf16*>(data) + at);  // 4 is the width of f32, whose weights are f32
    } else {
      cuda::load<W>(v, static_cast<const float*>(data) + at);
    }
  }
  __device__ __forceinline__ float operator[](int64_t at) const {
    float v[1];
    load<1>(v, at, 1.0f);
    return v[0];
  }
};

// f.at<W>(i) does elements i to i + W - 1; f.at<1>(i) the rest.
template <int W, class F>
__global__ void each_kernel(int64_t groups, int64_t n, F f) {
  for (int64_t g = first_index(); g < groups; g += index_stride()) {
    const int64_t at = g * W;
    if (at + W <= n) f.template at<W>(at);
    else
      for (int64_t i = at; i < n; ++i) f.template at<1>(i);
  }
}
// packs: all addresses of f are multiples of sixteen.
template <int W, class F>
void for_each_element(Stream& s, int64_t n, bool packs, const F& f) {
  if (packs) launch_items<each_kernel<W, F>>(s, (n + W - 1) / W, n, f);
  else launch_items<each_kernel<1, F>>(s, n, n, f);
}

// Calls f with two integral constants: W, the elements at once (packs: all addresses and the row length allow it), and the threads that share
// a row, a warp or a block of kThreads.
template <class T, class F>
void by_row_shape(bool packs, int64_t cols, const F& f) {
  using One = std::integral_constant<int, 1>;
  using Many = std::integral_constant<int, kWidth<T>>;
  using Warp = std::integral_constant<int, 32>;
  using Block = std::integral_constant<int, kThreads>;
  if (cols <= 1024) packs ? f(Many{}, Warp{}) : f(One{}, Warp{});
  else packs ? f(Many{}, Block{}) : f(One{}, Block{});
}
// The same value for all threads that share a row.
template <int Group>
__device__ __forceinline__ float group_sum(float v) {
  if constexpr (Group == 32) return warp_sum(v);
  else return block_sum<Group>(v);
}
template <int Group>
__device__ __forceinline__ float group_max(float v) {
  if constexpr (Group == 32) return warp_max(v);
  else return block_max<Group>(v);
}
// Of blocks of kThreads, Group threads to a row.
template <int Group>
__device__ __forceinline__ int64_t group_row() {
  return static_cast<int64_t>(blockIdx.x) * (kThreads / Group) + threadIdx.x / Group;
}
template <int Group>
dim3 blocks_of_rows(int64_t rows) {
  return grid_of((rows + kThreads / Group - 1) / (kThreads / Group));
}

}  // namespace anymal::cuda
