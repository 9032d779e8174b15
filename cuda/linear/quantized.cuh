// Products with a quantised weight, as linear_quantized.cu offers them to the op with LoRA: the low-rank branch rides on the same sums.
#pragma once
#include "linear/pieces.cuh"

namespace anymal::cuda::gemm {

// W (O,I) as an op gets it.
struct Quantized {
  In codes, absmax;
  InOpt nested_absmax, nested_offset;
  QuantFormat format;
  int64_t block, out_features, in_features;
};

// u (N,r) = dropout(x) . A^T, which is written, and y += scaling * u . B^T; A (r,I), B (O,r)
struct LoraForward {
  View u{};
  const void *a = nullptr, *b = nullptr;
  int64_t rank = 0;
  float scaling = 0;
  Dropout dropout{};
};
// One of several products of one x.
struct Member {
  View y;
  Quantized w;
  View bias;
  LoraForward lora{};
};
constexpr int kMostWeights = 3;
// dx += dropout'(t . A), t (N,r), A (r,I)
struct LoraBackward {
  const void *t = nullptr, *a = nullptr;
  int64_t rank = 0;
  Dropout dropout{};
};

// The weight as a loader of operands.cuh sees it.
inline FourBitWeight four_bit(const Quantized& w) {
  const int64_t n = w.out_features * w.in_features;
  FourBitWeight f{w.codes.as<uint8_t>(), static_cast<int>(w.out_features), static_cast<int>(w.in_features), row_bytes(w.format, w.in_features)};
  if (w.absmax.dtype == DType::u8) {
    f.absmax_codes = w.absmax.as<uint8_t>();
    f.nested = w.nested_absmax.as<float>();
    f.offset = w.nested_offset.as<float>();
  } else {
    f.absmax = w.absmax.as<float>();
  }
  while (int64_t{1} << f.shift < w.block) ++f.shift;
  const int64_t blocks = (n + w.block - 1) / w.block;
  if (blocks > INT32_MAX) throw std::runtime_error("a quantised weight of more than 2^31 blocks");
  f.blocks = static_cast<int>(blocks);
  f.aligned = address_divides(f.codes, 4);
  return f;
}

// `scaled`: with the factors of its rows; else the codes themselves.
inline EightBitWeight eight_bit(const Quantized& w, bool scaled) {
  return {w.codes.as<uint8_t>(),
          static_cast<int>(w.out_features),
          static_cast<int>(w.in_features),
          row_bytes(w.format, w.in_features),
          scaled ? w.absmax.as<float>() : nullptr,
          address_divides(w.codes.data, 8)};
}

// The tables of a launch, to shared memory.
__device__ __forceinline__ void bring(Tables* to, const Tables& from) {
  for (int i = threadIdx.x; i < 16; i += blockDim.x) to->book[i] = from.book[i];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) to->map[i] = from.map[i];
  __syncthreads();  // the tables are there
}

template <class T>
ReducedRows<T> reduced_rows(const LoraForward& lora, int64_t M, int64_t out_features) {
  const int64_t r = lora.rank;
  return {{rows_of<T>(lora.u.data, M, r, r), lora.scaling}, rows_of<T>(lora.b, out_features, r, r), static_cast<int>(r)};
}
// The branch of a launch whose other blocks are `blocks`; `readers` of them wait for u. Pieces sum up `depth` terms, what the others take as long
// for.
template <class T, class Tile>
LoraBranch<T> branch_of(const Stream& s, Scratch& scratch, const View& x, const LoraForward& lora, int64_t out_features, int64_t depth,
                        int64_t blocks, unsigned readers, int64_t step = kDepth) {
  const int64_t M = x.rows(), I = x.cols(), r = lora.rank;
  const Pieces pieces = plan_pieces<Tile>(scratch, M, r, I, depth, s.counters + kTurnCounters, kPieceCounters - kTurnCounters, step);
  return {reduced_rows<T>(lora, M, out_features),
          {s.counters, grid_of(pieces.blocks() + blocks).x, pieces.tiles(), readers},
          pieces,
          {rows_of<T>(x.data, M, I, I), lora.dropout},
          rows_of<T>(lora.a, r, I, I),
          matrix_of(lora.u, r)};
}
// u by a launch of its own.
void reduce(Stream& s, Scratch& scratch, const View& x, const LoraForward& lora);

// y = x.W^T + b for few rows and codes of 4 bit (skinny.cu: of weights that are alike, in one launch) or 8 (skinny_int8.cu), and for some hundreds
// (panels.cu); which products they take: path.cuh.
void skinny(Stream& s, Scratch& scratch, const View& x, const Member* of, int count);
void skinny_int8(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
                 const LoraForward& lora);
void panels(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, const LoraForward& lora);
// dx = dy.W + dropout'(t.A), the same (skinny_dx.cu, panels_dx.cu).
void skinny_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora);
void panels_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora);

void quantized(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
               const LoraForward& lora = {});
void quantized_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora = {});

}  // namespace anymal::cuda::gemm
