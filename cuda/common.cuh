// What every op file includes: element types, packs of 16 bytes, reductions, launches that throw.
#pragma once
#include <cmath>

#include "device.cuh"
#include "ops.h"
#include "ptx.cuh"
#include "stream.h"

namespace anymal::cuda {

struct bf16 {
  uint16_t bits;
};
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return {static_cast<uint16_t>(ptx::cvt_bf16x2(x, 0.0f))};
}

// Sixteen bytes, loaded and stored at once where the address is a multiple of sixteen.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T v[kSize];
};
template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T* p) {
  Pack<T> r;
  *reinterpret_cast<uint4*>(&r) = *reinterpret_cast<const uint4*>(p);
  return r;
}
template <class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T>& x) {
  *reinterpret_cast<uint4*>(p) = *reinterpret_cast<const uint4*>(&x);
}
inline bool address_divides(const void* p, uintptr_t by) { return reinterpret_cast<uintptr_t>(p) % by == 0; }
inline bool aligned16(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (!address_divides(p, 16)) return false;
  return true;
}

// Calls f with a value of the element type: f(float{}) or f(bf16{}).
template <class F>
void by_dtype(DType t, const F& f) {
  if (t == DType::bf16) f(bf16{});
  else f(float{});
}

__device__ __forceinline__ float warp_sum(float v) {
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, o));
  return v;
}
// The same value for all threads of the block; every thread takes part. Order of additions: fixed.
template <int Threads>
__device__ __forceinline__ float block_sum(float v) {
  static_assert(Threads % 32 == 0);
  SHARED_ARRAY(float, partial, [Threads / 32]);
  v = warp_sum(v);
  __syncthreads();  // an earlier sum has been read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < Threads / 32; ++w) total += partial[w];
  return total;
}
template <int Threads>
__device__ __forceinline__ float block_max(float v) {
  static_assert(Threads % 32 == 0);
  SHARED_ARRAY(float, partial, [Threads / 32]);
  v = warp_max(v);
  __syncthreads();  // kept: an earlier maximum has been read, though no kernel takes two yet
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  float most = partial[0];
  for (int w = 1; w < Threads / 32; ++w) most = fmaxf(most, partial[w]);
  return most;
}

// Of the `blocks` that share a counter (Stream::counters), true in the one that comes last: it sees what all of them have written before. Every
// thread takes part; `room` is four bytes of shared memory, whatever lies there. So a sum over blocks needs no second launch, and its order hangs on
// no schedule.
__device__ __forceinline__ bool last_block(unsigned* counter, unsigned blocks, void* room) {
  unsigned* before = static_cast<unsigned*>(room);
  __syncthreads();  // the whole block has written, and reads the room no longer
  if (threadIdx.x == 0) {
    __threadfence();
    *before = atomicAdd(counter, 1u);
    __threadfence();
    if (*before + 1 == blocks) atomicExch(counter, 0u);  // for the next kernel
  }
  __syncthreads();
  return *before + 1 == blocks;
}

// Is `got` in [low, high)? If not, the first such index of the command is kept for the host.
__device__ __forceinline__ bool index_holds(FaultSink fault, Fault::Kind kind, int64_t at, int64_t got, int64_t low, int64_t high) {
  if (got >= low && got < high) return true;
  Fault& slot = fault.to->slots[fault.command % Faults::kSlots];
  const int32_t owner = static_cast<int32_t>(fault.command % INT32_MAX) + 1, before = atomicCAS(&slot.owner, 0, owner);
  if (before == 0) {
    slot.command = fault.command;
    slot.kind = kind;
    slot.at = at;
    slot.got = got;
    slot.low = low;
    slot.high = high;
  } else if (before != owner) {
    atomicMax(&fault.to->lost, 1);
  }
  return false;
}

// A grid of so many blocks, where sizes come from tensors.
inline dim3 grid_of(int64_t x, int64_t y = 1) {
  if (x < 0 || x > INT32_MAX || y < 0 || y > 65535)
    throw std::runtime_error("a launch of " + std::to_string(x) + " by " + std::to_string(y) +
                             " blocks: 2147483647 by 65535 is the most; use a smaller batch");
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
}

// Launches on the op's stream; a launch that fails throws. Kernels of one block per item take `grid`; an empty grid is no launch.
template <auto Kernel, class... A>
void launch(Stream& s, dim3 grid, dim3 block, size_t shared, A&&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || s.rehearsing()) return;
  if (shared > kSharedUnasked) s.allow_shared(Launch<Kernel>::address(), shared);
  check(Launch<Kernel>::run(grid, block, shared, s.stream, static_cast<A&&>(args)...), "launching a kernel");
}

inline void clear(Stream& s, void* data, int64_t bytes) {
  if (bytes > 0 && !s.rehearsing()) check(cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), s.stream), "clearing memory");
}

// Grid-stride loops: for (int64_t i = first_index(); i < n; i += index_stride()).
constexpr int kThreads = 256;
__device__ __forceinline__ int64_t first_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t index_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }
inline unsigned blocks_for(const Stream& s, int64_t n) {
  const int64_t needed = (n + kThreads - 1) / kThreads, most = static_cast<int64_t>(s.multiprocessors) * 8;
  return static_cast<unsigned>(needed < most ? needed : most);
}
// kernel(n, args...) with enough threads for n items.
template <auto Kernel, class... A>
void launch_items(Stream& s, int64_t n, A&&... args) {
  launch<Kernel>(s, blocks_for(s, n), kThreads, 0, n, static_cast<A&&>(args)...);
}

}  // namespace anymal::cuda
