// Convolutions, pooling, interpolation, recurrence.
#include "op_cases/cases.h"

namespace anymal::op_cases {

namespace {

// Strides that share no, some and all of their factors with the dilation or the kernel; pixels that no tap reaches; several tiles of positions and
// of channels; sums over positions that are long.
void convolutions_of_all_strides() {
  struct One {
    int64_t in, length, out, kernel, stride, padding, dilation;
  };
  for (const One c :
       {One{3, 41, 4, 3, 3, 2, 2}, One{2, 40, 5, 4, 2, 0, 2}, One{4, 30, 3, 1, 4, 0, 1}, One{20, 300, 70, 3, 1, 1, 1}, One{6, 1, 2, 3, 5, 1, 1}}) {
    const auto [in, length, out, kernel, stride, padding, dilation] = c;
    const int64_t outputs = (length + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
    add_case("conv1d",
             CASE(b.conv1d(s, _(t.out({2, out, outputs})), _(t.in({2, in, length})), _(t.in({out, in, kernel})), none, stride, padding, dilation)));
    add_case("conv1d_backward",
             CASE(b.conv1d_backward(s, _(t.out({2, in, length})), _(t.acc({out, in, kernel})), _(t.acc({out})), _(t.in({2, out, outputs})),
                                    _(t.in({2, in, length})), _(t.in({out, in, kernel})), stride, padding, dilation)),
             true, 4);
  }
  // Patches side by side, as a vision tower embeds them; a batch of one and of none.
  for (const int64_t images : {1, 0}) {
    add_case("conv2d", CASE(b.conv2d(s, _(t.out({images, 20, 4, 6})), _(t.in({images, 3, 16, 24})), _(t.in({20, 3, 4, 4})), none, 4, 4, 0, 0)));
    add_case("conv2d_backward",
             CASE(b.conv2d_backward(s, _(t.out({images, 3, 16, 24})), none, _(t.acc({20})), _(t.in({images, 20, 4, 6})), _(t.in({images, 3, 16, 24})),
                                    _(t.in({20, 3, 4, 4})), 4, 4, 0, 0)),
             true, 4);
  }
}

}  // namespace

void convolutions() {
  convolutions_of_all_strides();
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
  // More windows than the threads of a block, of which many name one place.
  add_case("max_pool1d_backward", CASE(b.max_pool1d_backward(s, _(t.out({2, 19})), _(t.in({2, 700})), _(t.ints({2, 700}, 0, 19)), 19)), true, 0);
  add_case("max_pool1d", CASE(b.max_pool1d(s, _(t.out({2, 1})), _(t.out({2, 1}, DType::i32)), _(t.in({2, 5})), 5, 1)), true, 0);
  for (int64_t dim : {0, 1, 2}) {
    const Sizes all{3, 40, 5}, rest = dim == 0 ? Sizes{40, 5} : dim == 1 ? Sizes{3, 5} : Sizes{3, 40};
    add_case("mean_pool", CASE(b.mean_pool(s, _(t.out(rest)), _(t.in(all)), dim)));
    add_case("mean_pool_backward", CASE(b.mean_pool_backward(s, _(t.out(all)), _(t.in(rest)), dim, all[static_cast<size_t>(dim)])));
  }
  add_case("mean_pool", CASE(b.mean_pool(s, _(t.out({3, 65})), _(t.in({3, 7, 65})), 1)));
  add_case("mean_pool_backward", CASE(b.mean_pool_backward(s, _(t.out({3, 7, 65})), _(t.in({3, 65})), 1, 7)));
  for (bool corners : {false, true})
    for (bool antialias : {false, true}) {
      if (corners && antialias) continue;
      add_case("interpolate_bicubic", CASE(b.interpolate_bicubic(s, _(t.out({1, 3, 5, 17})), _(t.in({1, 3, 13, 9})), 5, 17, corners, antialias)));
      add_case("interpolate_bicubic_backward",
               CASE(b.interpolate_bicubic_backward(s, _(t.out({1, 3, 13, 9})), _(t.in({1, 3, 5, 17})), 13, 9, corners, antialias)));
    }
  // A position table made smaller and larger, one point, many planes.
  for (bool antialias : {false, true})
    for (auto [in, out] : {std::pair{17, 5}, std::pair{4, 15}, std::pair{9, 1}, std::pair{1, 6}}) {
      add_case("interpolate_bicubic",
               CASE(b.interpolate_bicubic(s, _(t.out({2, 2, out, out})), _(t.in({2, 2, in, in})), out, out, false, antialias)));
      add_case("interpolate_bicubic_backward",
               CASE(b.interpolate_bicubic_backward(s, _(t.out({2, 2, in, in})), _(t.in({2, 2, out, out})), in, in, false, antialias)));
    }
  add_case(
      "gru",
      CASE(b.gru(s, _(t.out({2, 5, 7})), _(t.out({2, 5, 28})), _(t.in({2, 5, 3})), _(t.in({21, 3})), _(t.in({21, 7})), _(t.in({21})), _(t.in({21})))),
      false, 8);
  add_case("gru",
           CASE(b.gru(s, _(t.out({3, 4, 24})), _(t.out({3, 4, 96})), _(t.in({3, 4, 8})), _(t.in({72, 8})), _(t.in({72, 24})), _(t.in({72})),
                      _(t.in({72})))),
           false, 8);
  // Gates so wide that each step's product with them is cut.
  add_case("gru_backward",
           CASE(b.gru_backward(s, none, none, _(t.acc({540, 180})), none, _(t.acc({540})), _(t.in({1, 3, 180})), _(t.in({1, 3, 180})),
                               _(t.floats({1, 3, 720}, 0.2, 0.5)), _(t.in({1, 3, 2})), _(t.in({540, 2})), _(t.in({540, 180}, 0.1)))),
           false, 8);
  add_case("gru_backward",
           CASE(b.gru_backward(s, _(t.out({2, 5, 3})), _(t.acc({21, 3})), _(t.acc({21, 7})), _(t.acc({21})), _(t.acc({21})), _(t.in({2, 5, 7})),
                               _(t.in({2, 5, 7})), _(t.floats({2, 5, 28}, 0.2, 0.5)), _(t.in({2, 5, 3})), _(t.in({21, 3})), _(t.in({21, 7})))),
           false, 8);
}

}  // namespace anymal::op_cases
