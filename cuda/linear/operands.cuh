// Where a matrix product's operands come from. An operand is seen as rows of memory; fetch(row, column) takes eight consecutive elements of one row
// into registers (zeros beyond the edge, column is a multiple of 8), unpack turns them into chunks of eight bf16, one per plane.
//
// One plane holds bf16 operands. An f32 operand takes three: hi = bf16(x), mid = bf16(x - hi), lo = bf16(x - hi - mid). Products of planes are
// exact in f32, so the six largest give f32 accuracy on the bf16 instruction. (An infinity becomes NaN: inf - inf.)
#pragma once
#include <cstring>

#include "common.cuh"
#include "quant/tables.h"
#include "random.cuh"

namespace anymal::cuda::gemm {

template <class T>
constexpr int kPlanes = sizeof(T) == 4 ? 3 : 1;

template <class T>
struct Eight;
template <>
struct Eight<bf16> {
  uint32_t w[4];
  __device__ __forceinline__ float operator[](int i) const { return __uint_as_float(i % 2 ? w[i / 2] & 0xFFFF0000u : w[i / 2] << 16); }
};
template <>
struct Eight<float> {
  float v[8];
  __device__ __forceinline__ float operator[](int i) const { return v[i]; }
};

// at(i): element i, or false for zero
template <class F>
__device__ __forceinline__ void gather(Eight<bf16>& e, const F& at) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bf16 low = at(2 * i), high = at(2 * i + 1);
    e.w[i] = low.bits | static_cast<uint32_t>(high.bits) << 16;
  }
}
template <class F>
__device__ __forceinline__ void gather(Eight<float>& e, const F& at) {
#pragma unroll
  for (int i = 0; i < 8; ++i) e.v[i] = at(i);
}
__device__ __forceinline__ void load(Eight<bf16>& e, const bf16* p) {
  const uint4 v = *reinterpret_cast<const uint4*>(p);
  e.w[0] = v.x, e.w[1] = v.y, e.w[2] = v.z, e.w[3] = v.w;
}
__device__ __forceinline__ void load(Eight<float>& e, const float* p) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float4 v = *reinterpret_cast<const float4*>(p + 4 * h);
    e.v[4 * h] = v.x, e.v[4 * h + 1] = v.y, e.v[4 * h + 2] = v.z, e.v[4 * h + 3] = v.w;
  }
}

// f(i) for i in [0, 8) -> planes
template <int Planes, class F>
__device__ __forceinline__ void split(const F& f, uint4 (&planes)[Planes]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float a = f(2 * i), b = f(2 * i + 1);
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
      const uint32_t two = ptx::cvt_bf16x2(a, b);
      (i == 0 ? planes[p].x : i == 1 ? planes[p].y : i == 2 ? planes[p].z : planes[p].w) = two;
      a -= __uint_as_float(two << 16);
      b -= __uint_as_float(two & 0xFFFF0000u);
    }
  }
}
__device__ __forceinline__ void planes_of(const Eight<bf16>& e, uint4 (&planes)[1]) { planes[0] = make_uint4(e.w[0], e.w[1], e.w[2], e.w[3]); }
template <int Planes>
__device__ __forceinline__ void planes_of(const Eight<float>& e, uint4 (&planes)[Planes]) {
  split<Planes>([&](int i) { return e[i]; }, planes);
}

// How many of the eight elements from (r, c) on are inside.
__device__ __forceinline__ int present(int r, int rows, int c, int cols) { return r < rows && c < cols ? (cols - c < 8 ? cols - c : 8) : 0; }

// A matrix whose rows lie `stride` elements apart.
template <class T>
struct Rows {
  const T* data;
  int rows, cols;
  int64_t stride;
  bool packs;  // 16-byte loads hold: data is aligned and so is every row

  using Raw = Eight<T>;
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    Raw raw;
    const T* p = data + r * stride + c;
    const int count = present(r, rows, c, cols);
    if (packs && count == 8) load(raw, p);
    else gather(raw, [&](int i) { return i < count ? p[i] : T{}; });
    return raw;
  }
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    planes_of(raw, planes);
  }
};
template <class T>
Rows<T> rows_of(const void* data, int64_t rows, int64_t cols, int64_t stride) {
  return {static_cast<const T*>(data), static_cast<int>(rows), static_cast<int>(cols), stride,
          aligned16({data}) && stride * static_cast<int64_t>(sizeof(T)) % 16 == 0};
}

// The same times a factor, rounded to T.
template <class T>
struct ScaledRows : Rows<T> {
  float factor;

  using typename Rows<T>::Raw;
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    split<Planes>([&](int i) { return factor * raw[i]; }, planes);
  }
};

// dropout(x): the mask is a function of the element's position in x, whose rows lie side by side.
struct Dropout {
  uint64_t seed, offset;
  float p, scale;  // scale = 1 / (1 - p)

  // The mask of eight positions, bit by bit; blocks of four positions share one draw.
  __device__ __forceinline__ uint32_t keeps(uint64_t position) const {
    uint32_t mask = 0;
    const uint32_t shift = position % 4;
    for (uint32_t b = 0; b < (shift ? 3u : 2u); ++b) {
      const RandomBlock r = random_block(seed, offset, position / 4 + b);
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) mask |= (unit_uniform(r.v[i]) >= p ? 1u : 0u) << (4 * b + i);
    }
    return mask >> shift;
  }
  __device__ __forceinline__ uint32_t keeps_two(uint64_t position) const {
    const RandomBlock r = random_block(seed, offset, position / 4);
    const uint32_t lane = position % 4;
    const uint32_t first = lane == 0 ? r.v[0] : lane == 1 ? r.v[1] : lane == 2 ? r.v[2] : r.v[3];
    const uint32_t second = lane == 0 ? r.v[1] : lane == 1 ? r.v[2] : lane == 2 ? r.v[3] : random_block(seed, offset, position / 4 + 1).v[0];
    return (unit_uniform(first) >= p ? 1u : 0u) | (unit_uniform(second) >= p ? 2u : 0u);
  }
};
template <class T>
struct DroppedRows : Rows<T> {
  Dropout dropout;

  struct Raw {
    Eight<T> x;
    uint32_t mask;
  };
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    return {Rows<T>::fetch(r, c), dropout.p > 0 ? dropout.keeps(static_cast<uint64_t>(r) * this->cols + c) : 255u};
  }
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    split<Planes>([&](int i) { return raw.mask >> i & 1 ? raw.x[i] * dropout.scale : 0.0f; }, planes);
  }
};

// ---- quantised weights W (O,I) -------------------------------------------------------------------------------------------------------------
// The layout of the CUDA backend: rows of codes. int8: padded to a multiple of 64 inputs. 4 bit: padded to a multiple of 128, two codes per byte, the
// first in the low nibble, and of each 128 inputs the groups of sixteen lie in the order 0 4 1 5 2 6 3 7: the sixteen bytes that one lane of a tensor
// instruction takes hold its inputs of one block of 64 in their first half and its inputs of the next in their second (skinny.cu).
constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
constexpr int64_t row_bytes(QuantFormat f, int64_t in_features) {
  return f == QuantFormat::int8 ? round_up(in_features, 64) : round_up(in_features, 128) / 2;
}
// The byte of a 4-bit row that holds inputs k and k + 1, k even.
template <class Int>
__host__ __device__ __forceinline__ constexpr Int four_bit_place(Int k) {
  return k / 128 * 64 + (k / 16 % 4 * 2 + k / 64 % 2) * 8 + k % 16 / 2;
}

// The tables that 4-bit weights are decoded with; a kernel takes them by value and copies them to shared memory.
struct Tables {
  float book[16], map[256];  // values of the 4-bit codes, dynamic map of the nested block maxima
};
inline Tables tables_of(QuantFormat format) {
  Tables t;
  std::memcpy(t.book, quant::code_book(format), sizeof t.book);
  std::memcpy(t.map, quant::dynamic_map(true), sizeof t.map);
  return t;
}

struct FourBitWeight {
  const uint8_t* codes;
  int rows, cols;
  int64_t stride;       // bytes
  const float* absmax;  // or null: absmax_codes through the map, times nested, plus offset
  const uint8_t* absmax_codes;
  const float *nested, *offset;
  int blocks;
  int shift;  // block = 1 << shift
  bool aligned;
  const Tables* tables;  // in shared memory, once the kernel runs

  struct Raw {
    uint32_t codes;
    float scale[2];  // of the elements before and from `turn`
    int turn;
  };
  __device__ __forceinline__ float block_maximum(int b) const {
    return absmax ? absmax[b] : tables->map[absmax_codes[b]] * nested[b / quant::kNestedBlock] + *offset;
  }
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    if (r >= rows || c >= cols) return {0, {0, 0}, 8};
    const uint8_t* p = codes + r * stride + four_bit_place(static_cast<unsigned>(c));
    uint32_t v;
    if (aligned) v = *reinterpret_cast<const uint32_t*>(p);
    else v = p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24;
    const int64_t at = static_cast<int64_t>(r) * cols + c;
    const int b = static_cast<int>(at >> shift), size = 1 << shift;
    // A block holds 32 elements or more, so eight of them meet one border at most.
    const int rest = size - (static_cast<int>(at) & (size - 1)), turn = rest < 8 ? rest : 8;
    const float first = block_maximum(b);
    return {v, {first, turn < 8 && b + 1 < blocks ? block_maximum(b + 1) : first}, turn};
  }
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    split<Planes>([&](int i) { return tables->book[raw.codes >> (4 * i) & 15] * (i < raw.turn ? raw.scale[0] : raw.scale[1]); }, planes);
  }
};

struct EightBitWeight {
  const uint8_t* codes;
  int rows, cols;
  int64_t stride;
  const float* absmax;  // per row; null: the codes themselves
  bool aligned;

  struct Raw {
    uint2 codes;
    float scale;
  };
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    if (r >= rows || c >= cols) return {{0, 0}, 0};
    const uint8_t* p = codes + r * stride + c;
    Raw raw;
    if (aligned) raw.codes = *reinterpret_cast<const uint2*>(p);
    else
      raw.codes = {p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24,
                   p[4] | p[5] << 8 | p[6] << 16 | static_cast<uint32_t>(p[7]) << 24};
    raw.scale = absmax ? absmax[r] / 127.0f : 1.0f;
    return raw;
  }
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    split<Planes>([&](int i) { return static_cast<float>(static_cast<int8_t>((i < 4 ? raw.codes.x : raw.codes.y) >> (8 * (i % 4)))) * raw.scale; },
                  planes);
  }
};

// Some columns of an int8 weight, by a list that the device made: element (r, c) is that of column list[c].
struct ListedCodes {
  const uint8_t* codes;
  int rows;
  int64_t stride;
  const int32_t* list;
  int count;

  struct Raw {
    uint32_t codes[2];
  };
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    Raw raw{};
    const int n = present(r, rows, c, count);
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll 1  // few columns are outliers: registers matter more
      for (int i = 0; i < n - 4 * h && i < 4; ++i) raw.codes[h] |= static_cast<uint32_t>(codes[r * stride + list[c + 4 * h + i]]) << (8 * i);
    return raw;
  }
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[1]) const {
    split<1>([&](int i) { return static_cast<float>(static_cast<int8_t>(raw.codes[i / 4] >> (8 * (i % 4)))); }, planes);
  }
};

}  // namespace anymal::cuda::gemm
