// Many rows of bf16 with a quantised weight, on Hopper (compute capability 9.0). A block makes 128 features of 192 or 256 rows of x. One warp group
// decodes the weights, 64 k at a time, into the layout that wgmma reads, while TMA brings x; two others multiply, 64 features each, with x as the
// second operand: so a decoded weight serves 256 rows, and shared memory is read least. Stages are handed over by mbarriers.
//
// dX has the same tiles: rows of W are k there, and wgmma reads the tile across. The low-rank branch is further steps on the
// same sums, whose operands the producers write both.
//
// Its kernels are compiled for sm_90a, and empty elsewhere.
#include <algorithm>

#include "linear/hopper_path.cuh"
#include "linear/hopper_weights.cuh"
#include "tensor_map.h"

namespace anymal::cuda::gemm {
namespace wide {
namespace {

constexpr int kFeatures = 128, kStep = 64, kStages = 4, kConsumers = 256, kThreads = kConsumers + kProducers;
// Of 65536 registers the launch gives each thread 168; producers need fewer, consumers hold the sums.
constexpr int kProducerRegisters = 104, kConsumerRegisters = 200;
static_assert(kProducers * kProducerRegisters + kConsumers * kConsumerRegisters <= kThreads * 168);

template <int Rows>
struct Shared {
  uint4 weights[kStages][kFeatures * 8], x[kStages][Rows * 8];
  Pairs pairs;
  Tables tables;
  uint64_t full[kStages], empty[kStages];
};

// A low-rank product on the same sums: features on the left, rows of x on the right.
struct Branch {
  gemm::Rows<bf16> left;
  ScaledRows<bf16> right;
  int rank;
};
template <class Weight>
struct Job {
  Weight weight;
  Branch lora;
  Dropout dropout;  // dX
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
  __device__ __forceinline__ void weights(const Weight& w, const CUtensorMap& x, int begin, int end) {
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
          ptx::tma_load_2d(ptx::shared_address(shared.x[ring.stage()]), x, ring.full_now(), k + step * kStep, m0);
        }
        w.store(now, step, shared.weights[ring.stage()], thread(), shared.pairs);
        publish();
      }
    }
  }
  template <class Left, class Right>
  __device__ __forceinline__ void plain(const Left& left, const Right& right, int depth) {
#pragma unroll 1
    for (int k = 0; k < depth; k += kStep) {
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
  float sums[Rows / 2] = {};

  __device__ __forceinline__ void release(int step) const {
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(ring.empty + 8 * (step % kStages));
  }
  // A step's products are under way while those of the step before come to their end.
  __device__ __forceinline__ void multiply(int depth) {
    const int steps = (depth + kStep - 1) / kStep, half = threadIdx.x / 128 * 64 * 8;
    if (steps <= 0) return;
#pragma unroll 1
    for (int i = 0; i < steps; ++i) {
      ptx::mbarrier_wait(ring.full_now(), ring.parity());
      const uint32_t left = ptx::shared_address(shared.weights[ring.stage()] + half), right = ptx::shared_address(shared.x[ring.stage()]);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kStep / 16; ++k)
        ptx::wgmma_m64k16<Across>(sums, ptx::wgmma_operand(left + k * (Across ? 2048 : 32)), ptx::wgmma_operand(right + k * 32));
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();
      if (i > 0) release(ring.step - 1);
      ++ring.step;
    }
    ptx::wgmma_wait<0>();
    release(ring.step - 1);
  }
  // f(m, n, sum) for each of this thread's sums: two rows of x beside each other, for one feature and for that eight further.
  template <class F>
  __device__ __forceinline__ void each(int m0, int n0, const F& f) {
    const int t = threadIdx.x;
    m0 += t % 4 * 2;
    n0 += t / 32 * 16 + t % 32 / 4;
#pragma unroll
    for (int r = 0; r < Rows / 2; ++r) f(m0 + r / 4 * 8 + r % 2, n0 + r / 2 % 2 * 8, sums[r]);
  }
  // One draw of four neighbouring features serves the four lanes that hold them: each lane draws for one of four sums.
  __device__ __forceinline__ void drop(const Dropout& dropout, int m0, int n0, int features) {
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

// code: wgmma alone, loads of sixteen bytes
// budget: 168 registers, 0 KiB shared, 0 spills
template <int Rows, bool Across, template <bool> class Weight>
__global__ void __launch_bounds__(kThreads, 1)
    product_kernel(Job<Weight<Across>> job, const __grid_constant__ CUtensorMap x, Tables tables, Work w, Matrix c) {
#if ANYMAL_HOPPER
  constexpr bool four = std::is_same_v<Weight<Across>, FourBit<Across>>;
  Shared<Rows>& shared = *dynamic_shared<Shared<Rows>>();
  const Ring ring = begin(shared, tables, four);
  Weight<Across> weight = job.weight;
  if constexpr (four) weight.w.tables = &shared.tables;
  const int m0 = w.tile_m(Rows), n0 = w.tile_n(kFeatures);
  const int rank = blockIdx.y == 0 ? job.lora.rank : 0;
  if (threadIdx.x >= kConsumers) {
    ptx::give_up_registers<kProducerRegisters>();
    Producer<Rows, Across> producer{shared, ring, m0, n0};
    if constexpr (Across) producer.plain(job.lora.left, job.lora.right, rank);  // the mask lies on the branch alone, so the branch comes first
    producer.weights(weight, x, w.begin(), w.end());
    if constexpr (!Across) producer.plain(job.lora.left, job.lora.right, rank);
    return;
  }
  ptx::take_registers<kConsumerRegisters>();
  Consumer<Rows, Across> consumer{shared, ring};
  if constexpr (Across) {
    consumer.multiply(rank);
    if (rank > 0 && job.dropout.p > 0) consumer.drop(job.dropout, m0, n0, w.N);
  }
  consumer.multiply(w.end() - w.begin());
  if constexpr (!Across) consumer.multiply(rank);
  float* partial = w.partial ? w.partial + static_cast<int64_t>(blockIdx.y) * w.M * w.N : nullptr;
  consumer.each(m0, n0, [&](int m, int n, float& sum) {
    if (m >= w.M || n >= w.N) return;
    if (partial) partial[static_cast<int64_t>(m) * w.N + n] = sum;
    else c.one(m, n, sum);
  });
#endif
}

// One block a multiprocessor: where tiles leave some idle and the sum is long, k is cut.
Work plan(const Stream& s, Scratch& scratch, int64_t M, int64_t N, int64_t K, int rows) {
  Work w{static_cast<int>(M), static_cast<int>(N), static_cast<int>(K)};
  w.tiles_m = static_cast<unsigned>((M + rows - 1) / rows);
  w.tiles_n = static_cast<unsigned>((N + kFeatures - 1) / kFeatures);
  constexpr int64_t least = 256, pair = 2 * kStep;  // k of a split; 4-bit rows are read two steps at a time
  const int64_t tiles = static_cast<int64_t>(w.tiles_m) * w.tiles_n;
  const int64_t splits = std::max<int64_t>(1, std::min(s.multiprocessors / tiles, K / least));
  w.depth = static_cast<int>(((K + splits - 1) / splits + pair - 1) / pair * pair);
  w.splits = static_cast<unsigned>((K + w.depth - 1) / w.depth);
  if (w.splits > 1) w.partial = scratch.take<float>(w.splits * M * N);
  return w;
}

// The tile height with which the card's multiprocessors are done first: waves of blocks, times rows.
bool taller_serves(const Stream& s, int64_t M, int64_t N) {
  const int64_t across = (N + kFeatures - 1) / kFeatures;
  const auto time = [&](int64_t rows) {
    const int64_t tiles = (M + rows - 1) / rows * across;
    return (tiles + s.multiprocessors - 1) / s.multiprocessors * rows;
  };
  return time(256) <= time(192);
}

template <bool Across, template <bool> class Weight>
bool run(Stream& s, Scratch& scratch, const Job<Weight<Across>>& job, const void* x, QuantFormat format, int64_t M, int64_t N, int64_t K,
         const Matrix& to) {
  const auto with = [&]<int Rows>(std::integral_constant<int, Rows>) {
    CUtensorMap map;
    if (!tensor_map(map, x, M, K, Rows)) return false;
    const Work work = plan(s, scratch, M, N, K, Rows);
    launch<product_kernel<Rows, Across, Weight>>(s, work.grid(), kThreads, sizeof(Shared<Rows>), job, map, tables_of(format), work, to);
    add_splits(s, work, to);
    return true;
  };
  return taller_serves(s, M, N) ? with(std::integral_constant<int, 256>{}) : with(std::integral_constant<int, 192>{});
}

}  // namespace
}  // namespace wide

// Shapes whose chunks of eight would not be whole are others'; int8's outlier columns have no registers left forward.
bool hopper_serves(const Stream& s, Pass pass, const View& x, const Quantized& w) {
  constexpr int64_t most = INT32_MAX - 4 * 256;
  if (!s.wgmma || x.dtype != DType::bf16 || !aligned16({w.codes.data, x.data})) return false;
  if (w.in_features <= 0 || w.in_features % 8 || x.cols() <= 0 || x.cols() % 8) return false;
  if (x.rows() > most || w.in_features > most || w.out_features > most) return false;
  return w.format == QuantFormat::int8 ? pass == Pass::dx : w.block >= wide::kRun;
}

bool on_hopper(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, const LoraForward& lora) {
  using namespace wide;
  const int64_t M = x.rows(), N = w.out_features, K = w.in_features;
  if (lora.rank > 0) reduce(s, scratch, x, lora);
  const Branch branch{rows_of<bf16>(lora.b, N, lora.rank, lora.rank),
                      {rows_of<bf16>(lora.u.data, M, lora.rank, lora.rank), lora.scaling},
                      static_cast<int>(lora.rank)};
  return run<false, FourBit>(s, scratch, Job<FourBit<false>>{{four_bit(w)}, branch}, x.data, w.format, M, N, K, matrix_of(y, N, bias));
}

bool on_hopper_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora) {
  using namespace wide;
  const int64_t M = dy.rows(), N = w.in_features, K = w.out_features;
  const Matrix to = matrix_of(dx, N);
  const Branch branch{rows_of<bf16>(lora.a, lora.rank, N, N), {rows_of<bf16>(lora.t, M, lora.rank, lora.rank), 1.0f}, static_cast<int>(lora.rank)};
  const EightBit<true> eight_bit{w.codes.as<uint8_t>(), static_cast<int>(K), static_cast<int>(N), row_bytes(w.format, N), w.absmax.as<float>()};
  if (w.format == QuantFormat::int8)
    return run<true, EightBit>(s, scratch, Job<EightBit<true>>{eight_bit, branch, lora.dropout}, dy.data, w.format, M, N, K, to);
  return run<true, FourBit>(s, scratch, Job<FourBit<true>>{{four_bit(w)}, branch, lora.dropout}, dy.data, w.format, M, N, K, to);
}

}  // namespace anymal::cuda::gemm
