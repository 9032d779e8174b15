// Movers, and rows by index.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void movement() {
  add_case("copy", CASE(b.copy(s, _(t.out({3, 65})), _(t.in({3, 65})))), true, 0);
  add_case("fill", CASE(b.fill(s, _(t.out({130})), 1.5)), true, 0);
  add_case("cast", CASE(View x = t.in({7, 63}); b.cast(s, _(t.out({7, 63}, x.dtype == DType::f32 ? DType::bf16 : DType::f32)), _(x))), true, 0);
  add_case("concat", CASE(View xs[] = {t.in({3, 1, 7}), t.in({3, 4, 7})}; b.concat(s, _(t.out({3, 5, 7})), InList{xs, 2}, 1)), true, 0);
  add_case("slice_copy", CASE(b.slice_copy(s, _(t.out({3, 2, 7})), _(t.in({3, 5, 7})), 1, 2, 2)), true, 0);
  add_case("slice_place", CASE(b.slice_place(s, _(t.out({3, 5, 7})), _(t.in({3, 2, 7})), 1, 2, 5)), true, 0);
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({2, 65, 33})), _(t.in({2, 33, 65})), 1, 2)), true, 0);
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({4, 3, 2, 5})), _(t.in({2, 3, 4, 5})), 0, 2)), true, 0);
  add_case("gather_rows", CASE(b.gather_rows(s, _(t.out({9, 7})), _(t.in({5, 7})), _(t.ints({9}, -1, 5)))), true, 0);
  add_case("gather_rows_backward", CASE(b.gather_rows_backward(s, _(t.out({5, 70})), _(t.in({33, 70})), _(t.ints({33}, -1, 5)), 5)), true, 0);
  add_case("splice_rows", CASE(b.splice_rows(s, _(t.out({2, 6, 7})), _(t.in({5, 7})), _(t.in({4, 7})), _(t.ints({2, 6}, -1, 9)))), true, 0);
  add_case("splice_rows_backward",
           CASE(b.splice_rows_backward(s, _(t.out({5, 7})), _(t.out({4, 7})), _(t.in({2, 6, 7})), _(t.ints({2, 6}, -1, 9)), 5, 4)), true, 0);
  add_case("random_uniform", CASE(b.random_uniform(s, _(t.out({50001})), -1, 2, 7, 3)), true, 1);
  add_case("random_normal", CASE(b.random_normal(s, _(t.out({5001})), 1, 2, 7, 3)));
  add_case("dropout", CASE(b.dropout(s, _(t.out({40003})), _(t.in({40003})), 0.3, 5, 9)), true, 0);
  add_case("embedding", CASE(b.embedding(s, _(t.out({6, 7})), _(t.ints({6}, 0, 9)), _(t.in({9, 7})))), true, 0);
  add_case("embedding_backward", CASE(b.embedding_backward(s, _(t.acc({9, 70})), _(t.in({300, 70})), _(t.ints({300}, 0, 9)))), true, 0);
}

}  // namespace anymal::op_cases
