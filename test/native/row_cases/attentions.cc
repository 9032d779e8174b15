// Attention: images of a batch, queries against the same keys, queries of a causal sequence that ends earlier, a padded row and the row alone.
#include <cmath>
#include <cstring>

#include "op_cases/cases.h"
#include "row_cases/cases.h"

namespace anymal::row_cases {

using op_cases::_;
using op_cases::none;

namespace {

View as(const View& v, const Sizes& shape) { return Maker::of(v.dtype, shape, v.data); }
View rows_of(const View& v, int64_t first, int64_t count) {  // of a (rows, ...)
  View part = v;
  part.data = v.as<char>() + static_cast<size_t>(first) * row_bytes(v);
  part.shape[0] = count;
  return part;
}

struct Sizes5 {
  int64_t B, S, H, K, D;
  double scale() const { return 1 / std::sqrt(static_cast<double>(D)); }
};
Sizes5 sizes(Maker& m) {
  const int64_t K = m.pick(1, 3);
  return {m.pick(2, 4), m.pick(1, 330), K * m.pick(1, 3), K, m.pick(1, 80)};
}

// Whole sequences as rows, each with the range of keys that its padding leaves it.
void batches(Maker& m) {
  const Sizes5 n = sizes(m);
  const int64_t T = m.pick(1, 70);
  const View range = m.memory.make(DType::i32, {n.B, 2});
  for (int64_t i = 0; i < n.B; ++i) {
    range.as<int32_t>()[2 * i] = static_cast<int32_t>(m.pick(0, n.S / 2));
    range.as<int32_t>()[2 * i + 1] = static_cast<int32_t>(m.pick(n.S / 2, n.S));
  }
  const Sizes q{n.B, T, n.H, n.D}, k{n.B, n.S, n.K, n.D};
  m.add("attention, rows of a batch", n.B, {m.in(q), m.in(k), m.in(k), range, m.in(q)},
        {m.shape(q), Maker::of(DType::f32, {n.B, n.H, T}), m.shape(q), m.shape(k), m.shape(k)},
        [=](const Backend& b, Stream& s, const Window&, Memory&, const View* cut, const View* out) {
          b.attention(s, _(out[0]), _(out[1]), _(cut[0]), _(cut[1]), _(cut[2]), _(cut[3]), none, n.scale(), true, 0);
          b.attention_backward(s, _(out[2]), _(out[3]), _(out[4]), none, _(cut[4]), _(cut[0]), _(cut[1]), _(cut[2]), _(out[0]), _(out[1]), _(cut[3]),
                               none, n.scale(), true, 0);
        });
  const Sizes one{n.B, 1, n.H, n.D};
  m.add("attention_decode", n.B, {m.in(one), m.in(k), m.in(k), range}, {m.shape(one)},
        [=](const Backend& b, Stream& s, const Window&, Memory&, const View* cut, const View* out) {
          b.attention_decode(s, _(out[0]), _(cut[0]), _(cut[1]), _(cut[2]), none, none, _(cut[3]), n.scale(), 0);
        });
}

// (1,T,H,D) and (1,H,T) as rows of queries: lse has them last, so it is turned.
void turn(const View& to, const View& lse, int64_t H, int64_t T) {
  for (int64_t h = 0; h < H; ++h)
    for (int64_t t = 0; t < T; ++t) to.as<float>()[t * H + h] = lse.as<float>()[h * T + t];
}

struct Mask {
  bool causal;
  int64_t window, range_begin;
};

// Queries of one sequence. Causal: the keys end with the last query, so a window of the rows meets a prefix of the keys.
void queries(Maker& m, const Mask& mask, const char* name) {
  Sizes5 n = sizes(m);
  const int64_t T = mask.causal ? n.S : m.pick(2, 150);
  const View k = m.in({n.S, n.K, n.D}), v = m.in({n.S, n.K, n.D});
  const Sizes q{T, n.H, n.D};
  m.add(name, T, {m.in(q), m.in(q)}, {m.shape(q), Maker::of(DType::f32, {T, n.H}), m.shape(q)},
        [=](const Backend& b, Stream& s, const Window& w, Memory& memory, const View* cut, const View* out) {
          const int64_t S = mask.causal ? w.first + w.count : n.S, t = w.count;
          const auto query = [&](const View& x) { return as(x, {1, t, n.H, n.D}); };
          const auto key = [&](const View& x) { return as(x, {1, S, n.K, n.D}); };
          View range = memory.make(DType::i32, {1, 2});
          range.as<int32_t>()[0] = static_cast<int32_t>(mask.range_begin);
          range.as<int32_t>()[1] = static_cast<int32_t>(n.S);
          if (!mask.range_begin) range = {};
          const View lse = memory.make(DType::f32, {1, n.H, t}), dk = memory.make(m.t, {1, S, n.K, n.D}), dv = memory.make(m.t, {1, S, n.K, n.D});
          b.attention(s, _(query(out[0])), _(lse), _(query(cut[0])), _(key(k)), _(key(v)), _(range), none, n.scale(), mask.causal, mask.window);
          turn(out[1], lse, n.H, t);
          b.attention_backward(s, _(query(out[2])), _(dk), _(dv), none, _(query(cut[1])), _(query(cut[0])), _(key(k)), _(key(v)), _(query(out[0])),
                               _(lse), _(range), none, n.scale(), mask.causal, mask.window);
        });
}

void two_sources(Maker& m) {
  const Sizes5 n = sizes(m);
  const int64_t T = m.pick(2, 100), S2 = m.pick(1, 70);
  const View k1 = m.in({1, n.S, n.K, n.D}), v1 = m.in({1, n.S, n.K, n.D}), k2 = m.in({1, S2, n.K, n.D}), v2 = m.in({1, S2, n.K, n.D});
  const Sizes q{T, n.H, n.D};
  m.add("attention_two_source", T, {m.in(q), m.in(q)}, {m.shape(q), Maker::of(DType::f32, {T, n.H}), m.shape(q)},
        [=](const Backend& b, Stream& s, const Window& w, Memory& memory, const View* cut, const View* out) {
          const int64_t t = w.count;
          const auto query = [&](const View& x) { return as(x, {1, t, n.H, n.D}); };
          const View lse = memory.make(DType::f32, {1, n.H, t});
          View gradient[4];
          for (int i = 0; i < 4; ++i) gradient[i] = memory.make(m.t, {1, i < 2 ? n.S : S2, n.K, n.D});
          b.attention_two_source(s, _(query(out[0])), _(lse), _(query(cut[0])), _(k1), _(v1), _(k2), _(v2), none, n.scale());
          turn(out[1], lse, n.H, t);
          b.attention_two_source_backward(s, _(query(out[2])), _(gradient[0]), _(gradient[1]), _(gradient[2]), _(gradient[3]), _(query(cut[1])),
                                          _(query(cut[0])), _(k1), _(v1), _(k2), _(v2), _(query(out[0])), _(lse), none, n.scale());
        });
}

// A short row of a batch, padded on the left to the longest, and the row alone, without any padding: window.count == of means the batch.
void padded(Maker& m) {
  const Sizes5 n = sizes(m);
  const int64_t pad = m.pick(1, 90), L = m.pick(1, 2) == 1 ? m.pick(1, 90) : m.pick(260, 330), S = pad + L;  // long: several splits
  const View q = m.in({S, n.H, n.D}), k = m.in({S, n.K, n.D}), v = m.in({S, n.K, n.D}), dy = m.in({S, n.H, n.D});
  m.add("attention, padded on the left", 2, {},
        {m.shape({2, L, n.H, n.D}), m.shape({2, L, n.H, n.D}), m.shape({2, L, n.K, n.D}), m.shape({2, L, n.K, n.D})},
        [=](const Backend& b, Stream& s, const Window& w, Memory& memory, const View*, const View* out) {
          const int64_t before = w.count == w.of ? pad : 0, T = before + L;
          const auto part = [&](const View& x) {
            View p = rows_of(x, pad - before, T);
            return as(p, {1, T, x.shape[1], x.shape[2]});
          };
          const View range = memory.make(DType::i32, {1, 2}), y = memory.make(m.t, {1, T, n.H, n.D}), lse = memory.make(DType::f32, {1, n.H, T}),
                     dq = memory.make(m.t, {1, T, n.H, n.D}), dk = memory.make(m.t, {1, T, n.K, n.D}), dv = memory.make(m.t, {1, T, n.K, n.D});
          range.as<int32_t>()[0] = static_cast<int32_t>(before);
          range.as<int32_t>()[1] = static_cast<int32_t>(T);
          b.attention(s, _(y), _(lse), _(part(q)), _(part(k)), _(part(v)), _(range), none, n.scale(), true, 0);
          b.attention_backward(s, _(dq), _(dk), _(dv), none, _(part(dy)), _(part(q)), _(part(k)), _(part(v)), _(y), _(lse), _(range), none, n.scale(),
                               true, 0);
          const View whole[] = {y, dq, dk, dv};
          for (int o = 0; o < 4; ++o)
            for (int64_t r = 0; r < w.count; ++r) {
              const size_t bytes = row_bytes(out[o]), one = bytes / static_cast<size_t>(L);
              std::memcpy(out[o].as<char>() + static_cast<size_t>(r) * bytes, whole[o].as<char>() + static_cast<size_t>(before) * one, bytes);
            }
        });
}

}  // namespace

void attentions(Maker& m) {
  batches(m);
  queries(m, {false, 0, 0}, "attention, queries");
  queries(m, {true, 0, 0}, "attention, queries of a causal sequence");
  queries(m, {true, m.pick(1, 90), 0}, "attention, queries of a causal sequence with a window");
  queries(m, {false, 0, 3}, "attention, queries with hidden keys");
  two_sources(m);
  padded(m);
}

}  // namespace anymal::row_cases
