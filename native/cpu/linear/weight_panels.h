// A quantised weight as a source of packed panels (linear/gemm.h, PanelSource): decoded where it is multiplied.
#pragma once
#include "cpu/linear/gemm.h"
#include "cpu/linear/kernels.h"
#include "cpu/linear/transpose.h"
#include "cpu/packed_weight.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// Of a panel.
inline constexpr int64_t kRows = PackedWeight::kRows;

// W, and behind its last row of B more rows from a plain matrix (lora_B or lora_A).
struct Weight {
  const PackedWeight* packed;
  View more;  // element (k, n) of the extra rows is more[n * row + k * col]
  int64_t row = 0, col = 0, steps = 0;
  bool by_rows = false;  // see fill_by_rows
};

template <class T>
void put(T* panel, int64_t width, int64_t k, int64_t n, float v) {
  if constexpr (sizeof(T) == 4) panel[k * width + n] = v;
  else panel[(k / 2) * width * 2 + n * 2 + k % 2] = from_float<T>(v);
}

// Rows [from, to) of B beyond `base` come from `w.more`; the panel's row 0 is B's row k0.
template <class T>
void put_more(const Weight& w, int64_t base, int64_t columns, int64_t k0, int64_t kc, int64_t n0, int64_t width, T* panel) {
  for (int64_t k = k0 > base ? k0 : base; k < k0 + kc; ++k)
    for (int64_t n = 0; n < width; ++n) {
      float v = 0;
      if (k - base < w.steps && n0 + n < columns) {
        const int64_t at = (n0 + n) * w.row + (k - base) * w.col;
        v = w.more.dtype == DType::f32 ? w.more.as<float>()[at] : to_float(w.more.as<bf16>()[at]);
      }
      put(panel, width, k - k0, n, v);
    }
}

// Two decoded weights as a panel's pairs of bf16 lie, `a` first: rounded as to_bf16 does, but for NaNs, of which decoding makes only one.
inline uint32_t pair_of(float a, float b) {
  uint32_t u, v;
  std::memcpy(&u, &a, 4);
  std::memcpy(&v, &b, 4);
  u += 0x7fffu + (u >> 16 & 1u);
  v += 0x7fffu + (v >> 16 & 1u);
  return u >> 16 | (v & 0xffff0000u);
}

// Rows 2i and 2i + 1 of the tile side by side, for 2i < count.
template <int64_t Width>
void pair_rows(uint32_t* pairs, const float* tile, int64_t count, int64_t width) {
  if (Width) width = Width;
  for (int64_t i = 0; i < count; i += 2, pairs += width)
    for (int64_t n = 0; n < width; ++n) pairs[n] = pair_of(tile[i * width + n], tile[(i + 1) * width + n]);
}

// B(k,n) = W[n,k]
template <class T>
void fill_forward(const Weight& w, int64_t k0, int64_t kc, int64_t n0, int64_t width, T* panel) {
  const PackedWeight& packed = *w.packed;
  const int64_t lane = n0 % kRows, end = k0 + kc < packed.I ? k0 + kc : packed.I;
  constexpr int64_t depth = 64;
  alignas(64) float tile[(depth + 1) * kRows];
  for (int64_t k = k0; k < end; k += depth) {
    const int64_t count = end - k < depth ? end - k : depth;
    if constexpr (sizeof(T) == 4) {
      packed.decode(n0 / kRows, lane, width, k, count, panel + (k - k0) * width);
    } else {
      packed.decode(n0 / kRows, lane, width, k, count, tile);
      std::memset(tile + count * width, 0, static_cast<size_t>(width) * 4);  // what an odd last step is paired with
      uint32_t* pairs = reinterpret_cast<uint32_t*>(panel) + (k - k0) / 2 * width;
      if (width == kRows) pair_rows<kRows>(pairs, tile, count, kRows);  // its length known, the loop is much faster
      else pair_rows<0>(pairs, tile, count, width);
    }
  }
  put_more(w, packed.I, packed.O, k0, kc, n0, width, panel);
}

// B(k,n) = W[k,n]
template <class T>
void fill_backward(const Weight& w, int64_t k0, int64_t kc, int64_t n0, int64_t width, T* panel) {
  const PackedWeight& packed = *w.packed;
  const int64_t end = k0 + kc < packed.O ? k0 + kc : packed.O, columns = packed.I - n0 < width ? packed.I - n0 : width;
  alignas(64) float tile[kRows * kRows];  // the widest panel
  alignas(64) uint32_t pairs[kRows * kRows / 2];
  for (int64_t p = k0 / kRows; p * kRows < end; ++p) {  // k0 is a multiple of kPanelDepth, so of kRows
    packed.decode(p, 0, kRows, n0, columns, tile);
    const int64_t steps = k0 + kc - p * kRows < kRows ? k0 + kc - p * kRows : kRows;
    T* to = panel + (p * kRows - k0) * width;
    if constexpr (sizeof(T) == 4) {
      Transpose::run(reinterpret_cast<uint32_t*>(to), width, tile, kRows * 4, columns, steps);
    } else {
      for (int64_t i = 0; i < columns * kRows / 2; ++i) pairs[i] = pair_of(tile[2 * i], tile[2 * i + 1]);
      Transpose::run(reinterpret_cast<uint32_t*>(to), width, pairs, kRows / 2 * 4, columns, steps / 2);
    }
  }
  put_more(w, packed.O, packed.I, k0, kc, n0, width, panel);
}

// Codes by rows (linear/row_layout.h), which are decoded here for f32 alone.
template <bool forward>
void fill_by_rows(const Weight& w, int64_t k0, int64_t kc, int64_t n0, int64_t width, float* panel) {
  const PackedWeight& packed = *w.packed;
  const int64_t K = forward ? packed.I : packed.O, end = k0 + kc < K ? k0 + kc : K;
  alignas(64) float tile[kRows * kRows];
  if constexpr (forward) {
    for (int64_t k = k0; k < end; k += 32) {
      for (int64_t j = 0; j < width; ++j) packed.decode_row(n0 + j, k, tile + j * 32);
      Transpose::run(reinterpret_cast<uint32_t*>(panel + (k - k0) * width), width, tile, 32 * 4, width, end - k < 32 ? end - k : 32);
    }
  } else {
    for (int64_t k = k0; k < end; ++k) {
      packed.decode_row(k, n0 / 32 * 32, tile);
      std::memcpy(panel + (k - k0) * width, tile + n0 % 32, static_cast<size_t>(width) * 4);
    }
  }
  put_more(w, K, forward ? packed.O : packed.I, k0, kc, n0, width, panel);
}

template <bool forward>
void fill(const void* context, int64_t k0, int64_t kc, int64_t n0, int64_t width, DType dtype, void* panel) {
  const Weight& w = *static_cast<const Weight*>(context);
  // Rows of B that neither source fills (rounding of the depth) are zeros, put there by put_more.
  if (w.by_rows) return fill_by_rows<forward>(w, k0, kc, n0, width, static_cast<float*>(panel));
  if (dtype == DType::f32)
    forward ? fill_forward(w, k0, kc, n0, width, static_cast<float*>(panel)) : fill_backward(w, k0, kc, n0, width, static_cast<float*>(panel));
  else forward ? fill_forward(w, k0, kc, n0, width, static_cast<bf16*>(panel)) : fill_backward(w, k0, kc, n0, width, static_cast<bf16*>(panel));
}

inline bool is_coded(const Stream& s, QuantFormat format) { return s.kernels->coded && format != QuantFormat::int8; }
inline bool is_coded(const Stream& s, QuantFormat format, DType dtype) { return is_coded(s, format) && dtype == DType::bf16; }

}  // namespace anymal::cpu::ANYMAL_LEVEL
