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
  // The second operand whole, in packs, at lengths that no pack divides, and of one element.
  for (const Sizes& z : {Sizes{9, 264}, Sizes{264}, Sizes{3}, Sizes{1}}) {
    const Sizes all = z.size() == 2 ? z : Sizes{9, 2, z[0]};
    add_case("add", CASE(b.add(s, _(t.out(all)), _(t.in(all)), _(t.in(z)))));
    add_case("mul", CASE(b.mul(s, _(t.out(all)), _(t.in(all)), _(t.in(z)))));
    add_case("mul_backward", CASE(b.mul_backward(s, _(t.out(all)), _(t.acc(z)), _(t.in(all)), _(t.in(all)), _(t.in(z)))));
    add_case("sum_leading", CASE(b.sum_leading(s, _(t.acc(z)), _(t.in(all)))));
  }
  add_case("mul_backward", CASE(b.mul_backward(s, _(t.out({3, 8})), none, _(t.in({3, 8})), _(t.in({3, 8})), _(t.in({8})))));
  add_case("mul_backward", CASE(b.mul_backward(s, none, _(t.acc({8})), _(t.in({3, 8})), _(t.in({3, 8})), _(t.in({8})))));
  add_case("sum_leading", CASE(b.sum_leading(s, _(t.acc({8})), _(t.in({0, 8})))));
  add_case("sum_leading", CASE(b.sum_leading(s, _(t.acc({8})), _(t.in({9000, 8})))), true, 2);
  add_case("scale_add", CASE(b.scale_add(s, _(t.out({8, 64})), _(t.in({8, 64})), none, 0.3, 7)));
  add_case("accumulate", CASE(b.accumulate(s, _(t.acc({3001})), _(t.in({3001})), -1)));
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
  for (auto kind : {Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
    add_case("gated_activation", CASE(b.gated_activation(s, _(t.out({5, 72})), _(t.in({5, 72}, 3)), _(t.in({5, 72})), kind)));
    add_case("gated_activation_backward", CASE(b.gated_activation_backward(s, _(t.out({5, 72})), _(t.out({5, 72})), _(t.in({5, 72})),
                                                                           _(t.in({5, 72}, 3)), _(t.in({5, 72})), kind)));
  }
  add_case("tanh_gate", CASE(b.tanh_gate(s, _(t.out({7, 1032})), _(t.in({7, 1032})), none, _(t.floats({1})))));
  add_case("tanh_gate_backward", CASE(b.tanh_gate_backward(s, _(t.out({7, 1032})), none, _(t.in({7, 1032})), _(t.in({7, 1032})), _(t.floats({1})))));
  add_case("tanh_gate_backward",
           CASE(b.tanh_gate_backward(s, _(t.out({130, 65})), _(t.acc({1})), _(t.in({130, 65})), _(t.in({130, 65})), _(t.floats({1})))));
}

}  // namespace anymal::op_cases
