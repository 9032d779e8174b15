// Losses, reductions, sampling.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void losses() {
  add_case("softmax_cross_entropy", CASE(b.softmax_cross_entropy(s, _(t.out({5}, DType::f32)), _(t.out({5}, DType::f32)), _(t.in({5, 130}, 3)),
                                                                 _(t.these({5}, {3, -100, 129, 0, 7})), -100)));
  add_case("softmax_cross_entropy_backward",
           CASE(b.softmax_cross_entropy_backward(s, _(t.out({5, 130})), _(t.floats({5})), _(t.in({5, 130}, 3)), _(t.floats({5}, 0.1, 6)),
                                                 _(t.these({5}, {3, -100, 129, 0, 7})), -100)));
  // One token and many, in packs and by elements; no rows.
  for (int64_t V : {int64_t{1}, int64_t{136}, int64_t{2600}, int64_t{2603}}) {
    const auto last = static_cast<int32_t>(V - 1);
    add_case("softmax_cross_entropy", CASE(b.softmax_cross_entropy(s, _(t.out({3}, DType::f32)), _(t.out({3}, DType::f32)), _(t.in({3, V}, 9)),
                                                                   _(t.these({3}, {0, -1, last})), -1)));
    add_case("softmax_cross_entropy_backward", CASE(b.softmax_cross_entropy_backward(s, _(t.out({3, V})), _(t.floats({3})), _(t.in({3, V}, 3)),
                                                                                     _(t.floats({3}, 0.1, 9)), _(t.these({3}, {0, -1, last})), -1)));
  }
  add_case("softmax_cross_entropy",
           CASE(b.softmax_cross_entropy(s, _(t.out({0}, DType::f32)), _(t.out({0}, DType::f32)), _(t.in({0, 9})), _(t.these({0}, {})), -1)));
  add_case("softmax_cross_entropy_backward",
           CASE(View logits = t.compared(t.in({3, 40})); b.softmax_cross_entropy_backward(
               s, _(logits), _(t.floats({3})), _(logits), _(t.floats({3}, 0.1, 3)), _(t.these({3}, {5, -1, 39})), -1)));
  add_case("head_cross_entropy",
           CASE(b.head_cross_entropy(s, _(t.out({5}, DType::f32)), _(t.out({5, 33})), _(t.acc({130, 33})), _(t.in({5, 33})), _(t.in({130, 33}, 0.3)),
                                     _(t.these({5}, {3, -100, 129, 0, 7})), _(t.floats({5})), -100, 0)),
           true, 6);
  // The gradient of some rows of the head alone, from a place that no wide load may begin at.
  add_case("head_cross_entropy",
           CASE(b.head_cross_entropy(s, _(t.out({70}, DType::f32)), _(t.out({70, 33})), _(t.acc({29, 33})), _(t.in({70, 33})),
                                     _(t.in({136, 33}, 0.3)), _(t.ints({70}, 0, 136)), _(t.floats({70})), -100, 101)),
           true, 6);
  // More rows than one chunk of logits; no gradients, no scales.
  add_case("head_cross_entropy",
           CASE(b.head_cross_entropy(s, _(t.out({1030}, DType::f32)), _(t.out({1030, 3})), _(t.acc({5, 3})), _(t.in({1030, 3})), _(t.in({5, 3}, 0.3)),
                                     _(t.ints({1030}, 0, 5)), _(t.floats({1030})), -100, 0)),
           true, 6);
  add_case("head_cross_entropy",
           CASE(b.head_cross_entropy(s, _(t.out({3}, DType::f32)), none, none, _(t.in({3, 40})), _(t.in({300, 40}, 0.3)),
                                     _(t.these({3}, {299, 7, 0})), none, 7, 0)),
           true, 6);
  // Rows of logits that a block reads in packs, some times each.
  add_case("head_cross_entropy",
           CASE(b.head_cross_entropy(s, _(t.out({3}, DType::f32)), _(t.out({3, 24})), none, _(t.in({3, 24})), _(t.in({5000, 24}, 2)),
                                     _(t.these({3}, {4999, -100, 2048})), none, -100, 0)),
           true, 6);
  add_case("contrastive_loss",
           CASE(b.contrastive_loss(s, _(t.out({1})), _(t.out({70, 70})), _(t.in({70, 16})), _(t.in({70, 16})), _(t.floats({1}, 0.1, 0.7)),
                                   TemperatureForm::exp)),
           false);
  add_case("contrastive_loss_backward",
           CASE(b.contrastive_loss_backward(s, none, _(t.out({70, 16})), none, _(t.floats({1})), _(t.in({70, 16})), _(t.in({70, 16})),
                                            _(t.floats({1}, 0.1, 0.7)), _(t.in({70, 70})), TemperatureForm::exp)),
           false, 4);
  for (auto form : {TemperatureForm::exp, TemperatureForm::reciprocal}) {
    add_case("contrastive_loss",
             CASE(b.contrastive_loss(s, _(t.out({1})), _(t.out({7, 7})), _(t.in({7, 9})), _(t.in({7, 9})), _(t.floats({1}, 0.1, 0.7)), form)), false);
    add_case("contrastive_loss_backward",
             CASE(b.contrastive_loss_backward(s, _(t.out({7, 9})), _(t.out({7, 9})), _(t.acc({1})), _(t.floats({1})), _(t.in({7, 9})),
                                              _(t.in({7, 9})), _(t.floats({1}, 0.1, 0.7)), _(t.in({7, 7})), form)),
             false, 4);
  }
  add_case("sum", CASE(b.sum(s, _(t.out({1}, DType::f32)), _(t.in({50001})), 0.5)));
  add_case("argmax", CASE(b.argmax(s, _(t.out({7}, DType::i32)), _(t.in({7, 65})))), true, 0);
  for (int64_t V : {int64_t{1}, int64_t{264}, int64_t{3001}}) {
    add_case("argmax", CASE(b.argmax(s, _(t.out({2, 2}, DType::i32)), _(t.in({2, 2, V})))), true, 0);
    add_case("argmax", CASE(b.argmax(s, _(t.out({2}, DType::i32)), _(t.in({2, V}, 0)))), true, 0);  // all equal: the first
    add_case("sample_categorical", CASE(b.sample_categorical(s, _(t.out({5}, DType::i32)), _(t.in({5, V}, 2)), _(t.these({1}, {-3})), 12)), true, 0);
  }
  for (int64_t n : {int64_t{0}, int64_t{5}}) add_case("sum", CASE(b.sum(s, _(t.out({1}, DType::f32)), _(t.in({n})), 3)));
  add_case("sample_categorical", CASE(b.sample_categorical(s, _(t.out({700}, DType::i32)), _(t.in({700, 13})), _(t.these({1}, {3})), 11)), true, 0);
  add_case("increment", CASE(View x = t.compared(t.ints({7}, 0, 9)); b.increment(s, _(x), 3)), false, 0);
}

}  // namespace anymal::op_cases
