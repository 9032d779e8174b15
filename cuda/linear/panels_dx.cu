// dx (M,I) = dy.W in bf16 for some hundreds of rows at most and 4-bit codes (coded_dx.cuh).
//
// A block makes 256 inputs of up to 64 rows. Per step of 64 outputs, codes and rows of dy come by cp.async, kStages - 1 steps ahead. ldmatrix hands a
// lane the codes of its k across the rows of W: four inputs of each of two outputs in a register. A pair's look-up gives two f32, which are scaled
// and rounded to bf16 once, as a weight that is dequantised, and that once for all rows of the block, by the one warp that multiplies it.
#include "linear/coded_dx.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

constexpr int kWarps = 4, kThreadsOf = 32 * kWarps, kStep = 64, kStages = 3;
constexpr int kCopies = 16;  // of a table of eight bytes an entry: half a warp meets at no bank
constexpr size_t kPairs = size_t{256} * kCopies * sizeof(float2);
static_assert(kStep * kAcross / kCodeTile == kThreadsOf, "a thread for an output's maxima in a row of 128 inputs");

template <int Eights>
struct Stage {
  uint4 dy[8 * Eights][kStep / 8];        // [row][chunk of eight outputs ^ row % 8]
  uint4 codes[kStep][kAcross / 32];       // [output][chunk ^ output % 8]
  float maxima[kAcross / 64][kStep + 8];  // [block of 64 inputs][output]
};
template <int Eights>
constexpr size_t kSharedBytes = kPairs + kStages * sizeof(Stage<Eights>);

struct PanelDx {
  Rows<bf16> dy;
  FourBitWeight weight;
  int M, depth;
  unsigned tiles_m;
  Across to;
};

__device__ __forceinline__ void fill_pairs(float4* pairs, const float* book) {
  for (int i = threadIdx.x; i < 256 * kCopies / 2; i += kThreadsOf) {
    const int byte = i / (kCopies / 2);
    const float low = book[byte & 15], high = book[byte >> 4];
    pairs[i] = make_float4(low, high, low, high);
  }
}

// Sums of a warp: [2 chunk + byte][rows of dx / 8][as mma.m16n8k16 has them], chunks of sixteen codes in each block of 64.
template <int Eights>
struct PanelSums {
  float total[4][Eights][4] = {};

  // The first of a lane's four inputs of a chunk, from the block's first.
  __device__ __forceinline__ static int input(int chunk) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    return warp / 2 * kCodeTile + lane / 16 * 64 + (warp % 2 * 2 + chunk) * 16 + lane / 4 % 4 * 4;
  }

  __device__ __forceinline__ void add(const char* pairs, const Stage<Eights>& of) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const auto look_up = [&](uint32_t codes, int byte) {
      return *reinterpret_cast<const float2*>(pairs + ((codes >> (8 * byte) & 255) * (kCopies * 8) | lane % kCopies * 8));
    };
#pragma unroll
    for (int kk = 0; kk < kStep / 16; ++kk) {
      uint32_t codes[4], rows[Eights / 2][4];
      const int o = kk * 16 + lane % 16, chunk = warp * 2 + lane / 16;
      ptx::ldmatrix_x4_trans(codes, ptx::shared_address(&of.codes[o][chunk ^ o % 8]));
#pragma unroll
      for (int j = 0; j < Eights / 2; ++j) {
        const int row = 16 * j + lane / 16 * 8 + lane % 8;
        ptx::ldmatrix_x4(rows[j], ptx::shared_address(&of.dy[row][(kk * 2 + lane / 8 % 2) ^ row % 8]));
      }
      const float* most = &of.maxima[warp / 2 * 2 + lane / 16][kk * 16 + lane % 4 * 2];
      const float2 low = *reinterpret_cast<const float2*>(most), high = *reinterpret_cast<const float2*>(most + 8);
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const uint32_t first = codes[m / 2 * 2], second = codes[m / 2 * 2 + 1];
        const float2 w[4] = {look_up(first, m % 2), look_up(first, 2 + m % 2), look_up(second, m % 2), look_up(second, 2 + m % 2)};
        const uint32_t a[4] = {ptx::cvt_bf16x2(w[0].x * low.x, w[1].x * low.y), ptx::cvt_bf16x2(w[0].y * low.x, w[1].y * low.y),
                               ptx::cvt_bf16x2(w[2].x * high.x, w[3].x * high.y), ptx::cvt_bf16x2(w[2].y * high.x, w[3].y * high.y)};
#pragma unroll
        for (int n = 0; n < Eights; ++n) {
          const uint32_t pair[2] = {rows[n / 2][n % 2 * 2], rows[n / 2][n % 2 * 2 + 1]};
          ptx::mma_m16n8k16(total[m][n], a, pair);
        }
      }
    }
  }

  __device__ __forceinline__ void begin(const DxBranch<bf16>& branch, int row0, int i0) {
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int j0 = 0; j0 < branch.rank; j0 += 32) {
      const int j = j0 + lane % 4 * 8;  // of this lane's eight ranks
      uint4 ts[Eights][1];
#pragma unroll
      for (int n = 0; n < Eights; ++n) branch.t.unpack(branch.t.fetch(row0 + 8 * n + lane / 4, j), ts[n]);
#pragma unroll
      for (int chunk = 0; chunk < 2; ++chunk) {
        const int i = i0 + input(chunk);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          uint32_t of_rank[4][2];
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            const Eight<bf16> eight = branch.a.fetch(j + 4 * h + r, i / 8 * 8);
            of_rank[r][0] = i % 8 ? eight.w[2] : eight.w[0];
            of_rank[r][1] = i % 8 ? eight.w[3] : eight.w[1];
          }
#pragma unroll
          for (int b = 0; b < 2; ++b) {
            uint32_t a[1][4];
            across(a[0], of_rank[0][b], of_rank[1][b], of_rank[2][b], of_rank[3][b]);
#pragma unroll
            for (int n = 0; n < Eights; ++n) multiply_planes<1>(total[chunk * 2 + b][n], a, ts[n], h);
          }
        }
      }
    }
    if (branch.dropout.p == 0) return;
    each_four([&](int m, int at, float(&v)[4]) {
      const uint32_t kept = branch.dropout.keeps(static_cast<uint64_t>(row0 + m) * branch.a.cols + i0 + at);
#pragma unroll
      for (int e = 0; e < 4; ++e) v[e] = kept >> e & 1 ? v[e] * branch.dropout.scale : 0.0f;
    });
  }

  // f(row of the block, input of the block, four sums from there on, which f may change)
  template <class F>
  __device__ __forceinline__ void each_four(const F& f) {
#pragma unroll
    for (int n = 0; n < Eights; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int chunk = 0; chunk < 2; ++chunk) {
          float v[4];
#pragma unroll
          for (int e = 0; e < 4; ++e) v[e] = total[chunk * 2 + e / 2][n][e % 2 * 2 + r];
          f(8 * n + threadIdx.x % 4 * 2 + r, input(chunk), v);
#pragma unroll
          for (int e = 0; e < 4; ++e) total[chunk * 2 + e / 2][n][e % 2 * 2 + r] = v[e];
        }
  }
};

// loop of NoBranch: mma.sync
// budget: 255 registers, 2 KiB shared, 0 spills
template <int Eights, class Branch>
__global__ void __launch_bounds__(kThreadsOf, 2) panels_dx_kernel(PanelDx p, Branch branch, Tables tables) {
  SHARED_ARRAY(Tables, decoding, [1]);
  char* const pairs = dynamic_shared<char>();
  auto* const stages = reinterpret_cast<Stage<Eights>*>(pairs + kPairs);
  const int thread = threadIdx.x;
  const int tile_m = static_cast<int>(blockIdx.x % p.tiles_m), row0 = tile_m * 8 * Eights, i0 = static_cast<int>(blockIdx.x / p.tiles_m) * kAcross;
  const int rows = p.M - row0 < 8 * Eights ? p.M - row0 : 8 * Eights, outputs = p.weight.rows;
  const int o0 = static_cast<int>(blockIdx.y) * p.depth, steps = ((outputs - o0 < p.depth ? outputs - o0 : p.depth) + kStep - 1) / kStep;

  // This thread's chunk: of every sixteenth row of dy, and of every sixteenth output.
  const int row = thread / 8, c = thread % 8;
  const bf16* const of_row = p.dy.data + (row0 + row) * p.dy.stride + o0 + c * 8;
  const int place = i0 / 2 + c * 16;
  const auto load = [&](int step) {
    if (step < steps) {
      Stage<Eights>& to = stages[step % kStages];
      const int o = o0 + step * kStep;
      const uint32_t to_dy = ptx::shared_address(&to.dy[row][c ^ row % 8]), to_codes = ptx::shared_address(&to.codes[row][c ^ row % 8]);
      const int present = o + c * 8 < outputs ? rows - row : 0;
#pragma unroll
      for (int j = 0; j < Eights / 2; ++j)
        ptx::cp_async16(to_dy + j * 16 * kStep * 2, of_row + j * 16 * p.dy.stride + step * kStep, 16 * j < present);
#pragma unroll
      for (int j = 0; j < kStep / 16; ++j) {
        const int of = o + row + 16 * j;  // beyond the last its own again: dy is zero there
        ptx::cp_async16(to_codes + j * 16 * kAcross / 2, p.weight.codes + (of < outputs ? of : outputs - 1) * p.weight.stride + place,
                        place < p.weight.stride);
      }
    }
    ptx::cp_async_commit();
  };
  FetchedMaxima ahead;
  const auto fetch_maxima = [&](int step) {
    if (step < steps) ahead.fetch(p.weight, o0 + step * kStep + thread / 2, i0 + thread % 2 * kCodeTile);
  };
  const auto store_maxima = [&](int step) {
    if (step >= steps) return;
    const float2 two = ahead.finished(p.weight, 1);
    auto& to = stages[step % kStages].maxima;
    to[thread % 2 * 2][thread / 2] = two.x;
    to[thread % 2 * 2 + 1][thread / 2] = two.y;
  };

  for (int i = 0; i < kStages - 1; ++i) load(i);
  bring(decoding, tables);
  p.weight.tables = decoding;
  fill_pairs(reinterpret_cast<float4*>(pairs), decoding->book);
  for (int i = 0; i < kStages - 1; ++i) {
    fetch_maxima(i);
    store_maxima(i);
  }

  PanelSums<Eights> sums;
  if constexpr (Branch::kThere)
    if (blockIdx.y == 0) sums.begin(branch, row0, i0);
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // this step's stage has come, the one before has been read
    load(step + kStages - 1);
    fetch_maxima(step + kStages - 1);
    sums.add(pairs, stages[step % kStages]);
    store_maxima(step + kStages - 1);
  }

  sums.each_four([&](int m, int at, const float(&v)[4]) {
    if (m < rows) p.to.put(blockIdx.x, blockIdx.y, row0, i0, m, at, make_float4(v[0], v[1], v[2], v[3]));
  });
  p.to.finish(blockIdx.x, row0, rows, i0, pairs);
}

}  // namespace

void panels_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora) {
  const int64_t M = dy.rows(), O = w.out_features, I = w.in_features;
  const auto with = [&](auto eights) {
    constexpr int kEights = decltype(eights)::value;
    const int64_t tiles_m = (M + 8 * kEights - 1) / (8 * kEights), blocks = tiles_m * ((I + kAcross - 1) / kAcross);
    // Two blocks a multiprocessor; a part is four steps at least.
    int64_t parts = 2 * int64_t{s.multiprocessors} / blocks;
    parts = parts < O / (4 * kStep) ? parts : O / (4 * kStep);
    const int64_t depth = round_up(parts > 1 ? (O + parts - 1) / parts : O, kStep);
    const auto count = static_cast<unsigned>(depth > 0 ? (O + depth - 1) / depth : 1);
    const PanelDx p{rows_of<bf16>(dy.data, M, O, O),
                    four_bit(w),
                    static_cast<int>(M),
                    static_cast<int>(depth),
                    static_cast<unsigned>(tiles_m),
                    across_of(s, scratch, count, 8 * kEights, blocks, dx, I)};
    const auto with_branch = [&](const auto& branch) {
      launch<panels_dx_kernel<kEights, std::decay_t<decltype(branch)>>>(s, grid_of(blocks, count), kThreadsOf, kSharedBytes<kEights>, p, branch,
                                                                        tables_of(w.format));
    };
    if (lora.rank == 0) with_branch(NoBranch{});
    else with_branch(dx_branch<bf16>(lora, M, I));
  };
  if (M <= 32) with(std::integral_constant<int, 4>{});
  else with(std::integral_constant<int, 8>{});
}

}  // namespace gemm
}  // namespace anymal::cuda
