// LLM.int8 (arXiv 2208.07339): rows of x in 8 bit beside the columns that hold outliers, and those columns of W.
#pragma once
#include "cpu/lanes.h"
#include "cpu/packed_weight.h"

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

}  // namespace anymal::cpu::ANYMAL_LEVEL
