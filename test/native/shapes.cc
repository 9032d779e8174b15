// Every shape rule: a good call and what it gives, and the mistakes worth a sentence with the sentence. An op of ops.def without a case fails.
#include "shape_cases/quantized_products.h"
#include "shape_check.h"

namespace {

constexpr int64_t huge = int64_t{1} << 45;
constexpr auto nf4 = QuantFormat::nf4;
constexpr auto int8 = QuantFormat::int8;

void movement() {
  GOOD(copy, "u8 (2,3)", u(2, 3));
  GOOD(fill, "", i(3), -7);
  BAD(fill, "E_VALUE", "a value that u8 holds, got 256.000000", u(3), 256);
  BAD(fill, "E_VALUE", "a value that i32 holds, got nan", i(3), std::nan(""));
  GOOD(cast, "bf16 (2)", f(2), DType::bf16);
  GOOD(cast, "f32 ()", u(), DType::f32);
  BAD(cast, "E_DTYPE", "one of f32 <-> bf16, f32 <-> i32, u8 -> f32, u8 -> i32, got f32 (2) to u8", f(2), DType::u8);
  GOOD(concat, "f32 (2,7,4)", SpecList{f(2, 3, 4), f(2, 0, 4), f(2, 4, 4)}, 1);
  BAD(concat, "E_SHAPE", "tensor 1 of the shape of tensor 0 in all but the joined dim = (2,4,4), got f32 (2,4,5)", SpecList{f(2, 3, 4), f(2, 4, 5)},
      1);
  BAD(concat, "E_DTYPE", "tensor 1 of dtype f32, got bf16 (2)", SpecList{f(2), h(2)}, 0);
  BAD(concat, "E_VALUE", "at least one tensor, got none", SpecList{}, 0);
  BAD(concat, "E_VALUE", "dim in [0, 1), got 1", SpecList{f(2), f(2)}, 1);
  GOOD(slice_copy, "i32 (5,2)", i(5, 7), 1, 5, 2);
  BAD(slice_copy, "E_VALUE", "length in [0, 3), got 3", i(5, 7), 1, 5, 3);
  BAD(slice_copy, "E_VALUE", "start in [0, 8), got -1", i(5, 7), 1, -1, 1);
  GOOD(slice_place, "f32 (5,9)", f(5, 2), 1, 7, 9);
  BAD(slice_place, "E_VALUE", "start in [0, 8), got 8", f(5, 2), 1, 8, 9);
  GOOD(transpose_copy, "f32 (4,3,2)", f(2, 3, 4), 0, 2);
  BAD(transpose_copy, "E_VALUE", "dim1 in [0, 3), got -1", f(2, 3, 4), 0, -1);
  GOOD(gather_rows, "f32 (2,5,8)", f(7, 8), i(2, 5));
  BAD(gather_rows, "E_DTYPE", "index of dtype i32, got f32 (2)", f(7, 8), f(2));
  BAD(gather_rows, "E_SHAPE", "at most 5 leading dimensions, got i32 (1,1,1,1,1,1)", f(7, 8), i(1, 1, 1, 1, 1, 1));
  GOOD(gather_rows_backward, "f32 (7,8)", f(2, 5, 8), i(10), 7);
  BAD(gather_rows_backward, "E_SHAPE", "index of shape (N) with 10 elements, got i32 (9)", f(2, 5, 8), i(9), 7);
  BAD(gather_rows_backward, "E_SHAPE", "an output of at most 2^46 elements, got f32 (35184372088832,8)", f(2, 5, 8), i(10), huge);
  GOOD(splice_rows, "bf16 (2,5,8)", h(7, 8), h(3, 8), i(2, 5));
  BAD(splice_rows, "E_SHAPE", "media rows as wide as text rows, C = 8, got bf16 (3,9)", h(7, 8), h(3, 9), i(2, 5));
  BAD(splice_rows, "E_DTYPE", "media of dtype bf16, got f32 (3,8)", h(7, 8), f(3, 8), i(2, 5));
  GOOD(splice_rows_backward, "nothing; f32 (3,8)", false, true, f(2, 5, 8), i(2, 5), 7, 3);
  BAD(splice_rows_backward, "E_VALUE", "media_rows in [0, 70368744177664), got -3", false, true, f(2, 5, 8), i(2, 5), 7, -3);
  GOOD(random_uniform, "", f(3), -1.0, 1.0, 5, 0);
  BAD(random_uniform, "E_DTYPE", "y of dtype f32 or bf16, got i32 (3)", i(3), -1.0, 1.0, 5, 0);
  BAD(random_uniform, "E_VALUE", "low <= high, got 1.000000 and -1.000000", f(3), 1.0, -1.0, 5, 0);
  GOOD(random_normal, "", h(3), 0, 1, 5, 0);
  BAD(random_normal, "E_VALUE", "std >= 0, got -1", h(3), 0, -1, 5, 0);
  BAD(random_normal, "E_VALUE", "a finite mean, got inf", h(3), INFINITY, 1, 5, 0);
}

void arithmetic() {
  const Spec one = f(1), w = f(4);
  GOOD(add, "f32 (2,3,4)", f(2, 3, 4), f(3, 4));
  GOOD(add, "f32 (2)", f(2), f());
  BAD(add, "E_SHAPE", "b of the shape of a = f32 (2,3,4) or of its last sizes, got f32 (2,4)", f(2, 3, 4), f(2, 4));
  BAD(add, "E_DTYPE", "b of dtype f32, got bf16 (4)", f(2, 3, 4), h(4));
  GOOD(mul, "bf16 (2,4)", h(2, 4), h(4));
  BAD(mul, "E_SHAPE", "b of the shape of a = bf16 (4) or of its last sizes, got bf16 (2,4)", h(4), h(2, 4));
  GOOD(mul_backward, "bf16 (2,4)", true, &w, h(2, 4), h(2, 4), h(4));
  GOOD(mul_backward, "nothing", false, nullptr, h(2, 4), h(2, 4), h(4));
  BAD(mul_backward, "E_SHAPE", "db of the shape of b = (3), got f32 (4)", true, &w, h(2, 3), h(2, 3), h(3));
  GOOD(sum_leading, "", &w, f(2, 3, 4));
  BAD(sum_leading, "E_SHAPE", "db of the shape of dy = f32 (2,3) or of its last sizes, got f32 (4)", &w, f(2, 3));
  GOOD(scale_add, "f32 (4)", f(4), &w, 1, 2);
  BAD(scale_add, "E_SHAPE", "r of the shape of x = (5), got f32 (4)", f(5), &w, 1, 2);
  BAD(scale_add, "E_VALUE", "a finite alpha, got nan", f(4), &w, std::nan(""), 2);
  GOOD(scale_by, "bf16 (2,2)", h(2, 2), f(1));
  BAD(scale_by, "E_SHAPE", "s of shape (1) with 1 element, got f32 (2)", h(2, 2), f(2));
  GOOD(accumulate, "", f(2, 2), h(2, 2), 0.5);
  BAD(accumulate, "E_DTYPE", "y of dtype f32, got bf16 (2,2)", h(2, 2), h(2, 2), 0.5);
  GOOD(activation, "f32 (3)", f(3), Activation::silu);
  BAD(activation, "E_VALUE", "kind in [0, 9), got 9", f(3), static_cast<Activation>(9));
  GOOD(activation_backward, "f32 (3)", f(3), f(3), Activation::silu);
  BAD(activation_backward, "E_SHAPE", "dy of the shape of x = (3), got f32 (4)", f(4), f(3), Activation::silu);
  GOOD(gated_activation, "f32 (3)", f(3), f(3), Activation::silu);
  BAD(gated_activation, "E_DTYPE", "up of dtype f32, got bf16 (3)", f(3), h(3), Activation::silu);
  GOOD(gated_activation_backward, "f32 (3); f32 (3)", f(3), f(3), f(3), Activation::gelu);
  BAD(gated_activation_backward, "E_SHAPE", "dy of the shape of gate = (3), got f32 (2)", f(2), f(3), f(3), Activation::gelu);
  GOOD(tanh_gate, "f32 (2,4,3)", f(2, 4, 3), nullptr, f(4));
  GOOD(tanh_gate, "f32 (4)", f(4), &w, f(1));
  BAD(tanh_gate, "E_SHAPE", "g of shape (G) = (4), got f32 (5)", f(2, 4, 3), nullptr, f(5));
  BAD(tanh_gate, "E_SHAPE", "x of shape (...,G,W) with at least 2 dimensions, got f32 (4)", f(4), nullptr, f(4));
  GOOD(tanh_gate_backward, "f32 (2,4,3)", &w, f(2, 4, 3), f(2, 4, 3), f(4));
  BAD(tanh_gate_backward, "E_SHAPE", "dg of the shape of g = (4), got f32 (1)", &one, f(2, 4, 3), f(2, 4, 3), f(4));
  GOOD(dropout, "bf16 (9)", h(9), 0.5, 1, 2);
  BAD(dropout, "E_VALUE", "p in [0, 1), got 1", h(9), 1.0, 1, 2);
  BAD(dropout, "E_VALUE", "p in [0, 1), got nan", h(9), std::nan(""), 1, 2);
}

void matmul() {
  const Spec dw = f(6, 5), db = f(6), wrong = f(5), bias = h(6);
  GOOD(linear, "bf16 (2,3,6)", h(2, 3, 5), h(6, 5), &bias);
  GOOD(linear, "f32 (0,6)", f(0, 5), f(6, 5), nullptr);
  BAD(linear, "E_SHAPE", "weight of shape (O,I) = (*,5), got f32 (5,6)", f(2, 5), f(5, 6), nullptr);
  BAD(linear, "E_DTYPE", "bias of dtype f32, got bf16 (6)", f(2, 5), f(6, 5), &bias);
  BAD(linear, "E_DTYPE", "x of dtype f32 or bf16, got i32 (2,5)", i(2, 5), f(6, 5), nullptr);
  BAD(linear, "E_SHAPE", "x of shape (N,I) with at least 1 dimension, got f32 ()", f(), f(6, 5), nullptr);
  BAD(linear, "E_SHAPE", "an output of at most 2^46 elements, got f32 (35184372088832,35184372088832)", f(huge, 0), f(huge, 0), nullptr);
  GOOD(linear_dx, "f32 (2,3,5)", f(2, 3, 6), f(6, 5));
  BAD(linear_dx, "E_SHAPE", "weight of shape (O,I) = (6,*), got f32 (5,6)", f(2, 6), f(5, 6));
  GOOD(linear_dw, "", &dw, &db, h(2, 3, 6), h(6, 5));
  BAD(linear_dw, "E_SHAPE", "x with the N = 6 rows of dy, got f32 (7,5)", &dw, &db, f(6, 6), f(7, 5));
  BAD(linear_dw, "E_SHAPE", "db of shape (O) = (6), got f32 (5)", &dw, &wrong, f(6, 6), f(6, 5));
  BAD(linear_dw, "E_DTYPE", "dw of dtype f32, got bf16 (6)", &bias, nullptr, f(6, 6), f(6, 5));

  const Spec y = h(2, 4, 6), other = h(2, 4, 5), wide = h(8, 7), master = f(6, 7), of_x = h(8, 7);
  GOOD(linear_fused, "bf16 (2,4,6); bf16 (2,4,6)", true, h(2, 4, 5), f(6, 5), &bias, nullptr, Activation::gelu);
  GOOD(linear_fused, "bf16 (2,4,6); nothing", false, h(2, 4, 5), h(6, 5), nullptr, &y, Activation::identity);
  BAD(linear_fused, "E_DTYPE", "weight of dtype f32, got bf16 (6,5)", false, f(2, 5), h(6, 5), nullptr, nullptr, Activation::identity);
  BAD(linear_fused, "E_SHAPE", "residual of the shape of y = (2,4,6), got bf16 (2,4,5)", false, h(2, 4, 5), f(6, 5), nullptr, &other,
      Activation::identity);
  BAD(linear_fused, "E_VALUE", "no activation before a residual, got both", false, h(2, 4, 5), f(6, 5), nullptr, &y, Activation::relu);
  BAD(linear_fused, "E_VALUE", "kind in [0, 9), got 9", false, h(2, 5), f(6, 5), nullptr, nullptr, static_cast<Activation>(9));
  GOOD(linear_fused_backward, "bf16 (8,7)", true, nullptr, nullptr, h(8, 6), nullptr, &master, &of_x, Activation::relu);
  GOOD(linear_fused_backward, "nothing", false, &master, &db, h(8, 6), &wide, nullptr, nullptr, Activation::identity);
  BAD(linear_fused_backward, "E_SHAPE", "pre of the shape of dx = (2,4,7), got bf16 (8,7)", true, nullptr, nullptr, h(2, 4, 6), nullptr, &master,
      &of_x, Activation::relu);
  BAD(linear_fused_backward, "E_SHAPE", "dw of shape (O,I) = (6,7), got f32 (6,5)", false, &dw, nullptr, h(8, 6), &wide, nullptr, nullptr,
      Activation::identity);
  GOOD(project_two_source, "bf16 (2,3,4); bf16 (2,9,6); bf16 (2,9,7); bf16 (2,3,6); bf16 (2,3,7)", h(2, 9, 5), h(2, 3, 5), f(4, 5), h(6, 5), f(7, 5));
  BAD(project_two_source, "E_SHAPE", "x2 as wide as x1, I = 5, got bf16 (2,3,4)", h(2, 9, 5), h(2, 3, 4), f(4, 5), f(6, 5), f(7, 5));
  BAD(project_two_source, "E_SHAPE", "wk of shape (O,I) = (*,5), got f32 (6,4)", h(9, 5), h(3, 5), f(4, 5), f(6, 4), f(7, 5));
  GOOD(project_two_source_backward, "f32 (9,5); nothing", true, false, nullptr, &dw, nullptr, f(3, 4), f(9, 6), f(9, 7), f(3, 6), f(3, 7), f(9, 5),
       f(3, 5), f(4, 5), f(6, 5), f(7, 5));
  BAD(project_two_source_backward, "E_SHAPE", "dk1 of the shape of k1 = (9,6), got f32 (3,6)", true, false, nullptr, &dw, nullptr, f(3, 4), f(3, 6),
      f(9, 7), f(3, 6), f(3, 7), f(9, 5), f(3, 5), f(4, 5), f(6, 5), f(7, 5));
  BAD(project_two_source_backward, "E_SHAPE", "dwv of the shape of wv = (7,5), got f32 (6,5)", true, false, nullptr, nullptr, &dw, f(3, 4), f(9, 6),
      f(9, 7), f(3, 6), f(3, 7), f(9, 5), f(3, 5), f(4, 5), f(6, 5), f(7, 5));
}

void quantisation() {
  GOOD(quantize_4bit, "u8 (33); f32 (2)", h(5, 13), nf4, 64);
  BAD(quantize_4bit, "E_VALUE", "format 0 (nf4) or 1 (fp4), got 2", f(64), int8, 64);
  BAD(quantize_4bit, "E_VALUE", "block 32, 64, 128, 256, 512, 1024, 2048 or 4096, got 0", f(64), nf4, 0);
  GOOD(dequantize_4bit, "bf16 (5,13)", u(33), f(2), nf4, 64, DType::bf16, Shape{5, 13});
  BAD(dequantize_4bit, "E_SHAPE", "codes of shape ((n+1)/2) with 33 elements, got u8 (32)", u(32), f(2), nf4, 64, DType::bf16, Shape{5, 13});
  BAD(dequantize_4bit, "E_DTYPE", "dtype f32 or bf16, got u8", u(33), f(2), nf4, 64, DType::u8, Shape{5, 13});
  BAD(dequantize_4bit, "E_SHAPE", "at most 6 dimensions, got 7", u(33), f(2), nf4, 64, DType::f32, Shape{1, 1, 1, 1, 1, 1, 1});
  BAD(dequantize_4bit, "E_SHAPE", "an output of at most 2^46 elements, got f32 (35184372088832,35184372088832,0)", u(33), f(2), nf4, 64, DType::f32,
      Shape{huge, huge, 0});
  GOOD(quantize_rows_int8, "u8 (3,7); f32 (3)", f(3, 7));
  BAD(quantize_rows_int8, "E_SHAPE", "w of shape (O,I), got f32 (7)", f(7));
  GOOD(dequantize_rows_int8, "f32 (3,7)", u(3, 7), f(3), DType::f32);
  BAD(dequantize_rows_int8, "E_SHAPE", "scale of shape (O) with 3 elements, got f32 (7)", u(3, 7), f(7), DType::f32);
  GOOD(quantize_dynamic, "u8 (3,100); f32 (2)", f(3, 100), 256, true);
  BAD(quantize_dynamic, "E_DTYPE", "x of dtype f32 or bf16, got u8 (3)", u(3), 256, true);
  GOOD(dequantize_dynamic, "f32 (3,100)", u(3, 100), f(2), 256, true);
  BAD(dequantize_dynamic, "E_SHAPE", "absmax of shape (ceil(n/E)) with 2 elements, got f32 (1)", u(3, 100), f(1), 256, true);
  GOOD(quantize_absmax, "u8 (257); f32 (2); f32 (1)", f(257));
  BAD(quantize_absmax, "E_VALUE", "size of absmax >= 1, got 0", f(0));
  GOOD(dequantize_absmax, "f32 (257)", u(257), f(2), f(1));
  BAD(dequantize_absmax, "E_SHAPE", "nested_absmax of shape (ceil(nb/256)) with 2 elements, got f32 (1)", u(257), f(1), f(1));
  GOOD(pack_codes, "u8 (512)", u(192, 1), nf4, 6, 64, 512);
  BAD(pack_codes, "E_SHAPE", "codes of shape ((O*I+1)/2) with 192 elements, got u8 (384)", u(384), nf4, 6, 64, 512);
  BAD(pack_codes, "E_VALUE", "packed_bytes >= 384, got 383", u(6, 64), int8, 6, 64, 383);
  GOOD(unpack_codes, "u8 (192)", u(512), nf4, 6, 64);
  GOOD(unpack_codes, "u8 (6,64)", u(512), int8, 6, 64);
  BAD(unpack_codes, "E_SHAPE", "packed codes of at least 384 bytes, got u8 (200)", u(200), int8, 6, 64);
}

void norms() {
  const Spec c = f(48), hc = h(48), wrong = f(47), channels = f(6), x = f(2, 48);
  GOOD(rms_norm, "bf16 (2,3,48); f32 (2,3)", h(2, 3, 48), f(48), 1e-5);
  BAD(rms_norm, "E_SHAPE", "weight of shape (C) = (48), got f32 (47)", f(2, 48), f(47), 1e-5);
  BAD(rms_norm, "E_VALUE", "eps > 0, got 0", f(2, 48), f(48), 0);
  BAD(rms_norm, "E_DTYPE", "weight of dtype f32 or bf16, the dtype of x, got i32 (48)", h(2, 48), i(48), 1e-5);
  BAD(rms_norm, "E_DTYPE", "weight of dtype f32, got bf16 (48)", f(2, 48), h(48), 1e-5);
  BAD(rms_norm, "E_VALUE", "width C >= 1, got 0", f(2, 0), f(0), 1e-5);
  GOOD(rms_norm_backward, "f32 (2,48)", true, &c, f(2, 48), f(2, 48), f(48), f(2), nullptr);
  GOOD(rms_norm_backward, "f32 (2,48)", true, &c, f(2, 48), f(2, 48), f(48), f(2), &x);
  BAD(rms_norm_backward, "E_SHAPE", "dy of the shape of x = (2,48), got f32 (3,48)", true, &c, f(3, 48), f(2, 48), f(48), f(2), nullptr);
  BAD(rms_norm_backward, "E_DTYPE", "dw of dtype f32, got bf16 (48)", true, &hc, f(2, 48), f(2, 48), f(48), f(2), nullptr);
  BAD(rms_norm_backward, "E_DTYPE", "past of dtype bf16, got f32 (2,48)", true, &c, h(2, 48), h(2, 48), f(48), f(2), &x);
  BAD(rms_norm_backward, "E_VALUE", "dx for what flows past the norm, got none that is wanted", false, &c, f(2, 48), f(2, 48), f(48), f(2), &x);
  GOOD(add_rms_norm, "bf16 (2,3,48); bf16 (2,3,48); f32 (2,3)", h(2, 3, 48), h(2, 3, 48), f(48), 1e-5);
  BAD(add_rms_norm, "E_SHAPE", "b of the shape of a = (2,48), got f32 (48)", f(2, 48), f(48), f(48), 1e-5);
  BAD(add_rms_norm, "E_SHAPE", "weight of shape (C) = (48), got f32 (47)", f(2, 48), f(2, 48), f(47), 1e-5);
  BAD(add_rms_norm, "E_VALUE", "eps > 0, got 0", f(2, 48), f(2, 48), f(48), 0);
  GOOD(layer_norm, "f32 (2,48); f32 (2); f32 (2)", f(2, 48), nullptr, &c, 1e-5);
  BAD(layer_norm, "E_SHAPE", "bias of shape (C) = (48), got f32 (47)", f(2, 48), &c, &wrong, 1e-5);
  GOOD(layer_norm_backward, "nothing", false, &c, &c, f(2, 48), f(2, 48), &c, f(2), f(2));
  BAD(layer_norm_backward, "E_SHAPE", "mean of shape (N) with 2 elements, got f32 (1)", false, &c, &c, f(2, 48), f(2, 48), &c, f(1), f(2));
  GOOD(group_norm, "f32 (2,6,5); f32 (2,3); f32 (2,3)", f(2, 6, 5), f(6), f(6), 3, 1e-5);
  BAD(group_norm, "E_VALUE", "groups that divides C = 6, got 4", f(2, 6, 5), f(6), f(6), 4, 1e-5);
  BAD(group_norm, "E_VALUE", "groups that divides C = 6, got 0", f(2, 6, 5), f(6), f(6), 0, 1e-5);
  BAD(group_norm, "E_SHAPE", "x of shape (B,C,...) with at least 2 dimensions, got f32 (6)", f(6), f(6), f(6), 3, 1e-5);
  GOOD(group_norm_backward, "f32 (2,6,5)", true, &channels, &channels, f(2, 6, 5), f(2, 6, 5), f(6), f(2, 3), f(2, 3), 3);
  BAD(group_norm_backward, "E_SHAPE", "rstd of shape (B,G) = (2,3), got f32 (2,2)", true, &channels, &channels, f(2, 6, 5), f(2, 6, 5), f(6), f(2, 3),
      f(2, 2), 3);
  GOOD(batch_norm_inference, "f32 (2,6,5,4)", f(2, 6, 5, 4), f(6), f(6), f(6), f(6), 1e-5);
  BAD(batch_norm_inference, "E_SHAPE", "var of shape (C) = (6), got f32 (5)", f(2, 6, 5, 4), f(6), f(5), f(6), f(6), 1e-5);
  GOOD(batch_norm_inference_backward, "f32 (2,6)", true, &channels, nullptr, f(2, 6), f(2, 6), f(6), f(6), f(6), 1e-5);
  BAD(batch_norm_inference_backward, "E_SHAPE", "dw of shape (C) = (6), got f32 (48)", true, &c, nullptr, f(2, 6), f(2, 6), f(6), f(6), f(6), 1e-5);
  GOOD(l2_normalize, "f32 (2,6); f32 (2)", f(2, 6), 1e-12);
  BAD(l2_normalize, "E_VALUE", "eps > 0, got -1", f(2, 6), -1);
  GOOD(l2_normalize_backward, "f32 (2,6)", f(2, 6), f(2, 6), f(2), 1e-12);
  BAD(l2_normalize_backward, "E_SHAPE", "norm of shape (N) with 2 elements, got f32 (6)", f(2, 6), f(2, 6), f(6), 1e-12);
}

void attentions() {
  const Spec range = i(2, 2), wide = i(2, 3), bias = f(1, 6, 5, 7), thirds = f(3, 1, 5, 7), half_heads = f(1, 3, 5, 7);
  const Spec q = f(2, 5, 6, 8), k = f(2, 7, 3, 8), lse = f(2, 6, 5), k2 = f(2, 4, 3, 8);
  GOOD(rope, "bf16 (2,5,6,8)", h(2, 5, 6, 8), f(100, 4, 2), i(2, 5), false);
  BAD(rope, "E_VALUE", "an even head size D, got 7", f(2, 5, 6, 7), f(100, 3, 2), i(2, 5), false);
  BAD(rope, "E_SHAPE", "table of shape (P,D/2,2) = (*,4,2), got f32 (100,8)", q, f(100, 8), i(2, 5), false);
  BAD(rope, "E_SHAPE", "positions of shape (B,T) = (2,5), got i32 (5)", q, f(100, 4, 2), i(5), false);
  GOOD(rope_pair, "bf16 (2,5,6,8); bf16 (2,5,3,8)", h(2, 5, 6, 8), h(2, 5, 3, 8), f(100, 4, 2), i(2, 5), true);
  BAD(rope_pair, "E_SHAPE", "k of shape (B,T,K,D) = (2,5,*,8), got f32 (2,7,3,8)", q, k, f(100, 4, 2), i(2, 5), false);
  BAD(rope_pair, "E_DTYPE", "k of dtype f32, got bf16 (2,5,3,8)", q, h(2, 5, 3, 8), f(100, 4, 2), i(2, 5), false);
  GOOD(rope_cached, "f32 (2,5,6,8)", k, k, q, f(2, 5, 3, 8), f(2, 5, 3, 8), f(100, 4, 2), i(2, 5), i(2));
  BAD(rope_cached, "E_DTYPE", "k_cache of dtype f32, got bf16 (2,7,3,8)", h(2, 7, 3, 8), k, q, f(2, 5, 3, 8), f(2, 5, 3, 8), f(100, 4, 2), i(2, 5),
      i(2));
  BAD(rope_cached, "E_SHAPE", "v_cache of the shape of k_cache = (2,7,3,8), got f32 (2,4,3,8)", k, k2, q, f(2, 5, 3, 8), f(2, 5, 3, 8), f(100, 4, 2),
      i(2, 5), i(2));
  BAD(rope_cached, "E_VALUE", "at most Smax = 4 rows at a time, got 5", k2, k2, q, f(2, 5, 3, 8), f(2, 5, 3, 8), f(100, 4, 2), i(2, 5), i(2));
  BAD(rope_cached, "E_SHAPE", "slot of shape (B) = (2), got i32 (3)", k, k, q, f(2, 5, 3, 8), f(2, 5, 3, 8), f(100, 4, 2), i(2, 5), i(3));
  GOOD(attention, "f32 (2,5,6,8); f32 (2,6,5)", q, k, k, &range, &bias, 0.3, true, 3);
  BAD(attention, "E_SHAPE", "k of shape (B,S,K,D) = (2,*,*,8), got f32 (2,7,3,9)", q, f(2, 7, 3, 9), k, nullptr, nullptr, 0.3, true, 0);
  BAD(attention, "E_VALUE", "key/value heads K that divides H = 6, got 4", q, f(2, 7, 4, 8), f(2, 7, 4, 8), nullptr, nullptr, 0.3, true, 0);
  BAD(attention, "E_SHAPE", "v of the shape of k = (2,7,3,8), got f32 (2,6,3,8)", q, k, f(2, 6, 3, 8), nullptr, nullptr, 0.3, true, 0);
  BAD(attention, "E_SHAPE", "range of shape (B,2) = (2,2), got i32 (2,3)", q, k, k, &wide, nullptr, 0.3, true, 0);
  BAD(attention, "E_VALUE", "bias rows Bb that divides B = 2, got 3", q, k, k, nullptr, &thirds, 0.3, true, 0);
  BAD(attention, "E_VALUE", "bias heads Hb of 1 or H = 6, got 3", q, k, k, nullptr, &half_heads, 0.3, true, 0);
  BAD(attention, "E_VALUE", "window in [0, 2147483648), got -1", q, k, k, nullptr, nullptr, 0.3, true, -1);
  BAD(attention, "E_VALUE", "a finite scale, got inf", q, k, k, nullptr, nullptr, INFINITY, true, 0);
  GOOD(attention_backward, "f32 (2,5,6,8); f32 (2,7,3,8); f32 (2,7,3,8)", &bias, q, q, k, k, q, lse, &range, &bias, 0.3, true, 3);
  BAD(attention_backward, "E_ARGUMENT", "bias, got nothing", &bias, q, q, k, k, q, lse, &range, nullptr, 0.3, true, 3);
  BAD(attention_backward, "E_SHAPE", "lse of shape (B,H,T) = (2,6,5), got f32 (2,5,6)", nullptr, q, q, k, k, q, f(2, 5, 6), &range, &bias, 0.3, true,
      3);
  GOOD(attention_two_source, "f32 (2,5,6,8); f32 (2,6,5)", q, k, k, k2, k2, &range, 0.3);
  BAD(attention_two_source, "E_SHAPE", "k2 of shape (B,S2,K,D) = (*,*,3,*), got f32 (2,4,2,8)", q, k, k, f(2, 4, 2, 8), f(2, 4, 2, 8), &range, 0.3);
  GOOD(attention_two_source_backward, "f32 (2,5,6,8); f32 (2,7,3,8); f32 (2,7,3,8); f32 (2,4,3,8); f32 (2,4,3,8)", q, q, k, k, k2, k2, q, lse, &range,
       0.3);
  BAD(attention_two_source_backward, "E_SHAPE", "dy of the shape of q = (2,5,6,8), got f32 (2,7,3,8)", k, q, k, k, k2, k2, q, lse, &range, 0.3);
  GOOD(attention_decode, "f32 (2,1,6,8)", f(2, 1, 6, 8), k, k, nullptr, nullptr, range, 0.3, 0);
  const Spec codes(DType::u8, {2, 7, 3, 8}), scales = f(2, 7, 3, 1);
  GOOD(attention_decode, "f32 (2,1,6,8)", f(2, 1, 6, 8), codes, codes, &scales, &scales, range, 0.3, 0);
  BAD(attention_decode, "E_ARGUMENT", "v_scale, got nothing", f(2, 1, 6, 8), codes, codes, &scales, nullptr, range, 0.3, 0);
  BAD(attention_decode, "E_DTYPE", "k_cache of dtype u8, got f32 (2,7,3,8)", f(2, 1, 6, 8), k, k, &scales, &scales, range, 0.3, 0);
  BAD(attention_decode, "E_DTYPE", "k_cache of dtype f32, got u8 (2,7,3,8)", f(2, 1, 6, 8), codes, codes, nullptr, nullptr, range, 0.3, 0);
  BAD(attention_decode, "E_SHAPE", "q of shape (B,1,H,D) = (*,1,*,*), got f32 (2,5,6,8)", q, k, k, nullptr, nullptr, range, 0.3, 0);
  GOOD(cache_write, "", k, k2, i(2));
  BAD(cache_write, "E_VALUE", "at most Smax = 4 rows at a time, got 7", k2, k, i(2));
  BAD(cache_write, "E_DTYPE", "rows of dtype f32, got bf16 (2,4,3,8)", k, h(2, 4, 3, 8), i(2));
}

void convolution() {
  const Spec w1 = f(4, 3, 5), w2 = f(4, 3, 2, 2), b = f(4), wrong = f(3), hh = f(12, 4), ih = f(12, 5), b3 = f(12);
  GOOD(conv1d, "f32 (2,4,5)", f(2, 3, 20), w1, &b, 3, 1, 2);
  GOOD(conv1d, "f32 (2,4,1)", f(2, 3, 5), w1, nullptr, 1, 0, 1);
  BAD(conv1d, "E_SHAPE", "an input that holds the kernel, at least 5 elements with the padding, got 4", f(2, 3, 4), w1, nullptr, 1, 0, 1);
  BAD(conv1d, "E_SHAPE", "weight of shape (O,I,k) = (*,2,*), got f32 (4,3,5)", f(2, 2, 20), w1, nullptr, 1, 0, 1);
  BAD(conv1d, "E_VALUE", "stride in [1, 2147483648), got 0", f(2, 3, 20), w1, nullptr, 0, 0, 1);
  BAD(conv1d, "E_VALUE", "dilation in [1, 2147483648), got 4611686018427387904", f(2, 3, 20), w1, nullptr, 1, 0, int64_t{1} << 62);
  GOOD(conv1d_backward, "f32 (2,3,20)", true, &w1, &b, f(2, 4, 5), f(2, 3, 20), w1, 3, 1, 2);
  BAD(conv1d_backward, "E_SHAPE", "dy of the shape of the output = (2,4,5), got f32 (2,4,6)", true, &w1, &b, f(2, 4, 6), f(2, 3, 20), w1, 3, 1, 2);
  GOOD(conv2d, "f32 (2,4,3,5)", f(2, 3, 6, 8), w2, &b, 2, 2, 0, 1);
  BAD(conv2d, "E_SHAPE", "bias of shape (O) = (4), got f32 (3)", f(2, 3, 6, 8), w2, &wrong, 2, 2, 0, 1);
  BAD(conv2d, "E_SHAPE", "an input that holds the kernel across, at least 2 elements with the padding, got 1", f(2, 3, 6, 1), w2, nullptr, 2, 2, 0,
      0);
  GOOD(conv2d_backward, "nothing", false, &w2, &b, f(2, 4, 3, 5), f(2, 3, 6, 8), w2, 2, 2, 0, 1);
  BAD(conv2d_backward, "E_SHAPE", "dw of the shape of weight = (4,3,2,2), got f32 (4,3,5)", true, &w1, &b, f(2, 4, 3, 5), f(2, 3, 6, 8), w2, 2, 2, 0,
      1);
  GOOD(max_pool1d, "f32 (2,3,6); i32 (2,3,6)", f(2, 3, 20), 5, 3);
  BAD(max_pool1d, "E_SHAPE", "an input that holds the kernel, at least 5 elements with the padding, got 4", f(2, 3, 4), 5, 3);
  GOOD(max_pool1d_backward, "f32 (2,3,20)", f(2, 3, 6), i(2, 3, 6), 20);
  BAD(max_pool1d_backward, "E_SHAPE", "index of the shape of dy = (2,3,6), got i32 (2,3,5)", f(2, 3, 6), i(2, 3, 5), 20);
  GOOD(mean_pool, "f32 (2,4)", f(2, 3, 4), 1);
  GOOD(mean_pool, "f32 ()", f(3), 0);
  BAD(mean_pool, "E_VALUE", "dim in [0, 3), got 3", f(2, 3, 4), 3);
  BAD(mean_pool, "E_VALUE", "elements to average >= 1, got 0", f(2, 0, 4), 1);
  GOOD(mean_pool_backward, "f32 (2,3,4)", f(2, 4), 1, 3);
  GOOD(mean_pool_backward, "f32 (2,4,3)", f(2, 4), 2, 3);
  BAD(mean_pool_backward, "E_VALUE", "dim in [0, 3), got -1", f(2, 4), -1, 3);
  GOOD(interpolate_bicubic, "f32 (2,3,7,9)", f(2, 3, 4, 5), 7, 9, false, true);
  BAD(interpolate_bicubic, "E_VALUE", "heights and widths in [1, 2147483648), got 0", f(2, 3, 4, 5), 0, 9, false, true);
  GOOD(interpolate_bicubic_backward, "f32 (2,3,4,5)", f(2, 3, 7, 9), 4, 5, false, true);
  BAD(interpolate_bicubic_backward, "E_SHAPE", "dy of shape (B,C,H,W), got f32 (3,7,9)", f(3, 7, 9), 4, 5, false, true);

  GOOD(gru, "f32 (2,7,4); f32 (2,7,16)", f(2, 7, 5), ih, hh, b3, b3);
  BAD(gru, "E_SHAPE", "w_hh of shape (3H,H) = (12,4), got f32 (11,4)", f(2, 7, 5), ih, f(11, 4), b3, b3);
  BAD(gru, "E_SHAPE", "w_ih of shape (3H,I) = (12,6), got f32 (12,5)", f(2, 7, 6), ih, hh, b3, b3);
  BAD(gru, "E_DTYPE", "x of dtype f32, got bf16 (2,7,5)", h(2, 7, 5), ih, hh, b3, b3);
  GOOD(gru_backward, "f32 (2,7,5)", true, &ih, &hh, &b3, &b3, f(2, 7, 4), f(2, 7, 4), f(2, 7, 16), f(2, 7, 5), ih, hh);
  BAD(gru_backward, "E_SHAPE", "saved of the shape of x but for 4H = (2,7,16), got f32 (2,7,12)", true, &ih, &hh, &b3, &b3, f(2, 7, 4), f(2, 7, 4),
      f(2, 7, 12), f(2, 7, 5), ih, hh);
}

void losses() {
  const Spec dw = f(50, 8), dt = f(1), scale = f(6), wrong = f(5);
  GOOD(embedding, "bf16 (2,3,8)", i(2, 3), h(50, 8));
  BAD(embedding, "E_DTYPE", "ids of dtype i32, got f32 (2,3)", f(2, 3), h(50, 8));
  GOOD(embedding_backward, "", &dw, f(2, 3, 8), i(2, 3));
  BAD(embedding_backward, "E_ARGUMENT", "dw, got nothing", nullptr, f(2, 3, 8), i(2, 3));
  BAD(embedding_backward, "E_SHAPE", "dw of shape (V,C) = (*,9), got f32 (50,8)", &dw, f(2, 3, 9), i(2, 3));
  GOOD(softmax_cross_entropy, "f32 (2,3); f32 (2,3)", h(2, 3, 50), i(6), -100);
  BAD(softmax_cross_entropy, "E_SHAPE", "target of shape (N) with 6 elements, got i32 (5)", h(2, 3, 50), i(5), -100);
  BAD(softmax_cross_entropy, "E_VALUE", "vocabulary V in [1, 2147483648), got 0", h(2, 0), i(2), -100);
  GOOD(softmax_cross_entropy_backward, "bf16 (6,50)", f(6), h(6, 50), f(6), i(6), -100);
  BAD(softmax_cross_entropy_backward, "E_DTYPE", "dloss of dtype f32, got bf16 (6)", h(6), h(6, 50), f(6), i(6), -100);
  GOOD(head_cross_entropy, "f32 (2,3); f32 (2,3,8)", true, &dw, f(2, 3, 8), f(50, 8), i(2, 3), &scale, -100, 0);
  BAD(head_cross_entropy, "E_SHAPE", "row_scale of shape (N) with 6 elements, got f32 (5)", true, &dw, f(2, 3, 8), f(50, 8), i(2, 3), &wrong, -100,
      0);
  GOOD(head_cross_entropy, "f32 (2,3); f32 (2,3,8)", true, &dw, f(2, 3, 8), f(60, 8), i(2, 3), nullptr, -100, 10);
  BAD(head_cross_entropy, "E_VALUE", "first row of dw in [0, 11), got 11", true, &dw, f(2, 3, 8), f(60, 8), i(2, 3), nullptr, -100, 11);
  BAD(head_cross_entropy, "E_VALUE", "rows of dw in [0, 50), got 50", true, &dw, f(2, 3, 8), f(49, 8), i(2, 3), nullptr, -100, 0);
  BAD(head_cross_entropy, "E_SHAPE", "dw of shape (R,C) = (*,9), got f32 (50,8)", true, &dw, f(2, 3, 9), f(50, 9), i(2, 3), nullptr, -100, 0);
  GOOD(contrastive_loss, "f32 (1); f32 (4,4)", f(4, 8), f(4, 8), f(1), TemperatureForm::exp);
  BAD(contrastive_loss, "E_SHAPE", "b of the shape of a = (4,8), got f32 (5,8)", f(4, 8), f(5, 8), f(1), TemperatureForm::exp);
  BAD(contrastive_loss, "E_VALUE", "form in [0, 2), got 2", f(4, 8), f(4, 8), f(1), static_cast<TemperatureForm>(2));
  GOOD(contrastive_loss_backward, "f32 (4,8); nothing", true, false, &dt, f(1), f(4, 8), f(4, 8), f(1), f(4, 4), TemperatureForm::exp);
  BAD(contrastive_loss_backward, "E_SHAPE", "logits of shape (B,B) = (4,4), got f32 (4,5)", true, false, &dt, f(1), f(4, 8), f(4, 8), f(1), f(4, 5),
      TemperatureForm::exp);
  GOOD(sum, "f32 (1)", h(2, 3), 0.5);
  BAD(sum, "E_DTYPE", "x of dtype f32 or bf16, got i32 (2)", i(2), 0.5);
  GOOD(argmax, "i32 (2)", f(2, 50));
  BAD(argmax, "E_VALUE", "V in [1, 2147483648), got 0", f(2, 0));
  GOOD(sample_categorical, "i32 (2)", f(2, 50), i(1), 7);
  BAD(sample_categorical, "E_DTYPE", "counter of dtype i32, got f32 (1)", f(2, 50), f(1), 7);
  GOOD(increment, "", i(3), -1);
  BAD(increment, "E_DTYPE", "x of dtype i32, got f32 (3)", f(3), 1);
}

void optimisers() {
  const SpecList p = {f(300, 2), f(7)}, half = {h(300, 2), h(7)}, one = {f(300, 2)}, codes = {u(300, 2), u(7)}, absmax = {f(3), f(1)},
                 short_absmax = {f(2), f(1)};
  const Spec scale = f(1);
  GOOD(adamw, "", p, p, p, p, &scale, 1e-3, 0.9, 0.999, 1e-8, 0.01, 1);
  BAD(adamw, "E_VALUE", "g of as many tensors as p, 2, got 1", p, one, p, p, nullptr, 1e-3, 0.9, 0.999, 1e-8, 0.01, 1);
  BAD(adamw, "E_DTYPE", "g[0] of dtype f32, got bf16 (300,2)", p, half, p, p, nullptr, 1e-3, 0.9, 0.999, 1e-8, 0.01, 1);
  BAD(adamw, "E_VALUE", "beta2 in [0, 1), got 1", p, p, p, p, nullptr, 1e-3, 0.9, 1.0, 1e-8, 0.01, 1);
  BAD(adamw, "E_VALUE", "step >= 1, got 0", p, p, p, p, nullptr, 1e-3, 0.9, 0.999, 1e-8, 0.01, 0);
  GOOD(adamw_8bit, "", p, p, codes, absmax, codes, absmax, nullptr, 1e-3, 0.9, 0.999, 1e-8, 0.01, 1);
  BAD(adamw_8bit, "E_SHAPE", "v_absmax[0] of shape (ceil(n/256)) with 3 elements, got f32 (2)", p, p, codes, absmax, codes, short_absmax, nullptr,
      1e-3, 0.9, 0.999, 1e-8, 0.01, 1);
  BAD(adamw_8bit, "E_DTYPE", "m[0] of dtype u8, got f32 (300,2)", p, p, p, absmax, codes, absmax, nullptr, 1e-3, 0.9, 0.999, 1e-8, 0.01, 1);
  const SpecList mixed = {u(300, 2), f(7)}, first = {f(3)}, none;
  const NumberList rates = {1e-3, 1e-4}, decays = {0.01, 0}, steps = {1, 7}, half_steps = {1, 1.5};
  const double unclipped = std::numeric_limits<double>::infinity();
  GOOD(adamw_clipped, "f32 (1)", p, p, p, p, none, none, rates, decays, steps, 0.9, 0.999, 1e-8, 1);
  GOOD(adamw_clipped, "f32 (1)", p, p, mixed, mixed, first, first, rates, decays, steps, 0.9, 0.999, 1e-8, unclipped);
  BAD(adamw_clipped, "E_DTYPE", "v[0] of dtype u8, got f32 (300,2)", p, p, mixed, p, first, first, rates, decays, steps, 0.9, 0.999, 1e-8, 1);
  BAD(adamw_clipped, "E_DTYPE", "m[0] of dtype f32 or u8, got bf16 (300,2)", p, p, half, half, none, none, rates, decays, steps, 0.9, 0.999, 1e-8, 1);
  BAD(adamw_clipped, "E_VALUE", "m of as many tensors as p, 2, got 1", p, p, one, p, none, none, rates, decays, steps, 0.9, 0.999, 1e-8, 1);
  BAD(adamw_clipped, "E_VALUE", "m_absmax of as many tensors as p, 1, got 2", p, p, mixed, mixed, absmax, first, rates, decays, steps, 0.9, 0.999,
      1e-8, 1);
  BAD(adamw_clipped, "E_VALUE", "lr of as many numbers as p, 2, got 0", p, p, p, p, none, none, NumberList(), decays, steps, 0.9, 0.999, 1e-8, 1);
  BAD(adamw_clipped, "E_VALUE", "step[1] as an integer >= 1, got 1.500000", p, p, p, p, none, none, rates, decays, half_steps, 0.9, 0.999, 1e-8, 1);
  BAD(adamw_clipped, "E_VALUE", "max_norm > 0, got 0", p, p, p, p, none, none, rates, decays, steps, 0.9, 0.999, 1e-8, 0);
  GOOD(grad_norm, "f32 (1)", p);
  BAD(grad_norm, "E_DTYPE", "g[0] of dtype f32, got bf16 (300,2)", half);
  GOOD(clip_scale, "f32 (1)", f(1), 1.0);
  BAD(clip_scale, "E_VALUE", "max_norm > 0, got 0", f(1), 0);
}

}  // namespace

int main() {
  movement();
  arithmetic();
  matmul();
  quantized_products();
  quantisation();
  norms();
  attentions();
  convolution();
  losses();
  optimisers();
  // copy takes anything.
#define OP(name) CHECK_SAY(good_calls[#name] > 0 && (bad_calls[#name] > 0 || std::string(#name) == "copy"), "no case for " #name);
#include "ops.def"
  return check::finish();
}
