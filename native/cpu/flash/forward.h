// Attention's forward: for a block of keys after the other, scores, their exponentials under the running maximum, and what these weigh of the values.
#pragma once
#include "cpu/flash/scores.h"

namespace anymal::cpu::ANYMAL_LEVEL::flash {

template <class Micro, class From>
struct Forward {
  using P = Panels<Micro, From>;
  using E = typename P::E;
  static constexpr int64_t NR = P::NR, kBlock = P::kBlock;
  static constexpr int V = P::V;
  static constexpr int64_t kPanels = 128 / NR, kQueries = kPanels * NR;

  struct Room {
    float *scores, *turned, *sums, *most, *total;
    E *queries, *weights;
    int64_t bytes;
    Room(char* at, int64_t D, int64_t block, int64_t n) {  // n: queries, whole panels
      Parts parts(at);
      scores = parts.take<float>(block * NR);
      weights = P::kFloats ? reinterpret_cast<E*>(scores) : parts.take<E>(block * NR);
      turned = parts.take<float>((D > block ? D : block) * NR);
      queries = parts.take<E>(n * P::depth(D));
      sums = parts.take<float>(n * round_up(D, P::MR));
      most = parts.take<float>(n);
      total = parts.take<float>(n);
      bytes = parts.bytes();
    }
  };

  // The weights of a block's first `rows` keys as a panel, zeros up to whole steps of the products; adds them up.
  static void weigh(E* weights, const float* scores, int64_t rows, const Floats (&shift)[V], Floats (&sum)[V]) {
    const int64_t whole = P::depth(rows);
    for (int v = 0; v < V; ++v) sum[v] = Floats{};
    for (int64_t r = 0; r < rows; r += 2)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        const int64_t at = r * NR + v * kLanes;
        const Floats first = exp_below(load(scores + at) - shift[v]);
        const Floats second = r + 1 < rows ? exp_below(load(scores + at + NR) - shift[v]) : Floats{};
        sum[v] += first;
        sum[v] += second;
        if constexpr (std::is_same_v<E, float>) {
          store(weights + at, rounded_to(first, From{}));
          store(weights + at + NR, rounded_to(second, From{}));
        } else {
          store_pairs(weights + r * NR + 2 * v * kLanes, first, second);
        }
      }
    for (int64_t r = round_up(rows, 2); r < whole; ++r) std::memset(static_cast<void*>(weights + r * NR), 0, NR * sizeof(E));
  }

  // Sums and total of a panel go on under a maximum that may have grown.
  static void raise(float* most, float* total, float* sums, int64_t D, const Floats (&largest)[V], Floats (&shift)[V]) {
    Floats factor[V];
    bool grew = false;
    for (int v = 0; v < V; ++v) {
      const Floats before = load(most + v * kLanes), now = largest[v] > before ? largest[v] : before;
      shift[v] = now == -INFINITY ? Floats{} : now;  // where nothing is seen all weights are 0
      factor[v] = exp_below(before - shift[v]);
      store(most + v * kLanes, now);
      const Ints above = largest[v] > before;
      int32_t any = 0;
      for (int i = 0; i < kLanes; ++i) any |= above[i];
      grew |= any != 0;
    }
    if (!grew) return;
    for (int v = 0; v < V; ++v) store(total + v * kLanes, load(total + v * kLanes) * factor[v]);
    for (int64_t d = 0; d < D; ++d)
      for (int v = 0; v < V; ++v) store(sums + d * NR + v * kLanes, load(sums + d * NR + v * kLanes) * factor[v]);
  }

  static void run(const Queries& t, char* at) {
    const int64_t panels = (t.n + NR - 1) / NR, deep = P::depth(t.D), tall = round_up(t.D, P::MR);
    const int64_t block_size = P::block_size(t.D, t.block, false), values = P::values_at(t.D, t.block, false);
    const Room room(at, t.D, t.block, panels * NR);
    if constexpr (requires { Micro::begin(); }) Micro::begin();
    for (int64_t p = 0; p < panels; ++p)
      P::pack_panel(room.queries + p * deep * NR, static_cast<const From*>(t.q) + p * NR * t.row, t.row, 1, at_most(NR, t.n - p * NR), t.D, deep);
    std::memset(room.sums, 0, static_cast<size_t>(panels * tall * NR) * 4);
    std::memset(room.total, 0, static_cast<size_t>(panels * NR) * 4);
    for (int64_t i = 0; i < panels * NR; ++i) room.most[i] = -INFINITY;
    for (int s = 0; s < t.sources; ++s) {
      const Keys& keys = t.keys[s];
      for (int64_t key = keys.first; key < keys.end; key += kBlock) {
        const int64_t count = at_most(kBlock, keys.end - key);
        const E* lines = reinterpret_cast<const E*>(keys.packed) + (key - keys.first) / kBlock * block_size;
        for (int64_t p = 0; p < panels; ++p) {
          Sight<NR> sight(t, p * NR);
          if (s == 0) sight.look(key, count);
          else sight.all(count);
          if (sight.rows == 0) continue;
          float* sums = room.sums + p * tall * NR;
          P::multiply(room.scores, lines, count, sight.rows, room.queries + p * deep * NR, t.D);
          Floats largest[V], there[V], shift[V], sum[V];
          const float* bias = t.bias ? t.bias + p * NR * t.bias_row + keys.column + key - keys.first : nullptr;
          finish_scores<NR, false>(room.scores, sight, t.scale, bias, t.bias_row, t.n - p * NR, room.turned, nullptr, largest, there);
          raise(room.most + p * NR, room.total + p * NR, sums, t.D, largest, shift);
          weigh(room.weights, room.scores, sight.rows, shift, sum);
          for (int v = 0; v < V; ++v) {
            float* total = room.total + p * NR + v * kLanes;
            store(total, load(total) + sum[v]);
          }
          P::add_turned(sums, lines + values, count, sight.rows, room.weights, t.D);
        }
      }
    }
    if constexpr (requires { Micro::end(); }) Micro::end();
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t n = at_most(NR, t.n - p * NR);
      float* total = room.total + p * NR;
      for (int64_t i = 0; i < n; ++i) {
        const float most = room.most[p * NR + i];
        t.lse[p * NR + i] = most == -INFINITY ? -INFINITY : most + std::log(total[i]);
        total[i] = most == -INFINITY ? 0.0f : 1.0f / total[i];
      }
      put_rows<NR>(static_cast<From*>(t.y) + p * NR * t.row, t.row, n, t.D, room.sums + p * tall * NR, total, room.turned);
    }
  }
};

}  // namespace anymal::cpu::ANYMAL_LEVEL::flash
