// The blocked product around a level's micro-kernels, compiled once per level (kernels/<level>.cc defines the micro-kernels and includes it).
//
//   A is cut into slabs of rows, each packed once, in blocks of KC = kPanelDepth steps of K: shared by all threads, as large as stays in their cache.
//   A task is some rows of a slab against one panel of NR columns of B. It walks K in blocks of KC: packs KC x NR of B, which lie in L1 from then on,
//   and lets the micro-kernel add MR x NR tiles of all its rows into f32 sums. The epilogue (alpha, bias, old C, rounding) runs once, at the end.
//   So B is read once per slab, and written nowhere but to L1: quantised weights are decoded where they are used. Where a panel meets many
//   tasks, since there are few panels, B is packed before as well.
//   Products of one A are worked off as one: A is packed once, and the tasks of all share the threads. A sum of products is one whose K is of all,
//   one's behind the other's.
//
// A micro-kernel: struct { using Element (float or bf16); MR, NR, KB (k-group of A's panel), PB (k-pair of B's panel);
//   optional static void begin(), end() around a task;
//   static void run(int64_t kc, const Element* a /*[kc/KB][MR][KB]*/, const Element* b /*[kc/PB][NR][PB]*/, float* c, int64_t ldc);  C += A.B
//   optional run_scaled(..., int64_t block, const float* scales /*[kc/block][NR]*/) beside it: C += the blocks' scale A.B (scales_sums);
//   optional run<Rows> for the last strip of A, packed [kc/KB][Rows][KB];
//   optional add(), the same products for a few rows (few_rows.h). All of them add an element's products in the same order. }
#pragma once
#include <algorithm>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/linear/epilogue.h"
#include "cpu/linear/few_rows.h"
#include "cpu/linear/few_rows_integer.h"
#include "cpu/linear/few_rows_quantized.h"
#include "cpu/linear/kernels.h"
#include "cpu/linear/pack_strip.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

using linear::kPanelDepth;
using linear::Matrix;
using linear::PanelSource;
using linear::Problem;

template <class Micro>
struct Driver {
  using MicroKernel = Micro;
  using T = typename Micro::Element;
  static constexpr int64_t MR = Micro::MR, NR = Micro::NR, KB = Micro::KB, PB = Micro::PB;
  static constexpr int64_t MC = round_up(96, MR);  // rows that are always worth a task
  static constexpr int64_t kMostRows = 1024;       // of a slab: their sums of one panel stay in L2
  static constexpr DType dtype = sizeof(T) == 4 ? DType::f32 : DType::bf16;

  static int64_t depth(int64_t K) { return round_up(K, KB > PB ? KB : PB); }
  static int64_t slab_rows(int64_t M, int64_t steps, int64_t bytes) {
    const int64_t fit = bytes / (steps * static_cast<int64_t>(sizeof(T)) + 1);  // there may be none
    return round_up(at_most(M, fit < MC ? MC : at_most(fit, kMostRows)), MR);
  }

  // Rows [k0, k0 + kc) of the panel that starts at column n0; k0 is a multiple of kPanelDepth.
  static void pack_b(const Problem& p, int64_t n0, int64_t k0, int64_t kc, T* panel) {
    if constexpr (requires { &Micro::add; })
      if (p.panels && decode_panel(*p.panels, n0, NR, k0, kc, panel)) return;
    if (p.panels) return p.panels->fill(p.panels->context, k0, kc, n0, NR, dtype, panel);
    const auto pack = [&](auto* source) {
      using From = std::remove_cv_t<std::remove_reference_t<decltype(*source)>>;
      pack_strip<T, From, static_cast<int>(PB)>(panel, NR, kc, source + n0 * p.b.col + k0 * p.b.row, p.b.col, p.b.row, at_most(NR, p.N - n0),
                                                at_most(kc, p.K - k0));
    };
    if (p.b.dtype == DType::f32) pack(static_cast<const float*>(p.b.data));
    else pack(static_cast<const bf16*>(p.b.data));
  }

  // f(width) with the number of rows that a strip of which `count` are there is packed for.
  template <class F>
  static void by_width(int64_t count, const F& f) {
    if constexpr (requires { Micro::template run<1>(0, nullptr, nullptr, nullptr, 0); }) {
      if (count == 1) return f(std::integral_constant<int64_t, 1>{});
      if (MR > 2 && count == 2) return f(std::integral_constant<int64_t, 2>{});
      if (MR > 4 && count <= 4) return f(std::integral_constant<int64_t, 4>{});
      if constexpr (MR > 8)
        if (count <= 8) return f(std::integral_constant<int64_t, 8>{});
    }
    if constexpr (MR > 16 && requires { Micro::template run<16>(0, nullptr, nullptr, nullptr, 0); })
      if (count <= 16) return f(std::integral_constant<int64_t, 16>{});
    f(std::integral_constant<int64_t, MR>{});
  }
  // C += A.B for a strip.
  static void run_strip(int64_t count, int64_t kc, const T* a, const T* b, float* c, int64_t ldc) {
    by_width(count, [&](auto width) {
      if constexpr (width() == MR) Micro::run(kc, a, b, c, ldc);
      else Micro::template run<width()>(kc, a, b, c, ldc);
    });
  }
  // The same for a strip's steps from k0 on, of which those of the weight are unscaled.
  static void run_scaled_strip(const QuantizedWeight& w, PanelScales& scales, int64_t count, int64_t k0, int64_t kc, const T* a, const T* b,
                               float* c) {
    by_width(count, [&](auto width) {
      const int64_t end = std::min(k0 + kc, w.I), rest = std::max(k0, end);
      if (k0 < end) Micro::template run_scaled<width()>(end - k0, a, b, c, NR, at_most(w.block, end - k0), scales.of(k0 / w.block));
      if (rest < k0 + kc) Micro::template run<width()>(k0 + kc - rest, a + (rest - k0) * width(), b + (rest - k0) * NR, c, NR);
    });
  }

  // A slab: [K / KC][rows / MR][KC][MR], the last strip narrower. Its rows [i0, i0 + rows), which are those from m0 + i0 on of A, in the block from
  // k0 on.
  static void pack_a(const Problem& p, int64_t m0, int64_t i0, int64_t rows, int64_t k0, int64_t kc, T* block) {
    const int64_t k = at_most(kc, p.K - k0), own = std::max(at_most(k, p.K - p.more.steps - k0), int64_t{0});
    for (int64_t i = i0; i < i0 + rows; i += MR) {
      const int64_t count = at_most(MR, p.M - m0 - i);
      const auto pack = [&](auto* source) {
        using From = std::remove_cv_t<std::remove_reference_t<decltype(*source)>>;
        by_width(count, [&](auto width) {
          T* strip = block + i * kc;
          pack_strip<T, From, static_cast<int>(KB)>(strip, width(), kc, source + (m0 + i) * p.a.row + k0 * p.a.col, p.a.row, p.a.col, count, own);
          const From* more = static_cast<const From*>(p.more.data) + (m0 + i) * p.more.row;
          for (int64_t j = own; j < k; ++j)
            for (int64_t r = 0; r < count; ++r)
              strip[(j / KB * width() + r) * KB + j % KB] = convert<T>(more[r * p.more.row + k0 + j - (p.K - p.more.steps)]);
        });
      };
      if (p.a.dtype == DType::f32) pack(static_cast<const float*>(p.a.data));
      else pack(static_cast<const bf16*>(p.a.data));
    }
  }

  static size_t room_bytes(int64_t rows) { return static_cast<size_t>(kPanelDepth * NR) * sizeof(T) + static_cast<size_t>(rows * NR) * 4; }

  // Where a problem's operands lie packed: blocks of A's steps before `shared` at `common`, those after them at `own`; B, [depth][NR] to a panel, at
  // `ready`, or, where that is null, nowhere yet.
  struct Packed {
    T *common, *own, *ready;
    int64_t shared;

    T* block(int64_t padded, int64_t k0) const { return k0 < shared ? common + padded * k0 : own + padded * (k0 - shared); }
  };

  // Rows [i0, i0 + rows) of a packed slab of `padded` rows, which begins at row m0 of A, against panel j of B: the sum of `count` problems, to the
  // first one's place.
  static void task(const Problem* of, const Packed* packed, int64_t count, int64_t padded, int64_t m0, int64_t i0, int64_t rows, int64_t j,
                   void* room) {
    T* unpacked = static_cast<T*>(room);
    float* sums = reinterpret_cast<float*>(unpacked + kPanelDepth * NR);
    std::memset(sums, 0, static_cast<size_t>(round_up(rows, MR) * NR) * 4);
    const int64_t n0 = j * NR;
    for (int64_t q = 0; q < count; ++q) {
      const Problem& p = of[q];
      const auto each_strip = [&](const auto& run) {
        for (int64_t k0 = 0; k0 < depth(p.K); k0 += kPanelDepth) {
          const int64_t kc = at_most(kPanelDepth, depth(p.K) - k0);
          const T* panel = packed[q].ready ? packed[q].ready + j * NR * depth(p.K) + k0 * NR : unpacked;
          if (!packed[q].ready) pack_b(p, n0, k0, kc, unpacked);
          const T* a = packed[q].block(padded, k0) + i0 * kc;
          for (int64_t i = 0; i < rows; i += MR) run(rows - i, k0, kc, a + i * kc, panel, sums + i * NR);
        }
      };
      const auto plain = [](int64_t there, int64_t, int64_t kc, const T* a, const T* b, float* c) { run_strip(there, kc, a, b, c, NR); };
      if constexpr (scales_sums<Micro>()) {
        const QuantizedWeight* w = p.panels ? p.panels->weight : nullptr;
        if (has_panel_scales(w)) {
          PanelScales scales(*w, n0 / kPanelRows, w->I / w->block, StepsOf<T>(w->format).factor);
          each_strip(
              [&](int64_t there, int64_t k0, int64_t kc, const T* a, const T* b, float* c) { run_scaled_strip(*w, scales, there, k0, kc, a, b, c); });
          continue;
        }
      }
      each_strip(plain);
    }
    store(of[0], m0 + i0, rows, n0, at_most(NR, of[0].N - n0), sums, NR);
  }

  // All of `of`, each to its own place, where they have one A but for its further steps; or their sum, to the first one's.
  static void parallel_gemm(Stream& s, const Problem* of, int64_t count, bool one_sum) {
    const int64_t M = of[0].M, own_steps = of[0].K - of[0].more.steps;
    const int64_t shared = one_sum ? 0 : count == 1 ? depth(of[0].K) : own_steps / kPanelDepth * kPanelDepth;
    int64_t steps = shared, panels = 0, size_of_b = 0;
    const auto panels_of = [&](int64_t q) { return (of[q].N + NR - 1) / NR; };
    const auto blocks_of = [&](int64_t q, int64_t from) { return (depth(of[q].K) - from + kPanelDepth - 1) / kPanelDepth; };
    for (int64_t q = 0; q < count; ++q) {
      steps += depth(of[q].K) - shared;
      size_of_b += panels_of(q) * NR * depth(of[q].K);
      if (q == 0 || !one_sum) panels += panels_of(q);
    }
    // Few panels: rows are shared out too, and all of B is packed before, if it stays in cache.
    const int64_t slab = slab_rows(M, steps, 4 << 20), groups = (slab + MC - 1) / MC, wanted = at_most((64 + panels - 1) / panels, groups);
    const bool before = wanted > 2 && size_of_b * static_cast<int64_t>(sizeof(T)) <= 1 << 20;
    const int64_t parts = before || wanted <= 2 ? wanted : (wanted + 3) / 4, part = round_up((slab + parts - 1) / parts, MR);
    T* room = static_cast<T*>(s.packed.get(static_cast<size_t>(slab * steps + (before ? size_of_b : 0)) * sizeof(T) + 64));
    Packed packed[linear::kMostTogether];
    T *own = room + slab * shared, *ready = room + slab * steps;
    for (int64_t q = 0; q < count; ++q) {
      packed[q] = {room, own, before ? ready : nullptr, shared};
      own += slab * (depth(of[q].K) - shared);
      ready += panels_of(q) * NR * depth(of[q].K);
    }
    if (before)
      for (int64_t q = 0; q < count; ++q) {
        const int64_t blocks = blocks_of(q, 0), K = depth(of[q].K);
        parallel_range(s, panels_of(q) * blocks, NR * kPanelDepth, [&](int64_t begin, int64_t end, int) {
          for (int64_t t = begin; t < end; ++t) {
            const int64_t j = t / blocks, k0 = t % blocks * kPanelDepth;
            pack_b(of[q], j * NR, k0, at_most(kPanelDepth, K - k0), packed[q].ready + j * NR * K + k0 * NR);
          }
        });
      }
    // Of A, blocks that all have, then those of each.
    const int64_t common = (shared + kPanelDepth - 1) / kPanelDepth;
    int64_t blocks = common;
    for (int64_t q = 0; q < count; ++q) blocks += blocks_of(q, shared);
    for (int64_t m0 = 0; m0 < M; m0 += slab) {
      const int64_t rows = at_most(slab, M - m0), padded = round_up(rows, MR), across = (padded + MC - 1) / MC;
      parallel_range(s, blocks * across, at_most(MC, rows) * kPanelDepth / 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          int64_t b = t / across, q = 0;
          const bool of_all = b < common;
          if (!of_all)
            for (b -= common; b >= blocks_of(q, shared); ++q) b -= blocks_of(q, shared);
          const int64_t i0 = t % across * MC, k0 = (of_all ? 0 : shared) + b * kPanelDepth, last = of_all ? shared : depth(of[q].K);
          pack_a(of[q], m0, i0, at_most(MC, padded - i0), k0, at_most(kPanelDepth, last - k0), packed[q].block(padded, k0));
        }
      });
      const int64_t down = (rows + part - 1) / part;
      parallel_range(s, panels * down, NR * (steps + 1) * (1 + part / 8), [&](int64_t begin, int64_t end, int thread) {
        void* sums = s.scratch[static_cast<size_t>(thread)].get(room_bytes(part));
        if constexpr (requires { Micro::begin(); }) Micro::begin();
        for (int64_t t = begin; t < end; ++t) {
          int64_t j = t / down, q = 0;
          for (; j >= panels_of(q); ++q) j -= panels_of(q);
          const int64_t i0 = t % down * part;
          task(of + q, packed + q, one_sum ? count : 1, padded, m0, i0, at_most(part, rows - i0), j, sums);
        }
        if constexpr (requires { Micro::end(); }) Micro::end();
      });
    }
  }

  static void serial_gemm(Scratch& scratch, const Problem& p) {
    const int64_t K = depth(p.K), slab = slab_rows(p.M, K, 512 << 10);
    const size_t room_size = (room_bytes(slab) + 63) / 64 * 64;
    char* room = static_cast<char*>(scratch.get(room_size + static_cast<size_t>(slab * K) * sizeof(T) + 64));
    T* packed = reinterpret_cast<T*>(room + room_size);
    const Packed at{packed, nullptr, nullptr, K};
    if constexpr (requires { Micro::begin(); }) Micro::begin();
    for (int64_t m0 = 0; m0 < p.M; m0 += slab) {
      const int64_t rows = at_most(slab, p.M - m0), padded = round_up(rows, MR);
      for (int64_t k0 = 0; k0 < K; k0 += kPanelDepth) pack_a(p, m0, 0, padded, k0, at_most(kPanelDepth, K - k0), packed + padded * k0);
      for (int64_t j = 0; j * NR < p.N; ++j) task(&p, &at, 1, padded, m0, 0, rows, j, room);
    }
    if constexpr (requires { Micro::end(); }) Micro::end();
  }
};

template <class Micro>
struct InPlace;

template <class MicroF32, class MicroBf16>
void group(Stream& s, const Problem* of, int64_t count, bool one_sum);

template <class MicroF32, class MicroBf16>
void gemm(Stream& s, const Problem& p) {
  group<MicroF32, MicroBf16>(s, &p, 1, false);
}

// Has a single problem a way of its own?
template <class MicroF32>
bool by_itself(const Problem& p, bool one_sum) {
  if constexpr (requires { &MicroF32::add; }) return InPlace<MicroF32>::takes(p) || (!one_sum && p.M <= kFewRows);
  return false;
}

// Kernels::group. An element's products are added as if there were no others.
template <class MicroF32, class MicroBf16>
void group(Stream& s, const Problem* of, int64_t count, bool one_sum) {
  if (of[0].M <= 0 || of[0].N <= 0) return;
  const auto each = [&](int64_t panels, int64_t width, const auto& body) {
    parallel_range(s, panels, width * (of[0].K + 1), [&](int64_t begin, int64_t end, int) { body(begin, end); });
  };
  if (!one_sum && (few_rows<MicroF32, MicroBf16>(s.packed, of, count, each) || few_rows_quantized<Driver, MicroF32, MicroBf16>(s, of, count))) return;
  bool apart = false;
  for (int64_t q = 0; q < count && count > 1; ++q) apart |= by_itself<MicroF32>(of[q], one_sum);
  if (apart) {
    for (int64_t q = 0; q < count; ++q) {
      Problem p = of[q];
      if (one_sum) p.c = of[0].c;
      if (one_sum && q > 0) p.e = {.accumulate = true, .alpha = of[0].e.alpha};
      gemm<MicroF32, MicroBf16>(s, p);
    }
    return;
  }
  if (count == 1 && few_rows_integer<MicroBf16>(s, of[0])) return;
  if constexpr (requires { &MicroF32::add; })
    if (count == 1 && InPlace<MicroF32>::takes(of[0])) return InPlace<MicroF32>::gemm(s, of[0]);
  if (of[0].a.dtype == DType::f32) Driver<MicroF32>::parallel_gemm(s, of, count, one_sum);
  else Driver<MicroBf16>::parallel_gemm(s, of, count, one_sum);
}

template <class MicroF32, class MicroBf16>
void gemm_serial(Scratch& scratch, const Problem& p) {
  if (p.M <= 0 || p.N <= 0) return;
  const auto each = [](int64_t panels, int64_t, const auto& body) { body(0, panels); };
  if (few_rows<MicroF32, MicroBf16>(scratch, &p, 1, each)) return;
  if (p.a.dtype == DType::f32) Driver<MicroF32>::serial_gemm(scratch, p);
  else Driver<MicroBf16>::serial_gemm(scratch, p);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver

#include "cpu/linear/in_place.h"
