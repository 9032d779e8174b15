// Attention's gradients for some queries of one head, with S the scores:
//   P = softmax(S)   dP = dy.v^T   dS = P (dP - rowsum(P * dP))   dq = scale dS.k   dk += dS^T.q   dv += P^T.dy
// (algorithm 4 of FlashAttention, but for the row's sum: there it is rowsum(dy * y), the same number by another way. Where softmax is saturated
// dP - rowsum vanishes, and two ways that round apart leave noise of f32's size, which AdamW would blow up to whole steps. Here all dP are taken less
// the dP of the row's largest score, before anything is summed: what is left is as small as the result.)
// S and dP of all keys are held for these few queries, so that each is computed once.
#pragma once
#include "cpu/flash/scores.h"

namespace anymal::cpu::ANYMAL_LEVEL::flash {

template <class Micro, class From>
struct Backward {
  using P = Panels<Micro, From>;
  using E = typename P::E;
  static constexpr int64_t NR = P::NR, MR = P::MR, KB = P::KB, kBlock = P::kBlock;
  static constexpr int V = P::V;
  static constexpr int64_t kPanels = 64 / NR > 0 ? 64 / NR : 1, kQueries = kPanels * NR;
  static constexpr bool kFloats = P::kFloats;

  // What is known of a block and a panel, a number for each lane.
  struct Lanes {
    alignas(64) float most[NR], reference[NR];  // the largest score, and the dP there
    alignas(64) float total[NR], weighted[NR];  // of e^(S - most), alone and times dP - reference
  };

  struct Room {
    float *scores, *gradients;  // S, later e^(S - most), and dP: [block][panel][key][NR]
    Lanes* lanes;               // [block][panel]
    int64_t* rows;              // [block][panel]
    float *turned, *sums;
    E *q_lanes, *dy_lanes, *q_lines, *dy_lines;  // panels of queries along D, and of D along queries
    E *p, *ds, *ds_panel;
    int64_t bytes;
    Room(char* at, int64_t D, int64_t block, int64_t n, int64_t blocks) {  // n: queries, whole panels
      Parts parts(at);
      const int64_t panels = n / NR, tile = block * NR, wide = D > block ? D : block;
      scores = parts.take<float>(blocks * panels * tile);
      gradients = parts.take<float>(blocks * panels * tile);
      lanes = parts.take<Lanes>(blocks * panels);
      rows = parts.take<int64_t>(blocks * panels);
      turned = parts.take<float>(wide * NR);
      sums = parts.take<float>(n * round_up(D, MR));
      q_lanes = parts.take<E>(n * P::depth(D));
      dy_lanes = parts.take<E>(n * P::depth(D));
      q_lines = parts.take<E>(n * round_up(D, NR));
      dy_lines = parts.take<E>(n * round_up(D, NR));
      p = kFloats ? nullptr : parts.take<E>(panels * tile);
      ds = kFloats ? nullptr : parts.take<E>(panels * tile);
      ds_panel = kFloats ? nullptr : parts.take<E>(tile);
      bytes = parts.bytes();
    }
  };

  // Scores become their exponentials under the block's own maximum, which are summed, also times dP.
  static void weigh(float* scores, const float* gradients, int64_t rows, const Floats (&largest)[V], const Floats (&reference)[V], Lanes& lanes) {
    for (int v = 0; v < V; ++v) {
      const Floats shift = largest[v] == -INFINITY ? Floats{} : largest[v];
      Floats total = {}, weighted = {};
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = r * NR + v * kLanes;
        const Floats e = exp_below(load(scores + at) - shift);
        store(scores + at, e);
        total += e;
        weighted += e * (load(gradients + at) - reference[v]);
      }
      store(lanes.most + v * kLanes, largest[v]);
      store(lanes.reference + v * kLanes, reference[v]);
      store(lanes.total + v * kLanes, total);
      store(lanes.weighted + v * kLanes, weighted);
    }
  }

  // From the blocks' numbers those of the whole rows: `most` becomes what turns a block's exponentials into P, `reference` and `weighted` what is to
  // be taken from dP, one after the other.
  static void meet(Lanes* lanes, const int64_t* rows, int64_t blocks, int64_t panels) {
    for (int v = 0; v < V; ++v) {
      const auto each = [&](const auto& f) {
        for (int64_t b = 0; b < blocks; ++b) {
          Lanes& l = lanes[b * panels];
          if (rows[b * panels] > 0) f(l.most + v * kLanes, l.reference + v * kLanes, l.total + v * kLanes, l.weighted + v * kLanes);
        }
      };
      Floats most = all(-INFINITY), reference = {}, total = {}, weighted = {};
      each([&](float* m, float* r, float*, float*) {
        reference = load(m) > most ? load(r) : reference;
        most = load(m) > most ? load(m) : most;
      });
      const Floats shift = most == -INFINITY ? Floats{} : most;
      each([&](float* m, float* r, float* t, float* w) {
        const Floats f = exp_below(load(m) - shift);
        store(m, f);
        total += f * load(t);
        weighted += f * (load(w) + load(t) * (load(r) - reference));
      });
      const Floats inverse = most == -INFINITY ? Floats{} : 1.0f / total;
      each([&](float* m, float* r, float*, float* w) {
        store(m, load(m) * inverse);
        store(r, reference);
        store(w, weighted * inverse);
      });
    }
  }

  // P and dS of a block and a panel, zeros from `rows` to `whole`: rows of keys (in place of the numbers they are made of where the products take
  // f32), strips `apart`, dS as a panel too.
  static void differentiate(float* scores, float* gradients, int64_t rows, int64_t whole, const Lanes& lanes, E* p, E* ds, int64_t apart,
                            E* ds_panel) {
    Floats factor[V], reference[V], mean[V];
    for (int v = 0; v < V; ++v) {
      factor[v] = load(lanes.most + v * kLanes);
      reference[v] = load(lanes.reference + v * kLanes);
      mean[v] = load(lanes.weighted + v * kLanes);
    }
    for (int64_t strip = 0; strip < whole; strip += MR)
      for (int64_t r = strip; r < strip + MR; r += 2)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          const int64_t at = r * NR + v * kLanes;
          Floats w[2] = {}, g[2] = {};
#pragma GCC unroll 2
          for (int i = 0; i < 2; ++i)
            if (r + i < rows) {
              w[i] = load(scores + at + i * NR) * factor[v];
              g[i] = w[i] * ((load(gradients + at + i * NR) - reference[v]) - mean[v]);
            }
#pragma GCC unroll 2
          for (int i = 0; i < 2; ++i) {
            const int64_t to = strip / MR * apart + (r + i - strip) * NR + v * kLanes;
            if constexpr (kFloats) {
              store(p + to, rounded_to(w[i], From{}));
              store(ds + to, rounded_to(g[i], From{}));
            } else {
              store_halves(p + to, w[i]);
              store_halves(ds + to, g[i]);
            }
          }
          if constexpr (!kFloats) store_pairs(ds_panel + r * NR + 2 * v * kLanes, g[0], g[1]);
        }
  }

  static void add_bias_gradient(const float* scores, const float* gradients, int64_t rows, const Lanes& lanes, float* to, int64_t row, int64_t n) {
    for (int64_t q = 0; q < n; ++q)
      for (int64_t r = 0; r < rows; ++r)
        to[q * row + r] += scores[r * NR + q] * lanes.most[q] * ((gradients[r * NR + q] - lanes.reference[q]) - lanes.weighted[q]);
  }

  // to (rows, D) += P^T.dy or dS^T.q of `panels` panels.
  static void add_keys(float* to, int64_t width, const E* from, const E* lines, int64_t rows, int64_t panels, int64_t tile, int64_t D) {
    const int64_t queries = panels * NR;
    for (int64_t i = 0; i < rows; i += MR)
      for (int64_t d = 0; d < D; d += NR) {
        if constexpr (P::kTiles) Micro::run(queries, from + i * queries, lines + d * queries, to + i * width + d, width);
        else P::template product<MR, false>(from + i * NR, NR, KB, NR / KB, panels, tile, lines + d * queries, to + i * width + d, width);
      }
  }

  // f(keys, first key, number of keys, index of the block of those that may be seen)
  template <class F>
  static int64_t each_block(const Queries& t, const F& f) {
    int64_t low = t.keys[0].end, high = t.keys[0].first, seen = 0;
    for (int64_t q = 0; q < t.n; ++q)
      if (t.begin[q] < t.end[q]) {
        low = t.begin[q] < low ? t.begin[q] : low;
        high = t.end[q] > high ? t.end[q] : high;
      }
    for (int s = 0; s < t.sources; ++s) {
      const Keys& keys = t.keys[s];
      for (int64_t key = keys.first; key < keys.end; key += kBlock)
        if (s > 0 || (key + kBlock > low && key < high)) f(s, key, at_most(kBlock, keys.end - key), seen++);
    }
    return seen;
  }

  static void run(const Queries& t, char* at) {
    const int64_t D = t.D, panels = (t.n + NR - 1) / NR, deep = P::depth(D), tall = round_up(D, MR), width = round_up(D, NR), queries = panels * NR;
    const int64_t seen = each_block(t, [](int, int64_t, int64_t, int64_t) {});
    const Room room(at, D, t.block, queries, seen);
    const int64_t tile = t.block * NR, block_size = P::block_size(D, t.block, true);
    const From *q = static_cast<const From*>(t.q), *dy = static_cast<const From*>(t.dy);
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t n = at_most(NR, t.n - p * NR);
      P::pack_panel(room.q_lanes + p * deep * NR, q + p * NR * t.row, t.row, 1, n, D, deep);
      P::pack_panel(room.dy_lanes + p * deep * NR, dy + p * NR * t.row, t.row, 1, n, D, deep);
    }
    for (int64_t d = 0; d < D; d += NR) {
      P::pack_panel(room.q_lines + d * queries, q + d, 1, t.row, at_most(NR, D - d), t.n, queries);
      P::pack_panel(room.dy_lines + d * queries, dy + d, 1, t.row, at_most(NR, D - d), t.n, queries);
    }
    const auto packed = [&](int s, int64_t key) {
      return reinterpret_cast<const E*>(t.keys[s].packed) + (key - t.keys[s].first) / kBlock * block_size;
    };
    if constexpr (requires { Micro::begin(); }) Micro::begin();

    each_block(t, [&](int s, int64_t key, int64_t count, int64_t b) {
      const E* k = packed(s, key);
      for (int64_t p = 0; p < panels; ++p) {
        Sight<NR> sight(t, p * NR);
        if (s == 0) sight.look(key, count);
        else sight.all(count);
        const int64_t i = b * panels + p;
        room.rows[i] = sight.rows;
        if (sight.rows == 0) continue;
        float *scores = room.scores + i * tile, *gradients = room.gradients + i * tile;
        P::multiply(scores, k, count, sight.rows, room.q_lanes + p * deep * NR, D);
        P::multiply(gradients, k + P::values_at(D, t.block, true), count, sight.rows, room.dy_lanes + p * deep * NR, D);
        Floats largest[V], reference[V];
        const float* bias = t.bias ? t.bias + p * NR * t.bias_row + t.keys[s].column + key - t.keys[s].first : nullptr;
        finish_scores<NR, true>(scores, sight, t.scale, bias, t.bias_row, t.n - p * NR, room.turned, gradients, largest, reference);
        weigh(scores, gradients, sight.rows, largest, reference, room.lanes[i]);
      }
    });
    for (int64_t p = 0; p < panels; ++p) meet(room.lanes + p, room.rows + p, seen, panels);

    std::memset(room.sums, 0, static_cast<size_t>(panels * tall * NR) * 4);
    each_block(t, [&](int s, int64_t key, int64_t count, int64_t b) {
      const Keys& keys = t.keys[s];
      const E* k_turned = packed(s, key) + P::turned_keys_at(D, t.block);
      int64_t rows = 0;
      for (int64_t p = 0; p < panels; ++p) rows = rows > room.rows[b * panels + p] ? rows : room.rows[b * panels + p];
      if (rows == 0) return;
      const int64_t whole = round_up(rows, P::step);
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t i = b * panels + p, mine = room.rows[i];
        float *scores = room.scores + i * tile, *gradients = room.gradients + i * tile;
        if (t.dbias && mine > 0)
          add_bias_gradient(scores, gradients, mine, room.lanes[i], t.dbias + p * NR * t.bias_row + keys.column + key - keys.first, t.bias_row,
                            at_most(NR, t.n - p * NR));
        const int64_t apart = P::kTiles ? queries * MR : NR * MR;
        [[maybe_unused]] const int64_t to = P::kTiles ? p * NR * MR : p * tile;
        E *p_rows, *ds_rows, *ds_panel;
        if constexpr (kFloats) {
          p_rows = scores;
          ds_rows = ds_panel = gradients;
        } else {
          p_rows = room.p + to;
          ds_rows = room.ds + to;
          ds_panel = room.ds_panel;
        }
        differentiate(scores, gradients, mine, whole, room.lanes[i], p_rows, ds_rows, apart, ds_panel);
        if (mine > 0) P::add_turned(room.sums + p * tall * NR, k_turned, count, mine, ds_panel, D);
      }
      const E *p_rows = room.p, *ds_rows = room.ds;
      if constexpr (kFloats) {
        p_rows = room.scores + b * panels * tile;
        ds_rows = room.gradients + b * panels * tile;
      }
      const int64_t to = (key - keys.first) * width;
      add_keys(keys.dv + to, width, p_rows, room.dy_lines, whole, panels, tile, D);
      add_keys(keys.dk + to, width, ds_rows, room.q_lines, whole, panels, tile, D);
    });
    if constexpr (requires { Micro::end(); }) Micro::end();

    alignas(64) float scale[NR];
    for (float& f : scale) f = t.scale;
    for (int64_t p = 0; p < panels; ++p)
      put_rows<NR>(static_cast<From*>(t.dq) + p * NR * t.row, t.row, at_most(NR, t.n - p * NR), D, room.sums + p * tall * NR, scale, room.turned);
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::flash
