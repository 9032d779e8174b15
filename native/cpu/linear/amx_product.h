// Products of rows with a weight, on tiles. The weight's tiles are fetched (decoded, or copied) once for a slab of rows, into cache, and the sums of
// 32 x 32 elements stay in tile registers over all of K: the order in which an element's products are added is that of K, 32 at a time, for any
// number of rows, and the same as driver.h's.
//
//   forward   y^T = W.x^T: 16 rows of W are a tile of A as they lie, and 16 rows of x one of B, in pairs of k
//   backward  dx = dy.W:   16 rows of dy are a tile of A, and pairs of rows of W one of B
//
//   Up to 16 rows of x make a tile as narrow as they are: one row's tiles stay in L1 beside those of W.
//
//   A task is a strip of 64 outputs (backward: inputs) for a slab of rows, as many as stay in L2. Its first rows go with the fetching, so that the
//   one runs in the shadow of the other; a strip that one pass uses up never leaves L1.
#pragma once
#include <bit>

#include "cpu/linear/amx_tile.h"
#include "cpu/linear/amx_weight.h"
#include "cpu/linear/driver.h"

namespace anymal::cpu::ANYMAL_LEVEL {

// Tiles of an operand lie one behind the other along K: rows `row` bytes apart, tiles `step` elements; `apart` from those of the next 16 rows or
// columns.
struct Tiles {
  const bf16* at;
  int64_t apart, step = kTile, row = 64;
};

// Sums of A x B tiles in the first registers.
template <int A, int B>
struct Sums {
  static_assert(A * B <= 4);
  template <int... T>
  static void zero(std::integer_sequence<int, T...>) {
    (tile::zero<T>(), ...);
  }
  static void zero() { zero(std::make_integer_sequence<int, A * B>{}); }

  static void add(const Tiles& a_tiles, const Tiles& b_tiles, int64_t steps) {
    const bf16 *a = a_tiles.at, *b = b_tiles.at;
    const int64_t a_apart = a_tiles.apart, b_apart = b_tiles.apart, row = b_tiles.row;
    for (int64_t k = 0; k < steps; ++k, a += kTile, b += b_tiles.step) {
      if constexpr (A == 4) {
        tile::load<6>(b, row);
        tile::load<4>(a, 64);
        tile::dot_bf16<0, 4, 6>();
        tile::load<5>(a + a_apart, 64);
        tile::dot_bf16<1, 5, 6>();
        tile::load<4>(a + 2 * a_apart, 64);
        tile::dot_bf16<2, 4, 6>();
        tile::load<5>(a + 3 * a_apart, 64);
        tile::dot_bf16<3, 5, 6>();
      } else if constexpr (B == 4) {
        tile::load<4>(a, 64);
        tile::load<6>(b, row);
        tile::dot_bf16<0, 4, 6>();
        tile::load<7>(b + b_apart, row);
        tile::dot_bf16<1, 4, 7>();
        tile::load<6>(b + 2 * b_apart, row);
        tile::dot_bf16<2, 4, 6>();
        tile::load<7>(b + 3 * b_apart, row);
        tile::dot_bf16<3, 4, 7>();
      } else {
        tile::load<4>(a, 64);
        tile::load<6>(b, row);
        tile::dot_bf16<0, 4, 6>();
        if constexpr (B == 2) {
          tile::load<7>(b + b_apart, row);
          tile::dot_bf16<1, 4, 7>();
        }
        if constexpr (A == 2) {
          tile::load<5>(a + a_apart, 64);
          tile::dot_bf16<B, 5, 6>();
          if constexpr (B == 2) tile::dot_bf16<B + 1, 5, 7>();
        }
      }
    }
  }

  template <int... T>
  static void store(float* c, std::integer_sequence<int, T...>) {
    (tile::store<T>(c + T / B * 16 * (B * 16) + T % B * 16, B * 64), ...);
  }
  // [16 A][16 B]; of narrow tiles the first columns of each 16
  static void store(float* c) { store(c, std::make_integer_sequence<int, A * B>{}); }
};

// Source is what W is (amx_weight.h); `more` the weight of the further steps.
template <bool Backward, class Source>
class Product {
 public:
  // x (M,K), then s (M, more's K).
  Product(const Source& weight, int64_t M, int64_t N, int64_t K, const bf16* x, int64_t x_row, const DenseWeight& more_weight, int64_t more_k,
          const bf16* s, int64_t s_row, const linear::Destination& to, const linear::Epilogue& epilogue)
      : source_(weight),
        more_(more_weight),
        M_(M),
        N_(N),
        K_(K),
        more_k_(more_k),
        x_(x),
        s_(s),
        x_row_(x_row),
        s_row_(s_row),
        to_(to),
        e_(epilogue) {}

  void run(Stream& s) {
    if (M_ <= 0 || N_ <= 0) return;
    const int64_t groups = (M_ + 15) / 16, strips = (N_ + kStrip - 1) / kStrip;
    const int64_t fit = kSlabBytes / (steps() * x_tile() * 2 + 1), most = fit < 2 ? 2 : fit;
    int64_t slabs = (groups + most - 1) / most;
    while (strips * slabs < 32 && groups / slabs >= 12) ++slabs;
    const int64_t slab = driver::round_up((groups + slabs - 1) / slabs, 2);  // in groups of 16 rows
    const int64_t at_once = slab * (8 * fit < slab ? 1 : 8 * fit / slab);    // of which x is packed
    const int64_t maxima = Backward ? driver::round_up(source_.maxima_of_all(), 16) : 0;
    float* room = static_cast<float*>(s.packed.get(static_cast<size_t>(maxima * 4 + driver::at_most(at_once, groups) * steps() * x_tile() * 2) + 64));
    if (maxima > 0) parallel_range(s, source_.maxima_of_all(), 4, [&](int64_t begin, int64_t end, int) { source_.expand(begin, end, room + begin); });
    if (maxima > 0) source_.all = room;
    bf16* packed = reinterpret_cast<bf16*>(room + maxima);
    for (int64_t g0 = 0; g0 < groups; g0 += at_once) {
      const int64_t count = driver::at_most(at_once, groups - g0), across = (count + slab - 1) / slab;
      parallel_range(s, count, 4 * steps() * 32, [&](int64_t begin, int64_t end, int) {
        for (int64_t g = begin; g < end; ++g) pack(g0 + g, packed + g * steps() * x_tile());
      });
      parallel_range(s, strips * across, kStrip * (K_ + more_k_ + 1) / 8 * (1 + slab / 2), [&](int64_t begin, int64_t end, int thread) {
        void* room = s.scratch[static_cast<size_t>(thread)].get(room_bytes(slab));
        tile::configure(columns_ < 16 ? narrow(columns_) : tile::Config{});
        for (int64_t t = begin; t < end; ++t) {
          const int64_t from = t / strips * slab;
          task(t % strips, g0 + from, driver::at_most(slab, count - from), packed + from * steps() * x_tile(), room);
        }
        tile::release();
      });
    }
  }

 private:
  static constexpr int64_t kStrip = 64, kSlabBytes = 1 << 20;

  int64_t first_steps() const { return (K_ + 31) / 32; }
  int64_t more_steps() const { return (more_k_ + 31) / 32; }
  int64_t steps() const { return first_steps() + more_steps(); }
  int64_t x_tile() const { return 32 * columns_; }  // elements
  // B's registers and the sums' have as many columns.
  static tile::Config narrow(int64_t columns) {
    tile::Config config{};
    for (const int t : {0, 1, 2, 3, 6, 7}) config.bytes_per_row[t] = static_cast<uint16_t>(columns * 4);
    return config;
  }
  // Whether the first rows that a strip's tiles meet are all: then a ring of two chunks is enough.
  static bool used_once(int64_t groups) { return groups == 1 || (!Backward && groups == 2); }
  int64_t tiles(int64_t groups) const { return used_once(groups) ? 2 * kSteps : steps(); }  // of the strip, along K
  size_t room_bytes(int64_t groups) const {
    const int64_t most = tiles(groups) < tiles(1) ? tiles(1) : tiles(groups);  // the last slab may be of one group
    return static_cast<size_t>(most * kTile * 2 * 4 + 2 * 4096 + source_.maxima_of_panel() * 4 * 4 + 64);
  }

  // Sixteen rows of x and s, as tiles along K.
  void pack(int64_t group, bf16* to) const {
    const int64_t m0 = group * 16, count = driver::at_most(16, M_ - m0);
    const auto put_rows = [&](const bf16* from, int64_t row, int64_t K, bf16* at) {
      if constexpr (!Backward) {
        driver::pack_strip<bf16, bf16, 2>(at, columns_, driver::round_up(K, 32), from + m0 * row, row, 1, count, K);
      } else {
        for (int64_t k = 0; k < K; k += 32, at += kTile)
          for (int64_t r = 0; r < 16; ++r) put(at + r * 32, r < count ? values_at(from + (m0 + r) * row + k, K - k) : no_values());
      }
    };
    put_rows(x_, x_row_, K_, to);
    if (more_k_ > 0) put_rows(s_, s_row_, more_k_, to + first_steps() * x_tile());
  }

  // Tiles of a strip: four columns of them along K, `apart`. Chunk c of kSteps lies at its step, or, where the strip is used once, in one of two
  // places.
  struct Strip {
    int64_t index, apart;
    bool once;
    bf16* at;
    const float* maxima[4];
  };
  struct Chunk {
    int64_t step, count, unit;
    bool more;
  };
  Chunk chunk(int64_t c) const {
    const int64_t chunks = (first_steps() + kSteps - 1) / kSteps;
    if (c < chunks) return {c * kSteps, driver::at_most(kSteps, first_steps() - c * kSteps), c, false};
    const int64_t u = c - chunks;
    return {first_steps() + u * kSteps, driver::at_most(kSteps, more_steps() - u * kSteps), u, true};
  }
  int64_t chunks() const { return (first_steps() + kSteps - 1) / kSteps + (more_steps() + kSteps - 1) / kSteps; }
  static int64_t place(const Strip& strip, int64_t c, const Chunk& k) { return (strip.once ? c % 2 * kSteps : k.step) * kTile; }

  // Columns [first, first + count) of tiles of chunk c. Backward, all four.
  void fetch(const Strip& strip, int64_t c, int64_t first, int64_t count) const {
    const Chunk k = chunk(c);
    const auto from = [&](const auto& weight) {
      if constexpr (Backward) {
        for (int64_t i = 0; i < k.count; ++i)
          weight.fetch_columns(k.unit * kSteps + i, strip.index, nullptr, strip.at + place(strip, c, k) + i * kTile, strip.apart);
      } else {
        for (int64_t j = first; j < first + count; ++j)
          if ((strip.index * 4 + j) * 16 < N_)
            weight.fetch_rows(strip.index * 4 + j, k.unit, k.count, strip.maxima[j], strip.at + j * strip.apart + place(strip, c, k), count);
      }
    };
    if (k.more) from(more_);
    else from(source_);
  }

  // The sums of W tiles (columns [first, first + W) of the strip) with X groups of rows.
  template <int W, int X>
  void pass(const Strip& strip, int64_t first, const bf16* x, bool fetching, float* sums) const {
    using Block = Sums<Backward ? X : W, Backward ? W : X>;
    Block::zero();
    const int64_t last = chunks();
    const auto add = [&](const bf16* w, int64_t step, int64_t count) {
      const Tiles of_x{x + step * x_tile(), steps() * x_tile(), x_tile(), columns_ * 4}, of_w{w, strip.apart};
      if constexpr (Backward) Block::add(of_x, of_w, count);
      else Block::add(of_w, of_x, count);
    };
    const bf16* w = strip.at + first * strip.apart;
    if (fetching) {
      if (last > 0) fetch(strip, 0, first, W);
      for (int64_t c = 0; c < last; ++c) {
        if (c + 1 < last) fetch(strip, c + 1, first, W);
        const Chunk k = chunk(c);
        add(w + place(strip, c, k), k.step, k.count);
      }
    } else {
      add(w, 0, steps());
    }
    Block::store(sums);
  }

  // What pass() left in `sums`, to rows from m0 on and columns from n0 on.
  template <int W, int X>
  void write(int64_t m0, int64_t n0, const float* sums, float* room) const {
    if constexpr (Backward) {
      for (int64_t i = 0; i < 16 * X * W / 2; ++i) natural_columns(room + i * 32, sums + i * 32);
    } else {
      Transpose::run(reinterpret_cast<uint32_t*>(room), 16 * W, sums, 16 * X * 4, 16 * W, 16 * X);
    }
    const int64_t rows = driver::at_most(16 * X, M_ - m0), columns = driver::at_most(16 * W, N_ - n0);
    if (to_.dtype == DType::f32) driver::store_rows<float>(to_, e_, m0, rows, n0, columns, room, 16 * W);
    else driver::store_rows<bf16>(to_, e_, m0, rows, n0, columns, room, 16 * W);
  }

  template <int W, int X>
  void block(const Strip& strip, int64_t first, int64_t group, const bf16* x, bool fetching, float* room) const {
    pass<W, X>(strip, first, x, fetching, room);
    write<W, X>(group * 16, strip.index * kStrip + first * 16, room, room + 1024);
  }

  void task(int64_t index, int64_t group, int64_t groups, const bf16* x, void* room) const {
    float* sums = static_cast<float*>(room);
    float* maxima = sums + 2 * 1024;
    Strip strip{
        index, tiles(groups) * kTile, used_once(groups), reinterpret_cast<bf16*>(maxima + driver::round_up(source_.maxima_of_panel() * 4, 16)), {}};
    if constexpr (!Backward)
      for (int64_t j = 0; j < 4 && (index * 4 + j) * 16 < N_; ++j)
        strip.maxima[j] = source_.maxima(index * 4 + j, maxima + j * source_.maxima_of_panel());
    if constexpr (Backward)
      if (groups == 1) return block<4, 1>(strip, 0, group, x, true, sums);
    const int64_t x_apart = steps() * x_tile();
    for (int64_t first = 0; first < 4 && index * kStrip + first * 16 < N_; first += 2)
      for (int64_t g = 0; g < groups; g += 2) {
        const bool fetching = g == 0 && (!Backward || first == 0);
        if (g + 1 < groups) block<2, 2>(strip, first, group + g, x + g * x_apart, fetching, sums);
        else block<2, 1>(strip, first, group + g, x + g * x_apart, fetching, sums);
      }
  }

  Source source_;
  const DenseWeight& more_;
  int64_t M_, N_, K_, more_k_;
  // Rows of x in a tile.
  int64_t columns_ = Backward || M_ >= 16 ? 16 : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(M_ < 1 ? 1 : M_)));
  const bf16 *x_, *s_;
  int64_t x_row_, s_row_;
  linear::Destination to_;
  linear::Epilogue e_;
};

}  // namespace anymal::cpu::ANYMAL_LEVEL
