// linear_quantized and linear_quantized_dx: the dense product's main loop with a loader that decodes the weight, so nothing is dequantised whole.
//   4 bit: y = x.W^T + b, W decoded to the dtype of x.
//   int8 (LLM.int8, arXiv 2208.07339): rows of x in 8 bit; codes are exact in bf16, so their product runs on the bf16 instruction. Then the outlier
//   columns of x, a list that the device makes, in full precision, on the same sums: y = c_o (r_n codes.codes + outliers.codes) + b with
//   r_n = row maximum / 127, c_o = SCB / 127.
#include "linear/eight_bit_rows.cuh"
#include "linear/hopper_path.cuh"
#include "linear/path.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

template <class T>
struct FourBitProduct {
  Rows<T> x;
  FourBitWeight weight;
};
template <class T>
struct EightBitProduct {
  Rows<bf16> x;  // codes
  EightBitWeight weight;
  const float *maximum, *scale;  // of rows of x, of rows of W
  Rows<T> outliers;              // columns of x and, beside them, of W: as many as *count
  ListedCodes beside;
  const int32_t* count;
};
template <class T, class Weight>
struct DxProduct {
  Rows<T> dy;
  Weight weight;
  Rows<T> t, a;  // of LoRA's branch
  int rank;
  Dropout dropout;
};

// Tiles of as many threads as a large one's, for LoRA's small product. A wide tile of it would be mostly empty.
template <class Large>  // not called Tile: nvcc's host code would take the template for it
using Small = std::conditional_t<std::is_same_v<Large, Wide>, Tile<64, 64, 16, 32, 2>, Large>;

// Where a block's tile is, and of which split. Asked for again behind the main loop, so that it stays in no register meanwhile.
template <class Tile>
struct Place {
  int m0, n0;
  unsigned split;

  template <class Branch>
  __device__ __forceinline__ Place(const Branch& branch, const Work& w, const unsigned* turn) {
    const Spot at = branch.spot(turn, w.tiles_m * w.tiles_n, w.splits);
    m0 = w.tile_m(Tile::kM, at.block), n0 = w.tile_n(Tile::kN, at.block), split = at.split;
  }
};
template <int P, class Tile, class Branch>
__device__ __forceinline__ void add_branch(Sums<Tile>& sums, const Branch& branch, const Place<Tile>& at, uint4* shared) {
  if constexpr (Branch::kThere) {
    if (at.split > 0) return;
    if (threadIdx.x == 0) branch.turns.wait();
    __syncthreads();  // u is there for the whole block
    multiply<P, P, false, false>(sums, shared, branch.u, branch.b, at.m0, at.n0, 0, branch.rank);
  }
}

// loop: mma.sync
// budget: 255 registers, 34 KiB shared, 0 spills
template <class Tile, class T, class Branch>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    four_bit_kernel(FourBitProduct<T> p, Branch branch, Tables tables, Work w, Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(Tables, decoding, [1]);
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  SHARED_ARRAY(unsigned, turn, [1]);
  if constexpr (Branch::kThere)
    if (branch.template makes_piece<Small<Tile>>(turn, shared)) return;
  bring(decoding, tables);
  p.weight.tables = decoding;
  Sums<Tile> sums;
  {
    const Place<Tile> at(branch, w, turn);
    multiply<P, P, false, false>(sums, shared, p.x, p.weight, at.m0, at.n0, w.begin(at.split), w.end(at.split));
  }
  const Place<Tile> at(branch, w, turn);
  add_branch<P>(sums, branch, at, shared);
  store(sums, w, at.m0, at.n0, at.split, c);
}

// loop: mma.sync
// budget: 255 registers, 25 KiB shared, 0 spills
template <class Tile, class T, class Branch>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) eight_bit_kernel(EightBitProduct<T> p, Branch branch, Work w, Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  SHARED_ARRAY(unsigned, turn, [1]);
  if constexpr (Branch::kThere)
    if (branch.template makes_piece<Small<Tile>>(turn, shared)) return;
  const Place<Tile> at(branch, w, turn);
  const int m0 = at.m0, n0 = at.n0;
  Sums<Tile> sums;
  multiply<1, 1, false, false>(sums, shared, p.x, p.weight, m0, n0, w.begin(at.split), w.end(at.split));
  sums.each_pair(m0, n0, [&](int m, int, float& a, float& b) {
    const float factor = m < w.M ? p.maximum[m] / 127.0f : 0.0f;
    a *= factor;
    b *= factor;
  });
  if (at.split == 0 && p.count) {
    p.outliers.cols = p.beside.count = *p.count;
    multiply<P, 1, false, false>(sums, shared, p.outliers, p.beside, m0, n0, 0, p.outliers.cols);
  }
  sums.each_pair(m0, n0, [&](int, int n, float& a, float& b) {
    a *= n < w.N ? p.scale[n] / 127.0f : 0.0f;
    b *= n + 1 < w.N ? p.scale[n + 1] / 127.0f : 0.0f;
  });
  add_branch<P>(sums, branch, at, shared);
  store(sums, w, m0, n0, at.split, c);
}

// dx = dy.W + dropout'(t.A): the mask lies on the branch alone, so the branch comes first.
// budget: 255 registers, 34 KiB shared, 0 spills
template <class Tile, class T, class Weight>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) quantized_dx_kernel(DxProduct<T, Weight> p, Tables tables, Work w, Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(Tables, decoding, [1]);
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  if constexpr (std::is_same_v<Weight, FourBitWeight>) {
    bring(decoding, tables);
    p.weight.tables = decoding;
  }
  const int m0 = w.tile_m(Tile::kM), n0 = w.tile_n(Tile::kN);
  Sums<Tile> sums;
  if (blockIdx.y == 0 && p.rank > 0) {
    multiply<P, P, false, true>(sums, shared, p.t, p.a, m0, n0, 0, p.rank);
    if (p.dropout.p > 0)
      sums.each_pair(m0, n0, [&](int m, int n, float& a, float& b) {
        const uint32_t kept = p.dropout.keeps_two(static_cast<uint64_t>(m) * w.N + n);
        a = kept & 1 ? a * p.dropout.scale : 0.0f;
        b = kept & 2 ? b * p.dropout.scale : 0.0f;
      });
  }
  multiply<P, P, false, true>(sums, shared, p.dy, p.weight, m0, n0, w.begin(), w.end());
  store(sums, w, c);
}

}  // namespace

void quantized(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
               const LoraForward& lora) {
  const int64_t N = x.rows(), O = w.out_features, I = w.in_features;
  if (N == 0) return;
  if (O == 0) return lora.rank > 0 ? reduce(s, scratch, x, lora) : void();
  const Member alone{y, w, bias, lora};
  switch (path_of(s, Pass::forward, x, w)) {
    case Path::skinny:
      if (w.format == QuantFormat::int8) return skinny_int8(s, scratch, y, x, w, bias, threshold, lora);
      return skinny(s, scratch, x, &alone, 1);
    case Path::panels:
      return panels(s, scratch, y, x, w, bias, lora);
    case Path::hopper:
      if (on_hopper(s, scratch, y, x, w, bias, threshold, lora)) return;
      break;
    case Path::tiles:
      break;
  }
  const Matrix to = matrix_of(y, O, bias);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    // go(tile, branch, work) launches the product.
    const auto with_branch = [&](auto tile, const auto& go) {
      using Tile = decltype(tile);
      const Work work = plan<Tile>(s, scratch, N, O, I);
      const unsigned tiles = work.tiles_m * work.tiles_n;
      if (lora.rank == 0) go(tile, NoBranch{}, work, work.grid());
      else {
        const auto branch = branch_of<T, Small<Tile>>(s, scratch, x, lora, O, work.depth, int64_t{tiles} * work.splits, tiles);
        go(tile, branch, work, grid_of(branch.turns.blocks));
      }
      add_splits(s, work, to);
    };
    if (w.format == QuantFormat::int8) {
      const auto q = quantize_rows<T, bf16>(s, scratch, x, threshold);
      const EightBitWeight codes = eight_bit(w, false);
      const EightBitProduct<T> p{rows_of<bf16>(q.codes, N, I, I),
                                 codes,
                                 q.maximum,
                                 w.absmax.as<float>(),
                                 rows_of<T>(q.outliers, N, 0, I),
                                 {codes.codes, codes.rows, codes.stride, q.list, 0},
                                 q.count};
      const auto go = [&](auto tile, const auto& branch, const Work& work, dim3 grid) {
        using Tile = decltype(tile);
        launch<eight_bit_kernel<Tile, T, std::decay_t<decltype(branch)>>>(s, grid, Tile::kThreads, 0, p, branch, work, to);
      };
      with_tile<T, true, false>(s, N, O, [&](auto tile) { with_branch(tile, go); });
      return;
    }
    const FourBitProduct<T> p{rows_of<T>(x.data, N, I, I), four_bit(w)};
    const auto go = [&](auto tile, const auto& branch, const Work& work, dim3 grid) {
      using Tile = decltype(tile);
      launch<four_bit_kernel<Tile, T, std::decay_t<decltype(branch)>>>(s, grid, Tile::kThreads, 0, p, branch, tables_of(w.format), work, to);
    };
    with_tile<T>(s, N, O, [&](auto tile) { with_branch(tile, go); });
  });
}

void quantized_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora) {
  const int64_t N = dy.rows(), O = w.out_features, I = w.in_features;
  if (N == 0 || I == 0) return;
  switch (path_of(s, Pass::dx, dy, w)) {
    case Path::skinny:
      return skinny_dx(s, scratch, dx, dy, w, lora);
    case Path::panels:
      return panels_dx(s, scratch, dx, dy, w, lora);
    case Path::hopper:
      if (on_hopper_dx(s, scratch, dx, dy, w, lora)) return;
      break;
    case Path::tiles:
      break;
  }
  const Matrix to = matrix_of(dx, I);
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    with_tile<T>(s, N, I, [&](auto tile) {
      using Tile = decltype(tile);
      const Work work = plan<Tile>(s, scratch, N, I, O);
      const auto with = [&](auto weight) {
        const DxProduct<T, decltype(weight)> p{
            rows_of<T>(dy.data, N, O, O), weight,      rows_of<T>(lora.t, N, lora.rank, lora.rank), rows_of<T>(lora.a, lora.rank, I, I),
            static_cast<int>(lora.rank),  lora.dropout};
        launch<quantized_dx_kernel<Tile, T, decltype(weight)>>(s, work.grid(), Tile::kThreads, 0, p, tables_of(w.format), work, to);
      };
      if (w.format == QuantFormat::int8) with(eight_bit(w, true));
      else with(four_bit(w));
      add_splits(s, work, to);
    });
  });
}

}  // namespace gemm

void linear_quantized(Stream& s, Out y, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, QuantFormat format,
                      int64_t block, int64_t out_features, double threshold) {
  Scratch scratch(s);
  gemm::quantized(s, scratch, y, x, {codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols()}, b, threshold);
}

void linear_quantized_dx(Stream& s, Out dx, In dy, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, QuantFormat format, int64_t block,
                         int64_t in_features) {
  Scratch scratch(s);
  gemm::quantized_dx(s, scratch, dx, dy, {codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), in_features});
}

}  // namespace anymal::cuda
