// The peak of Hopper's products of warp groups: operands stay in shared memory, so that nothing but the tensor cores is waited for. Compiled for
// sm_90a.
#include "hopper.cuh"
#include "peak.cuh"

namespace anymal::cuda {
namespace {

// Two warp groups a multiprocessor, each with products of 64 x 256 under way while it issues the next.
constexpr int kWarpGroups = 2, kInRow = 4;
struct alignas(1024) PeakOperands {
  uint32_t left[64 * 32], right[256 * 32];  // rows of 64 numbers
};
__global__ void __launch_bounds__(kWarpGroups * 128, 1) warp_group_products_kernel(float* sums, int64_t iterations) {
#if ANYMAL_HOPPER
  PeakOperands& operands = *dynamic_shared<PeakOperands>();
  uint32_t* all = operands.left;
  for (int i = threadIdx.x; i < static_cast<int>(sizeof operands / 4); i += kWarpGroups * 128)
    all[i] = (i * 2654435761u & 0x807f807fu) | 0x3f003f00u;  // 0.5 to 1 and their negatives: numbers whose bits change cost power
  ptx::fence_proxy_async();
  __syncthreads();  // operands are there
  const uint64_t a = ptx::wgmma_operand(ptx::shared_address(operands.left)), b = ptx::wgmma_operand(ptx::shared_address(operands.right));
  float d[128] = {};
  for (int64_t i = 0; i < iterations; ++i) {
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kInRow; ++k) ptx::wgmma_m64k16<false>(d, a, b);
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();
  }
  ptx::wgmma_wait<0>();
  float sum = 0;
  for (const float x : d) sum += x;
  sums[first_index()] = sum;
#endif
}

}  // namespace

double peak_warp_group_products(Stream& s) {
  if (!s.wgmma) return 0;
  Scratch scratch(s);
  const int64_t iterations = size_of(s) / 2, blocks = s.multiprocessors, threads = kWarpGroups * 128;
  float* sums = scratch.take<float>(blocks * threads);
  const double t = Timer(s).seconds([&] {
    launch<warp_group_products_kernel>(s, static_cast<unsigned>(blocks), static_cast<unsigned>(threads), sizeof(PeakOperands), sums, iterations);
  });
  return static_cast<double>(iterations * blocks * kWarpGroups * kInRow) * (2.0 * 64 * 256 * 16) / t;
}

}  // namespace anymal::cuda
