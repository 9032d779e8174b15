// Small kernels with a planted fault, each in a process of its own, which must end with the emulator's report; and correct ones of the same kind that
// must stay silent. Built once per variant of the emulator: what one cannot see, it must let pass.
#include "fault_cases.h"

namespace ptx = anymal::cuda::ptx;

int host_counter = 0;  // of no namespace, or its only write were dropped

namespace {

// Not wrapped in cuda/ptx.cuh, for no kernel of ours needs them so far.
void bar_sync(int id, int threads, emu::Loc at = emu::Loc::current()) { emu::barrier(id, threads, true, at); }
void bar_arrive(int id, int threads, emu::Loc at = emu::Loc::current()) { emu::barrier(id, threads, false, at); }

// ---- threads that do not meet ----

__global__ void deadlock(float* out) {
  if (threadIdx.x < 40) bar_sync(1, 64);
  out[threadIdx.x] = 1;
}
__global__ void named_barriers(float* out) {  // correct: a warp produces, another consumes
  SHARED_ARRAY(float, box, [32]);
  for (int i = 0; i < 4; ++i)
    if (threadIdx.x < 32) {
      if (i) bar_sync(2, 64);
      box[threadIdx.x] = static_cast<float>(i + threadIdx.x);
      bar_arrive(1, 64);
    } else {
      bar_sync(1, 64);
      out[i * 32 + threadIdx.x - 32] = box[threadIdx.x - 32];
      if (i < 3) bar_arrive(2, 64);
    }
}
__global__ void divergent_barrier(float* out) {
  if (threadIdx.x < 32) __syncthreads();
  else __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void divergent_shuffle(float* out) {
  float v = 0;
  if (threadIdx.x % 32 < 16) v = __shfl_xor_sync(~0u, 1.0f, 1);
  else __syncwarp();
  out[threadIdx.x] = v;
}
__global__ void exited_lanes(float* out) {
  if (threadIdx.x % 2) return;
  out[threadIdx.x] = __shfl_xor_sync(~0u, 1.0f, 1);
}
__global__ void mask_without_caller(float* out) { out[threadIdx.x] = __shfl_xor_sync(0xFFFFu, 1.0f, 1); }
__global__ void half_warps(float* out) {  // correct
  const auto v = static_cast<float>(threadIdx.x);
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_xor_sync(0xFFFFu, v, 1);
  else out[threadIdx.x] = __shfl_xor_sync(0xFFFF0000u, v, 2);
}
__global__ void spin(unsigned* flag) {
  while (emu::ld_acquire(flag) == 0) {
  }
}

// ---- memory that is not theirs ----

__global__ void shared_overrun(float* out) {
  SHARED_ARRAY(float, s, [32]);
  SHARED_ARRAY(float, t, [32]);
  s[threadIdx.x] = 0;
  if (threadIdx.x < 32) t[threadIdx.x] = 0;
  out[threadIdx.x] = s[threadIdx.x];
}
__global__ void shared_too_large(float* out) {
  SHARED_ARRAY(float, s, [100 * 256]);
  s[threadIdx.x] = 0;
  out[threadIdx.x] = s[threadIdx.x];
}
__global__ void global_overrun(float* out, int n) { out[n] = 1; }
__global__ void reads(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x]; }
__global__ void reads_packs(float* out) { *reinterpret_cast<float4*>(out + 64 + 4 * threadIdx.x) = *reinterpret_cast<float4*>(out + threadIdx.x); }
__global__ void writes_host_variable(float* out) {
  host_counter = 1;
  out[threadIdx.x] = 0;
}
__constant__ const float table[4] = {1, 2, 3, 4};
__global__ void reads_constants(float* out, const float* in) {  // correct
  const float own[4] = {in[0], in[1], in[2], in[3]};
  float sum = 0;
  for (unsigned i = 0; i < 4; ++i) sum += own[(i + threadIdx.x) % 4] * table[(i + threadIdx.x) % 4];
  out[threadIdx.x] = sum;
}
__global__ void misaligned_atomic(char* p) { atomicAdd(reinterpret_cast<unsigned*>(p + 2), 1u); }
__global__ void misaligned_row(float* out) {
  SHARED_ARRAY(uint4, s, [33]);
  s[threadIdx.x] = {};
  if (threadIdx.x == 0) s[32] = {};
  __syncwarp();
  uint32_t r[4];
  ptx::ldmatrix_x4(r, ptx::shared_address(s) + 8);
  out[threadIdx.x] = static_cast<float>(r[0]);
}
__global__ void misaligned_copy(const float* in) {
  SHARED_ARRAY(uint4, s, [32]);
  ptx::cp_async16(ptx::shared_address(&s[threadIdx.x]), in + 1 + threadIdx.x);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
}

// ---- memory that is read too early, or written by two ----

__global__ void lane_race(float* out) {
  SHARED_ARRAY(float, s, [64]);
  s[threadIdx.x] = 0;
  __syncthreads();
  s[threadIdx.x] = 1;
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}
__global__ void shuffle_is_no_fence(float* out) {
  SHARED_ARRAY(float, s, [64]);
  s[threadIdx.x] = 0;
  __syncthreads();
  s[threadIdx.x] = 1;
  const float v = __shfl_xor_sync(~0u, 1.0f, 1);
  out[threadIdx.x] = v + s[threadIdx.x ^ 1];
}
__global__ void lanes_in_order(float* out) {  // correct
  SHARED_ARRAY(float, s, [64]);
  s[threadIdx.x] = 1;
  __syncwarp();
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}
__global__ void warp_race(float* out) {
  SHARED_ARRAY(float, s, [64]);
  s[threadIdx.x] = 0;
  __syncthreads();
  s[threadIdx.x] = 1;
  __syncwarp();
  out[threadIdx.x] = s[threadIdx.x ^ 32];
}
__global__ void written_while_read(float* out) {  // the second round overtakes readers of the first
  SHARED_ARRAY(float, s, [64]);
  for (int round = 0; round < 2; ++round) {
    s[threadIdx.x] = static_cast<float>(round);
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x ^ 32];
  }
}
__global__ void warps_in_order(float* out) {  // correct
  SHARED_ARRAY(float, s, [64]);
  for (int round = 0; round < 2; ++round) {
    __syncthreads();
    s[threadIdx.x] = static_cast<float>(round);
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x ^ 32];
  }
}
__global__ void global_race(float* out) { out[0] = static_cast<float>(threadIdx.x); }
__global__ void block_race(float* out) { out[0] = static_cast<float>(blockIdx.x); }
__global__ void reads_uninitialised(float* out) { out[threadIdx.x] += 1; }
__global__ void atomic_on_uninitialised(float* out) { atomicAdd(out, 1.0f); }
__global__ void plain_and_atomic(unsigned* out) {
  if (threadIdx.x) atomicAdd(out, 1u);
  else out[0] = 1;
}
template <bool Waits>
__global__ void copy_and_read(const float* in, float* out) {
  SHARED_ARRAY(uint4, s, [32]);
  ptx::cp_async16(ptx::shared_address(&s[threadIdx.x]), in + 4 * threadIdx.x);
  ptx::cp_async_commit();
  if (Waits) ptx::cp_async_wait<0>();
  out[threadIdx.x] = __uint_as_float(s[threadIdx.x].x);
}
// The last block to come adds up what all wrote.
template <bool Fences>
__global__ void last_block(float* partial, unsigned* count, float* out) {
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = 1;
    if (Fences) __threadfence();
    if (atomicAdd(count, 1u) == gridDim.x - 1) {
      if (Fences) __threadfence();
      float sum = 0;
      for (unsigned i = 0; i < gridDim.x; ++i) sum += partial[i];
      out[0] = sum;
    }
  }
}

float* freed() {
  float* p = zeros(64);
  MUST(cudaFree(p));
  return p;
}
float* on_heap() { return new float[64](); }
int sixty_four() { return 64; }
char* bytes() { return reinterpret_cast<char*>(zeros(4)); }

const std::vector<Fault> faults = {
    {"deadlock", "deadlock in", "deadlock in", "deadlock in", with<deadlock>(1, 64, array<64>)},
    {"divergent_barrier", "divergent __syncthreads", "divergent __syncthreads", "divergent __syncthreads", with<divergent_barrier>(1, 64, array<64>)},
    {"divergent_shuffle", "divergent warp", "divergent warp", "divergent warp", with<divergent_shuffle>(1, 64, array<64>)},
    {"exited_lanes", "lanes that have exited", "lanes that have exited", "lanes that have exited", with<exited_lanes>(1, 64, array<64>)},
    {"mask_without_caller", "leaves out", "leaves out", "leaves out", with<mask_without_caller>(1, 32, array<32>)},
    {"spin", "no progress", "no progress", "no progress", with<spin>(2, 32, counter)},
    {"shared_overrun", nullptr, "out of bounds in", "out of bounds", with<shared_overrun>(1, 36, array<64>)},
    {"shared_too_large", "more than 99 KiB", "more than 99 KiB", "more than 99 KiB", with<shared_too_large>(1, 64, array<64>)},
    {"global_overrun", "wrote outside an allocation: byte 256 of 256", "out of bounds in", "use-after-poison",
     with<global_overrun>(1, 1, array<64>, sixty_four)},
    {"use_after_free", nullptr, "out of bounds in", "use-after-poison", with<reads>(1, 64, array<64>, freed)},
    {"host_memory", nullptr, "host memory is read in", nullptr, with<reads>(1, 64, array<64>, on_heap)},
    {"host_variable", nullptr, "host memory is written in", nullptr, with<writes_host_variable>(1, 32, array<32>)},
    {"misaligned_load", "", "misaligned in", "misaligned address", with<reads_packs>(1, 4, zeroed<128>)},
    {"misaligned_atomic", "misaligned", "misaligned", "misaligned", with<misaligned_atomic>(1, 1, bytes)},
    {"misaligned_row", "not aligned to 16", "not aligned to 16", "not aligned to 16", with<misaligned_row>(1, 32, array<32>)},
    {"misaligned_copy", "not aligned to 16", "not aligned to 16", "not aligned to 16", with<misaligned_copy>(1, 8, zeroed<64>)},
    {"lane_race", nullptr, "race in", nullptr, with<lane_race>(1, 64, array<64>)},
    {"shuffle_is_no_fence", nullptr, "race in", nullptr, with<shuffle_is_no_fence>(1, 64, array<64>)},
    {"warp_race", nullptr, "race in", nullptr, with<warp_race>(1, 64, array<64>)},
    {"written_while_read", nullptr, "race in", nullptr, with<written_while_read>(1, 64, array<64>)},
    {"global_race", nullptr, "race in", nullptr, with<global_race>(1, 64, array<1>)},
    {"block_race", nullptr, "race in", nullptr, with<block_race>(2, 1, array<1>)},
    {"reads_uninitialised", nullptr, "uninitialised in", nullptr, with<reads_uninitialised>(1, 64, array<64>)},
    {"atomic_on_uninitialised", nullptr, "uninitialised in", nullptr, with<atomic_on_uninitialised>(1, 64, array<1>)},
    {"plain_and_atomic", nullptr, "race in", nullptr, with<plain_and_atomic>(1, 64, counter)},
    {"copy_not_waited_for", nullptr, "uninitialised in", nullptr, with<copy_and_read<false>>(1, 32, zeroed<128>, array<32>)},
    {"last_block_without_fence", nullptr, "race in", nullptr, with<last_block<false>>(4, 32, array<4>, counter, array<1>)},
    {"overlapping_copy", "overlap", "overlap", "overlap",
     [] {
       float* p = zeros(64);
       MUST(cudaMemcpyAsync(p + 1, p, 128, cudaMemcpyDeviceToDevice, nullptr));
     }},
    // Correct.
    {"named_barriers", nullptr, nullptr, nullptr, with<named_barriers>(1, 64, array<128>)},
    {"half_warps", nullptr, nullptr, nullptr, with<half_warps>(1, 64, array<64>)},
    {"reads_constants", nullptr, nullptr, nullptr, with<reads_constants>(1, 64, array<64>, zeroed<64>)},
    {"lanes_in_order", nullptr, nullptr, nullptr, with<lanes_in_order>(1, 64, array<64>)},
    {"part_of_a_warp", nullptr, nullptr, nullptr, with<half_warps>(1, 32, array<64>)},
    {"warps_in_order", nullptr, nullptr, nullptr, with<warps_in_order>(1, 64, array<64>)},
    {"copy_waited_for", nullptr, nullptr, nullptr, with<copy_and_read<true>>(1, 32, zeroed<128>, array<32>)},
    {"last_block", nullptr, nullptr, nullptr, with<last_block<true>>(4, 32, array<4>, counter, array<1>)},
};

}  // namespace

__attribute__((visibility("default"))) int main() {
  check_faults(faults);
  return check::finish();
}
