// Conformance of each wrapper of cuda/hopper.cuh, on the emulator and on a Hopper card alike:
//   nvcc -std=c++20 -arch=sm_90a -Inative -Icuda -Itest/native test/cuda-emulator/hopper_test.cu -o hopper_test && ./hopper_test
// Layouts are written by hand here, independently of wgmma.cc and of the kernels.
#include <algorithm>

#include "hopper.cuh"
#include "tensor_map.cu"
#include "test_support.h"

namespace ptx = anymal::cuda::ptx;

namespace {

constexpr int kDepth = 64;
struct alignas(1024) Tile {
  uint16_t v[64 * kDepth];
};
struct alignas(1024) Columns {
  uint16_t v[256 * kDepth];
};
// The place of element `x` of a row of 64: eight neighbours are XORed with the row.
[[maybe_unused]] __device__ __forceinline__ int place(int row, int x) { return row * 64 + ((x / 8 ^ row % 8) * 8 | x % 8); }

// out (64 x N) = a . b^T, b (N x 64); a is (64 m x 64 k), or, transposed, (64 k x 64 m).
template <int N, bool TransposedA>
__global__ void __launch_bounds__(128) products_kernel(float* out, const uint16_t* a, const uint16_t* b) {
#if ANYMAL_HOPPER
  SHARED_ARRAY(Tile, sa, [1]);
  SHARED_ARRAY(Columns, sb, [1]);
  for (int i = threadIdx.x; i < 64 * kDepth; i += 128) sa->v[place(i / 64, i % 64)] = a[i];
  for (int i = threadIdx.x; i < N * kDepth; i += 128) sb->v[place(i / 64, i % 64)] = b[i];
  ptx::fence_proxy_async();
  __syncthreads();
  float d[N / 2] = {};
  ptx::wgmma_fence();
  for (int k = 0; k < kDepth; k += 16)
    ptx::wgmma_m64k16<TransposedA>(d, ptx::wgmma_operand(ptx::shared_address(sa->v) + k / 16 * (TransposedA ? 2048 : 32)),
                                   ptx::wgmma_operand(ptx::shared_address(sb->v) + k / 16 * 32));
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  const int t = threadIdx.x;
  for (int r = 0; r < N / 2; ++r) out[(t / 32 * 16 + t % 32 / 4 + r / 2 % 2 * 8) * N + r / 4 * 8 + t % 4 * 2 + r % 2] = d[r];
#endif
}

// out (64 x N) = a . b^T of bytes, rows of 128.
template <int N>
__global__ void __launch_bounds__(128) integer_products_kernel(int32_t* out, const int8_t* a, const int8_t* b) {
#if ANYMAL_HOPPER
  SHARED_ARRAY(Tile, sa, [1]);
  SHARED_ARRAY(Columns, sb, [1]);
  const auto byte = [](uint16_t* tile, int i) { return reinterpret_cast<int8_t*>(tile + place(i / 128, i % 128 / 2)) + i % 2; };
  for (int i = threadIdx.x; i < 64 * 128; i += 128) *byte(sa->v, i) = a[i];
  for (int i = threadIdx.x; i < N * 128; i += 128) *byte(sb->v, i) = b[i];
  ptx::fence_proxy_async();
  __syncthreads();
  int32_t d[N / 2] = {};
  ptx::wgmma_fence();
  for (int k = 0; k < 128; k += 32)
    ptx::wgmma_m64k32(d, ptx::wgmma_operand(ptx::shared_address(sa->v) + k), ptx::wgmma_operand(ptx::shared_address(sb->v) + k));
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  const int t = threadIdx.x;
  for (int r = 0; r < N / 2; ++r) out[(t / 32 * 16 + t % 32 / 4 + r / 2 % 2 * 8) * N + r / 4 * 8 + t % 4 * 2 + r % 2] = d[r];
#endif
}

// A box of 64 columns and 16 rows at (x, y), as it lies in shared memory; of bytes, 128 columns.
__global__ void tile_kernel(uint16_t* out, const __grid_constant__ CUtensorMap map, int x, int y) {
#if ANYMAL_HOPPER
  SHARED_ARRAY(Tile, tile, [1]);
  SHARED_ARRAY(uint64_t, bar, [1]);
  const uint32_t at = ptx::shared_address(bar);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(at, 1);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::mbarrier_arrive_expecting(at, 16 * 128);
    ptx::tma_load_2d(ptx::shared_address(tile->v), map, at, x, y);
  }
  ptx::mbarrier_wait(at, 0);
  for (int i = threadIdx.x; i < 16 * 64; i += 32) out[i] = tile->v[i];
#endif
}

// Two warps hand numbers to each other through a ring of two places; the first takes 24 registers, the second more.
__global__ void ring_kernel(int* out, int steps) {
#if ANYMAL_HOPPER
  SHARED_ARRAY(int, box, [2][32]);
  SHARED_ARRAY(uint64_t, bars, [4]);
  const int lane = threadIdx.x % 32;
  const auto full = [&](int i) { return ptx::shared_address(&bars[i % 2]); };
  const auto empty = [&](int i) { return ptx::shared_address(&bars[2 + i % 2]); };
  if (threadIdx.x < 2) {
    ptx::mbarrier_init(full(static_cast<int>(threadIdx.x)), 32);
    ptx::mbarrier_init(empty(static_cast<int>(threadIdx.x)), 32);
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    for (int i = 0; i < steps; ++i) {
      if (i >= 2) ptx::mbarrier_wait(empty(i), (i / 2 - 1) & 1);
      box[i % 2][lane] = i * 100 + lane;
      ptx::mbarrier_arrive(full(i));
    }
  } else {
    for (int i = 0; i < steps; ++i) {
      ptx::mbarrier_wait(full(i), i / 2 & 1);
      out[i * 32 + lane] = box[i % 2][31 - lane];
      ptx::mbarrier_arrive(empty(i));
    }
  }
#endif
}

// A warp group of two gives up registers, the other takes them.
__global__ void __launch_bounds__(256, 1) registers_kernel(int* out) {
#if ANYMAL_HOPPER
  if (threadIdx.x < 128) ptx::give_up_registers<24>();
  else ptx::take_registers<232>();
  out[threadIdx.x] = static_cast<int>(threadIdx.x);
#endif
}

float from_bf16(uint16_t b) {
  const uint32_t u = static_cast<uint32_t>(b) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
std::vector<uint16_t> bf16_numbers(size_t n) {
  std::vector<uint16_t> v(n);
  for (uint16_t& x : v) {
    const float f = normal();
    uint32_t u;
    std::memcpy(&u, &f, 4);
    x = static_cast<uint16_t>(u >> 16);
  }
  return v;
}

template <int N, bool TransposedA>
void test_products() {
  const auto a = bf16_numbers(64 * kDepth), b = bf16_numbers(size_t{N} * kDepth);
  Device<uint16_t> device_a(a), device_b(b);
  Device<float> out(64 * N);
  launch<products_kernel<N, TransposedA>>(1, 128, static_cast<float*>(out), static_cast<uint16_t*>(device_a), static_cast<uint16_t*>(device_b));
  const std::vector<float> got = out.get();
  for (size_t m = 0; m < 64; ++m)
    for (size_t n = 0; n < N; ++n) {
      double want = 0, size = 0;
      for (size_t k = 0; k < kDepth; ++k) {
        const double p = static_cast<double>(from_bf16(TransposedA ? a[k * 64 + m] : a[m * kDepth + k])) * from_bf16(b[n * kDepth + k]);
        want += p;
        size += std::abs(p);
      }
      CHECK(std::abs(got[m * N + n] - want) <= 1e-6 * size);
    }
}

std::vector<int8_t> bytes(size_t n) {
  std::vector<int8_t> v(n);
  for (int8_t& x : v) x = static_cast<int8_t>(std::clamp(normal() * 60, -128.0f, 127.0f));
  return v;
}

template <int N>
void test_integer_products() {
  const auto a = bytes(64 * 128), b = bytes(size_t{N} * 128);
  Device<int8_t> device_a(a), device_b(b);
  Device<int32_t> out(64 * N);
  launch<integer_products_kernel<N>>(1, 128, static_cast<int32_t*>(out), static_cast<int8_t*>(device_a), static_cast<int8_t*>(device_b));
  const std::vector<int32_t> got = out.get();
  for (size_t m = 0; m < 64; ++m)
    for (size_t n = 0; n < N; ++n) {
      int32_t want = 0;
      for (size_t k = 0; k < 128; ++k) want += a[m * 128 + k] * b[n * 128 + k];
      CHECK(got[m * N + n] == want);
    }
}

void test_tiles_of_bytes() {
  const int rows = 21, cols = 150, pitch = 160;
  const auto in = bytes(rows * pitch);
  Device<int8_t> device_in(in);
  Device<uint16_t> out(16 * 64);
  CUtensorMap map;
  CHECK(!anymal::cuda::tensor_map_of_bytes(map, static_cast<int8_t*>(device_in), rows, cols, cols, 16));  // rows that are not whole sixteen bytes
  CHECK(anymal::cuda::tensor_map_of_bytes(map, static_cast<int8_t*>(device_in), rows, cols, pitch, 16));
  for (const auto& [x, y] : {std::pair{0, 0}, {128, 0}, {0, 16}, {128, 16}, {-16, -3}}) {
    launch<tile_kernel>(1, 32, static_cast<uint16_t*>(out), map, x, y);
    const std::vector<uint16_t> got = out.get();
    for (int r = 0; r < 16; ++r)
      for (int c = 0; c < 128; ++c) {
        const bool inside = x + c >= 0 && x + c < cols && y + r >= 0 && y + r < rows;
        const uint16_t two = got[static_cast<size_t>(r * 64 + (c / 16 ^ r % 8) * 8 + c % 16 / 2)];
        CHECK(static_cast<int8_t>(two >> 8 * (c % 2)) == (inside ? in[static_cast<size_t>((y + r) * pitch + x + c)] : 0));
      }
  }
}

void test_tiles() {
  const int rows = 21, cols = 88;
  const auto in = bf16_numbers(rows * cols);
  Device<uint16_t> device_in(in), out(16 * 64);
  CUtensorMap map;
  CHECK(anymal::cuda::tensor_map(map, static_cast<uint16_t*>(device_in), rows, cols, 16));
  CHECK(!anymal::cuda::tensor_map(map, static_cast<uint16_t*>(device_in), rows, cols + 1, 16));  // rows that are not whole sixteen bytes
  CHECK(!anymal::cuda::tensor_map(map, static_cast<uint16_t*>(device_in) + 1, rows, cols, 16));
  CHECK(anymal::cuda::tensor_map(map, static_cast<uint16_t*>(device_in), rows, cols, 16));
  for (const auto& [x, y] : {std::pair{0, 0}, {64, 0}, {0, 16}, {64, 16}, {24, -3}, {-8, 20}}) {
    launch<tile_kernel>(1, 32, static_cast<uint16_t*>(out), map, x, y);
    const std::vector<uint16_t> got = out.get();
    for (int r = 0; r < 16; ++r)
      for (int c = 0; c < 64; ++c) {
        const bool inside = x + c >= 0 && x + c < cols && y + r >= 0 && y + r < rows;
        CHECK(got[static_cast<size_t>(r * 64 + (c / 8 ^ r % 8) * 8 + c % 8)] == (inside ? in[static_cast<size_t>((y + r) * cols + x + c)] : 0));
      }
  }
}

void test_rings() {
  constexpr int steps = 7;
  Device<int> out(32 * steps);
  launch<ring_kernel>(1, 64, static_cast<int*>(out), steps);
  const std::vector<int> got = out.get();
  for (int i = 0; i < steps; ++i)
    for (int lane = 0; lane < 32; ++lane) CHECK(got[static_cast<size_t>(i * 32 + lane)] == i * 100 + 31 - lane);
}

void test_registers() {
  Device<int> out(256);
  launch<registers_kernel>(1, 256, static_cast<int*>(out));
  const std::vector<int> got = out.get();
  for (int i = 0; i < 256; ++i) CHECK(got[static_cast<size_t>(i)] == i);
}

}  // namespace

__attribute__((visibility("default"))) int main() {
  test_products<128, false>();
  test_products<128, true>();
  test_products<192, false>();
  test_products<192, true>();
  test_products<256, false>();
  test_products<256, true>();
  test_integer_products<192>();
  test_integer_products<256>();
  test_tiles();
  test_tiles_of_bytes();
  test_rings();
  test_registers();
  return check::finish();
}
