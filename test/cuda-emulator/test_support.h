// What the emulator's own tests share: arrays on the device, and kernels launched by name. Compiles with nvcc too.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "device.cuh"
#include "ptx.cuh"

#define MUST(call)                                                                                \
  do {                                                                                            \
    if (const cudaError_t error_ = (call); error_ != cudaSuccess) {                               \
      std::printf("FAIL %s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
      std::exit(2);                                                                               \
    }                                                                                             \
  } while (0)

template <class T>
class Device {
 public:
  explicit Device(size_t n) : n_(n) { MUST(cudaMalloc(&p_, n * sizeof(T))); }
  explicit Device(const std::vector<T>& values) : Device(values.size()) { set(values); }
  ~Device() { cudaFree(p_); }
  Device(const Device&) = delete;
  operator T*() const { return p_; }
  void set(const std::vector<T>& values) {
    MUST(cudaMemcpyAsync(p_, values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice, nullptr));
    MUST(cudaStreamSynchronize(nullptr));
  }
  std::vector<T> get() const {
    std::vector<T> values(n_);
    MUST(cudaMemcpyAsync(values.data(), p_, n_ * sizeof(T), cudaMemcpyDeviceToHost, nullptr));
    MUST(cudaStreamSynchronize(nullptr));
    return values;
  }

 private:
  T* p_ = nullptr;
  size_t n_;
};

template <auto Kernel, class... A>
cudaError_t launch_on(cudaStream_t s, dim3 grid, dim3 block, A... args) {
  return anymal::cuda::Launch<Kernel>::run(grid, block, 0, s, args...);
}
// On the stream that everything waits for.
template <auto Kernel, class... A>
void launch(dim3 grid, dim3 block, A... args) {
  MUST((launch_on<Kernel>(nullptr, grid, block, args...)));
}

inline std::mt19937& numbers() {
  static std::mt19937 g(1);
  return g;
}
inline float normal() {
  static std::normal_distribution<float> d;
  return d(numbers());
}
