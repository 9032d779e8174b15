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
  for (auto t8 : {DType::f32, DType::i32, DType::u8}) add_case("fill", CASE(b.fill(s, _(t.out({37}, t8)), 3)), false, 0);
  add_case("fill", CASE(b.fill(s, _(t.out({130})), 0)), true, 0);
  add_case("fill", CASE(b.fill(s, _(t.out({0, 3})), 1)), true, 0);
  add_case("cast", CASE(b.cast(s, _(t.out({3000}, DType::i32)), _(t.floats({3000}, 1e4)))), false, 0);
  add_case("cast", CASE(b.cast(s, _(t.out({130}, DType::f32)), _(t.ints({130}, -70000, 70000)))), false, 0);
  for (auto to : {DType::f32, DType::i32}) add_case("cast", CASE(b.cast(s, _(t.out({131}, to)), _(t.bytes(131)))), false, 0);
  add_case("copy", CASE(b.copy(s, _(t.out({3, 0})), _(t.in({3, 0})))), true, 0);
  for (int64_t dim : {0, 1, 2}) {
    const auto shape = [=](int64_t n) {
      Sizes z{2, 3, 16};
      z[static_cast<size_t>(dim)] = n;
      return z;
    };
    add_case("concat", CASE(View xs[] = {t.in(shape(8)), t.in(shape(0)), t.in(shape(24))}; b.concat(s, _(t.out(shape(32))), InList{xs, 3}, dim)),
             true, 0);
    add_case("slice_copy", CASE(b.slice_copy(s, _(t.out(shape(8))), _(t.in(shape(24))), dim, 8, 8)), true, 0);
    add_case("slice_copy", CASE(b.slice_copy(s, _(t.out(shape(0))), _(t.in(shape(5))), dim, 5, 0)), true, 0);
    add_case("slice_place", CASE(b.slice_place(s, _(t.out(shape(24))), _(t.in(shape(8))), dim, 8, 24)), true, 0);
    add_case("slice_place", CASE(b.slice_place(s, _(t.out(shape(5))), _(t.in(shape(0))), dim, 3, 5)), true, 0);
  }
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({2, 9, 3, 16})), _(t.in({2, 3, 9, 16})), 1, 2)), true, 0);
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({70, 3, 33})), _(t.in({33, 3, 70})), 0, 2)), true, 0);
  // More tiles than a card of few multiprocessors has blocks for.
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({3, 40, 5, 70})), _(t.in({3, 70, 5, 40})), 1, 3)), true, 0);
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({3, 0, 5})), _(t.in({0, 3, 5})), 1, 0)), true, 0);
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({3, 5})), _(t.in({3, 5})), 1, 1)), true, 0);
  add_case(
      "transpose_copy",
      CASE(View x = t.bytes(37 * 41); x.rank = 2; x.shape[0] = 37; x.shape[1] = 41; b.transpose_copy(s, _(t.out({41, 37}, DType::u8)), _(x), 0, 1)),
      false, 0);
  add_case("gather_rows", CASE(b.gather_rows(s, _(t.out({5, 2056})), _(t.in({7, 2056})), _(t.ints({5}, -1, 7)))), true, 0);
  add_case("gather_rows", CASE(b.gather_rows(s, _(t.out({2, 9, 5}, DType::i32)), _(t.ints({4, 5}, 0, 99)), _(t.ints({2, 9}, -1, 4)))), false, 0);
  // More rows than one round of a scan, rows of which some are hit often.
  add_case("gather_rows_backward", CASE(b.gather_rows_backward(s, _(t.out({1100, 8})), _(t.in({900, 8})), _(t.ints({900}, 0, 1100)), 1100)), true, 0);
  add_case("gather_rows_backward", CASE(b.gather_rows_backward(s, _(t.out({3, 8})), _(t.in({0, 8})), _(t.ints({0}, 0, 1)), 3)), true, 0);
  add_case("splice_rows", CASE(b.splice_rows(s, _(t.out({12, 16})), _(t.in({5, 16})), _(t.in({4, 16})), _(t.ints({12}, -1, 9)))), true, 0);
  for (bool text : {false, true})
    add_case("splice_rows_backward",
             CASE(b.splice_rows_backward(s, _(text ? t.out({5, 16}) : View{}), _(text ? View{} : t.out({4, 16})), _(t.in({70, 16})),
                                         _(t.ints({70}, -1, 9)), 5, 4)),
             true, 0);
  add_case("random_uniform", CASE(b.random_uniform(s, _(t.out({50001})), -1, 2, 7, 3)), true, 1);
  add_case("random_normal", CASE(b.random_normal(s, _(t.out({5001})), 1, 2, 7, 3)));
  add_case("dropout", CASE(b.dropout(s, _(t.out({40003})), _(t.in({40003})), 0.3, 5, 9)), true, 0);
  add_case("embedding", CASE(b.embedding(s, _(t.out({6, 7})), _(t.ints({6}, 0, 9)), _(t.in({9, 7})))), true, 0);
  add_case("embedding_backward", CASE(b.embedding_backward(s, _(t.acc({9, 70})), _(t.in({300, 70})), _(t.ints({300}, 0, 9)))), true, 0);
  add_case("embedding", CASE(b.embedding(s, _(t.out({2, 3, 520})), _(t.ints({2, 3}, 0, 9)), _(t.in({9, 520})))), true, 0);
  add_case("embedding_backward", CASE(b.embedding_backward(s, _(t.acc({1030, 16})), _(t.in({300, 16})), _(t.ints({300}, 0, 1030)))), true, 0);
  add_case("dropout", CASE(b.dropout(s, _(t.out({64})), _(t.in({64})), 0, 5, 1)), true, 0);
  for (int64_t n : {1, 1000}) add_case("random_normal", CASE(b.random_normal(s, _(t.out({n})), 0, 1, -7, int64_t{1} << 40)));
}

}  // namespace anymal::op_cases
