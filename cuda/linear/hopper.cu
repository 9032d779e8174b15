// Many rows of bf16 with a quantised weight, on Hopper (compute capability 9.0). A block makes 128 features of 192 or 256 rows of x. One warp group
// decodes the weights, 64 k at a time, into the layout that wgmma reads, while TMA brings x; two others multiply, 64 features each, with x as the
// second operand: so a decoded weight serves 256 rows, and shared memory is read least (hopper_roles.cuh).
//
// dX has the same tiles: rows of W are k there, and wgmma reads the tile across. INT8 forward multiplies codes by codes, in integers, and nothing is
// decoded: TMA brings both sides. What rides on the same sums (outlier columns of LLM.int8, the low-rank branch) are further steps, whose operands
// the producers write both. u = dropout(x).A^T of the branch is made by the launch's first blocks, as pieces.cuh has it, by the same roles.
//
// Its kernels are compiled for sm_90a, and empty elsewhere.
#include <algorithm>

#include "linear/eight_bit_rows.cuh"
#include "linear/hopper_path.cuh"
#include "linear/hopper_roles.cuh"
#include "tensor_map.h"

namespace anymal::cuda::gemm {
namespace wide {
namespace {

// dX's branch: dropout'(t.A), features on the left, rows of dy on the right. Its mask lies on the branch alone, so the branch comes first.
struct MaskedBranch {
  gemm::Rows<bf16> a;
  ScaledRows<bf16> t;
  int rank;
  Dropout dropout;
};
template <class Weight>
struct Job {
  Weight weight;
  std::conditional_t<Weight::kAcross, MaskedBranch, LoraBranch<bf16>> lora;
};

// A piece of u, features of A on the left.
template <int Rows>
__device__ __forceinline__ void make_u(Shared<Rows>& shared, const Ring& ring, const LoraBranch<bf16>& lora) {
  const Work& w = lora.pieces.work;
  const unsigned piece = shared.turn[0], tile = piece % lora.pieces.tiles(), split = piece / lora.pieces.tiles();
  const int m0 = static_cast<int>(tile / w.tiles_n) * Rows, n0 = static_cast<int>(tile % w.tiles_n) * kFeatures;
  if (threadIdx.x >= kConsumers) {
    ptx::give_up_registers<kProducerRegisters>();
    Producer<Rows, false>{shared, ring, m0, n0}.plain(lora.a, lora.x, w.begin(split), w.end(split));
    return;
  }
  ptx::take_registers<kConsumerRegisters>();
  Consumer<Rows, false> consumer{shared, ring};
  float sums[Rows / 2] = {};
  consumer.multiply(sums, w.end(split) - w.begin(split));
  consumer.store(sums, w, m0, n0, split, lora.to);
  // Producers have gone: barriers of the block are the consumers' alone.
  if (add_splits_of<Rows, kFeatures, kConsumers>(lora.pieces, tile, m0, n0, &shared.turn[1], lora.to)) lora.turns.announce();
}

template <int Rows, class Weight>
__device__ __forceinline__ void produce(Producer<Rows, Weight::kAcross> producer, const Weight& weight, const Job<Weight>& job, const Maps& maps,
                                        const Work& w, unsigned split, int outliers) {
  const int rank = split == 0 ? job.lora.rank : 0;
  if constexpr (Weight::kAcross) producer.plain(job.lora.a, job.lora.t, 0, rank);
  producer.weights(weight, maps, w.begin(split), w.end(split));
  if constexpr (Weight::kIntegers) {
    ListedCodes beside = weight.beside;
    gemm::Rows<bf16> columns = weight.outliers;
    beside.count = columns.cols = outliers;
    producer.plain(beside, columns, 0, outliers);
  }
  if constexpr (!Weight::kAcross) {
    if (rank == 0) return;
    if (threadIdx.x % 32 == 0) job.lora.turns.wait();
    __syncwarp();  // kept: u is seen by all lanes; the checker shows a warp what one of its lanes has acquired
    producer.plain(job.lora.b, job.lora.u, 0, rank);
  }
}

template <int Rows, class Weight>
__device__ __forceinline__ void consume(Consumer<Rows, Weight::kAcross> consumer, const Job<Weight>& job, const Work& w, int m0, int n0,
                                        unsigned split, int outliers, const Matrix& c) {
  const int rank = split == 0 ? job.lora.rank : 0, depth = w.end(split) - w.begin(split);
  float sums[Rows / 2] = {};
  if constexpr (Weight::kAcross) {
    consumer.multiply(sums, rank);
    if (rank > 0 && job.lora.dropout.p > 0) consumer.drop(sums, job.lora.dropout, m0, n0, w.N);
  }
  if constexpr (Weight::kIntegers) {
    int32_t whole[Rows / 2] = {};
    consumer.multiply(whole, depth);
    consumer.scale_rows(sums, whole);
    consumer.multiply(sums, outliers);
    consumer.scale_features(sums, job.weight.scale, n0, w.N);
  } else {
    consumer.multiply(sums, depth);
  }
  if constexpr (!Weight::kAcross) consumer.multiply(sums, rank);
  consumer.store(sums, w, m0, n0, split, c);
}

// code: wgmma alone, loads of sixteen bytes
// loop: wgmma out of shared memory, at most 96 instructions, 96 in PTX
// loop of FourBit: TMA, at most 7.5 instructions a weight, 10 in PTX
// loop of EightBitAcross: TMA, at most 7 instructions a weight, 9 in PTX, 16 weights a load
// budget: 168 registers, 0 KiB shared, 0 spills
template <int Rows, class Weight>
__global__ void __launch_bounds__(kThreads, 1) product_kernel(Job<Weight> job, const __grid_constant__ Maps maps, Tables tables, Work w, Matrix c) {
#if ANYMAL_HOPPER
  Shared<Rows>& shared = *dynamic_shared<Shared<Rows>>();
  const Ring ring = begin(shared, tables, Weight::kPairs);
  Spot at{blockIdx.x, blockIdx.y};
  if constexpr (!Weight::kAcross) {
    if (job.lora.rank > 0) {
      job.lora.turns.take(shared.turn);
      if (shared.turn[0] < job.lora.pieces.blocks()) return make_u(shared, ring, job.lora);
      at = job.lora.spot(shared.turn, w.tiles_m * w.tiles_n, w.splits);
    }
  }
  const int m0 = w.tile_m(Rows, at.block), n0 = w.tile_n(kFeatures, at.block);
  Weight weight = job.weight;
  int outliers = 0;
  if constexpr (Weight::kPairs) weight.w.tables = &shared.tables;
  if constexpr (Weight::kIntegers) {
    for (int i = threadIdx.x; i < Rows; i += kThreads) shared.factors[i] = m0 + i < w.M ? weight.maximum[m0 + i] / 127.0f : 0.0f;
    if (at.split == 0 && weight.count) outliers = *weight.count;
    __syncthreads();  // the factors are there
  }
  if (threadIdx.x >= kConsumers) {
    ptx::give_up_registers<kProducerRegisters>();
    return produce(Producer<Rows, Weight::kAcross>{shared, ring, m0, n0}, weight, job, maps, w, at.split, outliers);
  }
  ptx::take_registers<kConsumerRegisters>();
  consume(Consumer<Rows, Weight::kAcross>{shared, ring}, job, w, m0, n0, at.split, outliers, c);
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

// A tile of u, as plan_pieces() sees it.
template <int Rows>
struct TileOfU {
  static constexpr int kM = Rows, kN = kFeatures;
};

// maps(to, rows): false where the driver cannot describe an operand to TMA. branch(rows, work): what rides on the sums.
template <class Weight, class Encode, class Branch>
bool run(Stream& s, Scratch& scratch, const Weight& weight, QuantFormat format, int64_t M, int64_t N, int64_t K, const Matrix& to, const Encode& maps,
         const Branch& branch) {
  const auto with = [&]<int Rows>(std::integral_constant<int, Rows> rows) {
    Maps there{};
    if (!maps(there, Rows)) return false;
    const Work work = plan(s, scratch, M, N, K, Rows);
    const Job<Weight> job{weight, branch(rows, work)};
    dim3 grid = work.grid();
    if constexpr (!Weight::kAcross)
      if (job.lora.rank > 0) grid = grid_of(job.lora.turns.blocks);
    launch<product_kernel<Rows, Weight>>(s, grid, kThreads, sizeof(Shared<Rows>), job, there, tables_of(format), work, to);
    add_splits(s, work, to);
    return true;
  };
  return taller_serves(s, M, N) ? with(std::integral_constant<int, 256>{}) : with(std::integral_constant<int, 192>{});
}

}  // namespace
}  // namespace wide

// Shapes whose chunks of eight would not be whole are others'; sums of products of bytes are to fit 32 bits.
bool hopper_serves(const Stream& s, Pass pass, const View& x, const Quantized& w) {
  constexpr int64_t most = INT32_MAX - 4 * 256, most_codes = int64_t{1} << 17;
  if (!s.wgmma || x.dtype != DType::bf16 || !aligned16({w.codes.data, x.data})) return false;
  if (w.in_features <= 0 || w.in_features % 8 || x.cols() <= 0 || x.cols() % 8) return false;
  if (x.rows() > most || w.in_features > most || w.out_features > most) return false;
  return w.format == QuantFormat::int8 ? pass == Pass::dx || w.in_features <= most_codes : w.block >= wide::kRun;
}

bool on_hopper(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
               const LoraForward& lora) {
  using namespace wide;
  const int64_t M = x.rows(), N = w.out_features, K = w.in_features;
  const Matrix to = matrix_of(y, N, bias);
  // Pieces of u end long before the tiles that begin beside them: a step of theirs takes some times as long, since the producers write both sides.
  const auto branch = [&]<int Rows>(std::integral_constant<int, Rows>, const Work& work) {
    if (lora.rank == 0) return LoraBranch<bf16>{};
    const unsigned tiles = work.tiles_m * work.tiles_n;
    const int64_t depth = std::max<int64_t>(256, work.depth / 8);
    return branch_of<bf16, TileOfU<Rows>>(s, scratch, x, lora, N, depth, int64_t{tiles} * work.splits, tiles * (kProducers / 32), kStep);
  };
  if (w.format != QuantFormat::int8) {
    const auto maps = [&](Maps& m, int rows) { return tensor_map(m.x, x.data, M, K, rows); };
    return run(s, scratch, FourBit<false>{four_bit(w)}, w.format, M, N, K, to, maps, branch);
  }
  const auto q = quantize_rows<bf16, int8_t>(s, scratch, x, threshold);
  const auto maps = [&](Maps& m, int rows) {
    return tensor_map_of_bytes(m.x, q.codes, M, K, q.stride, rows) &&
           tensor_map_of_bytes(m.weight, w.codes.data, N, K, row_bytes(w.format, K), kFeatures);
  };
  const Integers codes{{w.codes.as<uint8_t>(), static_cast<int>(N), row_bytes(w.format, K), q.list, 0},
                       rows_of<bf16>(q.outliers, M, 0, K),
                       q.count,
                       q.maximum,
                       w.absmax.as<float>()};
  return run(s, scratch, codes, w.format, M, N, K, to, maps, branch);
}

bool on_hopper_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora) {
  using namespace wide;
  const int64_t M = dy.rows(), N = w.in_features, K = w.out_features;
  const auto branch = [&](auto, const Work&) {
    return MaskedBranch{
        rows_of<bf16>(lora.a, lora.rank, N, N), {rows_of<bf16>(lora.t, M, lora.rank, lora.rank), 1.0f}, static_cast<int>(lora.rank), lora.dropout};
  };
  const auto maps = [&](Maps& m, int rows) { return tensor_map(m.x, dy.data, M, K, rows); };
  const auto go = [&](const auto& weight) { return run(s, scratch, weight, w.format, M, N, K, matrix_of(dx, N), maps, branch); };
  if (w.format != QuantFormat::int8) return go(FourBit<true>{four_bit(w)});
  return go(EightBitAcross{w.codes.as<uint8_t>(), static_cast<int>(K), static_cast<int>(N), row_bytes(w.format, N), w.absmax.as<float>()});
}

}  // namespace anymal::cuda::gemm
