// Attention, rope and the cache.
#include "op_cases/cases.h"

namespace anymal::op_cases {
namespace {

struct Shape {
  int64_t B, T, S, H, K, D;
};
struct Options {
  bool causal = false;
  int64_t window = 0;
  std::vector<int32_t> range;    // (B,2), empty: none
  int64_t Bb = 0, Hb = 0;        // 0: no bias
  bool hides = false;            // the bias has -inf here and there, and hides all keys of its first query
  bool gradient_of_bias = true;  // backward, where there is a bias
};

View ranges(Bench& t, const Options& o) {
  const int64_t B = static_cast<int64_t>(o.range.size() / 2);
  return o.range.size() == 2   ? t.these({B, 2}, {o.range[0], o.range[1]})
         : o.range.size() == 4 ? t.these({B, 2}, {o.range[0], o.range[1], o.range[2], o.range[3]})
         : o.range.size() == 6 ? t.these({B, 2}, {o.range[0], o.range[1], o.range[2], o.range[3], o.range[4], o.range[5]})
                               : View{};
}

View bias_of(const Backend& b, Stream& s, Bench& t, const Shape& n, const Options& o) {
  if (!o.Bb) return {};
  View bias = t.floats({o.Bb, o.Hb, n.T, n.S});
  if (!o.hides) return bias;
  std::vector<float> numbers(static_cast<size_t>(bias.size()));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const bool first_query = i / static_cast<size_t>(n.S) % static_cast<size_t>(n.T) == 0;
    numbers[i] = first_query || i % 7 == 3 ? -INFINITY : static_cast<float>(i * 37 % 101) / 50 - 1;
  }
  b.copy_from_host(s, bias.data, numbers.data(), numbers.size() * sizeof(float));
  return bias;
}

double scale_of(const Shape& n) { return 1 / std::sqrt(static_cast<double>(n.D)); }

void forward(const Shape& n, const Options& o = {}) {
  add_case(
      "attention",
      [=](const Backend& b, Stream& s, Bench& t) {
        View y = t.out({n.B, n.T, n.H, n.D}), lse = t.out({n.B, n.H, n.T}, DType::f32), q = t.in({n.B, n.T, n.H, n.D}),
             k = t.in({n.B, n.S, n.K, n.D}), v = t.in({n.B, n.S, n.K, n.D}), range = ranges(t, o), bias = bias_of(b, s, t, n, o);
        b.attention(s, _(y), _(lse), _(q), _(k), _(v), _(range), _(bias), scale_of(n), o.causal, o.window);
      },
      true, 4);
}

void backward(const Shape& n, const Options& o = {}) {
  add_case(
      "attention_backward",
      [=](const Backend& b, Stream& s, Bench& t) {
        View q = t.in({n.B, n.T, n.H, n.D}), k = t.in({n.B, n.S, n.K, n.D}), v = t.in({n.B, n.S, n.K, n.D}), range = ranges(t, o),
             bias = bias_of(b, s, t, n, o), dy = t.in({n.B, n.T, n.H, n.D});
        View dq = t.out({n.B, n.T, n.H, n.D}), dk = t.out({n.B, n.S, n.K, n.D}), dv = t.out({n.B, n.S, n.K, n.D}), y = t.out({n.B, n.T, n.H, n.D}),
             lse = t.out({n.B, n.H, n.T}, DType::f32), dbias;
        b.attention(s, _(y), _(lse), _(q), _(k), _(v), _(range), _(bias), scale_of(n), o.causal, o.window);
        if (o.Bb && o.gradient_of_bias) {
          dbias = t.compared(t.floats({o.Bb, o.Hb, n.T, n.S}));
        }
        b.attention_backward(s, _(dq), _(dk), _(dv), _(dbias), _(dy), _(q), _(k), _(v), _(y), _(lse), _(range), _(bias), scale_of(n), o.causal,
                             o.window);
      },
      true, 6);
}

void two_source(const Shape& n, int64_t S2, const Options& o = {}) {
  add_case(
      "attention_two_source",
      [=](const Backend& b, Stream& s, Bench& t) {
        View y = t.out({n.B, n.T, n.H, n.D}), lse = t.out({n.B, n.H, n.T}, DType::f32), q = t.in({n.B, n.T, n.H, n.D}),
             k1 = t.in({n.B, n.S, n.K, n.D}), v1 = t.in({n.B, n.S, n.K, n.D}), k2 = t.in({n.B, S2, n.K, n.D}), v2 = t.in({n.B, S2, n.K, n.D}),
             range = ranges(t, o);
        b.attention_two_source(s, _(y), _(lse), _(q), _(k1), _(v1), _(k2), _(v2), _(range), scale_of(n));
      },
      true, 4);
  add_case(
      "attention_two_source_backward",
      [=](const Backend& b, Stream& s, Bench& t) {
        View q = t.in({n.B, n.T, n.H, n.D}), k1 = t.in({n.B, n.S, n.K, n.D}), v1 = t.in({n.B, n.S, n.K, n.D}), k2 = t.in({n.B, S2, n.K, n.D}),
             v2 = t.in({n.B, S2, n.K, n.D}), range = ranges(t, o), dy = t.in({n.B, n.T, n.H, n.D});
        View y = t.out({n.B, n.T, n.H, n.D}), lse = t.out({n.B, n.H, n.T}, DType::f32), dq = t.out({n.B, n.T, n.H, n.D}),
             dk1 = t.out({n.B, n.S, n.K, n.D}), dv1 = t.out({n.B, n.S, n.K, n.D}), dk2 = t.out({n.B, S2, n.K, n.D}), dv2 = t.out({n.B, S2, n.K, n.D});
        b.attention_two_source(s, _(y), _(lse), _(q), _(k1), _(v1), _(k2), _(v2), _(range), scale_of(n));
        b.attention_two_source_backward(s, _(dq), _(dk1), _(dv1), _(dk2), _(dv2), _(dy), _(q), _(k1), _(v1), _(k2), _(v2), _(y), _(lse), _(range),
                                        scale_of(n));
      },
      true, 6);
}

void decode(const Shape& n, const Options& o) {  // S is the cache's size
  add_case(
      "attention_decode",
      [=](const Backend& b, Stream& s, Bench& t) {
        View y = t.out({n.B, 1, n.H, n.D}), q = t.in({n.B, 1, n.H, n.D}), k = t.in({n.B, n.S, n.K, n.D}), v = t.in({n.B, n.S, n.K, n.D}),
             range = ranges(t, o);
        b.attention_decode(s, _(y), _(q), _(k), _(v), none, none, _(range), scale_of(n), o.window);
      },
      true, 4);
}

// The cache in codes, zeros where nothing was written: those have no scale.
void decode_codes(const Shape& n, const Options& o) {
  add_case(
      "attention_decode",
      [=](const Backend& b, Stream& s, Bench& t) {
        const auto shaped = [](View v, std::initializer_list<int64_t> sizes) {
          v.rank = 0;
          for (const int64_t size : sizes) v.shape[v.rank++] = size;
          return v;
        };
        View y = t.out({n.B, 1, n.H, n.D}), q = t.in({n.B, 1, n.H, n.D}), k = shaped(t.bytes(n.B * n.S * n.K * n.D), {n.B, n.S, n.K, n.D}),
             v = shaped(t.bytes(n.B * n.S * n.K * n.D), {n.B, n.S, n.K, n.D}), k_scale = t.floats({n.B, n.S, n.K}),
             v_scale = t.floats({n.B, n.S, n.K}), range = ranges(t, o);
        b.attention_decode(s, _(y), _(q), _(k), _(v), _(k_scale), _(v_scale), _(range), scale_of(n), o.window);
      },
      true, 4);
}

}  // namespace

void attentions() {
  for (bool causal : {false, true})
    for (int64_t window : {int64_t{0}, int64_t{9}}) {
      const Options o{.causal = causal, .window = window, .range = {3, 80, 0, 83}};
      forward({2, 70, 83, 2, 1, 9}, o);
      backward({2, 70, 83, 2, 1, 9}, o);
    }
  // Every size that kernels are made for, and one between each two.
  for (int64_t D : {32, 40, 64, 80, 128, 160, 256}) {
    forward({1, 20, 35, 2, 1, D}, {.causal = D % 64 == 0});
    backward({1, 20, 35, 2, 1, D}, {.causal = D % 64 != 0});
  }
  forward({1, 130, 150, 1, 1, 64}, {.causal = true});  // several tiles of both
  forward({1, 130, 150, 1, 1, 64}, {.causal = true, .window = 40, .range = {70, 140}});
  backward({1, 130, 150, 1, 1, 32}, {.causal = true, .window = 70, .range = {-3, 1000}});
  backward({1, 40, 70, 1, 1, 128}, {.window = 30});
  forward({1, 75, 20, 2, 2, 32}, {.causal = true});  // the first queries see no key
  backward({1, 75, 20, 2, 2, 32}, {.causal = true});
  backward({1, 12, 90, 2, 2, 20}, {.causal = true, .window = 3});  // keys that no query sees
  forward({3, 5, 9, 4, 4, 16}, {.range = {0, 0, 7, 3, 2, 30}});
  backward({3, 5, 9, 4, 4, 16}, {.range = {0, 0, 7, 3, 2, 30}});
  for (int64_t Bb : {1, 2})
    for (int64_t Hb : {1, 3}) {
      const Options o{.causal = Hb == 3, .range = {0, 30, 5, 33}, .Bb = Bb, .Hb = Hb, .hides = true};
      forward({2, 17, 33, 3, 1, 12}, o);
      backward({2, 17, 33, 3, 1, 12}, o);
    }
  backward({4, 70, 40, 2, 2, 8}, {.Bb = 2, .Hb = 1});
  backward({1, 9, 20, 2, 1, 70}, {.Bb = 1, .Hb = 2});
  backward({1, 9, 20, 2, 1, 130}, {.Bb = 1, .Hb = 1});
  for (const int64_t D : {int64_t{64}, int64_t{128}}) backward({1, 9, 20, 2, 1, D}, {.Bb = 1, .Hb = 2});
  // Enough queries of a key/value head for several splits, over queries and over heads; with a bias whose gradient heads share, and with one of each.
  backward({2, 530, 530, 1, 1, 16}, {.causal = true, .range = {3, 530, 200, 500}});
  backward({1, 130, 150, 8, 2, 24}, {.causal = true, .window = 140});
  for (int64_t Bb : {1, 2})
    for (int64_t Hb : {1, 2}) backward({2, 530, 530, 2, 1, 8}, {.causal = true, .window = 40, .range = {0, 530, 100, 500}, .Bb = Bb, .Hb = Hb});
  // One key of a tile of 32, 64 or 128 is hidden, at its beginning and at its end: from all queries, from the first of a tile of theirs, of both.
  for (const int64_t D : {int64_t{16}, int64_t{128}}) {
    backward({2, 40, 300, 1, 1, D}, {.range = {129, 300, 0, 255}});
    backward({1, 70, 132, 1, 1, D}, {.causal = true});
    backward({1, 64, 320, 1, 1, D}, {.window = 192});
  }
  // More keys than are packed at a time.
  forward({5, 2, 6500, 1, 1, 64});
  backward({3, 520, 520, 1, 1, 128}, {.causal = true, .window = 30});
  backward({2, 9, 20, 2, 1, 24}, {.Bb = 1, .Hb = 1, .gradient_of_bias = false});
  for (const Shape& n : {Shape{2, 1, 1, 2, 1, 8}, Shape{1, 1, 66, 2, 2, 16}, Shape{1, 66, 1, 2, 2, 16}, Shape{1, 3, 0, 2, 1, 8},
                         Shape{1, 0, 3, 2, 1, 8}, Shape{0, 3, 3, 2, 1, 8}}) {
    forward(n);
    if (n.S > 1) backward(n);  // with one key dq and dk are what rounding leaves of zero
  }
  two_source({2, 7, 65, 3, 3, 8}, 7, {.range = {0, 65, 5, 5}});
  two_source({1, 66, 70, 2, 1, 32}, 66, {.range = {3, 68}});
  two_source({1, 9, 20, 2, 1, 100}, 40);
  two_source({1, 9, 20, 1, 1, 200}, 9);
  two_source({1, 280, 140, 2, 2, 16}, 280, {.range = {7, 139}});
  two_source({1, 5, 0, 2, 2, 8}, 5);
  // Few queries and many keys, which are split over blocks: of both sources, of one that a range nearly empties, in heads that are no whole vectors,
  // with a bias that hides all keys of a query, and where a mask leaves some splits nothing.
  two_source({1, 20, 300, 2, 1, 64}, 20, {.range = {5, 290}});
  two_source({2, 6, 330, 1, 1, 128}, 150, {.range = {0, 330, 200, 203}});
  two_source({1, 9, 0, 1, 1, 96}, 260);
  forward({1, 9, 300, 2, 2, 9}, {.range = {30, 299}});
  forward({1, 17, 300, 1, 1, 32}, {.Bb = 1, .Hb = 1, .hides = true});
  forward({1, 70, 400, 1, 1, 200}, {.causal = true, .window = 190, .range = {320, 380}});
  two_source({1, 5, 6, 2, 2, 8}, 0, {.range = {2, 2}});

  decode({2, 1, 33, 4, 2, 9}, {.window = 20, .range = {3, 31, 0, 33}});
  decode({1, 1, 500, 4, 1, 64}, {.range = {3, 490}});  // several splits
  decode({1, 1, 500, 2, 2, 128}, {.window = 100, .range = {0, 300}});
  decode({2, 1, 300, 2, 1, 40}, {.range = {0, 1, 10, 10}});  // one key, none
  decode({1, 1, 130, 20, 1, 32}, {.range = {0, 130}});       // more heads than a tile holds
  decode({1, 1, 40, 2, 1, 90}, {.range = {1, 38}});
  decode({1, 1, 150, 2, 1, 160}, {.range = {1, 149}});
  decode({1, 1, 70, 3, 1, 256}, {.range = {40, 20}});
  decode({1, 1, 70, 3, 1, 256}, {.range = {0, 70}});
  // Pieces of keys, heads in eights, fours, twos and ones, rows that are no whole vectors.
  decode({2, 1, 700, 15, 1, 64}, {.range = {3, 690, 5, 40}});
  decode({1, 1, 300, 7, 1, 72}, {.range = {0, 300}});
  decode_codes({2, 1, 33, 4, 2, 9}, {.window = 20, .range = {3, 31, 0, 33}});
  decode_codes({2, 1, 600, 16, 2, 64}, {.range = {3, 590, 7, 7}});
  decode_codes({1, 1, 70, 7, 1, 72}, {.range = {0, 70}});
  add_case("cache_write",
           CASE(View cache = t.compared(t.in({2, 9, 2, 5})); b.cache_write(s, _(cache), _(t.in({2, 3, 2, 5})), _(t.these({2}, {6, 0})))), true, 0);
  add_case("rope", CASE(b.rope(s, _(t.out({2, 7, 3, 10})), _(t.in({2, 7, 3, 10})), _(t.floats({12, 5, 2})), _(t.ints({2, 7}, 0, 12)), true)));
  // Whole packs: halves and rows of a multiple of sixteen bytes; more pairs than the threads of a block; no rows.
  for (int64_t D : {int64_t{2}, int64_t{16}, int64_t{128}})
    add_case("rope", CASE(b.rope(s, _(t.out({1, 3, 9, D})), _(t.in({1, 3, 9, D})), _(t.floats({5, D / 2, 2})), _(t.ints({1, 3}, 0, 5)), false)));
  for (int64_t D : {int64_t{2}, int64_t{10}, int64_t{16}, int64_t{128}}) {
    for (bool inverse : {false, true})
      add_case("rope_pair", CASE(b.rope_pair(s, _(t.out({2, 3, 9, D})), _(t.out({2, 3, 3, D})), _(t.in({2, 3, 9, D})), _(t.in({2, 3, 3, D})),
                                             _(t.floats({5, D / 2, 2})), _(t.ints({2, 3}, 0, 5)), inverse)));
    for (int64_t T : {int64_t{0}, int64_t{1}, int64_t{3}})
      add_case("rope_cached", CASE(const View keys = t.compared(t.in({2, 7, 3, D})), values = t.compared(t.in({2, 7, 3, D})); b.rope_cached(
                                  s, _(t.out({2, T, 6, D})), _(keys), _(values), _(t.in({2, T, 6, D})), _(t.in({2, T, 3, D})), _(t.in({2, T, 3, D})),
                                  _(t.floats({5, D / 2, 2})), _(t.ints({2, T}, 0, 5)), _(t.these({2}, {4, 1})))));
  }
  add_case("rope", CASE(b.rope(s, _(t.out({1, 0, 2, 8})), _(t.in({1, 0, 2, 8})), _(t.floats({5, 4, 2})), _(t.ints({1, 0}, 0, 5)), false)));
  for (int64_t T : {int64_t{0}, int64_t{1}, int64_t{9}})
    add_case("cache_write",
             CASE(View cache = t.compared(t.in({2, 9, 2, 64}));
                  b.cache_write(s, _(cache), _(t.in({2, T, 2, 64})), _(t.ints({2}, 0, static_cast<int32_t>(10 - T))))),
             true, 0);
}

}  // namespace anymal::op_cases
