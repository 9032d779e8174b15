// The blocked product around a level's micro-kernels, compiled once per level (kernels/<level>.cc defines the micro-kernels and includes it).
//
//   B is packed into panels of NR columns over the whole depth K, [K][NR], once per call: shared by all threads.
//   C is cut into tasks of MC x NT. A task walks K in blocks of KC = kPanelDepth: packs its MC x KC of A, and lets the micro-kernel add
//   MR x NR tiles into an f32 block of its own. The epilogue (alpha, bias, old C, rounding) runs once, at the end.
//
// A micro-kernel: struct { using Element (float or bf16); MR, NR, KB (k-group of A's panel), PB (k-pair of B's panel);
//   optional static void begin(), end() around a task;
//   static void run(int64_t kc, const Element* a /*[kc/KB][MR][KB]*/, const Element* b /*[kc/PB][NR][PB]*/, float* c, int64_t ldc); }  C += A.B
#pragma once
#include <algorithm>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/kernels.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

using linear::Destination;
using linear::Epilogue;
using linear::kPanelDepth;
using linear::Matrix;
using linear::PanelSource;
using linear::Problem;

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
constexpr int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

template <class To, class From>
inline To convert(From x) {
  return from_float<To>(to_float(x));
}
template <>
inline bf16 convert<bf16, bf16>(bf16 x) {
  return x;
}

// dst [depth/G][width][G] <- the strip of `count` (<= width) lines and `k` (<= depth) steps; line i, step j at src[i*line + j*step].
// Zeros beyond. Works in blocks of 64 steps, so that a strided walk over lines writes into cache.
template <class To, class From, int G>
inline void pack_strip(To* dst, int64_t width, int64_t depth, const From* src, int64_t line, int64_t step, int64_t count, int64_t k) {
  if (depth > 0 && (count < width || k < depth)) std::memset(static_cast<void*>(dst), 0, static_cast<size_t>(width * depth) * sizeof(To));
  if (G == 1 && line == 1) {
    for (int64_t j = 0; j < k; ++j)
      for (int64_t i = 0; i < count; ++i) dst[j * width + i] = convert<To>(src[j * step + i]);
    return;
  }
  for (int64_t k0 = 0; k0 < k; k0 += 64) {
    const int64_t k1 = at_most(k0 + 64, k);
    for (int64_t i = 0; i < count; ++i) {
      const From* from = src + i * line;
      if (G == 2 && step == 1) {  // pairs lie side by side already
        int64_t j = k0;
        for (; j + 1 < k1; j += 2) {
          dst[(j / 2) * width * 2 + i * 2] = convert<To>(from[j]);
          dst[(j / 2) * width * 2 + i * 2 + 1] = convert<To>(from[j + 1]);
        }
        if (j < k1) dst[(j / 2) * width * 2 + i * 2] = convert<To>(from[j]);
      } else {
        for (int64_t j = k0; j < k1; ++j) dst[(j / G) * width * G + i * G + j % G] = convert<To>(from[j * step]);
      }
    }
  }
}

template <class Micro>
struct Driver {
  using T = typename Micro::Element;
  static constexpr int64_t MR = Micro::MR, NR = Micro::NR, KB = Micro::KB, PB = Micro::PB;
  static constexpr int64_t MC = round_up(96, MR), NT = 256;  // a task's block of C: MC x NT f32 stays in L2
  static constexpr DType dtype = sizeof(T) == 4 ? DType::f32 : DType::bf16;

  static int64_t depth(int64_t K) { return round_up(K, KB > PB ? KB : PB); }
  static size_t panel_elements(int64_t K) { return static_cast<size_t>(depth(K) * NR); }
  static size_t task_bytes(int64_t K) {
    const int64_t kc = at_most(depth(K), kPanelDepth);
    return static_cast<size_t>(MC * NT) * 4 + static_cast<size_t>(MC * kc) * sizeof(T) + 64;
  }

  // Packs the panel that starts at column n0.
  static void pack_b(const Problem& p, int64_t n0, T* panel) {
    const int64_t count = at_most(NR, p.N - n0);
    if (p.panels) {
      for (int64_t k0 = 0; k0 < depth(p.K); k0 += kPanelDepth) {
        const int64_t kc = at_most(kPanelDepth, depth(p.K) - k0);
        p.panels->fill(p.panels->context, k0, kc, n0, NR, dtype, panel + k0 * NR);
      }
      return;
    }
    const auto pack = [&](auto* source) {
      using From = std::remove_cv_t<std::remove_reference_t<decltype(*source)>>;
      pack_strip<T, From, static_cast<int>(PB)>(panel, NR, depth(p.K), source + n0 * p.b.col, p.b.col, p.b.row, count, p.K);
    };
    if (p.b.dtype == DType::f32) pack(static_cast<const float*>(p.b.data));
    else pack(static_cast<const bf16*>(p.b.data));
  }

  static void pack_a(const Problem& p, int64_t m0, int64_t rows, int64_t k0, int64_t kc, T* block) {
    const int64_t k = at_most(kc, p.K - k0);
    for (int64_t i = 0; i < rows; i += MR) {
      const int64_t count = at_most(MR, rows - i);
      T* strip = block + i * kc;
      const auto pack = [&](auto* source) {
        using From = std::remove_cv_t<std::remove_reference_t<decltype(*source)>>;
        pack_strip<T, From, static_cast<int>(KB)>(strip, MR, kc, source + (m0 + i) * p.a.row + k0 * p.a.col, p.a.row, p.a.col, count, k);
      };
      if (p.a.dtype == DType::f32) pack(static_cast<const float*>(p.a.data));
      else pack(static_cast<const bf16*>(p.a.data));
    }
  }

  template <class Out>
  static void store(const Problem& p, int64_t m0, int64_t rows, int64_t n0, int64_t cols, const float* block) {
    const Epilogue& e = p.e;
    const Out* bias = static_cast<const Out*>(e.bias);
    for (int64_t i = 0; i < rows; ++i) {
      Out* to = static_cast<Out*>(p.c.data) + (m0 + i) * p.c.row + n0;
      const float* from = block + i * NT;
      for (int64_t j = 0; j < cols; ++j) {
        float v = e.alpha * from[j];
        if (bias) v += to_float(bias[n0 + j]);
        if (e.accumulate) v += to_float(to[j]);
        to[j] = from_float<Out>(v);
      }
    }
  }

  // Rows [m0, m0 + rows) and columns [n0, n0 + cols) of C; `panels` holds the packed panels from column n0 on.
  static void task(const Problem& p, int64_t m0, int64_t rows, int64_t n0, int64_t cols, const T* panels, void* scratch) {
    float* block = static_cast<float*>(scratch);
    T* a = reinterpret_cast<T*>(block + MC * NT);
    const int64_t mr_rows = round_up(rows, MR);
    if constexpr (requires { Micro::begin(); }) Micro::begin();
    std::memset(block, 0, static_cast<size_t>(mr_rows * NT) * 4);
    for (int64_t k0 = 0; k0 < depth(p.K); k0 += kPanelDepth) {
      const int64_t kc = at_most(kPanelDepth, depth(p.K) - k0);
      pack_a(p, m0, rows, k0, kc, a);
      for (int64_t j = 0; j < cols; j += NR) {
        const T* panel = panels + (j / NR) * static_cast<int64_t>(panel_elements(p.K)) + k0 * NR;
        for (int64_t i = 0; i < rows; i += MR) Micro::run(kc, a + i * kc, panel, block + i * NT + j, NT);
      }
    }
    if constexpr (requires { Micro::end(); }) Micro::end();
    if (p.c.dtype == DType::f32) store<float>(p, m0, rows, n0, cols, block);
    else store<bf16>(p, m0, rows, n0, cols, block);
  }

  // Columns of B packed at a time: bounded, so that scratch does not grow with N.
  static int64_t strip_columns(int64_t K) {
    constexpr int64_t budget = 24 << 20;
    const int64_t panel_bytes = static_cast<int64_t>(panel_elements(K) * sizeof(T)) + 1;  // K may be 0
    const int64_t columns = budget / panel_bytes * NR / NT * NT;
    return columns > NT ? columns : NT;
  }

  static void parallel_gemm(Stream& s, const Problem& p) {
    const int64_t strip = strip_columns(p.K), row_tasks = (p.M + MC - 1) / MC;
    for (int64_t s0 = 0; s0 < p.N; s0 += strip) {
      const int64_t columns = at_most(strip, p.N - s0), panels = (columns + NR - 1) / NR;
      T* packed = static_cast<T*>(s.packed.get(static_cast<size_t>(panels) * panel_elements(p.K) * sizeof(T)));
      parallel(s, panels, [&](int64_t i, int) { pack_b(p, s0 + i * NR, packed + i * static_cast<int64_t>(panel_elements(p.K))); });
      const int64_t col_tasks = (columns + NT - 1) / NT;
      parallel(s, row_tasks * col_tasks, [&](int64_t t, int thread) {
        const int64_t m0 = t % row_tasks * MC, j0 = t / row_tasks * NT;
        void* scratch = s.scratch[static_cast<size_t>(thread)].get(task_bytes(p.K));
        task(p, m0, at_most(MC, p.M - m0), s0 + j0, at_most(NT, columns - j0), packed + j0 / NR * static_cast<int64_t>(panel_elements(p.K)), scratch);
      });
    }
  }

  static void serial_gemm(Scratch& scratch, const Problem& p) {
    const size_t panels_bytes = static_cast<size_t>(NT / NR) * panel_elements(p.K) * sizeof(T);
    const size_t task_offset = static_cast<size_t>(round_up(static_cast<int64_t>(panels_bytes), 64));
    char* base = static_cast<char*>(scratch.get(task_offset + task_bytes(p.K)));
    T* packed = reinterpret_cast<T*>(base);
    for (int64_t n0 = 0; n0 < p.N; n0 += NT) {
      const int64_t cols = at_most(NT, p.N - n0);
      for (int64_t j = 0; j < cols; j += NR) pack_b(p, n0 + j, packed + j / NR * static_cast<int64_t>(panel_elements(p.K)));
      for (int64_t m0 = 0; m0 < p.M; m0 += MC) task(p, m0, at_most(MC, p.M - m0), n0, cols, packed, base + task_offset);
    }
  }
};

// Few rows against a row-major weight (O,I): a dot product per output streams the weight once, without packing.
constexpr int64_t kDotRows = 4;

template <class T>
inline float dot(const T* a, const T* b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += to_float(a[i]) * to_float(b[i]);
  return sum;
}

inline bool is_dot_case(const Problem& p) { return !p.panels && p.M <= kDotRows && p.b.row == 1 && p.a.col == 1 && p.a.dtype == p.b.dtype; }

template <class T, class Out>
inline void dot_columns(const Problem& p, int64_t begin, int64_t end) {
  const T* a = static_cast<const T*>(p.a.data);
  const T* b = static_cast<const T*>(p.b.data);
  const Out* bias = static_cast<const Out*>(p.e.bias);
  for (int64_t n = begin; n < end; ++n)
    for (int64_t m = 0; m < p.M; ++m) {
      Out* to = static_cast<Out*>(p.c.data) + m * p.c.row + n;
      float v = p.e.alpha * dot(a + m * p.a.row, b + n * p.b.col, p.K);
      if (bias) v += to_float(bias[n]);
      if (p.e.accumulate) v += to_float(*to);
      *to = from_float<Out>(v);
    }
}
inline void dot_range(const Problem& p, int64_t begin, int64_t end) {
  by_dtype(p.a.dtype, [&](auto t) { by_dtype(p.c.dtype, [&](auto out) { dot_columns<decltype(t), decltype(out)>(p, begin, end); }); });
}

template <class MicroF32, class MicroBf16>
void gemm(Stream& s, const Problem& p) {
  if (p.M <= 0 || p.N <= 0) return;
  if (is_dot_case(p)) return parallel_range(s, p.N, p.M * p.K + 1, [&](int64_t begin, int64_t end, int) { dot_range(p, begin, end); });
  if (p.a.dtype == DType::f32) Driver<MicroF32>::parallel_gemm(s, p);
  else Driver<MicroBf16>::parallel_gemm(s, p);
}

template <class MicroF32, class MicroBf16>
void gemm_serial(Scratch& scratch, const Problem& p) {
  if (p.M <= 0 || p.N <= 0) return;
  if (is_dot_case(p)) return dot_range(p, 0, p.N);
  if (p.a.dtype == DType::f32) Driver<MicroF32>::serial_gemm(scratch, p);
  else Driver<MicroBf16>::serial_gemm(scratch, p);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
