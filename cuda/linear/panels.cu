// y (M,N) = x.W^T + b in bf16 for some hundreds of rows at most and 4-bit codes (coded.cuh): prompts, and steps of training with few tokens.
//
// A block makes 128 outputs of up to 64 rows. Per step of 128 inputs, codes and rows come by cp.async, kStages steps ahead, to where lanes find their
// operands side by side; a weight is decoded once for all rows of the block, by the one warp that multiplies it. Maxima are no whole chunks: each
// thread fetches those of its output ahead into registers.
#include "linear/coded.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

constexpr int kWarps = 4, kThreadsOf = 32 * kWarps, kStrips = 2, kOuts = kWarps * kStrips * kStrip;
constexpr int kStages = 3, kCopies = 16;  // with 64 rows: what every card has of shared memory
static_assert(kOuts == kThreadsOf, "a thread for each output's maxima");

template <int Eights>
struct Stage {
  uint4 x[4][8 * Eights][4];       // [chunk][row][lane of four]
  uint4 codes[kOuts][4];           // [output][lane of four]
  float maxima[kOuts / 16][8][4];  // [strip][output % 8][output / 8][block]
};
template <int Eights>
constexpr size_t kSharedBytes = kTableBytes<bf16, kCopies> + kStages * sizeof(Stage<Eights>);

struct PanelProduct {
  Rows<bf16> x;
  FourBitWeight weight;
  float unit;  // of the table
  int M, N, K, depth;
  unsigned tiles_m, tiles_n;
  Parts parts;
};

// loop: mma.sync
// budget: 255 registers, 2 KiB shared, 0 spills
template <int Eights, class Branch>
__global__ void __launch_bounds__(kThreadsOf, 2) panels_kernel(PanelProduct p, Branch branch, Tables tables, Matrix y) {
  SHARED_ARRAY(Tables, decoding, [1]);
  char* const table = dynamic_shared<char>();
  SHARED_ARRAY(unsigned, turn, [1]);
  if constexpr (Branch::kThere)
    if (branch.template makes_piece<Middle>(turn, reinterpret_cast<uint4*>(table))) return;
  const Spot at = branch.spot(turn, p.tiles_m * p.tiles_n, p.parts.count);
  auto* const stages = reinterpret_cast<Stage<Eights>*>(table + kTableBytes<bf16, kCopies>);
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int tile_m = static_cast<int>(at.block % p.tiles_m), tile_n = static_cast<int>(at.block / p.tiles_m);
  const int row0 = tile_m * 8 * Eights, out0 = tile_n * kOuts, rows = p.M - row0 < 8 * Eights ? p.M - row0 : 8 * Eights;
  const int k0 = static_cast<int>(at.split) * p.depth, steps = ((p.K - k0 < p.depth ? p.K - k0 : p.depth) + kCodeTile - 1) / kCodeTile;

  // This thread's chunks: of every eighth row, and of every 32nd output.
  const int row = thread / 16, c = thread % 16;
  const bf16* const of_row = p.x.data + (row0 + row) * p.x.stride + k0 + c * 8;
  const uint8_t* const of_codes = p.weight.codes + k0 / 2 + thread % 4 * 16;
  const auto load = [&](int step) {
    if (step < steps) {
      Stage<Eights>& to = stages[step % kStages];
      const int k = step * kCodeTile;
      const uint32_t to_x = ptx::shared_address(&to.x[c / 8 * 2 + c % 2][row][c % 8 / 2]),
                     to_codes = ptx::shared_address(&to.codes[thread / 4][thread % 4]);
      const int present = k0 + k + c * 8 < p.K ? rows - row : 0;
#pragma unroll
      for (int j = 0; j < Eights; ++j) ptx::cp_async16(to_x + j * 8 * 64, of_row + j * 8 * p.x.stride + k, 8 * j < present);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int o = out0 + thread / 4 + 32 * j;  // beyond the last its own again, for nobody
        ptx::cp_async16(to_codes + j * 32 * 64, of_codes + (o < p.N ? o : p.N - 1) * p.weight.stride + k / 2);
      }
    }
    ptx::cp_async_commit();
  };
  FetchedMaxima ahead;
  const auto fetch_maxima = [&](int step) {
    if (step < steps) ahead.fetch(p.weight, out0 + thread, k0 + step * kCodeTile);
  };
  const auto store_maxima = [&](int step) {
    if (step >= steps) return;
    const float2 two = ahead.finished(p.weight, 1 / p.unit);
    *reinterpret_cast<float2*>(&stages[step % kStages].maxima[thread / 16][thread % 8][thread % 16 / 8 * 2]) = two;
  };

  for (int i = 0; i < kStages - 1; ++i) load(i);
  bring(decoding, tables);
  p.weight.tables = decoding;
  fill_table<bf16, kCopies>(reinterpret_cast<uint4*>(table), decoding->book, p.unit);
  for (int i = 0; i < kStages - 1; ++i) {
    fetch_maxima(i);
    store_maxima(i);
  }

  CodedSums<bf16, kCopies, kStrips, Eights> sums;
  const uint32_t copy = lane % kCopies * 4;
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // this step's stage has come, the one before has been read
    load(step + kStages - 1);
    fetch_maxima(step + kStages - 1);
    const Stage<Eights>& of = stages[step % kStages];
    const auto codes = [&](int s, int half, int block) {
      const int o = (warp * kStrips + s) * kStrip + lane / 4 + 8 * half;
      return reinterpret_cast<const uint2*>(&of.codes[o][lane % 4])[block];
    };
    const auto maxima = [&](int s) { return *reinterpret_cast<const float4*>(of.maxima[warp * kStrips + s][lane / 4]); };
    sums.add(
        table, copy, codes, [&](int n, int, int chunk) { return of.x[chunk][8 * n + lane / 4][lane % 4]; }, maxima);
    store_maxima(step + kStages - 1);
  }

  const int strips = (p.N + kStrip - 1) / kStrip;
  if constexpr (Branch::kThere) {
    if (at.split == 0) {
      wait_for(branch.turns);
#pragma unroll
      for (int s = 0; s < kStrips; ++s) add_branch(sums.total[s], branch, out0 + (warp * kStrips + s) * kStrip, row0);
    }
  }
#pragma unroll
  for (int s = 0; s < kStrips; ++s) {
    const int strip = out0 / kStrip + warp * kStrips + s;
    if (strip < strips) finish(sums.total[s], p.parts, at.split, y, tile_m * strips + strip, row0, rows, strip * kStrip, p.N);
  }
}

}  // namespace

void panels(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, const LoraForward& lora) {
  const int64_t M = x.rows(), N = w.out_features, K = w.in_features;
  const auto with = [&](auto eights) {
    constexpr int kEights = decltype(eights)::value;
    const int64_t tiles_m = (M + 8 * kEights - 1) / (8 * kEights), tiles_n = (N + kOuts - 1) / kOuts, blocks = tiles_m * tiles_n;
    // Two blocks a multiprocessor; a part is four steps at least.
    int64_t parts = 2 * int64_t{s.multiprocessors} / blocks;
    parts = parts < K / (4 * kCodeTile) ? parts : K / (4 * kCodeTile);
    const int64_t depth = round_up(parts > 1 ? (K + parts - 1) / parts : K, kCodeTile);
    const auto count = static_cast<unsigned>((K + depth - 1) / depth);
    const PanelProduct p{rows_of<bf16>(x.data, M, K, K),
                         four_bit(w),
                         unit_of<bf16>(w.format),
                         static_cast<int>(M),
                         static_cast<int>(N),
                         static_cast<int>(K),
                         static_cast<int>(depth),
                         static_cast<unsigned>(tiles_m),
                         static_cast<unsigned>(tiles_n),
                         make_parts(s, scratch, count, 8 * kEights, tiles_m * ((N + kStrip - 1) / kStrip))};
    const auto with_branch = [&](const auto& branch, dim3 grid) {
      constexpr auto kernel = panels_kernel<kEights, std::decay_t<decltype(branch)>>;
      launch<kernel>(s, grid, kThreadsOf, kSharedBytes<kEights>, p, branch, tables_of(w.format), matrix_of(y, N, bias));
    };
    if (lora.rank == 0) return with_branch(NoBranch{}, grid_of(blocks, count));
    const auto branch = branch_of<bf16, Middle>(s, scratch, x, lora, N, depth, blocks * count, static_cast<unsigned>(blocks) * kWarps);
    with_branch(branch, grid_of(branch.turns.blocks));
  };
  if (M <= 32) with(std::integral_constant<int, 4>{});
  else with(std::integral_constant<int, 8>{});
}

}  // namespace gemm
}  // namespace anymal::cuda
