// linear_quantized and linear_quantized_dx: the dense product's main loop with a loader that decodes the weight, so nothing is dequantised whole.
//   4 bit: y = x.W^T + b, W decoded to the dtype of x.
//   int8 (LLM.int8, arXiv 2208.07339): rows of x in 8 bit; codes are exact in bf16, so their product runs on the bf16 instruction. Then the outlier
//   columns of x, a list that the device makes, in full precision, on the same sums: y = c_o (r_n codes.codes + outliers.codes) + b with
//   r_n = row maximum / 127, c_o = SCB / 127.
#include "linear/hopper_path.cuh"
#include "linear/path.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

// ---- 8-bit rows of x ------------------------------------------------------------------------------------------------------------------------

constexpr int kFlagRows = 64;  // rows that a thread looks through

// budget: 40 registers, 1 KiB shared, 0 spills
template <class T>
__global__ void flag_outliers_kernel(int32_t* flags, const T* x, int64_t rows, int64_t cols, float limit) {
  const int64_t c = first_index(), end = (blockIdx.y + 1) * int64_t{kFlagRows};
  if (c >= cols) return;
  bool found = false;
  for (int64_t r = blockIdx.y * int64_t{kFlagRows}; r < end && r < rows; ++r) found |= fabsf(to_float(x[r * cols + c])) >= limit;
  if (found) atomicMax(&flags[c], 1);
}

constexpr int kListThreads = 1024;

// budget: 40 registers, 1 KiB shared, 0 spills
// Flagged columns in ascending order, by one block.
__global__ void __launch_bounds__(kListThreads) list_outliers_kernel(int32_t* list, int32_t* count, const int32_t* flags, int64_t cols) {
  SHARED_ARRAY(int32_t, found, [kListThreads / 32]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int32_t before = 0;
  for (int64_t c0 = 0; c0 < cols; c0 += kListThreads) {
    const int64_t c = c0 + threadIdx.x;
    const bool flagged = c < cols && flags[c];
    const unsigned votes = __ballot_sync(~0u, flagged);
    if (lane == 0) found[warp] = __popc(votes);
    __syncthreads();  // every warp has counted
    int32_t at = before + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kListThreads / 32; ++w) {
      if (w < warp) at += found[w];
      before += found[w];
    }
    if (flagged) list[at] = static_cast<int32_t>(c);
    __syncthreads();  // the counts have been read
  }
  if (threadIdx.x == 0) *count = before;
}

// budget: 40 registers, 1 KiB shared, 0 spills
// codes = round(127 x / maximum) where |x| < limit, 0 in outlier columns; maximum over |x| < limit; outliers (rows, cols): the outlier columns side
// by side, as many as there are. One block per row.
template <class T>
__global__ void __launch_bounds__(kThreads) quantize_x_kernel(bf16* codes, float* maximum, T* outliers, const T* x, const int32_t* flags,
                                                              const int32_t* list, const int32_t* count, int64_t cols, float limit) {
  const T* from = x + blockIdx.x * cols;
  bf16* to = codes + blockIdx.x * cols;
  float most = 0;
  for (int64_t c = threadIdx.x; c < cols; c += kThreads) {
    const float a = fabsf(to_float(from[c]));
    most = a < limit && a > most ? a : most;
  }
  most = block_max<kThreads>(most);
  if (threadIdx.x == 0) maximum[blockIdx.x] = most;
  const float factor = most > 0 ? 127.0f / most : 0.0f;
  for (int64_t c = threadIdx.x; c < cols; c += kThreads) {
    const float v = to_float(from[c]);
    to[c] = from_float<bf16>(fabsf(v) < limit && !(flags && flags[c]) ? rintf(v * factor) : 0.0f);
  }
  if (!flags) return;
  for (int64_t c = threadIdx.x; c < *count; c += kThreads) outliers[blockIdx.x * cols + c] = from[list[c]];
}

template <class T>
struct QuantizedRows {
  bf16* codes;
  float* maximum;
  T* outliers = nullptr;
  int32_t *list = nullptr, *count = nullptr;  // outlier columns; null: there are none
};
template <class T>
QuantizedRows<T> quantize_rows(Stream& s, Scratch& scratch, const View& x, double threshold) {
  const int64_t rows = x.rows(), cols = x.cols();
  QuantizedRows<T> q{scratch.take<bf16>(rows * cols), scratch.take<float>(rows)};
  const float limit = threshold > 0 ? static_cast<float>(threshold) : INFINITY;
  int32_t* flags = nullptr;
  if (threshold > 0 && cols > 0) {
    flags = scratch.take<int32_t>(cols);
    q.outliers = scratch.take<T>(rows * cols);
    q.list = scratch.take<int32_t>(cols);
    q.count = scratch.take<int32_t>(1);
    clear(s, flags, cols * static_cast<int64_t>(sizeof *flags));
    // The grid's y is short: very many rows go in several launches.
    constexpr int64_t most = int64_t{kFlagRows} * 32768;
    for (int64_t r = 0; r < rows; r += most) {
      const int64_t n = rows - r < most ? rows - r : most;
      const dim3 grid = grid_of((cols + kThreads - 1) / kThreads, (n + kFlagRows - 1) / kFlagRows);
      launch<flag_outliers_kernel<T>>(s, grid, kThreads, 0, flags, x.as<T>() + r * cols, n, cols, limit);
    }
    launch<list_outliers_kernel>(s, 1, kListThreads, 0, q.list, q.count, flags, cols);
  }
  launch<quantize_x_kernel<T>>(s, grid_of(rows), kThreads, 0, q.codes, q.maximum, q.outliers, x.as<T>(), flags, q.list, q.count, cols, limit);
  return q;
}

// ---- products -------------------------------------------------------------------------------------------------------------------------------

// A low-rank product on the same sums.
template <class T, class A>
struct Branch {
  A a;
  Rows<T> b;
  int rank;
};
template <class T>
struct FourBitProduct {
  Rows<T> x;
  FourBitWeight weight;
  Branch<T, ScaledRows<T>> lora;
};
template <class T>
struct EightBitProduct {
  Rows<bf16> x;  // codes
  EightBitWeight weight;
  const float *maximum, *scale;  // of rows of x, of rows of W
  Rows<T> outliers;              // columns of x and, beside them, of W: as many as *count
  ListedCodes beside;
  const int32_t* count;
  Branch<T, ScaledRows<T>> lora;
};
template <class T, class Weight>
struct DxProduct {
  Rows<T> dy;
  Weight weight;
  Branch<T, Rows<T>> lora;
  Dropout dropout;
};

// budget: 255 registers, 34 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) four_bit_kernel(FourBitProduct<T> p, Tables tables, Work w, Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(Tables, decoding, [1]);
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  bring(decoding, tables);
  p.weight.tables = decoding;
  const int m0 = w.tile_m(Tile::kM), n0 = w.tile_n(Tile::kN);
  Sums<Tile> sums;
  multiply<P, P, false, false>(sums, shared, p.x, p.weight, m0, n0, w.begin(), w.end());
  if (blockIdx.y == 0) multiply<P, P, false, false>(sums, shared, p.lora.a, p.lora.b, m0, n0, 0, p.lora.rank);
  store(sums, w, c);
}

// budget: 255 registers, 24 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) eight_bit_kernel(EightBitProduct<T> p, Work w, Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, P, P>]);
  const int m0 = w.tile_m(Tile::kM), n0 = w.tile_n(Tile::kN);
  Sums<Tile> sums;
  multiply<1, 1, false, false>(sums, shared, p.x, p.weight, m0, n0, w.begin(), w.end());
  sums.each_pair(m0, n0, [&](int m, int, float& a, float& b) {
    const float factor = m < w.M ? p.maximum[m] / 127.0f : 0.0f;
    a *= factor;
    b *= factor;
  });
  if (blockIdx.y == 0 && p.count) {
    p.outliers.cols = p.beside.count = *p.count;
    multiply<P, 1, false, false>(sums, shared, p.outliers, p.beside, m0, n0, 0, p.outliers.cols);
  }
  sums.each_pair(m0, n0, [&](int, int n, float& a, float& b) {
    a *= n < w.N ? p.scale[n] / 127.0f : 0.0f;
    b *= n + 1 < w.N ? p.scale[n + 1] / 127.0f : 0.0f;
  });
  if (blockIdx.y == 0) multiply<P, P, false, false>(sums, shared, p.lora.a, p.lora.b, m0, n0, 0, p.lora.rank);
  store(sums, w, c);
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
  if (blockIdx.y == 0 && p.lora.rank > 0) {
    multiply<P, P, false, true>(sums, shared, p.lora.a, p.lora.b, m0, n0, 0, p.lora.rank);
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

EightBitWeight eight_bit(const Quantized& w, bool scaled) {
  return {w.codes.as<uint8_t>(),
          static_cast<int>(w.out_features),
          static_cast<int>(w.in_features),
          row_bytes(w.format, w.in_features),
          scaled ? w.absmax.as<float>() : nullptr,
          address_divides(w.codes.data, 8)};
}

}  // namespace

void quantized(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
               const LoraForward& lora) {
  const int64_t N = x.rows(), O = w.out_features, I = w.in_features;
  if (N == 0 || O == 0) return;
  switch (path_of(s, x, w, lora.rank)) {
    case Path::skinny:
      return skinny(s, scratch, y, x, w, bias);
    case Path::panels:
      return panels(s, scratch, y, x, w, bias);
    case Path::tiles:
      break;
  }
  if (on_hopper(s, scratch, y, x, w, bias, lora)) return;
  const Matrix to = matrix_of(y, O, bias);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const Branch<T, ScaledRows<T>> branch{
        {rows_of<T>(lora.u, N, lora.rank, lora.rank), lora.scaling}, rows_of<T>(lora.b, O, lora.rank, lora.rank), static_cast<int>(lora.rank)};
    if (w.format == QuantFormat::int8) {
      const QuantizedRows<T> q = quantize_rows<T>(s, scratch, x, threshold);
      const EightBitWeight codes = eight_bit(w, false);
      const EightBitProduct<T> p{rows_of<bf16>(q.codes, N, I, I),
                                 codes,
                                 q.maximum,
                                 w.absmax.as<float>(),
                                 rows_of<T>(q.outliers, N, 0, I),
                                 {codes.codes, codes.rows, codes.stride, q.list, 0},
                                 q.count,
                                 branch};
      with_tile<T, true, false>(s, N, O, [&](auto tile) {
        using Tile = decltype(tile);
        const Work work = plan<Tile>(s, scratch, N, O, I);
        launch<eight_bit_kernel<Tile, T>>(s, work.grid(), Tile::kThreads, 0, p, work, to);
        add_splits(s, work, to);
      });
      return;
    }
    const FourBitProduct<T> p{rows_of<T>(x.data, N, I, I), four_bit(w), branch};
    with_tile<T>(s, N, O, [&](auto tile) {
      using Tile = decltype(tile);
      const Work work = plan<Tile>(s, scratch, N, O, I);
      launch<four_bit_kernel<Tile, T>>(s, work.grid(), Tile::kThreads, 0, p, tables_of(w.format), work, to);
      add_splits(s, work, to);
    });
  });
}

void quantized_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora) {
  const int64_t N = dy.rows(), O = w.out_features, I = w.in_features;
  if (N == 0 || I == 0) return;
  if (on_hopper_dx(s, scratch, dx, dy, w, lora)) return;
  const Matrix to = matrix_of(dx, I);
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    with_tile<T>(s, N, I, [&](auto tile) {
      using Tile = decltype(tile);
      const Work work = plan<Tile>(s, scratch, N, I, O);
      const auto with = [&](auto weight) {
        const DxProduct<T, decltype(weight)> p{
            rows_of<T>(dy.data, N, O, O),
            weight,
            {rows_of<T>(lora.t, N, lora.rank, lora.rank), rows_of<T>(lora.a, lora.rank, I, I), static_cast<int>(lora.rank)},
            lora.dropout};
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
