// What a benchmark calls 100 %: products on tensor cores from registers alone, and reading or copying a block far larger than the caches. Products
// are mma.sync's, as those of most kernels here; on Hopper those of warp groups are a peak of their own, with operands that stay in shared memory.
#include <algorithm>

#include "linear/measured.cuh"
#include "peak.cuh"

namespace anymal::cuda {
namespace {

constexpr int kChains = 8;  // products under way in a warp that do not wait for each other

__global__ void products_kernel(float* sums, int64_t iterations) {
  float d[kChains][4] = {};
  const uint32_t a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {4, 5};  // denormals, which cost what other numbers do
  for (int64_t i = 0; i < iterations; ++i) {
#pragma unroll
    for (int c = 0; c < kChains; ++c) ptx::mma_m16n8k16(d[c], a, b);
  }
  float sum = 0;
  for (int c = 0; c < kChains; ++c) sum += d[c][0] + d[c][1] + d[c][2] + d[c][3];
  sums[first_index()] = sum;
}

__global__ void copy_kernel(int64_t n, uint4* to, const uint4* from) {
  for (int64_t i = first_index(); i < n; i += index_stride()) to[i] = from[i];
}
// Writes what it read only where that is not zero: the block is, but the compiler does not know.
__global__ void read_kernel(int64_t n, uint4* to, const uint4* from) {
  uint4 all{};
#pragma unroll 8
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const uint4 v = from[i];
    all = make_uint4(all.x | v.x, all.y | v.y, all.z | v.z, all.w | v.w);
  }
  if (all.x | all.y | all.z | all.w) to[first_index()] = all;
}

double peak_products(Stream& s) {
  Scratch scratch(s);
  const int64_t iterations = size_of(s), blocks = int64_t{4} * s.multiprocessors, warps = blocks * kThreads / 32;
  float* sums = scratch.take<float>(blocks * kThreads);
  const double t = Timer(s).seconds([&] { launch<products_kernel>(s, static_cast<unsigned>(blocks), kThreads, 0, sums, iterations); });
  return static_cast<double>(iterations * warps * kChains) * (2.0 * 16 * 8 * 16) / t;
}

struct Memory {
  void* data = nullptr;
  explicit Memory(size_t bytes) { check(cudaMalloc(&data, bytes), "allocating memory"); }
  Memory(const Memory&) = delete;
  ~Memory() { cudaFree(data); }
};

double peak_bandwidth(Stream& s) {
  const int64_t bytes = std::min(size_of(s) << 17, int64_t{512} << 20), n = bytes / 16;
  Memory from(static_cast<size_t>(bytes)), to(static_cast<size_t>(bytes));
  check(cudaMemsetAsync(from.data, 0, static_cast<size_t>(bytes), s.stream), "clearing memory");
  auto *target = static_cast<uint4*>(to.data), *source = static_cast<uint4*>(from.data);
  Timer timer(s);
  const double copying = timer.seconds([&] { launch_items<copy_kernel>(s, n, target, source); });
  const double reading = timer.seconds([&] { launch_items<read_kernel>(s, n, target, source); });
  s.wait();
  return std::max(2.0 * static_cast<double>(bytes) / copying, static_cast<double>(bytes) / reading);
}

}  // namespace

double measure_peak(Stream& s, Peak what) {
  if (what == Peak::bandwidth) return peak_bandwidth(s);
  if (what == Peak::bf16 && s.path == static_cast<int>(gemm::Path::hopper)) return peak_warp_group_products(s);
  // A product of f32 is six of bf16: the two operands in three parts each, without the pairs that are too small to count.
  return what == Peak::bf16 ? peak_products(s) : peak_products(s) / 6;
}

}  // namespace anymal::cuda
