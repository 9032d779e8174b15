// The shape rules of products with quantised weights, as shapes.cc has those of the other ops.
#pragma once
#include "shape_check.h"

namespace {

void quantized_products() {
  constexpr auto nf4 = QuantFormat::nf4, int8 = QuantFormat::int8;
  constexpr int64_t huge = int64_t{1} << 45;
  const Spec bias = h(6), nested = f(1), lora_a_gradient = f(2, 64), lora_b_gradient = f(6, 2);
  GOOD(linear_quantized, "bf16 (3,6)", h(3, 64), u(256), f(6), nullptr, nullptr, &bias, nf4, 64, 6, 0);
  GOOD(linear_quantized, "f32 (3,6)", f(3, 64), u(256), u(6), &nested, &nested, nullptr, nf4, 64, 6, 0);
  GOOD(linear_quantized, "f32 (3,6)", f(3, 64), u(384), f(6), nullptr, nullptr, nullptr, int8, 0, 6, 6.0);
  BAD(linear_quantized, "E_VALUE", "block 32, 64, 128, 256, 512, 1024, 2048 or 4096, got 63", f(3, 64), u(256), f(6), nullptr, nullptr, nullptr, nf4,
      63, 6, 0);
  BAD(linear_quantized, "E_SHAPE", "absmax of shape (nb) with 6 elements, got f32 (5)", f(3, 64), u(256), f(5), nullptr, nullptr, nullptr, nf4, 64, 6,
      0);
  BAD(linear_quantized, "E_ARGUMENT", "nested_absmax, got nothing", f(3, 64), u(256), u(6), nullptr, nullptr, nullptr, nf4, 64, 6, 0);
  BAD(linear_quantized, "E_VALUE", "nested scales only with absmax as u8 codes, got absmax f32 (6) with nested scales", f(3, 64), u(256), f(6),
      &nested, nullptr, nullptr, nf4, 64, 6, 0);
  BAD(linear_quantized, "E_SHAPE", "codes made by pack_codes for (O,I) = (6,64), at least 192 bytes, got u8 (191)", f(3, 64), u(191), f(6), nullptr,
      nullptr, nullptr, nf4, 64, 6, 0);
  BAD(linear_quantized, "E_VALUE", "block 0 for int8, whose scales are per row, got 64", f(3, 64), u(384), f(6), nullptr, nullptr, nullptr, int8, 64,
      6, 6.0);
  BAD(linear_quantized, "E_VALUE", "out_features * in_features of at most 2^46, got 35184372088832 * 64", f(3, 64), u(384), f(6), nullptr, nullptr,
      nullptr, int8, 0, huge, 6.0);
  BAD(linear_quantized, "E_VALUE", "threshold 0: only int8 splits off outlier columns, got 6.000000", f(3, 64), u(256), f(6), nullptr, nullptr,
      nullptr, nf4, 64, 6, 6);
  GOOD(linear_quantized_dx, "f32 (3,64)", f(3, 6), u(256), f(6), nullptr, nullptr, nf4, 64, 64);
  BAD(linear_quantized_dx, "E_VALUE", "in_features >= 1, got 0", f(3, 6), u(256), f(6), nullptr, nullptr, nf4, 64, 0);
  GOOD(linear_quantized_lora, "f32 (3,6); f32 (3,2)", f(3, 64), u(256), f(6), nullptr, nullptr, nullptr, f(2, 64), f(6, 2), nf4, 64, 6, 0, 2.0, 0.1,
       1, 2);
  BAD(linear_quantized_lora, "E_SHAPE", "lora_b of shape (O,r) = (6,2), got f32 (6,3)", f(3, 64), u(256), f(6), nullptr, nullptr, nullptr, f(2, 64),
      f(6, 3), nf4, 64, 6, 0, 2.0, 0.1, 1, 2);
  BAD(linear_quantized_lora, "E_DTYPE", "lora_a of dtype bf16, got f32 (2,64)", h(3, 64), u(256), f(6), nullptr, nullptr, nullptr, f(2, 64), f(6, 2),
      nf4, 64, 6, 0, 2.0, 0.1, 1, 2);
  GOOD(linear_quantized_lora_backward, "f32 (3,64)", true, &lora_a_gradient, &lora_b_gradient, f(3, 6), f(3, 64), f(3, 2), u(256), f(6), nullptr,
       nullptr, f(2, 64), f(6, 2), nf4, 64, 2.0, 0.1, 1, 2);
  BAD(linear_quantized_lora_backward, "E_SHAPE", "da of the shape of lora_a = (2,64), got f32 (6,2)", true, &lora_b_gradient, nullptr, f(3, 6),
      f(3, 64), f(3, 2), u(256), f(6), nullptr, nullptr, f(2, 64), f(6, 2), nf4, 64, 2.0, 0.1, 1, 2);
  BAD(linear_quantized_lora_backward, "E_SHAPE", "u of the shape of x but for r = (3,2), got f32 (3,3)", true, nullptr, nullptr, f(3, 6), f(3, 64),
      f(3, 3), u(256), f(6), nullptr, nullptr, f(2, 64), f(6, 2), nf4, 64, 2.0, 0.1, 1, 2);
  const SpecList two = {u(256), u(256)}, maxima = {f(6), f(6)}, none = {}, biases = {f(6), f(6)};
  const SpecList branch_a = {f(2, 64)}, branch_b = {f(6, 2)};
  const NumberList outputs = {6, 6}, second = {1}, number = {2}, no = {};
  GOOD(linear_quantized_group, "f32 (3,6); f32 (3,6); nothing", 2, false, f(3, 64), two, maxima, none, none, biases, none, none, outputs, no, no, no,
       nf4, 64, 0, 0, 1);
  GOOD(linear_quantized_group, "f32 (3,6); f32 (3,6); f32 (6)", 2, true, f(3, 64), two, maxima, none, none, none, branch_a, branch_b, outputs, second,
       number, number, nf4, 64, 0, 0.1, 1);
  BAD(linear_quantized_group, "E_VALUE", "number of weights in [1, 4), got 4", 4, false, f(3, 64), two, maxima, none, none, none, none, none, outputs,
      no, no, no, nf4, 64, 0, 0, 1);
  BAD(linear_quantized_group, "E_VALUE", "as many out_features as weights, 3, got 2", 3, false, f(3, 64), two, maxima, none, none, none, none, none,
      outputs, no, no, no, nf4, 64, 0, 0, 1);
  BAD(linear_quantized_group, "E_VALUE", "weight of a branch, ascending, in [0, 2), got 2", 2, true, f(3, 64), two, maxima, none, none, none,
      branch_a, branch_b, outputs, number, number, number, nf4, 64, 0, 0, 1);
  BAD(linear_quantized_group, "E_VALUE", "offsets as whole numbers, got 0.500000", 2, true, f(3, 64), two, maxima, none, none, none, branch_a,
      branch_b, outputs, second, number, {0.5}, nf4, 64, 0, 0, 1);
  BAD(linear_quantized_group, "E_VALUE", "u where there are branches, and only there, got branches without u", 2, false, f(3, 64), two, maxima, none,
      none, none, branch_a, branch_b, outputs, second, number, number, nf4, 64, 0, 0, 1);
  const Spec rows = f(3, 64), reduced = f(6), longer = f(7);
  const SpecList dys = {f(3, 6), f(3, 6)};
  GOOD(linear_quantized_group_backward, "f32 (3,64)", true, branch_a, branch_b, dys, &rows, &reduced, two, maxima, none, none, branch_a, branch_b,
       second, number, number, nf4, 64, 64, 0.1, 1);
  BAD(linear_quantized_group_backward, "E_SHAPE", "dy of the shape of the first but for O = (6,6), got f32 (3,6)", true, none, none,
      {f(6, 6), f(3, 6)}, nullptr, nullptr, two, maxima, none, none, none, none, no, no, no, nf4, 64, 64, 0, 1);
  BAD(linear_quantized_group_backward, "E_SHAPE", "u of shape (N * sum of ranks) with 6 elements, got f32 (7)", true, none, none, dys, &rows, &longer,
      two, maxima, none, none, branch_a, branch_b, second, number, number, nf4, 64, 64, 0, 1);
  BAD(linear_quantized_group_backward, "E_SHAPE", "da of the shape of lora_a = (2,64), got f32 (6,6)", true, {f(6, 6)}, none, dys, &rows, &reduced,
      two, maxima, none, none, branch_a, branch_b, second, number, number, nf4, 64, 64, 0, 1);
  GOOD(linear_eight_bit, "f32 (3,6); f32 (3,6); nothing", true, false, f(3, 64), two, maxima, none, none, biases, nf4, 64, 6, 6, 0);
  BAD(linear_eight_bit, "E_VALUE", "a second output with the third, got the third without it", false, true, f(3, 64), two, maxima, none, none, none,
      nf4, 64, 6, 6, 0);
  BAD(linear_eight_bit, "E_VALUE", "as many absmax as weights, 2, got 0", true, false, f(3, 64), two, none, none, none, none, nf4, 64, 6, 6, 0);
  BAD(linear_eight_bit, "E_VALUE", "as many biases as weights, 1, or none, got 2", false, false, f(3, 64), {u(256)}, {f(6)}, none, none, biases, nf4,
      64, 6, 0, 0);
  BAD(linear_eight_bit, "E_SHAPE", "bias of shape (O) = (5), got f32 (6)", true, false, f(3, 64), two, {f(6), f(5)}, none, none, biases, nf4, 64, 6,
      5, 0);
}

}  // namespace
