// Cases for kernel variants that the shapes of the other files do not choose: packs where those are odd, elements of one byte, each size of head,
// sums that are cut. npm run test:emulated fails when an instance of a kernel has none.
#include "op_cases/cases.h"

namespace anymal::op_cases {

namespace {

View as(View v, int64_t rows, int64_t cols) {
  v.rank = 2;
  v.shape[0] = rows;
  v.shape[1] = cols;
  return v;
}

void bytes_in_rows() {
  constexpr DType u8 = DType::u8;
  add_case("concat", CASE(View xs[] = {as(t.bytes(3 * 5), 3, 5), as(t.bytes(3 * 2), 3, 2)}; b.concat(s, _(t.out({3, 7}, u8)), InList{xs, 2}, 1)),
           false, 0);
  add_case("slice_copy", CASE(b.slice_copy(s, _(t.out({3, 3}, u8)), _(as(t.bytes(3 * 7), 3, 7)), 1, 2, 3)), false, 0);
  add_case("slice_place", CASE(b.slice_place(s, _(t.out({3, 7}, u8)), _(as(t.bytes(3 * 3), 3, 3)), 1, 2, 7)), false, 0);
  add_case("gather_rows", CASE(b.gather_rows(s, _(t.out({4, 5}, u8)), _(as(t.bytes(6 * 5), 6, 5)), _(t.ints({4}, -1, 6)))), false, 0);
  const auto swapped = [](const Backend& b, Stream& s, Bench& t) {
    View x = t.bytes(5 * 7 * 3);
    x.rank = 3;
    x.shape[0] = 5, x.shape[1] = 7, x.shape[2] = 3;
    b.transpose_copy(s, _(t.out({7, 5, 3}, u8)), _(x), 0, 1);
  };
  add_case("transpose_copy", swapped, false, 0);
  add_case(
      "cache_write",
      [](const Backend& b, Stream& s, Bench& t) {
        View cache = t.bytes(2 * 9 * 5), rows = t.bytes(2 * 3 * 5);
        cache.rank = rows.rank = 4;
        cache.shape[0] = rows.shape[0] = 2, cache.shape[1] = 9, rows.shape[1] = 3;
        cache.shape[2] = rows.shape[2] = 1, cache.shape[3] = rows.shape[3] = 5;
        b.cache_write(s, _(t.compared(cache)), _(rows), _(t.these({2}, {6, 0})));
      },
      false, 0);
}

}  // namespace

void variants() {
  bytes_in_rows();
  // An element of sixteen bytes: four of f32, eight of bf16.
  for (const int64_t n : {int64_t{4}, int64_t{8}})
    add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({7, 5, n})), _(t.in({5, 7, n})), 0, 1)), true, 0);
  add_case("linear_dw", CASE(b.linear_dw(s, none, _(t.acc({48})), _(t.in({70, 48})), _(t.in({70, 5})))));
  for (const auto kind : {Activation::squared_relu, Activation::quick_gelu, Activation::sigmoid, Activation::tanh, Activation::identity}) {
    add_case("gated_activation", CASE(b.gated_activation(s, _(t.out({3, 16})), _(t.in({3, 16}, 3)), _(t.in({3, 16})), kind)));
    add_case("gated_activation_backward", CASE(b.gated_activation_backward(s, _(t.out({3, 16})), _(t.out({3, 16})), _(t.in({3, 16})),
                                                                           _(t.in({3, 16}, 3)), _(t.in({3, 16})), kind)));
  }
  add_case("tanh_gate", CASE(b.tanh_gate(s, _(t.out({7, 48})), _(t.in({7, 48})), _(t.in({7, 48})), _(t.floats({1})))));
  add_case("tanh_gate_backward",
           CASE(b.tanh_gate_backward(s, _(t.out({7, 48})), _(t.acc({1})), _(t.in({7, 48})), _(t.in({7, 48})), _(t.floats({1})))));
  add_case("argmax", CASE(b.argmax(s, _(t.out({3}, DType::i32)), _(t.in({3, 3072})))), true, 0);
  // One image of few positions under a long sum over channels and taps.
  add_case("conv1d", CASE(b.conv1d(s, _(t.out({1, 20, 12})), _(t.in({1, 160, 12})), _(t.in({20, 160, 5})), none, 1, 2, 1)), true, 2);
}

}  // namespace anymal::op_cases
