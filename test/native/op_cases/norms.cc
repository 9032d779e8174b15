// Norms.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void norms() {
  add_case("rms_norm", CASE(b.rms_norm(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.in({7, 65})), _(t.in({65})), 1e-5)));
  add_case("rms_norm_backward", CASE(b.rms_norm_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.in({300, 65})), _(t.in({300, 65})),
                                                         _(t.floats({65})), _(t.floats({300}, 0.1, 1)))));
  add_case("layer_norm", CASE(b.layer_norm(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.out({7}, DType::f32)), _(t.in({7, 65})),
                                           _(t.in({65})), _(t.in({65})), 1e-5)));
  add_case("layer_norm_backward", CASE(b.layer_norm_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.acc({65})), _(t.in({300, 65})),
                                                             _(t.in({300, 65})), _(t.floats({65})), _(t.floats({300})), _(t.floats({300}, 0.1, 1)))));
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
