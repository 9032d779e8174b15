// A few rows against a quantised weight, as decoding meets it: its codes stream through registers (code_steps.h) where the panels' way would decode
// them into cache. An element's products are added in the order of the panels: a row has the same bits as among others.
#pragma once
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cpu/linear/code_steps.h"
#include "cpu/linear/few_rows.h"
#include "cpu/linear/panel_scales.h"
#include "cpu/linear/quantized_weight.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

using linear::QuantizedWeight;

// f(k, count, scale) for the parts of the steps [k, end) that lie within one block.
template <class F>
void by_blocks(PanelScales& scales, int64_t block, int64_t k, int64_t end, const F& f) {
  for (; k < end;) {
    const int64_t b = k / block, stop = std::min((b + 1) * block, end);
    f(k, stop - k, scales.of(b));
    k = stop;
  }
}

// Blocks that straddle rows give every element a scale of its own: such weights are decoded by who packed them.
inline bool has_panel_scales(const QuantizedWeight* w) { return w && w->format != QuantFormat::int8 && w->I % w->block == 0; }

template <class T>
using StepsOf = std::conditional_t<sizeof(T) == 2, PairSteps, FloatSteps>;

// Whether the level's kernels scale a block's sum where others scale each weight.
template <class Micro>
constexpr bool scales_sums() {
  if constexpr (requires { &Micro::add; }) return StepsOf<typename Micro::Element>::kScalesSums;
  return false;
}

// Steps [k0, k0 + kc) of the packed panel of `width` columns from n0 on. False where not all of them are the weight's, or the level leaves decoding
// to who packed it.
template <class T>
bool decode_panel(const linear::PanelSource& source, int64_t n0, int64_t width, int64_t k0, int64_t kc, T* panel) {
  if constexpr (requires { &StepsOf<T>::decode; }) {
    using Steps = StepsOf<T>;
    const QuantizedWeight* w = source.weight;
    if (width != Steps::kWidth || !has_panel_scales(w)) return false;
    const uint8_t* codes = w->codes + n0 / kPanelRows * w->I * (kPanelRows / 2);
    const Steps steps(w->format);
    if constexpr (Steps::kScalesSums) {
      const int64_t end = std::min(k0 + kc, w->I), rest = std::max(k0, end);
      if (k0 < end) steps.decode(codes + k0 * (kPanelRows / 2), end - k0, panel);
      constexpr DType dtype = sizeof(T) == 2 ? DType::bf16 : DType::f32;
      if (rest < k0 + kc) source.fill(source.context, rest, k0 + kc - rest, n0, width, dtype, panel + (rest - k0) * width);
    } else {
      if (k0 + kc > w->I) return false;
      PanelScales scales(*w, n0 / kPanelRows, (k0 + kc + w->block - 1) / w->block);
      by_blocks(scales, w->block, k0, k0 + kc, [&](int64_t k, int64_t count, const float* scale) {
        steps.decode(codes + k * (kPanelRows / 2), count, scale, n0 % kPanelRows, panel + (k - k0) * width);
      });
    }
    return true;
  }
  return false;
}

template <class Driver, class From>
struct FewRowsQuantized {
  using Micro = typename Driver::MicroKernel;
  using T = typename Micro::Element;
  using Input = FewRowsInput<Micro, From>;
  static constexpr bool kPairs = sizeof(T) == 2;
  using Steps = StepsOf<T>;
  using Unit = std::conditional_t<kPairs, uint32_t, float>;
  static constexpr int64_t kPerUnit = kPairs ? 2 : 1, NR = Micro::NR;

  static size_t room_bytes() { return static_cast<size_t>(linear::kPanelDepth * (NR + 8 + Micro::MR)) * sizeof(T); }

  // sums [M][32] += the steps from k0 up to a multiple of kPanelDepth by the micro-kernel; gives the first that is left.
  static int64_t by_panel(const linear::Problem& p, int64_t n0, int64_t k0, float* sums, void* room) {
    const int64_t kc = std::min(linear::kPanelDepth - k0 % linear::kPanelDepth, Driver::depth(p.K) - k0);
    T *b = static_cast<T*>(room), *a = b + linear::kPanelDepth * NR;
    Driver::pack_a(p, 0, 0, p.M, k0, kc, a);
    for (int64_t n = 0; n < kPanelRows; n += NR) {
      Driver::pack_b(p, n0 + n, k0, kc, b);
      for (int64_t i = 0; i < p.M; i += Micro::MR) {
        alignas(64) float c[Micro::MR * NR] = {};
        const int64_t rows = std::min<int64_t>(Micro::MR, p.M - i);
        for (int64_t r = 0; r < rows; ++r) std::memcpy(c + r * NR, sums + (i + r) * kPanelRows + n, NR * 4);
        Driver::run_strip(rows, kc, a + i * kc, b, c, NR);
        for (int64_t r = 0; r < rows; ++r) std::memcpy(sums + (i + r) * kPanelRows + n, c + r * NR, NR * 4);
      }
    }
    return k0 + kc;
  }

  // sums [Rows][32] <- the rows against a panel.
  template <int64_t Rows>
  static void panel(const linear::Problem& p, const Steps& steps, const Unit* x, int64_t index, float* sums, void* room) {
    const QuantizedWeight& w = *p.panels->weight;
    PanelScales scales(w, index, w.I / w.block, steps.factor);
    const uint8_t* codes = w.codes + index * w.I * (kPanelRows / 2);
    // Where more rows follow those of the weight, their sum begins within its last steps, if scales are the weights' own.
    const int64_t streamed = p.K == w.I || Steps::kScalesSums ? w.I : w.I / linear::kPanelDepth * linear::kPanelDepth;
    alignas(64) float part[Rows * kPanelRows], total[Rows * kPanelRows] = {};
    for (int64_t k0 = 0; k0 < streamed; k0 += linear::kPanelDepth) {
      if (!Steps::kScalesSums) std::memset(part, 0, sizeof part);
      by_blocks(scales, w.block, k0, std::min(k0 + linear::kPanelDepth, streamed), [&](int64_t k, int64_t count, const float* scale) {
        steps.template add<Rows>(codes + k * (kPanelRows / 2), count, scale, x + k / kPerUnit * Rows, Steps::kScalesSums ? total : part);
      });
      for (int64_t i = 0; !Steps::kScalesSums && i < Rows * kPanelRows; ++i) total[i] += part[i];
    }
    for (int64_t r = 0; r < Rows; ++r)
      for (int64_t i = 0; i < kPanelRows; ++i) sums[r * kPanelRows + Steps::slot(i)] = total[r * kPanelRows + i];
    for (int64_t k0 = streamed; k0 < Driver::depth(p.K);) k0 = by_panel(p, index * kPanelRows, k0, sums, room);
  }
};

// Weights of one format, and one A but for its further steps. False where a B is no such weight, or the level has no kernel for a few rows.
template <template <class> class Driver, class MicroF32, class MicroBf16>
bool few_rows_quantized(Stream& s, const linear::Problem* of, int64_t count) {
  for (int64_t q = 0; q < count; ++q)
    if (of[q].M > kFewRows || !of[q].panels || !has_panel_scales(of[q].panels->weight)) return false;
  bool done = false;
  linear::Problem p = of[0];
  p.K -= p.more.steps;  // what streams is the weights'
  p.more = {};
  by_operand<MicroF32, MicroBf16>(p, [&](auto* micro, auto from) {
    using Micro = std::remove_pointer_t<decltype(micro)>;
    if constexpr (requires { &Micro::add; }) {
      using Few = FewRowsQuantized<Driver<Micro>, decltype(from)>;
      const typename Few::Steps steps(p.panels->weight->format);
      by_few(p.M, [&](auto rows) {
        uint32_t* x = static_cast<uint32_t*>(s.packed.get(Few::Input::room_bytes(rows(), p.K)));
        Few::Input::prepare(x, p, rows());
        // A task reads about 64 KiB: what was read ahead at its end may be another's.
        parallel_range(s, all_panels(of, count, kPanelRows), kPanelRows * p.K / 8 + 1, [&](int64_t begin, int64_t end, int thread) {
          void* room = s.scratch[static_cast<size_t>(thread)].get(Few::room_bytes());
          each_panel(of, kPanelRows, begin, end, [&](const linear::Problem& own, int64_t j) {
            alignas(64) float sums[rows() * kPanelRows];
            Few::template panel<rows()>(own, steps, reinterpret_cast<const typename Few::Unit*>(x), j, sums, room);
            store(own, 0, own.M, j * kPanelRows, std::min(kPanelRows, own.N - j * kPanelRows), sums, kPanelRows);
          });
        });
      });
      done = true;
    }
  });
  return done;
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
