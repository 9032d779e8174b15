// Small products of f32, as tiny models are made of: A is multiplied from where it lies. Packing it pays where a row of A meets many panels of B, or
// lies so far from the next that their lines share few places of the cache; a weight of 128 x 128 is four panels, and rows of 128 are 512 bytes
// apart. A transposed A is read a few floats per line, so it is packed but for a single panel. All of B is packed once where that stays in cache, and
// a task is some rows against several panels: two regions for a product. The products of an element are added in the driver's order, in blocks of
// kPanelDepth steps, each from zero.
#pragma once
#include <iterator>

#include "cpu/linear/driver.h"

namespace anymal::cpu::ANYMAL_LEVEL::driver {

template <class Micro>
struct InPlace {
  using D = Driver<Micro>;
  using Units = typename Micro::Units;
  typedef float Floats __attribute__((vector_size(sizeof(Units))));
  static constexpr int64_t MR = Micro::MR, NR = Micro::NR, kLanes = NR / 2;
  static constexpr int64_t kLongest = 768;           // floats from one line of A to the next
  static constexpr int64_t kMostOfB = 1 << 20;       // bytes of it that are packed at once
  static constexpr int64_t kTasks = 16;              // threads that small products are cut for
  static constexpr int64_t kMultipliesPerUnit = 32;  // of a chunk's work (kernel.h)
  static_assert(std::is_same_v<typename Micro::Element, float>);

  static bool by_rows(const Problem& p) { return p.a.col == 1; }
  static bool fits(const Problem& p) { return (p.N + NR - 1) / NR * NR * p.K * 4 <= kMostOfB; }
  static bool takes(const Problem& p) {
    if (p.a.dtype != DType::f32 || p.K <= 0) return false;
    if (scales_sums<Micro>() && p.panels && has_panel_scales(p.panels->weight)) return false;  // the driver scales a block's sum
    if (by_rows(p)) return p.a.row <= kLongest && p.more.row <= kLongest && fits(p);
    return p.a.row == 1 && p.a.col <= kLongest && p.more.steps == 0 && p.N <= NR && p.M >= MR;
  }

  static constexpr int64_t kApart = 3;

  // Some steps of A for the rows of a strip: row i's step k lies at data[i * line + k], or, by columns, at data[k * line + i].
  struct Steps {
    const float* data;
    int64_t line, count;
  };

  // sum += A.B for the steps of `piece`. Rows kApart from each other have pointers of their own: those between are reached by an index.
  template <int64_t Count, bool ByRows, int Vectors>
  __attribute__((always_inline)) static void multiply(Floats (&sum)[Count][Vectors], const Steps& piece, const float* b) {
    constexpr int64_t apart = ByRows ? kApart : Count;
    const int64_t line = piece.line;
    const float* at[(Count + apart - 1) / apart];
    for (size_t g = 0; g < std::size(at); ++g) at[g] = piece.data + static_cast<int64_t>(g) * apart * line;
    for (int64_t k = 0; k < piece.count; ++k, b += NR) {
      Units columns[Vectors];
      for (int v = 0; v < Vectors; ++v) std::memcpy(&columns[v], b + v * kLanes, sizeof(Units));
#pragma GCC unroll 16
      for (int64_t i = 0; i < Count; ++i) {
        uint32_t x;
        std::memcpy(&x, ByRows ? at[i / apart] + i % apart * line : at[0] + i, 4);
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v)
          sum[i][v] = reinterpret_cast<Floats>(Micro::add(reinterpret_cast<Units>(sum[i][v]), Units{} + x, columns[v]));
      }
      for (const float*& p : at) p += ByRows ? 1 : line;
    }
  }

  // c [Count][NR] (+)= A.B for the first Vectors columns of kLanes: the steps of `a`, then those of `more`. From zero where `first`.
  template <int64_t Count, bool ByRows, int Vectors>
  static void run(const Steps& a, const Steps& more, const float* b, float* c, bool first) {
    Floats sum[Count][Vectors] = {};
    multiply<Count, ByRows, Vectors>(sum, a, b);
    if (ByRows && more.count > 0) multiply<Count, ByRows, Vectors>(sum, more, b + a.count * NR);
#pragma GCC unroll 16
    for (int64_t i = 0; i < Count; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) {
        float* to = c + i * NR + v * kLanes;
        Floats old{};
        if (!first) std::memcpy(&old, to, sizeof old);
        old += sum[i][v];
        std::memcpy(to, &old, sizeof old);
      }
  }

  // Rows of the strip of which `left` are wanted: where no strip has as few, it begins before the one above it ends, and what both compute is the
  // same.
  static int64_t strip_rows(int64_t M, int64_t left) {
    int64_t rows = MR;
    for (const int64_t fewer : {int64_t{8}, int64_t{4}, int64_t{2}, int64_t{1}})
      if (fewer < rows && (rows > M || fewer >= left)) rows = fewer;
    return rows;
  }
  template <class F>
  static void by_strip(int64_t rows, const F& f) {
    if (rows == MR) return f(std::integral_constant<int64_t, MR>{});
    if constexpr (MR > 8)
      if (rows == 8) return f(std::integral_constant<int64_t, 8>{});
    if constexpr (MR > 4)
      if (rows == 4) return f(std::integral_constant<int64_t, 4>{});
    if (rows == 2) return f(std::integral_constant<int64_t, 2>{});
    f(std::integral_constant<int64_t, 1>{});
  }

  static Steps steps_of(const Matrix& m, int64_t row, int64_t k, int64_t count) {
    const bool rows = m.col == 1;
    return {static_cast<const float*>(m.data) + (rows ? row * m.row + k : k * m.col + row), rows ? m.row : m.col, count};
  }
  static void run_strip(const Problem& p, int64_t width, int64_t row, int64_t k0, int64_t kc, int64_t cols, const float* panel, float* sums) {
    const int64_t own = p.K - p.more.steps - k0, from_a = own < 0 ? 0 : at_most(own, kc);
    const Matrix extra{p.more.data, DType::f32, p.more.row, 1};
    const Steps a = steps_of(p.a, row, k0, from_a), more = from_a < kc ? steps_of(extra, row, own < 0 ? -own : 0, kc - from_a) : Steps{};
    if (!by_rows(p)) return cols > kLanes ? run<MR, false, 2>(a, more, panel, sums, k0 == 0) : run<MR, false, 1>(a, more, panel, sums, k0 == 0);
    by_strip(width, [&](auto count) {
      cols > kLanes ? run<count(), true, 2>(a, more, panel, sums, k0 == 0) : run<count(), true, 1>(a, more, panel, sums, k0 == 0);
    });
  }

  static void store(const Problem& p, int64_t row, int64_t rows, int64_t n0, int64_t cols, const float* sums) {
    if (p.c.dtype != DType::f32 || cols < NR || p.e.bias || p.e.accumulate || p.e.alpha != 1.0f)
      return driver::store(p, row, rows, n0, cols, sums, NR);
    for (int64_t i = 0; i < rows; ++i) std::memcpy(static_cast<float*>(p.c.data) + (row + i) * p.c.row + n0, sums + i * NR, NR * 4);
  }

  // Rows [m0, m0 + rows) of C and the columns of panel j. `ready`: the panel, or null where it is packed here, into `packed`.
  static void task(const Problem& p, int64_t m0, int64_t rows, int64_t j, const float* ready, float* packed, float* sums) {
    const int64_t n0 = j * NR, cols = at_most(NR, p.N - n0);
    for (int64_t k0 = 0; k0 < p.K; k0 += kPanelDepth) {
      const int64_t kc = at_most(kPanelDepth, p.K - k0);
      if (!ready) D::pack_b(p, n0, k0, kc, packed);
      const float* panel = ready ? ready + k0 * NR : packed;
      for (int64_t i = 0, width; i < rows; i += width) {
        width = by_rows(p) ? strip_rows(p.M, rows - i) : MR;
        const int64_t row = at_most(m0 + i, p.M - width), again = m0 + i - row;
        float* strip = sums + i * NR;
        run_strip(p, width, row, k0, kc, cols, panel, strip);
        if (k0 + kc == p.K) store(p, m0 + i, width - again, n0, cols, strip + again * NR);
      }
    }
  }

  static void gemm(Stream& s, const Problem& p) {
    const int64_t panels = (p.N + NR - 1) / NR, blocks = (p.K + kPanelDepth - 1) / kPanelDepth;
    const bool before = fits(p);
    float* ready = before ? static_cast<float*>(s.packed.get(static_cast<size_t>(panels * NR * p.K) * 4 + 64)) : nullptr;
    if (before)
      parallel_range(s, panels * blocks, NR * at_most(p.K, kPanelDepth), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t j = t / blocks, k0 = t % blocks * kPanelDepth;
          D::pack_b(p, j * NR, k0, at_most(kPanelDepth, p.K - k0), ready + j * NR * p.K + k0 * NR);
        }
      });
    // Where each task packs what it needs of B, rows are cut only for want of panels.
    const int64_t groups = (p.M + D::MC - 1) / D::MC, down = before ? groups : at_most(groups, (kTasks + panels - 1) / panels);
    const int64_t part = round_up((p.M + down - 1) / down, MR), parts = (p.M + part - 1) / part;
    const int64_t across = before ? at_most(panels, (kTasks + parts - 1) / parts) : panels, wide = (panels + across - 1) / across;
    const int64_t work = part * wide * NR * p.K / kMultipliesPerUnit + 1;
    parallel_range(s, parts * across, work, [&](int64_t begin, int64_t end, int thread) {
      // The sums of a part, of which the last strip may begin anywhere; then a block of B.
      const int64_t sums_size = (part + MR) * NR, block_size = before ? 0 : kPanelDepth * NR;
      float* sums = static_cast<float*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>(sums_size + block_size) * 4));
      for (int64_t t = begin; t < end; ++t) {
        const int64_t m0 = t / across * part, first = t % across * wide;
        for (int64_t j = first; j < at_most(first + wide, panels); ++j)
          task(p, m0, at_most(part, p.M - m0), j, ready ? ready + j * NR * p.K : nullptr, sums + sums_size, sums);
      }
    });
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::driver
