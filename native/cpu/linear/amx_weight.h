// Where a product's weight comes from, in tiles of 1 KiB: as A, 16 rows of 32 inputs, or as B, 16 pairs of rows of 16 inputs (amx_product.h).
#pragma once
#include "cpu/linear/amx_decode.h"
#include "cpu/linear/coded.h"
#include "cpu/linear/row_layout.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

inline constexpr int64_t kTile = 512;  // elements of bf16 in a tile
inline constexpr int64_t kSteps = 4;   // tiles along the sum that are fetched at once

// (R,C) row-major.
struct DenseWeight {
  const bf16* at;
  int64_t R, C, row;

  // What a weight of codes has.
  static constexpr int64_t maxima_of_panel() { return 0; }
  static constexpr int64_t maxima_of_all() { return 0; }
  static const float* maxima(int64_t, float*) { return nullptr; }
  static void expand(int64_t, int64_t, float*) {}
  const float* all = nullptr;

  // As A: rows [16 panel, ...), columns from 128 unit on; tiles one after the other, `steps` of them.
  void fetch_rows(int64_t panel, int64_t unit, int64_t steps, const float*, bf16* to, int64_t) const {
    const int64_t rows = R - panel * 16 < 16 ? R - panel * 16 : 16, k0 = unit * kSteps * 32;
    for (int64_t r = 0; r < rows; ++r) {
      const bf16* from = at + (panel * 16 + r) * row + k0;
      for (int64_t s = 0; s < steps; ++s) prefetch_far(from + s * 32 + kAhead);
      for (int64_t s = 0; s < steps; ++s)
        put(to + s * kTile + r * 32, C - k0 - s * 32 >= 32 ? values_at(from + s * 32) : values_at(from + s * 32, C - k0 - s * 32));
    }
  }

  static constexpr int64_t kAhead = 512;

  // As B: rows [32 step, ...), columns from 64 pair on, to four tiles `apart`, even and odd columns (put_pairs) of 32 each.
  void fetch_columns(int64_t step, int64_t pair, const float*, bf16* to, int64_t apart) const {
    const auto values = [&](int64_t r, int64_t c) { return r < R ? values_at(at + r * row + c, C - c) : no_values(); };
    for (int64_t p = 0; p < 16; ++p)
      for (int64_t h = 0; h < 2; ++h) {
        const int64_t r = step * 32 + 2 * p, c = pair * 64 + h * 32;
        if (c < C) put_pairs(to + 2 * h * apart + p * 32, to + (2 * h + 1) * apart + p * 32, values(r, c), values(r + 1, c));
      }
  }
};

struct CodedRows {
  const linear::QuantizedWeight& w;
  Book book;
  bool aligned;  // 64 inputs that begin at a multiple of 64 have one scale
  int64_t per_row, log_block;
  const float* all = nullptr;  // the maxima of all blocks, where they are at hand

  explicit CodedRows(const linear::QuantizedWeight& weight)
      : w(weight),
        book(book_of(quant::code_book(weight.format))),
        aligned(weight.block >= 64 && weight.I % weight.block == 0),
        per_row(weight.I / weight.block) {
    for (log_block = 5; int64_t{1} << log_block < w.block;) ++log_block;
    all = w.absmax;
  }

  float maximum(int64_t b) const {
    return w.absmax ? w.absmax[b] : fused(w.map[w.absmax_codes[b]], w.nested_absmax[b / quant::kNestedBlock], w.offset);
  }
  void expand(int64_t begin, int64_t end, float* to) const {
    for (int64_t b = begin; b < end;) {
      const float nested = w.nested_absmax[b / quant::kNestedBlock];
      int64_t stop = (b / quant::kNestedBlock + 1) * quant::kNestedBlock;
      if (stop > end) stop = end;
      maxima_of(w.absmax_codes + b, stop - b, w.map, nested, w.offset, to + (b - begin));
      b = stop;
    }
  }
  int64_t maxima_of_all() const { return aligned && !all ? w.O * per_row : 0; }
  int64_t maxima_of_panel() const { return aligned && !all ? 16 * per_row : 0; }
  // Of a panel's rows, expanded into `room` where that is needed.
  const float* maxima(int64_t panel, float* room) const {
    if (!aligned) return nullptr;
    const int64_t begin = panel * 16 * per_row, end = (panel + 1) * 16 < w.O ? begin + 16 * per_row : w.O * per_row;
    if (all) return all + begin;
    expand(begin, end, room);
    return room;
  }

  // Panels are fetched `together`: what comes after this one's turn is that many panels on.
  void fetch_rows(int64_t panel, int64_t unit, int64_t steps, const float* maxima, bf16* to, int64_t together) const {
    const int64_t o0 = panel * 16, rows = w.O - o0 < 16 ? w.O - o0 : 16, k0 = unit * RowLayout::kUnit;
    const uint8_t* from = w.codes + panel * RowLayout::panel_bytes(w.I) + RowLayout::at(w.I, k0, 0);
    const int64_t low = k0 >> log_block, high = (k0 + 64) >> log_block;
    if (aligned && steps == kSteps) {
      const uint8_t* next = from + together * RowLayout::panel_bytes(w.I);
      for (int64_t r = 0; r < rows; ++r, to += 32) {
        prefetch_far(next + r * 64);
        const Codes c = codes_of(from + r * 64);
        const Table a = table_of(book, maxima[r * per_row + low]), b = table_of(book, maxima[r * per_row + high]);
        put(to, look_up<0>(c, a));
        put(to + kTile, look_up<1>(c, a));
        put(to + 2 * kTile, look_up<2>(c, b));
        put(to + 3 * kTile, look_up<3>(c, b));
      }
      return;
    }
    const bool half = RowLayout::half(w.I, k0);
    for (int64_t r = 0; r < rows; ++r, to += 32) {
      const Codes c = half ? half_codes_of(from + r * 32) : codes_of(from + r * 64);
      const float* scales = aligned ? maxima + r * per_row : nullptr;
      Values a, b;
      two<0>(c, o0 + r, k0, scales, a, b);
      put(to, a);
      if (steps > 1) put(to + kTile, b);
      if (steps < 3) continue;
      two<2>(c, o0 + r, k0 + 64, scales, a, b);
      put(to + 2 * kTile, a);
      if (steps > 3) put(to + 3 * kTile, b);
    }
  }

  void fetch_columns(int64_t step, int64_t pair, const float*, bf16* to, int64_t apart) const {
    const int64_t k = pair * 64, k0 = k / RowLayout::kUnit * RowLayout::kUnit, line = RowLayout::half(w.I, k0) ? 32 : 64;
    const uint8_t* from = w.codes + step * 2 * RowLayout::panel_bytes(w.I) + RowLayout::at(w.I, k0, 0);
    if (aligned && line == 64 && step * 32 + 32 <= w.O) {
      const float* scales = all + step * 32 * per_row + (k >> log_block);
      return k == k0 ? whole_columns<0>(from, scales, to, apart) : whole_columns<2>(from, scales, to, apart);
    }
    for (int64_t p = 0; p < 16; ++p, to += 32) {
      Values v[2][2];
      for (int i = 0; i < 2; ++i) {
        const int64_t r = 2 * p + i, o = step * 32 + r;
        v[i][0] = v[i][1] = no_values();
        if (o >= w.O) continue;
        const uint8_t* at = from + (r < 16 ? 0 : RowLayout::panel_bytes(w.I)) + r % 16 * line;
        const Codes c = line == 32 ? half_codes_of(at) : codes_of(at);
        const float* scales = aligned ? all + o * per_row : nullptr;
        if (k == k0) two<0>(c, o, k, scales, v[i][0], v[i][1]);
        else two<2>(c, o, k, scales, v[i][0], v[i][1]);
      }
      put_pairs(to, to + apart, v[0][0], v[1][0]);
      put_pairs(to + 2 * apart, to + 3 * apart, v[0][1], v[1][1]);
    }
  }

 private:
  // Nibbles First and First + 1 of 32 whole rows.
  template <int First>
  void whole_columns(const uint8_t* from, const float* scales, bf16* to, int64_t apart) const {
    const int64_t panel = RowLayout::panel_bytes(w.I);
    for (int h = 0; h < 2; ++h, from += panel)
      for (int64_t r = 0; r < 16; r += 2, scales += 2 * per_row, to += 32) {
        const uint8_t* at = from + r * 64;
        prefetch(at + 2 * panel);  // of the next step
        prefetch(at + 2 * panel + 64);
        const Codes c = codes_of(at), d = codes_of(at + 64);
        const Table a = table_of(book, scales[0]), b = table_of(book, scales[per_row]);
        put_pairs(to, to + apart, look_up<First>(c, a), look_up<First>(d, b));
        put_pairs(to + 2 * apart, to + 3 * apart, look_up<First + 1>(c, a), look_up<First + 1>(d, b));
      }
  }
  // 64 inputs of row o from input k on: nibbles First and First + 1.
  template <int First>
  void two(const Codes& c, int64_t o, int64_t k, const float* scales, Values& a, Values& b) const {
    if (scales) {
      const Table table = table_of(book, scales[k >> log_block]);
      a = look_up<First>(c, table);
      b = look_up<First + 1>(c, table);
      return;
    }
    a = any<First>(c, o, k);
    b = any<First + 1>(c, o, k + 32);
  }
  // 32 inputs, of which not all may be there, and in which one block may end and the next begin.
  template <int Nibble>
  Values any(const Codes& c, int64_t o, int64_t k) const {
    const int64_t there = w.I - k, at = o * w.I + k, block = at >> log_block, left = ((block + 1) << log_block) - at;
    if (there <= 0) return no_values();
    Values v = look_up<Nibble>(c, table_of(book, maximum(block)));
    if (left < 32 && left < there) v = choose(first(left), v, look_up<Nibble>(c, table_of(book, maximum(block + 1))));
    return there < 32 ? choose(first(there), v, no_values()) : v;
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
