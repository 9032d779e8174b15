// Elementwise ops.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void arithmetic() {
  add_case("add", CASE(b.add(s, _(t.out({5, 3, 65})), _(t.in({5, 3, 65})), _(t.in({3, 65})))));
  add_case("mul", CASE(b.mul(s, _(t.out({5, 65})), _(t.in({5, 65})), _(t.in({65})))));
  add_case("mul_backward", CASE(b.mul_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.in({300, 65})), _(t.in({300, 65})), _(t.in({65})))));
  add_case("sum_leading", CASE(b.sum_leading(s, _(t.acc({65})), _(t.in({517, 65})))));
  add_case("scale_add", CASE(b.scale_add(s, _(t.out({7, 63})), _(t.in({7, 63})), _(t.in({7, 63})), 0.3, -2)));
  add_case("scale_by", CASE(b.scale_by(s, _(t.out({7, 63})), _(t.in({7, 63})), _(t.floats({1})))));
  add_case("accumulate", CASE(b.accumulate(s, _(t.acc({7, 63})), _(t.in({7, 63})), 0.7)));
  for (int k = 0; k <= 8; ++k) {
    const auto kind = static_cast<Activation>(k);
    add_case("activation", CASE(b.activation(s, _(t.out({7, 130})), _(t.in({7, 130}, 4)), kind)));
    add_case("activation_backward", CASE(b.activation_backward(s, _(t.out({7, 130})), _(t.in({7, 130})), _(t.in({7, 130}, 4)), kind)));
  }
  add_case("gated_activation", CASE(b.gated_activation(s, _(t.out({7, 65})), _(t.in({7, 65})), _(t.in({7, 65})), Activation::silu)));
  add_case("gated_activation_backward", CASE(b.gated_activation_backward(s, _(t.out({7, 65})), _(t.out({7, 65})), _(t.in({7, 65})), _(t.in({7, 65})),
                                                                         _(t.in({7, 65})), Activation::silu)));
  add_case("tanh_gate", CASE(b.tanh_gate(s, _(t.out({7, 3, 5})), _(t.in({7, 3, 5})), _(t.in({7, 3, 5})), _(t.floats({3})))));
  add_case("tanh_gate_backward",
           CASE(b.tanh_gate_backward(s, _(t.out({7, 3, 5})), _(t.acc({3})), _(t.in({7, 3, 5})), _(t.in({7, 3, 5})), _(t.floats({3})))));
  add_case("tanh_gate_backward",
           CASE(b.tanh_gate_backward(s, _(t.out({130, 65})), _(t.acc({1})), _(t.in({130, 65})), _(t.in({130, 65})), _(t.floats({1})))));
}

}  // namespace anymal::op_cases
