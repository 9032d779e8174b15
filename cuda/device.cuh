// The only CUDA header that kernels include. With nvcc it is CUDA; with a C++ compiler and the headers of test/cuda-emulator first on the include
// path it is the emulator. Three things differ from plain CUDA source: SHARED_ARRAY, dynamic_shared and launch.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#ifdef GPU_EMU
// A C++ static cannot exist once per resident block, so `__shared__` does not compile in the emulator.
#define SHARED_ARRAY(T, name, ...)   \
  typedef T name##_type __VA_ARGS__; \
  static char name##_key;            \
  name##_type& name = *static_cast<name##_type*>(::emu::shared_static(&name##_key, sizeof(name##_type), alignof(name##_type)))
#else
#define SHARED_ARRAY(T, name, ...) __shared__ T name __VA_ARGS__
#endif

namespace anymal::cuda {

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef GPU_EMU
  return static_cast<T*>(emu::shared_dynamic());
#else
  extern __shared__ __align__(1024) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T*>(dynamic_shared_bytes);
#endif
}

constexpr size_t kSharedUnasked = 48 * 1024;  // dynamic shared memory that a kernel has without allow_shared()

// run<kernel>(grid, block, shared bytes, stream, args...): arguments convert to the kernel's parameter types. common.cuh's launch() checks the
// result.
template <auto Kernel>
struct Launch;
template <class... P, void (*Kernel)(P...)>
struct Launch<Kernel> {
  static const void* address() { return reinterpret_cast<const void*>(Kernel); }
#ifdef GPU_EMU
  static const char* text() { return __PRETTY_FUNCTION__; }
  static inline const bool known = emu::know_kernel(text());  // so that kernels which no run launches are known too
#endif
  static cudaError_t run(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, P... args) {
#ifdef GPU_EMU
    // Not instrumented: the arguments lie in host memory until the call.
    (void)known;
    return emu::launch(
        grid, block, shared, stream, [=]() __attribute__((no_sanitize_thread)) { Kernel(args...); }, text(), address());
#else
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, Kernel, args...);
#endif
  }
};

}  // namespace anymal::cuda
