// y (M,N) = x.W^T + b for M <= 16 rows and codes of 8 bit (LLM.int8, arXiv 2208.07339), in two launches. One looks through x: for the largest number
// of each row below the threshold, and for columns with outliers. In the other, blocks take their part of x into 8 bit themselves, and multiply
// codes by codes in integers, sixteen bytes of a row of W a load; then the part's outlier columns in full precision, on the same sums:
// y = c_o (r_n codes.codes + outliers.codes) + b with r_n = row maximum / 127, c_o = SCB / 127.
#include <algorithm>

#include "linear/skinny_work.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

constexpr int kTile = 64, kBytes = kTile, kAhead = 4, kBlocks = 2;
constexpr int kDeepest = 1024;  // inputs of a part
constexpr int kMostRows = 16;
constexpr int kLooked = 256;  // columns that a block looks through

// maxima: [block][row]; outliers: a bit for each column.
// budget: 40 registers, 1 KiB shared, 0 spills
template <class T>
__global__ void __launch_bounds__(kLooked) look_through_kernel(float* maxima, uint32_t* outliers, Rows<T> x, float limit, bool listed) {
  const int c = static_cast<int>(blockIdx.x) * kLooked + threadIdx.x;
  float v[kMostRows];
#pragma unroll
  for (int r = 0; r < kMostRows; ++r) v[r] = r < x.rows && c < x.cols ? fabsf(to_float(x.data[r * x.stride + c])) : 0.0f;
  bool found = false;
#pragma unroll
  for (int r = 0; r < kMostRows; ++r) {
    if (r == x.rows) break;
    found |= v[r] >= limit;
    const float most = block_max<kLooked>(v[r] < limit ? v[r] : 0.0f);
    if (threadIdx.x == 0) maxima[blockIdx.x * x.rows + r] = most;
  }
  const uint32_t votes = __ballot_sync(~0u, listed && found);
  if (threadIdx.x % 32 == 0) outliers[c / 32] = votes;
}

template <class T>
struct EightBitSkinny {
  Rows<T> x;
  const uint8_t* codes;
  int64_t stride;
  const float *scale, *maxima;
  const uint32_t* outliers;
  int looked;  // blocks that looked through x
  float limit;
};

// Sixteen numbers of a row in 8 bit; those of outlier columns, and those that are none but above the limit, are zero.
template <class T>
__device__ __forceinline__ uint4 in_eight_bit(const Rows<T>& x, int row, int k, float factor, float limit, uint32_t outliers) {
  uint32_t w[4] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const Eight<T> eight = x.fetch(row, k + 8 * half);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const bool kept = fabsf(eight[i]) < limit && !(outliers >> (8 * half + i) & 1);
      const int code = kept ? static_cast<int>(rintf(eight[i] * factor)) : 0;
      w[2 * half + i / 4] |= (static_cast<uint32_t>(code) & 255) << (8 * (i % 4));
    }
  }
  return make_uint4(w[0], w[1], w[2], w[3]);
}

// Codes of two rows of W, g and g + 8, and of one of x.
__device__ __forceinline__ void multiply_codes(int (&sum)[4], const uint4& low, const uint4& high, const uint4& x) {
  const uint32_t a[2][4] = {{low.x, high.x, low.y, high.y}, {low.z, high.z, low.w, high.w}}, b[2][2] = {{x.x, x.y}, {x.z, x.w}};
  ptx::mma_m16n8k32_s8(sum, a[0], b[0]);
  ptx::mma_m16n8k32_s8(sum, a[1], b[1]);
}

// loop of NoBranch: mma.sync, at most 2 instructions a weight, 4 in PTX, 16 weights a load
// budget: 255 registers, 2 KiB shared, 0 spills
template <class T, int Eights, class Branch>
__global__ void __launch_bounds__(kWarps * 32, kBlocks) skinny_int8_kernel(EightBitSkinny<T> p, Branch branch, SkinnyWork w, Matrix y) {
  uint4* const x = dynamic_shared<uint4>();  // [tile][row][lane of four]
  SHARED_ARRAY(float, most, [kMostRows]);
  SHARED_ARRAY(uint32_t, outliers, [kDeepest / 32]);
  SHARED_ARRAY(unsigned, turn, [1]);
  if constexpr (Branch::kThere)
    if (branch.template makes_piece<Small>(turn, x)) return;
  const Spot at = branch.spot(turn, static_cast<unsigned>(w.ranges()), w.parts.count);
  const int k0 = static_cast<int>(at.split) * w.depth, depth = w.K - k0 < w.depth ? w.K - k0 : w.depth, tiles = (depth + kTile - 1) / kTile;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = static_cast<int>(at.block) * w.passes * kWarps;  // strip of the block

  const uint8_t* const from = p.codes + k0 + lane % 4 * 16;
  LaneCodes of(from, p.stride, first + warp, w.N);
  uint4 codes[kAhead][2];
#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (i < tiles) of.fetch(codes[i], i * kBytes);

  for (int row = warp; row < kMostRows; row += kWarps) {
    float of_row = 0;
    for (int b = lane; b < p.looked && row < w.M; b += 32) of_row = fmaxf(of_row, p.maxima[b * w.M + row]);
    of_row = warp_max(of_row);
    if (lane == 0) most[row] = of_row;
  }
  for (int i = threadIdx.x; i < tiles * (kTile / 32); i += kWarps * 32) outliers[i] = p.outliers[k0 / 32 + i];
  __syncthreads();  // maxima and outliers are there
  for (int i = threadIdx.x; i < w.M * tiles * 4; i += kWarps * 32) {
    const int row = i / (tiles * 4), chunk = i % (tiles * 4);
    const float factor = most[row] > 0 ? 127.0f / most[row] : 0.0f;
    x[(chunk / 4 * w.M + row) * 4 + chunk % 4] = in_eight_bit(p.x, row, k0 + chunk * 16, factor, p.limit, outliers[chunk / 2] >> chunk % 2 * 16);
  }
  __syncthreads();  // rows are there

  for (int pass = 0; pass < w.passes; ++pass) {
    const int strip = first + pass * kWarps + warp;
    if (strip * kStrip >= w.N) break;
    const LaneCodes present = of;
    int sums[Eights][4] = {};
    for (int tile = 0; tile < tiles; tile += kAhead) {
      const int next = tile_ahead(tile + kAhead, tiles, pass + 1 < w.passes, [&] { of = LaneCodes(from, p.stride, strip + kWarps, w.N); });
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (tile + i < tiles) {
          // Beyond the last row of x its own again: what columns beyond M sum up, nobody reads.
#pragma unroll
          for (int n = 0; n < Eights; ++n) {
            const int row = 8 * n + lane / 4;
            multiply_codes(sums[n], codes[i][0], codes[i][1], x[((tile + i) * w.M + (row < w.M ? row : w.M - 1)) * 4 + lane % 4]);
          }
        }
        if (next + i < tiles) of.fetch(codes[i], (next + i) * kBytes);
      }
    }

    float total[Eights][4];
#pragma unroll
    for (int n = 0; n < Eights; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) total[n][e] = most[8 * n + lane % 4 * 2 + e % 2] / 127.0f * static_cast<float>(sums[n][e]);
#pragma unroll 1
    for (int i = 0; i < tiles * (kTile / 32); ++i)
      for (uint32_t left = outliers[i]; left; left &= left - 1) {
        const int k = i * 32 + __ffs(left) - 1, at_k = k - lane % 4 * 16;
        const float of_w[2] = {static_cast<float>(static_cast<int8_t>(present.low[at_k])),
                               static_cast<float>(static_cast<int8_t>(present.high[at_k]))};
#pragma unroll
        for (int n = 0; n < Eights; ++n)
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            const int row = 8 * n + lane % 4 * 2 + c;
            const float v = row < w.M ? to_float(p.x.data[row * p.x.stride + k0 + k]) : 0.0f;
            total[n][c] += of_w[0] * v;
            total[n][2 + c] += of_w[1] * v;
          }
      }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int o = strip * kStrip + lane / 4 + 8 * half;
      const float factor = o < w.N ? p.scale[o] / 127.0f : 0.0f;
#pragma unroll
      for (int n = 0; n < Eights; ++n) total[n][2 * half] *= factor, total[n][2 * half + 1] *= factor;
    }
    if constexpr (Branch::kThere) {
      if (at.split == 0) {
        if (pass == 0) wait_for(branch.turns);
        add_branch(total, branch, strip * kStrip, 0);
      }
    }
    finish(total, w.parts, at.split, y, strip, 0, w.M, strip * kStrip, w.N);
  }
}

}  // namespace

void skinny_int8(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
                 const LoraForward& lora) {
  const int64_t M = x.rows(), N = w.out_features, K = w.in_features, looked = (K + kLooked - 1) / kLooked;
  const float limit = threshold > 0 ? static_cast<float>(threshold) : INFINITY;
  const Matrix to = matrix_of(y, N, bias);
  auto* const maxima = scratch.take<float>(looked * M);
  auto* const outliers = scratch.take<uint32_t>(looked * (kLooked / 32));
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const SkinnyWork work = plan_skinny(s, scratch, M, N, K, kBlocks, kDeepest, kTile);
    const Rows<T> rows = rows_of<T>(x.data, M, K, K);
    const EightBitSkinny<T> p{rows, w.codes.as<uint8_t>(), row_bytes(w.format, K), w.absmax.as<float>(), maxima, outliers, static_cast<int>(looked),
                              limit};
    launch<look_through_kernel<T>>(s, grid_of(looked), kLooked, 0, maxima, outliers, rows, limit, threshold > 0);
    const auto with = [&](const auto& branch, dim3 grid) {
      using Branch = std::decay_t<decltype(branch)>;
      constexpr size_t least = Branch::kThere ? sizeof(uint4) * kSharedChunks<Small, kPlanes<T>, kPlanes<T>> : 0;
      const size_t shared = std::max<size_t>(least, static_cast<size_t>(work.depth * M));
      const auto with_eights = [&](auto eights) {
        launch<skinny_int8_kernel<T, decltype(eights)::value, Branch>>(s, grid, kWarps * 32, shared, p, branch, work, to);
      };
      if (M <= 8) with_eights(std::integral_constant<int, 1>{});
      else with_eights(std::integral_constant<int, 2>{});
    };
    if (lora.rank == 0) return with(NoBranch{}, grid_of(work.ranges(), work.parts.count));
    const auto branch = branch_of<T, Small>(s, scratch, x, lora, N, kPieceDepth, int64_t{work.ranges()} * work.parts.count, work.warps());
    with(branch, grid_of(branch.turns.blocks));
  });
}

}  // namespace gemm
}  // namespace anymal::cuda
