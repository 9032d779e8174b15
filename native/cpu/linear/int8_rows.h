// LLM.int8 (arXiv 2208.07339): rows of x in 8 bit beside the columns that hold outliers, and those columns of W.
#pragma once
#include "cpu/lanes.h"
#include "cpu/linear/weight_panels.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// found[k] = does column k of x (N,I) hold a value of `limit` or more: strips of columns, each read row by row.
template <class T>
void outlier_columns(Stream& s, const T* x, int64_t N, int64_t I, float limit, int32_t* found) {
  constexpr int64_t strip = 64;
  parallel_range(s, (I + strip - 1) / strip, N * strip, [&](int64_t begin, int64_t end, int) {
    for (int64_t k0 = begin * strip; k0 < I && k0 < end * strip; k0 += strip) {
      const int64_t n = k0 + strip < I ? strip : I - k0;
      float most[strip] = {};
      for (int64_t r = 0; r < N; ++r)
        for (int64_t j = 0; j < n; ++j) {
          const float a = std::fabs(to_float(x[r * I + k0 + j]));
          most[j] = a > most[j] ? a : most[j];
        }
      for (int64_t j = 0; j < n; ++j) found[k0 + j] = most[j] >= limit;
    }
  });
}

inline Floats magnitude(Floats x) { return reinterpret_cast<Floats>(reinterpret_cast<Units>(x) & 0x7fffffffu); }
inline float magnitude(float x) { return std::fabs(x); }

// The nearest integer, ties to even, of what is below 2^22.
inline Floats to_integer(Floats x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_maskz_roundscale_ps(0xffff, reinterpret_cast<__m512>(x), 0));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_round_ps(reinterpret_cast<__m256>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  constexpr float rounds = 12582912.0f;
  const Floats a = magnitude(x), whole = (a + rounds) - rounds;
  return choose(x < 0.0f, -whole, whole);
#endif
}
inline float to_integer(float x) { return std::nearbyintf(x); }

// What of a row is less than `limit` in size, as integers from -127 to 127 in bf16, which holds them exactly; the rest, and NaNs, as zeros. Returns
// what 127 stands for.
template <class T>
float round_row(bf16* codes, const T* row, int64_t n, float limit) {
  Two lanes{};
  float most = 0;
  int64_t j = 0;
  const auto greater = [limit](Floats x, Floats than) {
    const Floats a = magnitude(x);
    return choose((a < limit) & (a > than), a, than);
  };
  for (; j + kTwo <= n; j += kTwo) {
    const Two v = load_two(row + j);
    lanes = {greater(v.a, lanes.a), greater(v.b, lanes.b)};
  }
  for (; j < n; ++j) {
    const float a = magnitude(to_float(row[j]));
    most = a < limit && a > most ? a : most;
  }
  float each[kTwo];
  store_two(each, lanes);
  for (const float v : each) most = v > most ? v : most;

  const float factor = most > 0 ? 127.0f / most : 0.0f;
  const auto code = [=](Floats x) { return choose(magnitude(x) < limit, to_integer(x * factor), Floats{}); };
  for (j = 0; j + kTwo <= n; j += kTwo) {
    const Two v = load_two(row + j), whole{code(v.a), code(v.b)};
    store_two(codes + j, sizeof(T) == 4 ? apart(whole) : whole);
  }
  for (; j < n; ++j) {
    const float v = to_float(row[j]);
    codes[j] = to_bf16(magnitude(v) < limit ? to_integer(v * factor) : 0.0f);
  }
  return most;
}

// Some columns of W in full precision as a panel (PanelSource): row k of B is column `columns[k]`.
struct ColumnsOfInt8 {
  const PackedWeight* w;
  const int32_t* columns;
  int64_t count;
  static void fill(const void* context, int64_t k0, int64_t kc, int64_t n0, int64_t width, DType, void* panel) {
    const auto& [w, columns, count] = *static_cast<const ColumnsOfInt8*>(context);
    constexpr int64_t rows = PackedWeight::kRows;
    const auto* codes = reinterpret_cast<const int8_t*>(w->codes) + n0 / rows * PackedWeight::panel_bytes(w->format, w->I) + n0 % rows * 4;
    float* to = static_cast<float*>(panel);
    const int64_t n1 = w->O - n0 < width ? w->O - n0 : width;
    std::memset(to, 0, static_cast<size_t>(kc * width) * 4);
    for (int64_t i = 0; i < kc && k0 + i < count; ++i) {
      const int64_t k = columns[k0 + i];
      for (int64_t n = 0; n < n1; ++n) to[i * width + n] = static_cast<float>(codes[k / 4 * 4 * rows + n * 4 + k % 4]) * w->absmax[n0 + n] / 127.0f;
    }
  }
};

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
  linear::gemm_panels(s, N, O, I, {codes, DType::bf16, I, 1}, {fill<true>, &weight, &w}, {sums, DType::f32, O});
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
  linear::gemm_panels(s, N, O, outliers, {outlier_x, DType::f32, outliers, 1}, {ColumnsOfInt8::fill, &some}, {sums, DType::f32, O},
                      {.accumulate = true});
  parallel_range(s, N * O, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) y[i] = from_float<T>(sums[i]);
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
