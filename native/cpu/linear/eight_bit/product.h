// y = x.W^T with inputs of 8 bit (problem.h): up to eight rows share what they read of W. An element's sums do not depend on how many rows there are.
#pragma once
#include <algorithm>

#include "cpu/kernel.h"
#include "cpu/linear/eight_bit/input.h"
#include "cpu/linear/eight_bit/rows.h"
#include "cpu/linear/eight_bit/steps.h"
#include "cpu/linear/epilogue.h"
#include "cpu/linear/few_rows.h"
#include "cpu/linear/few_rows_quantized.h"

namespace anymal::cpu::ANYMAL_LEVEL::eight_bit {

using linear::EightBitBook;
using linear::QuantizedWeight;

using linear::EightBitPart;

// What is the same for all panels of a product.
struct Work {
  const EightBitProblem& p;
  const EightBitBook& book;
  const Input& in;
  int64_t m0, rows;  // of x
};

inline void store(const Work& work, const EightBitPart& part, int64_t n0, int64_t columns, float* sums, int64_t apart) {
  // One NaN for all: which of several a sum keeps depends on how the compiler orders operands.
  for (int64_t r = 0; r < work.rows; ++r)
    for (int64_t j = 0; j < columns; ++j) sums[r * apart + j] = linear::plain_nan(sums[r * apart + j]);
  const linear::Epilogue e{.bias = part.bias};
  if (part.y.dtype == DType::f32) driver::store_rows<float>(part.y, e, work.m0, work.rows, n0, columns, sums, apart);
  else driver::store_rows<bf16>(part.y, e, work.m0, work.rows, n0, columns, sums, apart);
}

// f(part, panel, thread) for the panels of `size` rows of all weights, in one parallel region.
template <class F>
inline void each_panel(Stream& s, const EightBitProblem& p, int64_t size, int64_t work, const F& f) {
  const auto panels = [&](int64_t i) { return (p.parts[i].w.O + size - 1) / size; };
  int64_t all = 0;
  for (int64_t i = 0; i < p.count; ++i) all += panels(i);
  parallel_range(s, all, work, [&](int64_t begin, int64_t end, int thread) {
    int64_t i = 0, first = 0;
    for (int64_t j = begin; j < end; ++j) {
      while (j - first >= panels(i)) first += panels(i++);
      f(p.parts[i], j - first, thread);
    }
  });
}
// So that a task reads about 64 KiB: what was read ahead at its end may be another's.
constexpr int64_t work_of(int64_t panel_bytes) { return panel_bytes / 4 + 1; }

// Panels of 32 rows, in which each 64 inputs of a row, or each block of 32, have one scale.
struct Panels {
  static bool takes(const EightBitProblem& p) {
    return !p.by_rows && (p.parts->w.format == QuantFormat::int8 || driver::has_panel_scales(&p.parts->w));
  }

  template <int64_t Rows>
  static void four_bit(const QuantizedWeight& w, const Nibbles& nibbles, const Input& in, int64_t index, float (*sums)[kPanelRows]) {
    driver::PanelScales scales(w, index, w.I / w.block);
    const uint8_t* codes = w.codes + index * w.I * (kPanelRows / 2);
    const int64_t step = std::min(w.block, kEightBitBlock);
    for (int64_t k = 0; k < w.I; k += step) {
      int32_t sum[Rows][kPanelRows], of_x[Rows];
      const int64_t count = std::min(step, w.I - k);
      for (int64_t r = 0; r < Rows; ++r)
        of_x[r] = step == kEightBitBlock ? in.sums[r * in.blocks + k / kEightBitBlock] : sum_of(in.codes + r * in.width + k, count);
      nibbles.template add<Rows>(codes + k * 16, count, in.codes + k, in.width, of_x, 1, sum);
      const float* scale = scales.of(k / w.block);
      for (int64_t r = 0; r < Rows; ++r) {
        const float x = in.scales[r * in.blocks + k / kEightBitBlock];
        for (int64_t i = 0; i < kPanelRows; ++i) sums[r][i] = fused(static_cast<float>(sum[r][i]), scale[i] * x, sums[r][i]);
      }
    }
  }

  template <int64_t Rows>
  static void bytes(const QuantizedWeight& w, const Input& in, int64_t index, float (*sums)[kPanelRows]) {
    const int64_t fours = (w.I + 3) / 4 * 4;
    const uint8_t* codes = w.codes + index * fours * kPanelRows;
    for (int64_t k = 0; k < fours; k += kEightBitBlock) {
      int32_t sum[Rows][kPanelRows];
      Bytes().template add<Rows>(codes + k * kPanelRows, std::min(kEightBitBlock, fours - k), in.codes + k, in.width, in.sums + k / kEightBitBlock,
                                 in.blocks, sum);
      for (int64_t r = 0; r < Rows; ++r) {
        const float x = in.scales[r * in.blocks + k / kEightBitBlock];
        for (int64_t i = 0; i < kPanelRows; ++i) sums[r][i] = fused(static_cast<float>(sum[r][i]), x, sums[r][i]);
      }
    }
    const int64_t there = std::min(kPanelRows, w.O - index * kPanelRows);
    for (int64_t r = 0; r < Rows; ++r)
      for (int64_t i = 0; i < there; ++i) sums[r][i] *= w.absmax[index * kPanelRows + i];
  }

  template <int64_t Rows>
  static void run(Stream& s, const Work& work) {
    const Nibbles nibbles(work.book.values);
    const bool eight = work.p.parts->w.format == QuantFormat::int8;
    each_panel(s, work.p, kPanelRows, work_of(work.in.I * kPanelRows / (eight ? 1 : 2)), [&](const EightBitPart& part, int64_t j, int) {
      alignas(64) float sums[Rows][kPanelRows] = {};
      if (eight) bytes<Rows>(part.w, work.in, j, sums);
      else four_bit<Rows>(part.w, nibbles, work.in, j, sums);
      store(work, part, j * kPanelRows, std::min(kPanelRows, part.w.O - j * kPanelRows), sums[0], kPanelRows);
    });
  }

 private:
  static int32_t sum_of(const int8_t* x, int64_t count) {
    int32_t sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += x[i];
    return sum;
  }
};

// Any weight of 4 bit: a row of W at a time, whose blocks may begin and end within 64 inputs.
struct AnyBlocks {
  static uint8_t code(const QuantizedWeight& w, bool by_rows, int64_t o, int64_t k) {
    if (by_rows) {
      const uint8_t* panel = w.codes + o / RowLayout::kPanel * RowLayout::panel_bytes(w.I);
      return panel[RowLayout::byte(w.I, o % RowLayout::kPanel, k)] >> RowLayout::shift(k) & 15;
    }
    const uint8_t byte = w.codes[(o / kPanelRows * w.I + k) * 16 + o % 16];
    return o % kPanelRows < 16 ? byte & 15 : byte >> 4;
  }

  template <int64_t Rows>
  static void run(Stream& s, const Work& work) {
    const Input& in = work.in;
    each_panel(s, work.p, 1, in.I * (2 + Rows), [&](const EightBitPart& part, int64_t o, int) {
      const QuantizedWeight& w = part.w;
      float sums[Rows] = {};
      for (int64_t k = 0; k < w.I;) {
        const int64_t at = o * w.I + k, b = at / w.block, block = k / kEightBitBlock;
        const int64_t stop = std::min(std::min(w.I, k + (b + 1) * w.block - at), (block + 1) * kEightBitBlock);
        const float maximum = w.absmax ? w.absmax[b] : fused(w.map[w.absmax_codes[b]], w.nested_absmax[b / quant::kNestedBlock], w.offset);
        int32_t sum[Rows] = {};
        for (; k < stop; ++k) {
          const int32_t weight = work.book.values[code(w, work.p.by_rows, o, k)];
          for (int64_t r = 0; r < Rows; ++r) sum[r] += weight * in.codes[r * in.width + k];
        }
        for (int64_t r = 0; r < Rows; ++r) sums[r] = fused(static_cast<float>(sum[r]), in.scales[r * in.blocks + block] * maximum, sums[r]);
      }
      store(work, part, o, 1, sums, 1);
    });
  }
};

#if defined(__AMX_TILE__) && !defined(ANYMAL_AMX_TWIN)
template <int64_t Count, bool Small>
void run_rows(Stream& s, const Work& work, void* room) {
  UnitInput* x = static_cast<UnitInput*>(room);
  Rows<Small>(work.p.parts->w, work.book.values).arrange(work.in, Count, x);
  each_panel(s, work.p, RowLayout::kPanel, work_of(RowLayout::panel_bytes(work.in.I)), [&](const EightBitPart& part, int64_t j, int thread) {
    const Rows<Small> weight(part.w, work.book.values);
    float* scales = static_cast<float*>(s.scratch[static_cast<size_t>(thread)].get(weight.room_bytes() + 64));
    alignas(64) float sums[Count * 16];
    weight.template panel<Count>(j, x, scales, sums);
    store(work, part, j * 16, std::min<int64_t>(16, part.w.O - j * 16), sums, 16);
  });
}
#endif

void product(Stream& s, const EightBitProblem& p) {
  if (p.M <= 0) return;
  const EightBitBook book = linear::eight_bit_book(p.parts->w.format);
  Input in(p.parts->w.I);
  for (int64_t m0 = 0; m0 < p.M; m0 += driver::kFewRows) {
    const int64_t there = std::min(driver::kFewRows, p.M - m0);
    driver::by_few(there, [&](auto rows) {
      constexpr int64_t count = rows();
      const size_t bytes = (in.bytes(count) + 63) / 64 * 64;
#if defined(__AMX_TILE__) && !defined(ANYMAL_AMX_TWIN)
      const size_t more = sizeof(UnitInput) * static_cast<size_t>(in.width / RowLayout::kUnit * count);
#else
      const size_t more = 0;
#endif
      char* room = static_cast<char*>(s.packed.get(bytes + more));
      in.place(room, count);
      if (p.dtype == DType::f32) quantize<float>(p, book.scale, m0, there, count, in);
      else quantize<bf16>(p, book.scale, m0, there, count, in);
      const Work work{p, book, in, m0, there};
#if defined(__AMX_TILE__) && !defined(ANYMAL_AMX_TWIN)
      if (p.by_rows && Rows<false>::takes(p.parts->w)) return run_rows<count, false>(s, work, room + bytes);
      if (p.by_rows && Rows<true>::takes(p.parts->w)) return run_rows<count, true>(s, work, room + bytes);
#endif
      if (Panels::takes(p)) return Panels::run<count>(s, work);
      AnyBlocks::run<count>(s, work);
    });
  }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::eight_bit
