// Attention, rope and the cache.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void attentions() {
  for (bool causal : {false, true})
    for (int64_t window : {int64_t{0}, int64_t{9}}) {
      add_case("attention",
               CASE(b.attention(s, _(t.out({2, 70, 4, 9})), _(t.out({2, 4, 70}, DType::f32)), _(t.in({2, 70, 4, 9})), _(t.in({2, 83, 2, 9})),
                                _(t.in({2, 83, 2, 9})), _(t.these({2, 2}, {3, 80, 0, 83})), none, 0.4, causal, window)),
               true, 4);
      add_case(
          "attention_backward",
          [=](const Backend& b, Stream& s, Bench& t) {
            View q = t.in({2, 70, 4, 9}), k = t.in({2, 83, 2, 9}), v = t.in({2, 83, 2, 9}), range = t.these({2, 2}, {3, 80, 0, 83}),
                 bias = t.floats({2, 1, 70, 83});
            View y = t.out({2, 70, 4, 9}), lse = t.out({2, 4, 70}, DType::f32);
            b.attention(s, _(y), _(lse), _(q), _(k), _(v), _(range), _(bias), 0.4, causal, window);
            b.attention_backward(s, _(t.out({2, 70, 4, 9})), _(t.out({2, 83, 2, 9})), _(t.out({2, 83, 2, 9})), _(t.acc({2, 1, 70, 83})),
                                 _(t.in({2, 70, 4, 9})), _(q), _(k), _(v), _(y), _(lse), _(range), _(bias), 0.4, causal, window);
          },
          true, 6);
    }
  add_case(
      "attention_two_source",
      CASE(b.attention_two_source(s, _(t.out({2, 7, 3, 8})), _(t.out({2, 3, 7}, DType::f32)), _(t.in({2, 7, 3, 8})), _(t.in({2, 65, 3, 8})),
                                  _(t.in({2, 65, 3, 8})), _(t.in({2, 7, 3, 8})), _(t.in({2, 7, 3, 8})), _(t.these({2, 2}, {0, 65, 5, 5})), 0.35)),
      true, 4);
  add_case(
      "attention_two_source_backward",
      [](const Backend& b, Stream& s, Bench& t) {
        View q = t.in({2, 7, 3, 8}), k1 = t.in({2, 65, 3, 8}), v1 = t.in({2, 65, 3, 8}), k2 = t.in({2, 7, 3, 8}), v2 = t.in({2, 7, 3, 8}),
             range = t.these({2, 2}, {0, 65, 5, 5});
        View y = t.out({2, 7, 3, 8}), lse = t.out({2, 3, 7}, DType::f32);
        b.attention_two_source(s, _(y), _(lse), _(q), _(k1), _(v1), _(k2), _(v2), _(range), 0.35);
        b.attention_two_source_backward(s, _(t.out({2, 7, 3, 8})), _(t.out({2, 65, 3, 8})), _(t.out({2, 65, 3, 8})), _(t.out({2, 7, 3, 8})),
                                        _(t.out({2, 7, 3, 8})), _(t.in({2, 7, 3, 8})), _(q), _(k1), _(v1), _(k2), _(v2), _(y), _(lse), _(range),
                                        0.35);
      },
      true, 6);
  add_case("attention_decode",
           CASE(b.attention_decode(s, _(t.out({2, 1, 4, 9})), _(t.in({2, 1, 4, 9})), _(t.in({2, 33, 2, 9})), _(t.in({2, 33, 2, 9})),
                                   _(t.these({2, 2}, {3, 31, 0, 33})), 0.4, 20)),
           true, 4);
  add_case("cache_write",
           CASE(View cache = t.compared(t.in({2, 9, 2, 5})); b.cache_write(s, _(cache), _(t.in({2, 3, 2, 5})), _(t.these({2}, {6, 0})))), true, 0);
  add_case("rope", CASE(b.rope(s, _(t.out({2, 7, 3, 10})), _(t.in({2, 7, 3, 10})), _(t.floats({12, 5, 2})), _(t.ints({2, 7}, 0, 12)), true)));
}

}  // namespace anymal::op_cases
