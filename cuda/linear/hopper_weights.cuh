// How the producing warps of hopper.cu make tiles: runs of 64 weights of one row, decoded by one thread, and operands that are plain.
#pragma once
#include "hopper.cuh"
#include "linear/operands.cuh"

namespace anymal::cuda::gemm::wide {

constexpr int kProducers = 128;
constexpr int kRun = 64;

// A tile is rows of eight chunks of 16 bytes; chunks are XORed with the row, as TMA's swizzle of 128 bytes has it.
__device__ __forceinline__ int place(int row, int chunk) { return row * 8 + (chunk ^ (row & 7)); }

// Values of the two codes in a byte; each of sixteen lanes has a copy in banks of its own.
using Pairs = float2[256][16];

// Blocks of 64 weights or more: what scales a run of 64 neighbours of one row.
struct RunScale {
  float maximum[2];  // of the elements before and from `turn`; nested: what their codes are multiplied with
  uint8_t nested[2];
  uint8_t turn;
};

// `Across`: rows of W are rows of the tile's k, else of its features.
template <bool Across>
struct FourBit {
  FourBitWeight w;  // data is aligned to 16 bytes, rows are multiples of 8

  // What lies beyond W makes no sum: its inputs, which pads of rows decode to zero, meet zeros of x, and its outputs go nowhere.
  // Sixteen bytes hold sixteen weights of one run and sixteen of the next. A thread takes both runs of one row, for two steps of 64 k; or, across,
  // half of both, for the two halves of a tile's features.
  static constexpr int kSteps = Across ? 1 : 2, kVectors = Across ? 2 : 4;
  static constexpr bool kAcross = Across, kPairs = true, kIntegers = false;
  struct Raw {
    uint4 codes[kVectors];
    RunScale run[2];
  };
  __device__ __forceinline__ RunScale scale_of_run(int r, int c) const {
    RunScale run{};
    if (r >= w.rows || c >= w.cols) return run;
    const int64_t at = static_cast<int64_t>(r) * w.cols + c;
    const int block = static_cast<int>(at >> w.shift), size = 1 << w.shift, rest = size - (static_cast<int>(at) & (size - 1));
    run.turn = static_cast<uint8_t>(rest < kRun ? rest : kRun);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i == 1 && (rest >= kRun || rest >= w.cols - c)) break;
      run.maximum[i] = w.absmax ? w.absmax[block + i] : w.nested[(block + i) / quant::kNestedBlock];
      if (!w.absmax) run.nested[i] = w.absmax_codes[block + i];
    }
    return run;
  }
  // Nothing here waits for what it has loaded.
  __device__ __forceinline__ Raw fetch(int thread, int k, int n0) const {
    const int r = Across ? k + thread % 64 : n0 + thread, c = Across ? n0 : k, first = Across ? thread / 64 * 2 : 0;
    Raw raw{};
    if (r >= w.rows || c >= w.cols) return raw;
    const uint4* p = reinterpret_cast<const uint4*>(w.codes + r * w.stride + c / 2) + first;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) raw.codes[i] = p[i];
#pragma unroll
    for (int half = 0; half < 2; ++half) raw.run[half] = scale_of_run(r, c + half * kRun);
    return raw;
  }
  __device__ __forceinline__ float maximum(const RunScale& run, int i, float offset) const {
    return w.absmax ? run.maximum[i] : w.tables->map[run.nested[i]] * run.maximum[i] + offset;
  }
  __device__ __forceinline__ void store_half(const Raw& raw, int half, uint4* tile, int row, int first, const Pairs& pairs) const {
    const RunScale& run = raw.run[half];
    const float offset = w.absmax ? 0.0f : *w.offset, before = maximum(run, 0, offset), behind = maximum(run, 1, offset);
    const uint32_t copy = threadIdx.x % 16 * sizeof(float2);
#pragma unroll
    for (int i = 0; i < 2 * kVectors; ++i) {
      const uint4& four = raw.codes[i / 2];
      const uint32_t codes = half ? (i % 2 ? four.w : four.z) : i % 2 ? four.y : four.x;
      const int chunk = first * 2 + i;
      const float scale = 8 * chunk < run.turn ? before : behind;
      uint32_t out[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t row = (j == 0 ? codes << 7 : codes >> (8 * j - 7)) & 255 << 7;  // a byte's, of 128 bytes
        const float2 pair = *reinterpret_cast<const float2*>(reinterpret_cast<const char*>(pairs) + (row | copy));
        out[j] = ptx::cvt_bf16x2(pair.x * scale, pair.y * scale);
      }
      tile[place(row, chunk)] = make_uint4(out[0], out[1], out[2], out[3]);
    }
  }
  __device__ __forceinline__ void store(const Raw& raw, int step, uint4* tile, int thread, const Pairs& pairs) const {
    if constexpr (Across) {
#pragma unroll
      for (int half = 0; half < 2; ++half) store_half(raw, half, tile + half * kRun * 8, thread % 64, thread / 64 * 2, pairs);
    } else {
      store_half(raw, step, tile, thread, 0, pairs);
    }
  }
};

// INT8 across. A thread takes a run of 64 neighbours of one row.
struct EightBitAcross {
  const uint8_t* codes;
  int rows, cols;
  int64_t stride;
  const float* absmax;  // of rows

  static constexpr int kSteps = 1;
  static constexpr bool kAcross = true, kPairs = false, kIntegers = false;
  struct Raw {
    uint4 codes[4];
    float scale;
    int end;
  };
  __device__ __forceinline__ Raw fetch(int thread, int k, int n0) const {
    const int r = k + thread % 64, c = n0 + thread / 64 * 64;
    Raw raw{};
    if (r >= rows || c >= cols) return raw;
    const uint4* p = reinterpret_cast<const uint4*>(codes + r * stride + c);
#pragma unroll
    for (int i = 0; i < 4; ++i) raw.codes[i] = p[i];
    raw.scale = absmax[r];
    raw.end = cols - c;
    return raw;
  }
  __device__ __forceinline__ void store(const Raw& raw, int, uint4* tile, int thread, const Pairs&) const {
    const float scale = raw.scale / 127.0f;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const uint4& two = raw.codes[c / 2];
      const uint32_t low = c % 2 ? two.z : two.x, high = c % 2 ? two.w : two.y;
      uint4 planes[1] = {};
      if (8 * c < raw.end)
        split<1>([&](int i) { return static_cast<float>(static_cast<int8_t>((i < 4 ? low : high) >> (8 * (i % 4)))) * scale; }, planes);
      tile[place(thread, c)] = planes[0];
    }
  }
};

// INT8 forward (LLM.int8): nothing is decoded, TMA brings the codes. y = c_o (r_n codes.codes + outliers.codes), r_n = maximum / 127, c_o =
// scale / 127.
struct Integers {
  ListedCodes beside;            // of W, the outlier columns,
  gemm::Rows<bf16> outliers;     // of x, side by side: as many as *count
  const int32_t* count;          // null: none
  const float *maximum, *scale;  // of rows of x, of rows of W

  static constexpr bool kAcross = false, kPairs = false, kIntegers = true;
};

// Rows [r0, r0 + Rows) and 64 columns from c0 on of an operand that is no weight.
template <int Rows, class Operand>
__device__ __forceinline__ void store_plain(const Operand& x, uint4* tile, int r0, int c0) {
  constexpr int kAtOnce = 4;  // chunks that are under way
  static_assert(Rows * 8 % (kProducers * kAtOnce) == 0);
#pragma unroll 1
  for (int i = threadIdx.x % kProducers; i < Rows * 8; i += kProducers * kAtOnce) {
    typename Operand::Raw raw[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) raw[j] = x.fetch(r0 + (i + j * kProducers) / 8, c0 + i % 8 * 8);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      uint4 planes[1];
      x.unpack(raw[j], planes);
      tile[place((i + j * kProducers) / 8, i % 8)] = planes[0];
    }
  }
}
// A thread's columns are the same in all rows.
template <int Rows>
__device__ __forceinline__ void store_plain(const ListedCodes& w, uint4* tile, int r0, int c0) {
  const int chunk = threadIdx.x % 8, count = w.count - c0 - 8 * chunk;
  int32_t columns[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) columns[i] = i < count ? w.list[c0 + 8 * chunk + i] : 0;
#pragma unroll 1
  for (int row = threadIdx.x % kProducers / 8; row < Rows; row += kProducers / 8) {
    const uint8_t* from = w.codes + (r0 + row) * w.stride;
    const int present = r0 + row < w.rows ? count : 0;
    uint4 planes[1];
    split<1>([&](int i) { return i < present ? static_cast<float>(static_cast<int8_t>(from[columns[i]])) : 0.0f; }, planes);
    tile[place(row, chunk)] = planes[0];
  }
}

}  // namespace anymal::cuda::gemm::wide
