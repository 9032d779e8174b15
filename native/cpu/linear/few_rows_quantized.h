// A few rows against a quantised weight, as decoding meets it: its codes stream through registers (code_steps.h) where the panels' way would decode
// them into cache. An element's products are added in the order of the panels: a row has the same bits as among others.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/linear/code_steps.h"
#include "cpu/linear/few_rows.h"
#include "cpu/linear/quantized_weight.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

using linear::QuantizedWeight;

#if !defined(__AVX512BF16__)
using PairSteps = FloatSteps;  // never met: no micro-kernel multiplies pairs
#endif

// The maxima of a panel's 32 rows by blocks, computed for some blocks at a time.
class PanelScales {
 public:
  // Blocks from `end` on are not asked for.
  PanelScales(const QuantizedWeight& w, int64_t panel, int64_t end)
      : w_(w), row0_(panel * kPanelRows), there_(std::min(kPanelRows, w.O - row0_)), end_(end) {}
  // [32] of block b of each row; zeros for rows that are not there. The next call may move it.
  const float* of(int64_t b) {
    if (b < first_ || b >= first_ + kBlocks) read(b);
    return scales_ + (b - first_) * kPanelRows;
  }
  // Whether a weight of block b may be a denormal, which the instructions that round to bf16 take for zero.
  bool may_be_tiny(int64_t b) {
    of(b);
    return tiny_;
  }

 private:
  static constexpr int64_t kBlocks = 16;  // a line of cache of each row's maxima

  void read(int64_t b) {
    first_ = b;
    const int64_t per_row = w_.I / w_.block, count = std::min(kBlocks, end_ - b);
    alignas(64) float lines[kPanelRows * kBlocks];
    const float* from = lines;
    int64_t line = kBlocks;
    if (w_.absmax) {
      from = w_.absmax + row0_ * per_row + b;
      line = per_row;
    } else {
      for (int64_t j = 0; j < there_; ++j) {
        const int64_t at = (row0_ + j) * per_row + b;
        for (int64_t i = 0; i < count; ++i)
          lines[j * kBlocks + i] = fused(w_.map[w_.absmax_codes[at + i]], w_.nested_absmax[(at + i) / quant::kNestedBlock], w_.offset);
      }
    }
    Transpose::run(reinterpret_cast<uint32_t*>(scales_), kPanelRows, from, line * 4, there_, count);
    int32_t tiny = 0;
    for (int64_t i = 0; i < count * kPanelRows; ++i) {
      const float size = std::fabs(scales_[i]);
      tiny |= size > 0 && size < 0x1p-110f;
      scales_[i] = linear::plain_nan(scales_[i]);
    }
    tiny_ = tiny != 0;
  }

  const QuantizedWeight& w_;
  int64_t row0_, there_, end_, first_ = -kBlocks;
  bool tiny_ = false;
  alignas(64) float scales_[kBlocks * kPanelRows];
};

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

// Steps [k0, k0 + kc) of the packed panel of `width` columns from n0 on. False where not all of them are the weight's, or the level leaves decoding
// to who packed it.
template <class T>
bool decode_panel(const QuantizedWeight* w, int64_t n0, int64_t width, int64_t k0, int64_t kc, T* panel) {
  if constexpr (requires { &StepsOf<T>::decode; }) {
    if (width != StepsOf<T>::kWidth || !has_panel_scales(w) || k0 + kc > w->I) return false;
    PanelScales scales(*w, n0 / kPanelRows, (k0 + kc + w->block - 1) / w->block);
    if (sizeof(T) == 2 && scales.may_be_tiny(k0 / w->block)) return false;
    const StepsOf<T> steps(quant::code_book(w->format));
    const uint8_t* codes = w->codes + n0 / kPanelRows * w->I * (kPanelRows / 2);
    by_blocks(scales, w->block, k0, k0 + kc, [&](int64_t k, int64_t count, const float* scale) {
      steps.decode(codes + k * (kPanelRows / 2), count, scale, n0 % kPanelRows, panel + (k - k0) * width);
    });
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

  // sums [M][32] += steps [k0, k0 + kPanelDepth) by the micro-kernel.
  static void by_panel(const linear::Problem& p, int64_t n0, int64_t k0, float* sums, void* room) {
    const int64_t kc = std::min(linear::kPanelDepth, Driver::depth(p.K) - k0);
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
  }

  // sums [Rows][32] <- the rows against a panel.
  template <int64_t Rows>
  static void panel(const linear::Problem& p, const Steps& steps, const Unit* x, int64_t index, float* sums, void* room) {
    const QuantizedWeight& w = *p.panels->weight;
    PanelScales scales(w, index, w.I / w.block);
    const uint8_t* codes = w.codes + index * w.I * (kPanelRows / 2);
    // Where more rows follow those of the weight, their sum begins within its last steps.
    const int64_t streamed = p.K == w.I ? w.I : w.I / linear::kPanelDepth * linear::kPanelDepth;
    alignas(64) float part[Rows * kPanelRows], total[Rows * kPanelRows] = {};
    for (int64_t k0 = 0; k0 < streamed; k0 += linear::kPanelDepth) {
      const int64_t end = std::min(k0 + linear::kPanelDepth, streamed);
      bool tiny = false;
      for (int64_t b = k0 / w.block; kPairs && b * w.block < end; ++b) tiny |= scales.may_be_tiny(b);
      if (tiny) {  // pairs' slots are the outputs themselves
        by_panel(p, index * kPanelRows, k0, total, room);
        continue;
      }
      std::memset(part, 0, sizeof part);
      by_blocks(scales, w.block, k0, end, [&](int64_t k, int64_t count, const float* scale) {
        steps.template add<Rows>(codes + k * (kPanelRows / 2), count, scale, x + k / kPerUnit * Rows, part);
      });
      for (int64_t i = 0; i < Rows * kPanelRows; ++i) total[i] += part[i];
    }
    for (int64_t r = 0; r < Rows; ++r)
      for (int64_t i = 0; i < kPanelRows; ++i) sums[r * kPanelRows + Steps::slot(i)] = total[r * kPanelRows + i];
    for (int64_t k0 = streamed; k0 < Driver::depth(p.K); k0 += linear::kPanelDepth) by_panel(p, index * kPanelRows, k0, sums, room);
  }
};

// False where B is no such weight, or the level has no kernel for a few rows.
template <template <class> class Driver, class MicroF32, class MicroBf16>
bool few_rows_quantized(Stream& s, const linear::Problem& p) {
  if (p.M > kFewRows || !p.panels || !has_panel_scales(p.panels->weight)) return false;
  bool done = false;
  by_operand<MicroF32, MicroBf16>(p, [&](auto* micro, auto from) {
    using Micro = std::remove_pointer_t<decltype(micro)>;
    if constexpr (requires { &Micro::add; }) {
      using Few = FewRowsQuantized<Driver<Micro>, decltype(from)>;
      const typename Few::Steps steps(quant::code_book(p.panels->weight->format));
      by_few(p.M, [&](auto rows) {
        uint32_t* x = static_cast<uint32_t*>(s.packed.get(Few::Input::room_bytes(rows(), p.K)));
        Few::Input::prepare(x, p, rows());
        parallel_range(s, (p.N + kPanelRows - 1) / kPanelRows, kPanelRows * (p.K + 1), [&](int64_t begin, int64_t end, int thread) {
          void* room = s.scratch[static_cast<size_t>(thread)].get(Few::room_bytes());
          for (int64_t j = begin; j < end; ++j) {
            alignas(64) float sums[rows() * kPanelRows];
            Few::template panel<rows()>(p, steps, reinterpret_cast<const typename Few::Unit*>(x), j, sums, room);
            store(p, 0, p.M, j * kPanelRows, std::min(kPanelRows, p.N - j * kPanelRows), sums, kPanelRows);
          }
        });
      });
      done = true;
    }
  });
  return done;
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
