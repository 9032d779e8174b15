// A few rows against a quantised weight, as decoding meets it: its codes stream through registers (code_steps.h) where the panels' way would decode
// them into cache. An element's products are added in the order of the panels: a row has the same bits as among others.
#pragma once
#include <algorithm>
#include <cstring>
#include <limits>
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
  PanelScales(const QuantizedWeight& w, int64_t panel) : w_(w), row0_(panel * kPanelRows), there_(std::min(kPanelRows, w.O - row0_)) {}
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
    const int64_t per_row = w_.I / w_.block, count = std::min(kBlocks, per_row - b);
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
      const float x = scales_[i], size = std::fabs(x);
      tiny |= size > 0 && size < 0x1p-110f;
      scales_[i] = x == x ? x : std::numeric_limits<float>::quiet_NaN();  // as decoding does
    }
    tiny_ = tiny != 0;
  }

  const QuantizedWeight& w_;
  int64_t row0_, there_, first_ = -kBlocks;
  bool tiny_ = false;
  alignas(64) float scales_[kBlocks * kPanelRows];
};

template <class Driver, class From>
struct FewRowsQuantized {
  using Micro = typename Driver::MicroKernel;
  using T = typename Micro::Element;
  using Input = FewRowsInput<Micro, From>;
  static constexpr bool kPairs = sizeof(T) == 2;
  using Steps = std::conditional_t<kPairs, PairSteps, FloatSteps>;
  using Unit = std::conditional_t<kPairs, uint32_t, float>;
  static constexpr int64_t kPerUnit = kPairs ? 2 : 1, NR = Micro::NR;

  // Blocks that straddle rows give every element a scale of its own: such weights take the panels' way.
  static bool takes(const linear::Problem& p) {
    const QuantizedWeight& w = *p.panels->weight;
    return w.format != QuantFormat::int8 && w.I % w.block == 0;
  }
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
    PanelScales scales(w, index);
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
      for (int64_t k = k0; k < end;) {
        const int64_t b = k / w.block, stop = std::min((b + 1) * w.block, end);
        steps.template add<Rows>(codes + k * (kPanelRows / 2), stop - k, scales.of(b), x + k / kPerUnit * Rows, part);
        k = stop;
      }
      for (int64_t i = 0; i < Rows * kPanelRows; ++i) total[i] += part[i];
    }
    for (int64_t r = 0; r < Rows; ++r)
      for (int64_t i = 0; i < kPanelRows; ++i) sums[r * kPanelRows + Steps::slot(i)] = total[r * kPanelRows + i];
    for (int64_t k0 = streamed; k0 < Driver::depth(p.K); k0 += linear::kPanelDepth) by_panel(p, index * kPanelRows, k0, sums, room);
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
