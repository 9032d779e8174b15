// Convolutions, pooling, interpolation, recurrence.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void convolutions() {
  add_case("conv1d", CASE(b.conv1d(s, _(t.out({2, 5, 27})), _(t.in({2, 3, 63})), _(t.in({5, 3, 7})), _(t.in({5})), 2, 1, 2)));
  add_case("conv1d_backward",
           CASE(b.conv1d_backward(s, _(t.out({2, 3, 63})), _(t.acc({5, 3, 7})), _(t.acc({5})), _(t.in({2, 5, 27})), _(t.in({2, 3, 63})),
                                  _(t.in({5, 3, 7})), 2, 1, 2)),
           true, 4);
  add_case("conv2d", CASE(b.conv2d(s, _(t.out({2, 5, 6, 9})), _(t.in({2, 3, 13, 9})), _(t.in({5, 3, 3, 3})), _(t.in({5})), 2, 1, 0, 1)));
  add_case("conv2d_backward",
           CASE(b.conv2d_backward(s, _(t.out({2, 3, 13, 9})), _(t.acc({5, 3, 3, 3})), _(t.acc({5})), _(t.in({2, 5, 6, 9})), _(t.in({2, 3, 13, 9})),
                                  _(t.in({5, 3, 3, 3})), 2, 1, 0, 1)),
           true, 4);
  add_case("max_pool1d", CASE(b.max_pool1d(s, _(t.out({2, 3, 10})), _(t.out({2, 3, 10}, DType::i32)), _(t.in({2, 3, 31})), 4, 3)), true, 0);
  add_case("max_pool1d_backward", CASE(b.max_pool1d_backward(s, _(t.out({2, 3, 31})), _(t.in({2, 3, 10})), _(t.ints({2, 3, 10}, 0, 31)), 31)), true,
           0);
  add_case("mean_pool", CASE(b.mean_pool(s, _(t.out({3, 65})), _(t.in({3, 7, 65})), 1)));
  add_case("mean_pool_backward", CASE(b.mean_pool_backward(s, _(t.out({3, 7, 65})), _(t.in({3, 65})), 1, 7)));
  for (bool corners : {false, true})
    for (bool antialias : {false, true}) {
      if (corners && antialias) continue;
      add_case("interpolate_bicubic", CASE(b.interpolate_bicubic(s, _(t.out({1, 3, 5, 17})), _(t.in({1, 3, 13, 9})), 5, 17, corners, antialias)));
      add_case("interpolate_bicubic_backward",
               CASE(b.interpolate_bicubic_backward(s, _(t.out({1, 3, 13, 9})), _(t.in({1, 3, 5, 17})), 13, 9, corners, antialias)));
    }
  add_case(
      "gru",
      CASE(b.gru(s, _(t.out({2, 5, 7})), _(t.out({2, 5, 28})), _(t.in({2, 5, 3})), _(t.in({21, 3})), _(t.in({21, 7})), _(t.in({21})), _(t.in({21})))),
      false, 8);
  add_case("gru_backward",
           CASE(b.gru_backward(s, _(t.out({2, 5, 3})), _(t.acc({21, 3})), _(t.acc({21, 7})), _(t.acc({21})), _(t.acc({21})), _(t.in({2, 5, 7})),
                               _(t.in({2, 5, 7})), _(t.floats({2, 5, 28}, 0.2, 0.5)), _(t.in({2, 5, 3})), _(t.in({21, 3})), _(t.in({21, 7})))),
           false, 8);
}

}  // namespace anymal::op_cases
