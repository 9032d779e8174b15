// Products with a quantised weight, with and without LoRA. Weights are decoded straight into the packed panels of the matrix product
// (linear/gemm.h, PanelSource), so nothing is ever dequantised whole.
//
//   y  = x.W^T + b                                W is (O,I); B(k,n) = W[n,k]: a column of a packed panel is a row of B
//   dx = dy.W                                     B(k,n) = W[k,n]: tiles are transposed in cache
//   LoRA (QLoRA, arXiv 2305.14314): x' = dropout(x), u = x'.A^T, y += s u.B^T: B is [W | lora_B] and A is [x | s u], r more steps of one sum.
//   Backward with t = s dy.B:  dx = dy.W + dropout'(t.A), dA += t^T.x', dB += s dy^T.u.
// A level may bring kernels of its own for 4-bit codes and bf16 (Kernels::coded).
#include <type_traits>

#include "cpu/linear/gemm.h"
#include "cpu/linear/int8_rows.h"
#include "cpu/linear/kernels.h"
#include "cpu/linear/transpose.h"
#include "cpu/ops.h"
#include "cpu/packed_weight.h"
#include "cpu/random.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

using linear::Destination;
using linear::gemm;
using linear::gemm_panels;
using linear::Matrix;
using linear::PanelSource;

constexpr int64_t kRows = PackedWeight::kRows;

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

bool is_coded(const Stream& s, QuantFormat format) { return s.kernels->coded && format != QuantFormat::int8; }
bool is_coded(const Stream& s, QuantFormat format, DType dtype) { return is_coded(s, format) && dtype == DType::bf16; }

// y = [x | more].B, x (N, W's rows of B) and more (N, w's further steps) in rows that follow each other.
template <bool forward>
void product(Stream& s, Weight w, int64_t N, const void* x, DType dtype, const void* more, const Destination& y, const linear::Epilogue& e) {
  const PackedWeight& packed = *w.packed;
  const int64_t K = forward ? packed.I : packed.O;
  if (is_coded(s, packed.format, dtype)) return s.kernels->coded(s, {!forward, N, &packed, x, K, w.steps, more, w.steps, w.more.data, y, e});
  w.by_rows = is_coded(s, packed.format);
  const PanelSource source{fill<forward>, &w, forward && !w.by_rows ? &packed : nullptr};
  gemm_panels(s, N, forward ? packed.O : packed.I, K + w.steps, {x, dtype, K, 1}, source, y, e, {more, w.steps, w.steps});
}

// LLM.int8: codes are exact in bf16 (8 bits), so the integer product runs on the bf16 path with f32 sums.
template <class T>
void int8_forward(Stream& s, PackedWeight w, const View& x, const View& bias, double threshold, T* y) {
  const int64_t N = x.rows(), I = w.I, O = w.O;
  const T* from = x.as<T>();
  const float limit = threshold > 0 ? static_cast<float>(threshold) : INFINITY;
  // sums (N,O) f32 | row maxima (N) | outlier values (N,I) f32 | codes (N,I) bf16 | outlier columns (I) i32
  char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(N * O * 4 + N * 4 + N * I * 6 + I * 4) + 256));
  float *sums = reinterpret_cast<float*>(room), *scale = sums + N * O, *outlier_x = scale + N;
  int32_t* columns = reinterpret_cast<int32_t*>(outlier_x + N * I);
  bf16* codes = reinterpret_cast<bf16*>(columns + I);

  if (threshold > 0) outlier_columns(s, from, N, I, limit, columns);
  int64_t outliers = 0;
  for (int64_t k = 0; k < I && threshold > 0; ++k)
    if (columns[k]) columns[outliers++] = static_cast<int32_t>(k);
  parallel_range(s, N, 2 * I, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; ++n) {
      scale[n] = round_row(codes + n * I, from + n * I, I, limit);
      for (int64_t c = 0; c < outliers; ++c) {
        codes[n * I + columns[c]] = to_bf16(0.0f);
        outlier_x[n * outliers + c] = to_float(from[n * I + columns[c]]);
      }
    }
  });
  const float* row_scale = w.absmax;
  w.raw = true;
  const Weight weight{&w, {}};
  gemm_panels(s, N, O, I, {codes, DType::bf16, I, 1}, {fill<true>, &weight, &w}, {sums, DType::f32, O});
  const auto scaled = [&](auto* to) {
    parallel_range(s, N, 3 * O, [&](int64_t begin, int64_t end, int) {
      for (int64_t n = begin; n < end; ++n)
        for (int64_t o = 0; o < O; ++o) {
          const float v = sums[n * O + o] * (scale[n] * row_scale[o] / 16129.0f) + (bias ? to_float(bias.as<T>()[o]) : 0.0f);
          to[n * O + o] = from_float<std::remove_reference_t<decltype(*to)>>(v);
        }
    });
  };
  if (outliers == 0) return scaled(y);
  scaled(sums);
  const ColumnsOfInt8 some{&w, columns, outliers};
  gemm_panels(s, N, O, outliers, {outlier_x, DType::f32, outliers, 1}, {ColumnsOfInt8::fill, &some}, {sums, DType::f32, O}, {.accumulate = true});
  parallel_range(s, N * O, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) y[i] = from_float<T>(sums[i]);
  });
}

// dropout(x) into scratch; x itself when p is 0.
template <class T>
const T* dropped(Stream& s, const View& x, double p, int64_t seed, int64_t offset, T* room) {
  if (p <= 0) return x.as<T>();
  drop_all(s, room, x.as<T>(), x.size(), p, seed, offset);
  return room;
}

}  // namespace

void linear_quantized(Stream& s, Out y, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, QuantFormat format,
                      int64_t block, int64_t out_features, double threshold) {
  const PackedWeight w(codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols());
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (format == QuantFormat::int8) return int8_forward<T>(s, w, x, b, threshold, y.as<T>());
    product<true>(s, {&w, {}}, x.rows(), x.data, x.dtype, nullptr, {y.data, y.dtype, w.O}, {.bias = b.data});
  });
}

void linear_quantized_dx(Stream& s, Out dx, In dy, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, QuantFormat format, int64_t block,
                         int64_t in_features) {
  const PackedWeight w(codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), in_features);
  product<false>(s, {&w, {}}, dy.rows(), dy.data, dy.dtype, nullptr, {dx.data, dx.dtype, w.I}, {});
}

void linear_quantized_lora(Stream& s, Out y, Out u, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, In lora_a,
                           In lora_b, QuantFormat format, int64_t block, int64_t out_features, double threshold, double scaling, double dropout,
                           int64_t seed, int64_t offset) {
  const int64_t N = x.rows(), I = x.cols(), O = out_features, r = lora_a.dim(0);
  const PackedWeight w(codes, absmax, nested_absmax, nested_offset, format, block, O, I);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    // dropout(x) (N,I), where there is dropout, and s u (N,r)
    const int64_t dropping = dropout > 0 ? N * I : 0;
    T* room = static_cast<T*>(s.shared.get(static_cast<size_t>(dropping + N * r) * sizeof(T) + 64));
    const T* kept = dropped(s, x, dropout, seed, offset, room);
    gemm(s, N, r, I, {kept, x.dtype, I, 1}, {lora_a.data, x.dtype, 1, I}, {u.data, x.dtype, r});
    if (format == QuantFormat::int8) {
      int8_forward<T>(s, w, x, b, threshold, y.as<T>());
      gemm(s, N, O, r, {u.data, x.dtype, r, 1}, {lora_b.data, x.dtype, 1, r}, {y.data, x.dtype, O},
           {.accumulate = true, .alpha = static_cast<float>(scaling)});
      return;
    }
    T* scaled = room + dropping;
    parallel_range(s, N * r, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) scaled[i] = from_float<T>(static_cast<float>(scaling) * to_float(u.as<T>()[i]));
    });
    product<true>(s, {&w, lora_b, r, 1, r}, N, x.data, x.dtype, scaled, {y.data, y.dtype, O}, {.bias = b.data});
  });
}

void linear_quantized_lora_backward(Stream& s, OutOpt dx, Acc da, Acc db, In dy, In x, In u, In codes, In absmax, InOpt nested_absmax,
                                    InOpt nested_offset, In lora_a, In lora_b, QuantFormat format, int64_t block, double scaling, double dropout,
                                    int64_t seed, int64_t offset) {
  const int64_t N = x.rows(), I = x.cols(), O = dy.cols(), r = lora_a.dim(0);
  const float factor = static_cast<float>(scaling);
  const PackedWeight w(codes, absmax, nested_absmax, nested_offset, format, block, O, I);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    // t (N,r), then, where there is dropout, dropout(x) or the branch's gradient (N,I)
    const bool drops = dropout > 0;
    T* t_of = static_cast<T*>(s.shared.get(static_cast<size_t>(N * r + (drops ? N * I : 0)) * sizeof(T) + 64));
    T* branch = t_of + N * r;
    gemm(s, N, r, O, {dy.data, x.dtype, O, 1}, {lora_b.data, x.dtype, r, 1}, {t_of, x.dtype, r}, {.alpha = factor});
    if (db) gemm(s, O, r, N, {dy.data, x.dtype, 1, O}, {u.data, x.dtype, r, 1}, {db.data, DType::f32, r}, {.accumulate = true, .alpha = factor});
    if (da) {
      const T* kept = dropped(s, x, dropout, seed, offset, branch);
      gemm(s, r, I, N, {t_of, x.dtype, 1, r}, {kept, x.dtype, I, 1}, {da.data, DType::f32, I}, {.accumulate = true});
    }
    if (!dx) return;
    // The mask lies between the branch and dx: then the branch cannot share dx's sum.
    const Weight weight = drops ? Weight{&w, {}} : Weight{&w, lora_a, 1, I, r};
    product<false>(s, weight, N, dy.data, x.dtype, t_of, {dx.data, x.dtype, I}, {});
    if (!drops) return;
    gemm(s, N, I, r, {t_of, x.dtype, r, 1}, {lora_a.data, x.dtype, I, 1}, {branch, x.dtype, I});
    const Kept keeps(dropout);
    const float scale = static_cast<float>(1.0 / (1.0 - dropout));
    T* to = dx.as<T>();
    along_draws<T>(s, N * I, seed, offset, [=](auto as, int64_t i, auto draws) {
      const auto base = as.read(to + i);
      as.write(to + i, keeps.of(draws, fused(as.read(branch + i), scale, base), base));
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
