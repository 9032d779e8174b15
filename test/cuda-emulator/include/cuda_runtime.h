// Host stand-in for <cuda_runtime.h>. Put this directory first on the include path and compile a
// .cu/.cuh with g++ or clang++ (C++20): every CUDA thread becomes a fiber, every synchronising
// intrinsic a rendezvous. Semantics in emu.cpp, optional race/bounds/init checker in checker.cpp.
#pragma once
#define GPU_EMU 1
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// no __shared__ on purpose: a static cannot belong to several resident blocks. Use SHARED_ARRAY().

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#define EMU_VEC(T, N)                                                             \
  struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                 \
  struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) N##4 { T x, y, z, w; }; \
  inline N##2 make_##N##2(T x, T y) { return {x, y}; }                            \
  inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VEC(float, float)
EMU_VEC(int, int) EMU_VEC(unsigned, uint) EMU_VEC(unsigned char, uchar)
#undef EMU_VEC

    inline uint3 threadIdx,
    blockIdx;  // rewritten at every fiber switch
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- host API: what cuda/ calls and no more ----
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorLaunchFailure = 719
};
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
enum { cudaStreamNonBlocking = 1, cudaHostAllocDefault = 0, cudaHostAllocMapped = 2, cudaEventDisableTiming = 2 };
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem, sharedMemPerBlockOptin;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int index);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t n, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void* dst, int value, size_t n, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t e);
template <class T>
cudaError_t cudaMalloc(T** p, size_t n) {
  return cudaMalloc(reinterpret_cast<void**>(p), n);
}
template <class T>
cudaError_t cudaHostAlloc(T** p, size_t n, unsigned f) {
  return cudaHostAlloc(reinterpret_cast<void**>(p), n, f);
}

// ---- what the device side needs from the runtime ----
namespace emu {
using Loc = std::source_location;
struct Collective {
  void* const* lane_args;
  unsigned mask;
};  // lane_args[i] valid where bit i of mask is set
void warp_collective(unsigned mask, const char* op, void* arg, void (*fn)(const Collective&), Loc loc, bool orders_memory = false);
void barrier(int id, int threads, bool wait, Loc loc);  // bar.sync / bar.arrive; threads < 0: the whole block
void yield();                                           // lets other threads run (spin loops)
void fence();
void* shared_static(const void* key, size_t bytes, size_t align);
void* shared_dynamic();
uint32_t shared_offset(const void* p);  // __cvta_generic_to_shared
void* shared_pointer(uint32_t offset, size_t bytes, const char* op);
void atomic_load(const void* p, void* value, size_t n);  // the two halves of a read-modify-write
void atomic_store(void* p, const void* value, size_t n);
void check_read(const void* p, size_t n);  // for accesses made inside the runtime
void check_write(const void* p, size_t n);
void cp_async(uint32_t dst, const void* src, int bytes, int src_bytes, Loc loc);
void cp_async_commit();
void cp_async_wait(int pending_groups);
int lane_id();
// Runs `body` once per thread, now or, while `stream` captures, whenever its graph is launched.
cudaError_t launch(dim3 grid, dim3 block, size_t smem, cudaStream_t stream, std::function<void()> body, const char* name);
}  // namespace emu

// ---- synchronisation and warp intrinsics ----
inline void __syncthreads(emu::Loc l = emu::Loc::current()) { emu::barrier(0, -1, true, l); }
inline void __syncwarp(unsigned m = ~0u, emu::Loc l = emu::Loc::current()) { emu::warp_collective(m, "__syncwarp", nullptr, nullptr, l, true); }
inline void __threadfence() { emu::fence(); }
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) { emu::yield(); }

namespace emu {
template <class T>
struct Shfl {
  T value;
  int src;
  T result;
};
template <class T>
T shfl(unsigned mask, T v, int src, const char* op, Loc loc) {
  Shfl<T> a{v, src, v};
  warp_collective(
      mask, op, &a,
      [](const Collective& c) {
        for (unsigned m = c.mask; m; m &= m - 1) {
          auto* me = static_cast<Shfl<T>*>(c.lane_args[std::countr_zero(m)]);
          // a source lane outside the mask is undefined on hardware: return poison, not a convenient value
          if (c.mask >> me->src & 1) me->result = static_cast<Shfl<T>*>(c.lane_args[me->src])->value;
          else std::memset(&me->result, 0xFF, sizeof(T));
        }
      },
      loc);
  return a.result;
}
inline unsigned reduce(unsigned mask, unsigned v, const char* op, unsigned (*f)(unsigned, unsigned), Loc loc) {
  struct A {
    unsigned v;
    unsigned (*f)(unsigned, unsigned);
  } a{v, f};
  warp_collective(
      mask, op, &a,
      [](const Collective& c) {
        auto at = [&](unsigned m) { return static_cast<A*>(c.lane_args[std::countr_zero(m)]); };
        unsigned r = at(c.mask)->v;
        for (unsigned m = c.mask & (c.mask - 1); m; m &= m - 1) r = at(m)->f(r, at(m)->v);
        for (unsigned m = c.mask; m; m &= m - 1) at(m)->v = r;
      },
      loc);
  return a.v;
}
}  // namespace emu
#define EMU_LOC emu::Loc l = emu::Loc::current()
template <class T>
T __shfl_sync(unsigned m, T v, int src, int w = 32, EMU_LOC) {
  int n = emu::lane_id();
  return emu::shfl(m, v, (n & ~(w - 1)) | (src & (w - 1)), "__shfl_sync", l);
}
template <class T>
T __shfl_xor_sync(unsigned m, T v, int x, int w = 32, EMU_LOC) {
  int n = emu::lane_id(), s = n ^ x;
  return emu::shfl(m, v, s < (n & ~(w - 1)) + w ? s : n, "__shfl_xor_sync", l);
}
template <class T>
T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32, EMU_LOC) {
  int n = emu::lane_id();
  return emu::shfl(m, v, int(n % w + d) < w ? int(n + d) : n, "__shfl_down_sync", l);
}
template <class T>
T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32, EMU_LOC) {
  int n = emu::lane_id();
  return emu::shfl(m, v, n % w >= int(d) ? int(n - d) : n, "__shfl_up_sync", l);
}
inline unsigned __ballot_sync(unsigned m, int p, EMU_LOC) {
  return emu::reduce(
      m, p ? 1u << emu::lane_id() : 0, "__ballot_sync", [](unsigned a, unsigned b) { return a | b; }, l);
}
inline int __any_sync(unsigned m, int p, EMU_LOC) {
  return emu::reduce(
      m, p != 0, "__any_sync", [](unsigned a, unsigned b) { return a | b; }, l);
}
inline int __all_sync(unsigned m, int p, EMU_LOC) {
  return emu::reduce(
      m, p != 0, "__all_sync", [](unsigned a, unsigned b) { return a & b; }, l);
}
inline unsigned __reduce_add_sync(unsigned m, unsigned v, EMU_LOC) {
  return emu::reduce(
      m, v, "__reduce_add_sync", [](unsigned a, unsigned b) { return a + b; }, l);
}
inline unsigned __reduce_max_sync(unsigned m, unsigned v, EMU_LOC) {
  return emu::reduce(
      m, v, "__reduce_max_sync", [](unsigned a, unsigned b) { return std::max(a, b); }, l);
}

// ---- atomics (one OS thread runs all fibers, so plain updates are atomic) ----
namespace emu {
template <class T, class F>
T rmw(T* p, F f) {
  T old;
  atomic_load(p, &old, sizeof old);
  T now = f(old);
  atomic_store(p, &now, sizeof now);
  return old;
}
}  // namespace emu
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return T(o + v); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return std::max(o, v); });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return std::min(o, v); });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T) { return v; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> c, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return o == c ? v : o; });
}
inline unsigned atomicInc(unsigned* p, unsigned lim) {
  return emu::rmw(p, [=](unsigned o) { return o >= lim ? 0 : o + 1; });
}

// ---- scalar intrinsics ----
using std::min, std::max;
inline unsigned __float_as_uint(float f) { return std::bit_cast<unsigned>(f); }
inline float __uint_as_float(unsigned u) { return std::bit_cast<float>(u); }
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __ffs(unsigned v) { return v ? std::countr_zero(v) + 1 : 0; }
inline int __clz(unsigned v) { return std::countl_zero(v); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline void sincospif(float x, float* s, float* c) {  // of pi x
  *s = static_cast<float>(std::sin(3.14159265358979323846 * x));
  *c = static_cast<float>(std::cos(3.14159265358979323846 * x));
}
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  uint64_t v = uint64_t(b) << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) {
    unsigned sel = s >> 4 * i & 15;
    uint8_t byte = v >> 8 * (sel & 7);
    if (sel & 8) byte = byte & 0x80 ? 0xFF : 0;
    r |= unsigned(byte) << 8 * i;
  }
  return r;
}
