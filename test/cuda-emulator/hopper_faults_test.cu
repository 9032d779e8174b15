// Faults that only Hopper's asynchronous units allow: a small product by a producing warp and four multiplying ones, right, and with one of its steps
// left out or out of place. The emulator must name each; what only the checker can see, the other variants must let pass.
#include "fault_cases.h"
#include "hopper.cuh"
#include "tensor_map.cu"

namespace ptx = anymal::cuda::ptx;

namespace {

enum class Wrong {
  nothing,
  no_full_wait,
  no_empty_wait,
  early_arrival,
  no_proxy_fence,
  no_wgmma_fence,
  no_commit,
  no_product_wait,
  no_init_fence,
  no_arrival,
  too_many_bytes,
  groups_apart,
};

struct alignas(1024) Ring {
  uint16_t a[2][64 * 64], b[2][128 * 64];
  uint64_t full[2], empty[2];
};

// Sums of 64 x 128 over `steps` of 64 k: a comes by TMA, b is written by the producing warp.
template <Wrong What>
__global__ void __launch_bounds__(160) product(float* out, const __grid_constant__ CUtensorMap map, int steps) {
  SHARED_ARRAY(Ring, ring, [1]);
  const auto full = [&](int i) { return ptx::shared_address(&ring->full[i % 2]); };
  const auto empty = [&](int i) { return ptx::shared_address(&ring->empty[i % 2]); };
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      ptx::mbarrier_init(full(i), 2);
      ptx::mbarrier_init(empty(i), 4);
    }
    if (What != Wrong::no_init_fence) ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    for (int i = 0; i < steps; ++i) {
      if (i >= 2 && What != Wrong::no_empty_wait) ptx::mbarrier_wait(empty(i), (i / 2 - 1) & 1);
      if (threadIdx.x == 128) {
        ptx::mbarrier_arrive_expecting(full(i), sizeof ring->a[0] + (What == Wrong::too_many_bytes ? 16 : 0));
        ptx::tma_load_2d(ptx::shared_address(ring->a[i % 2]), map, full(i), i * 64, 0);
      }
      for (int j = threadIdx.x - 128; j < 128 * 64; j += 32) ring->b[i % 2][j] = 0x3F80;  // ones
      if (What != Wrong::no_proxy_fence) ptx::fence_proxy_async();
      __syncwarp();
      if (threadIdx.x == 128 && What != Wrong::no_arrival) ptx::mbarrier_arrive(full(i));
    }
    return;
  }
  float d[64] = {};
  for (int i = 0; i < steps; ++i) {
    if (What != Wrong::no_full_wait) ptx::mbarrier_wait(full(i), i / 2 & 1);
    if (What != Wrong::no_wgmma_fence) ptx::wgmma_fence();
    for (int k = 0; k < 4; ++k) {
      const int shifted = What == Wrong::groups_apart && threadIdx.x < 32 ? 3 - k : k;
      ptx::wgmma_m64k16<false>(d, ptx::wgmma_operand(ptx::shared_address(ring->a[i % 2]) + shifted * 32),
                               ptx::wgmma_operand(ptx::shared_address(ring->b[i % 2]) + shifted * 32));
    }
    if (What != Wrong::no_commit) ptx::wgmma_commit();
    if (What == Wrong::early_arrival && threadIdx.x % 32 == 0) ptx::mbarrier_arrive(empty(i));
    if (What != Wrong::no_product_wait) ptx::wgmma_wait<0>();
    if (What != Wrong::early_arrival && threadIdx.x % 32 == 0) ptx::mbarrier_arrive(empty(i));
  }
  for (int r = 0; r < 64; ++r) out[threadIdx.x * 64 + r] = d[r];
}

template <Wrong What, bool Freed = false>
void run() {
  uint16_t* in = reinterpret_cast<uint16_t*>(zeros(64 * 64));
  CUtensorMap map{};
  if (!anymal::cuda::tensor_map(map, in, 64, 128, 64)) std::abort();
  float* out = garbage(128 * 64);
  if (Freed) MUST(cudaFree(in));
  launch<product<What>>(1, 160, out, map, 5);
}
void run_without_map() { launch<product<Wrong::nothing>>(1, 160, garbage(128 * 64), CUtensorMap{}, 1); }
__global__ void no_barrier(float* out) {
  SHARED_ARRAY(uint64_t, bar, [1]);
  ptx::mbarrier_wait(ptx::shared_address(bar), 0);
  out[threadIdx.x] = 0;
}
__global__ void too_many_arrivals(float* out) {
  SHARED_ARRAY(uint64_t, bar, [1]);
  ptx::mbarrier_init(ptx::shared_address(bar), 1);
  ptx::mbarrier_arrive_expecting(ptx::shared_address(bar), 16);  // the phase waits for bytes
  ptx::mbarrier_arrive(ptx::shared_address(bar));
  out[0] = 0;
}
__global__ void odd_registers(float* out) {
  emu::set_registers(100);
  out[threadIdx.x] = 0;
}

const std::vector<Fault> faults = {
    {"no_full_wait", kEither, "", kEither, run<Wrong::no_full_wait>},
    {"no_empty_wait", kEither, "", kEither, run<Wrong::no_empty_wait>},
    {"early_arrival", nullptr, "race in", nullptr, run<Wrong::early_arrival>},
    {"no_proxy_fence", nullptr, "no fence.proxy.async behind a store in", nullptr, run<Wrong::no_proxy_fence>},
    {"no_wgmma_fence", "wgmma without wgmma.fence", "wgmma without wgmma.fence", "wgmma without wgmma.fence", run<Wrong::no_wgmma_fence>},
    {"no_commit", "ended with wgmma under way", "ended with wgmma under way", "ended with wgmma under way", run<Wrong::no_commit>},
    {"no_product_wait", "ended with wgmma under way", "", "ended with wgmma under way", run<Wrong::no_product_wait>},
    {"no_init_fence", "without fence.mbarrier_init", "without fence.mbarrier_init", "without fence.mbarrier_init", run<Wrong::no_init_fence>},
    {"too_many_arrivals", "more than 1 arrivals", "more than 1 arrivals", "more than 1 arrivals", with<too_many_arrivals>(1, 1, array<1>)},
    {"no_arrival", "deadlock in", "deadlock in", "deadlock in", run<Wrong::no_arrival>},
    {"too_many_bytes", "deadlock in", "deadlock in", "deadlock in", run<Wrong::too_many_bytes>},
    {"groups_apart", "warps of a group disagree", "warps of a group disagree", "warps of a group disagree", run<Wrong::groups_apart>},
    {"freed_tensor", "not within one allocation", "not within one allocation", "not within one allocation", run<Wrong::nothing, true>},
    {"no_tensor_map", "was not encoded", "was not encoded", "was not encoded", run_without_map},
    {"no_barrier", "no mbarrier was initialised", "no mbarrier was initialised", "no mbarrier was initialised", with<no_barrier>(1, 32, array<32>)},
    {"odd_registers", "setmaxnreg", "setmaxnreg", "setmaxnreg", with<odd_registers>(1, 32, array<32>)},
    // Correct.
    {"product", nullptr, nullptr, nullptr, run<Wrong::nothing>},
};

}  // namespace

__attribute__((visibility("default"))) int main() {
  check_faults(faults);
  return check::finish();
}
