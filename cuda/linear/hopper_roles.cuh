// Who does what in hopper.cu: one warp group fills stages of shared memory, two others multiply out of them, and mbarriers hand the stages over.
#pragma once
#include "linear/hopper_weights.cuh"

namespace anymal::cuda::gemm::wide {

constexpr int kFeatures = 128, kStages = 4, kConsumers = 256, kThreads = kConsumers + kProducers;
constexpr int kStep = 64;  // k of a step in bf16; of codes of eight bits, twice as many
// Of 65536 registers the launch gives each thread 168; producers need fewer, consumers hold the sums.
constexpr int kProducerRegisters = 104, kConsumerRegisters = 200;
static_assert(kProducers * kProducerRegisters + kConsumers * kConsumerRegisters <= kThreads * 168);

template <int Rows>
struct Shared {
  uint4 weights[kStages][kFeatures * 8], x[kStages][Rows * 8];
  Pairs pairs;
  Tables tables;
  float factors[Rows];  // of rows of x in eight bits
  uint64_t full[kStages], empty[kStages];
  unsigned turn[2];  // the block's number, and room for last_block
};

// Operands that TMA brings.
struct Maps {
  CUtensorMap x, weight;
};

// One side's walk over the stages: both take the same steps in the same order.
struct Ring {
  uint32_t full, empty;  // addresses of the first barriers
  int step = 0;

  __device__ __forceinline__ int stage() const { return step % kStages; }
  __device__ __forceinline__ uint32_t full_now() const { return full + 8 * stage(); }
  __device__ __forceinline__ uint32_t empty_now() const { return empty + 8 * stage(); }
  __device__ __forceinline__ uint32_t parity() const { return step / kStages & 1; }
};
// Arrivals that fill a stage: each producing warp's, and one that announces the bytes of TMA.
constexpr int kFills = kProducers / 32 + 1, kDrains = kConsumers / 32;

template <int Rows, bool Across>
struct Producer {
  Shared<Rows>& shared;
  Ring ring;
  int m0, n0;

  __device__ __forceinline__ int thread() const { return static_cast<int>(threadIdx.x) - kConsumers; }
  __device__ __forceinline__ void acquire() const {
    if (ring.step >= kStages) ptx::mbarrier_wait(ring.empty_now(), ring.parity() ^ 1);
  }
  __device__ __forceinline__ void publish() {
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(ring.full_now());
    ++ring.step;
  }
  template <class Weight>
  __device__ __forceinline__ void weights(const Weight& w, const Maps& maps, int begin, int end) {
    if (begin >= end) return;
    typename Weight::Raw next = w.fetch(thread(), begin, n0);
#pragma unroll 1
    for (int k = begin; k < end; k += kStep * Weight::kSteps) {
      const typename Weight::Raw now = next;
      if (k + kStep * Weight::kSteps < end) next = w.fetch(thread(), k + kStep * Weight::kSteps, n0);
#pragma unroll
      for (int step = 0; step < Weight::kSteps; ++step) {
        if (step > 0 && k + step * kStep >= end) break;
        acquire();
        if (thread() == 0) {
          ptx::mbarrier_arrive_expecting(ring.full_now(), sizeof shared.x[0]);
          ptx::tma_load_2d(ptx::shared_address(shared.x[ring.stage()]), maps.x, ring.full_now(), k + step * kStep, m0);
        }
        w.store(now, step, shared.weights[ring.stage()], thread(), shared.pairs);
        publish();
      }
    }
  }
  // Codes of eight bits: TMA brings both sides as they lie in memory.
  __device__ __forceinline__ void weights(const Integers&, const Maps& maps, int begin, int end) {
#pragma unroll 1
    for (int k = begin; k < end; k += 2 * kStep) {
      acquire();
      if (thread() == 0) {
        ptx::mbarrier_arrive_expecting(ring.full_now(), sizeof shared.x[0] + sizeof shared.weights[0]);
        ptx::tma_load_2d(ptx::shared_address(shared.x[ring.stage()]), maps.x, ring.full_now(), k, m0);
        ptx::tma_load_2d(ptx::shared_address(shared.weights[ring.stage()]), maps.weight, ring.full_now(), k, n0);
      }
      publish();
    }
  }
  template <class Left, class Right>
  __device__ __forceinline__ void plain(const Left& left, const Right& right, int begin, int end) {
#pragma unroll 1
    for (int k = begin; k < end; k += kStep) {
      acquire();
      if (thread() == 0) ptx::mbarrier_arrive(ring.full_now());
      uint4* tile = shared.weights[ring.stage()];
      if constexpr (Across) {
        store_plain<64>(left, tile, k, n0);
        store_plain<64>(left, tile + 64 * 8, k, n0 + 64);
      } else {
        store_plain<kFeatures>(left, tile, n0, k);
      }
      store_plain<Rows>(right, shared.x[ring.stage()], m0, k);
      publish();
    }
  }
};

template <int Rows, bool Across>
struct Consumer {
  Shared<Rows>& shared;
  Ring ring;

  __device__ __forceinline__ void release(int step) const {
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(ring.empty + 8 * (step % kStages));
  }
  // A step's products are under way while those of the step before come to their end. Of codes, which are bytes, the sums are integers.
  template <class Sum>
  __device__ __forceinline__ void multiply(Sum (&sums)[Rows / 2], int depth) {
    constexpr int each = std::is_same_v<Sum, int32_t> ? 2 * kStep : kStep;
    const int steps = (depth + each - 1) / each, half = threadIdx.x / 128 * 64 * 8;
    if (steps <= 0) return;
#pragma unroll 1
    for (int i = 0; i < steps; ++i) {
      ptx::mbarrier_wait(ring.full_now(), ring.parity());
      const uint32_t left = ptx::shared_address(shared.weights[ring.stage()] + half), right = ptx::shared_address(shared.x[ring.stage()]);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint64_t a = ptx::wgmma_operand(left + k * (Across ? 2048 : 32)), b = ptx::wgmma_operand(right + k * 32);
        if constexpr (std::is_same_v<Sum, int32_t>) ptx::wgmma_m64k32(sums, a, b);
        else ptx::wgmma_m64k16<Across>(sums, a, b);
      }
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();
      if (i > 0) release(ring.step - 1);
      ++ring.step;
    }
    ptx::wgmma_wait<0>();
    release(ring.step - 1);
  }
  // Sums of codes as numbers: times the factor of their row of x.
  __device__ __forceinline__ void scale_rows(float (&sums)[Rows / 2], const int32_t (&whole)[Rows / 2]) const {
#pragma unroll
    for (int r = 0; r < Rows / 2; r += 4) {
      const float2 two = *reinterpret_cast<const float2*>(&shared.factors[r / 4 * 8 + threadIdx.x % 4 * 2]);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[r + i] = static_cast<float>(whole[r + i]) * (i % 2 ? two.y : two.x);
    }
  }
  // Times that of their feature, of which a thread has two.
  __device__ __forceinline__ void scale_features(float (&sums)[Rows / 2], const float* scale, int n0, int features) const {
    const int n = n0 + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    const float first = n < features ? scale[n] / 127.0f : 0.0f, second = n + 8 < features ? scale[n + 8] / 127.0f : 0.0f;
#pragma unroll
    for (int r = 0; r < Rows / 2; ++r) sums[r] *= r / 2 % 2 ? second : first;
  }
  // To c, or to their split's partial sums: a thread has two rows of x beside each other, for one feature and for that eight further.
  __device__ __forceinline__ void store(const float (&sums)[Rows / 2], const Work& w, int m0, int n0, unsigned split, const Matrix& c) const {
    const int t = threadIdx.x;
    m0 += t % 4 * 2;
    n0 += t / 32 * 16 + t % 32 / 4;
    float* partial = w.partial ? w.partial + static_cast<int64_t>(split) * w.M * w.N : nullptr;
#pragma unroll
    for (int r = 0; r < Rows / 2; ++r) {
      const int m = m0 + r / 4 * 8 + r % 2, n = n0 + r / 2 % 2 * 8;
      if (m >= w.M || n >= w.N) continue;
      if (partial) partial[static_cast<int64_t>(m) * w.N + n] = sums[r];
      else c.one(m, n, sums[r]);
    }
  }
  // One draw of four neighbouring features serves the four lanes that hold them: each lane draws for one of four sums.
  __device__ __forceinline__ void drop(float (&sums)[Rows / 2], const Dropout& dropout, int m0, int n0, int features) const {
    const int lane = threadIdx.x % 32, mine = lane / 4 % 4;
    m0 += lane % 4 * 2 + mine % 2;
    n0 += threadIdx.x / 32 * 16 + lane / 4 - mine + mine / 2 * 8;
    uint32_t kept[4] = {};  // four bits a draw
#pragma unroll 1
    for (int g = 0; g < Rows / 8; ++g) {
      const int64_t position = static_cast<int64_t>(m0 + g * 8) * features + n0;
      const RandomBlock draw = random_block(dropout.seed, dropout.offset, static_cast<uint64_t>(position) / 4);
      uint32_t four = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) four |= (unit_uniform(draw.v[i]) >= dropout.p ? 1u : 0u) << i;
#pragma unroll
      for (int i = 0; i < 4; ++i) kept[i] |= g / 8 == i ? four << g % 8 * 4 : 0;
    }
#pragma unroll
    for (int r = 0; r < Rows / 2; ++r) {
      const uint32_t of_sum = __shfl_sync(~0u, kept[r / 32], (lane & ~12) | r % 4 << 2);
      sums[r] = of_sum >> (r / 4 % 8 * 4 + mine) & 1 ? sums[r] * dropout.scale : 0.0f;
    }
  }
};

template <int Rows>
__device__ __forceinline__ Ring begin(Shared<Rows>& shared, const Tables& tables, bool pairs) {
  for (int i = threadIdx.x; i < 256; i += kThreads) shared.tables.map[i] = tables.map[i];
  for (int i = threadIdx.x; pairs && i < 256 * 16; i += kThreads)
    shared.pairs[i / 16][i % 16] = make_float2(tables.book[i / 16 % 16], tables.book[i / 256]);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(ptx::shared_address(&shared.full[i]), kFills);
      ptx::mbarrier_init(ptx::shared_address(&shared.empty[i]), kDrains);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();  // tables and barriers are there
  return {ptx::shared_address(shared.full), ptx::shared_address(shared.empty)};
}

}  // namespace anymal::cuda::gemm::wide
