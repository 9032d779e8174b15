// Norms.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void norms() {
  add_case("rms_norm", CASE(b.rms_norm(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.in({7, 65})), _(t.in({65})), 1e-5)));
  add_case("rms_norm_backward", CASE(b.rms_norm_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.in({300, 65})), _(t.in({300, 65})),
                                                         _(t.floats({65})), _(t.floats({300}, 0.1, 1)), none)));
  add_case("rms_norm_backward", CASE(b.rms_norm_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.in({300, 65})), _(t.in({300, 65})),
                                                         _(t.floats({65})), _(t.floats({300}, 0.1, 1)), _(t.in({300, 65})))));
  add_case("add_rms_norm", CASE(b.add_rms_norm(s, _(t.out({7, 65})), _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.in({7, 65})), _(t.in({7, 65})),
                                               _(t.in({65})), 1e-5)));
  add_case("layer_norm", CASE(b.layer_norm(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.out({7}, DType::f32)), _(t.in({7, 65})),
                                           _(t.in({65})), _(t.in({65})), 1e-5)));
  add_case("layer_norm_backward", CASE(b.layer_norm_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.acc({65})), _(t.in({300, 65})),
                                                             _(t.in({300, 65})), _(t.floats({65})), _(t.floats({300})), _(t.floats({300}, 0.1, 1)))));
  // Rows of a warp and of a block, in packs and by elements; with weights of x and of f32, and without.
  for (int64_t C : {int64_t{8}, int64_t{264}, int64_t{1029}, int64_t{2064}}) {
    add_case("rms_norm", CASE(b.rms_norm(s, _(t.out({3, C})), _(t.out({3}, DType::f32)), _(t.in({3, C})), _(t.floats({C})), 1e-6)));
    add_case("rms_norm_backward", CASE(b.rms_norm_backward(s, _(t.out({3, C})), _(t.acc({C})), _(t.in({3, C})), _(t.in({3, C})), _(t.in({C})),
                                                           _(t.floats({3}, 0.1, 1)), none)));
    add_case("rms_norm_backward", CASE(b.rms_norm_backward(s, _(t.out({3, C})), none, _(t.in({3, C})), _(t.in({3, C})), _(t.floats({C})),
                                                           _(t.floats({3}, 0.1, 1)), _(t.in({3, C}, 3)))));
    add_case("add_rms_norm", CASE(b.add_rms_norm(s, _(t.out({3, C})), _(t.out({3, C})), _(t.out({3}, DType::f32)), _(t.in({3, C})),
                                                 _(t.in({3, C}, 2)), _(t.floats({C})), 1e-6)));
    add_case("layer_norm",
             CASE(b.layer_norm(s, _(t.out({3, C})), _(t.out({3}, DType::f32)), _(t.out({3}, DType::f32)), _(t.in({3, C})), none, none, 1e-5)));
    add_case("layer_norm", CASE(b.layer_norm(s, _(t.out({3, C})), _(t.out({3}, DType::f32)), _(t.out({3}, DType::f32)), _(t.in({3, C})),
                                             _(t.floats({C})), _(t.in({C})), 1e-5)));
    add_case("layer_norm_backward", CASE(b.layer_norm_backward(s, _(t.out({3, C})), _(t.acc({C})), _(t.acc({C})), _(t.in({3, C})), _(t.in({3, C})),
                                                               _(t.in({C})), _(t.floats({3})), _(t.floats({3}, 0.1, 1)))));
    add_case("l2_normalize", CASE(b.l2_normalize(s, _(t.out({3, C})), _(t.out({3}, DType::f32)), _(t.in({3, C})), 1e-12)));
    add_case("l2_normalize_backward", CASE(b.l2_normalize_backward(s, _(t.out({3, C})), _(t.in({3, C})), _(t.in({3, C}, 0.01)),
                                                                   _(t.floats({3}, 0.1, 1)), 1)));  // eps among the norms
  }
  add_case("rms_norm_backward",
           CASE(b.rms_norm_backward(s, none, _(t.acc({8})), _(t.in({3, 8})), _(t.in({3, 8})), _(t.in({8})), _(t.floats({3}, 0.1, 1)), none)));
  add_case("rms_norm_backward",
           CASE(b.rms_norm_backward(s, _(t.out({3, 8})), none, _(t.in({3, 8})), _(t.in({3, 8})), _(t.in({8})), _(t.floats({3}, 0.1, 1)), none)));
  add_case("layer_norm_backward", CASE(b.layer_norm_backward(s, none, none, _(t.acc({8})), _(t.in({3, 8})), _(t.in({3, 8})), none, _(t.floats({3})),
                                                             _(t.floats({3}, 0.1, 1)))));
  add_case("layer_norm_backward", CASE(b.layer_norm_backward(s, _(t.out({0, 8})), _(t.acc({8})), _(t.acc({8})), _(t.in({0, 8})), _(t.in({0, 8})),
                                                             none, _(t.floats({0})), _(t.floats({0})))));
  // Lines in packs; groups of one channel; more channels than the threads of a block.
  for (const Sizes& z : {Sizes{2, 4, 3, 24}, Sizes{2, 4, 5}, Sizes{1, 1040, 1}})
    for (int64_t groups : {int64_t{1}, int64_t{4}}) {
      const int64_t C = z[1];
      add_case("group_norm", CASE(b.group_norm(s, _(t.out(z)), _(t.out({z[0], groups}, DType::f32)), _(t.out({z[0], groups}, DType::f32)), _(t.in(z)),
                                               _(t.in({C})), _(t.in({C})), groups, 1e-5)));
      add_case("group_norm_backward", CASE(b.group_norm_backward(s, _(t.out(z)), _(t.acc({C})), none, _(t.in(z)), _(t.in(z)), _(t.in({C})),
                                                                 _(t.floats({z[0], groups})), _(t.floats({z[0], groups}, 0.1, 1)), groups)));
    }
  for (const Sizes& z : {Sizes{2, 4, 3, 24}, Sizes{5, 3}}) {
    const int64_t C = z[1];
    add_case("batch_norm_inference",
             CASE(b.batch_norm_inference(s, _(t.out(z)), _(t.in(z)), _(t.floats({C})), _(t.floats({C}, 0.2, 1)), _(t.in({C})), _(t.in({C})), 1e-5)));
    add_case("batch_norm_inference_backward", CASE(b.batch_norm_inference_backward(s, _(t.out(z)), none, _(t.acc({C})), _(t.in(z)), _(t.in(z)),
                                                                                   _(t.floats({C})), _(t.floats({C}, 0.2, 1)), _(t.in({C})), 1e-5)));
  }
  add_case("group_norm", CASE(b.group_norm(s, _(t.out({3, 6, 63})), _(t.out({3, 2}, DType::f32)), _(t.out({3, 2}, DType::f32)), _(t.in({3, 6, 63})),
                                           _(t.floats({6})), _(t.floats({6})), 2, 1e-5)));
  add_case("group_norm_backward",
           CASE(b.group_norm_backward(s, _(t.out({3, 6, 63})), _(t.acc({6})), _(t.acc({6})), _(t.in({3, 6, 63})), _(t.in({3, 6, 63})),
                                      _(t.floats({6})), _(t.floats({3, 2})), _(t.floats({3, 2}, 0.1, 1)), 2)));
  add_case("batch_norm_inference", CASE(b.batch_norm_inference(s, _(t.out({3, 6, 7})), _(t.in({3, 6, 7})), _(t.floats({6})), _(t.floats({6}, 0.2, 1)),
                                                               _(t.floats({6})), _(t.floats({6})), 1e-5)));
  add_case("batch_norm_inference_backward",
           CASE(b.batch_norm_inference_backward(s, _(t.out({3, 6, 7})), _(t.acc({6})), _(t.acc({6})), _(t.in({3, 6, 7})), _(t.in({3, 6, 7})),
                                                _(t.floats({6})), _(t.floats({6}, 0.2, 1)), _(t.floats({6})), 1e-5)));
  add_case("l2_normalize", CASE(b.l2_normalize(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.in({7, 65})), 1e-12)));
  add_case("l2_normalize_backward",
           CASE(b.l2_normalize_backward(s, _(t.out({7, 65})), _(t.in({7, 65})), _(t.in({7, 65})), _(t.floats({7}, 0.1, 1)), 1e-12)));
}

}  // namespace anymal::op_cases
