#include "shapes/quantization.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

void expect_threshold(const Rule& rule, QuantFormat format, double threshold) {
  rule.not_negative("threshold", threshold);
  if (is_4bit(format) && threshold != 0) rule.refuse("threshold 0: only int8 splits off outlier columns", std::to_string(threshold));
}

// A (r,I), B (O,r)
void expect_lora(const Rule& rule, DType t, const Spec& a, const Spec& b, int64_t in_features, int64_t out_features, double scaling, double dropout,
                 int64_t offset) {
  rule("lora_a", a).dtype(t).shape("(r,I)", {any, in_features});
  rule("lora_b", b).dtype(t).shape("(O,r)", {out_features, a.dim(0)});
  rule.at_least("LoRA rank r", a.dim(0), 1);
  rule.finite("scaling", scaling);
  rule.fraction("dropout", dropout);
  rule.at_least("offset", offset, 0);
}

}  // namespace

SpecList linear(const Spec& x, const Spec& w, const Spec* b) {
  const Rule rule("linear");
  rule("x", x).floating().at_least(1, "(N,I)");
  rule("weight", w).dtype(x.dtype).shape("(O,I)", {any, x.cols()});
  rule("bias", b).dtype(x.dtype).shape("(O)", {w.dim(0)});
  return rule.outputs({x.with_cols(w.dim(0))});
}

SpecList linear_dx(const Spec& dy, const Spec& w) {
  const Rule rule("linear_dx");
  rule("dy", dy).floating().at_least(1, "(N,O)");
  rule("weight", w).dtype(dy.dtype).shape("(O,I)", {dy.cols(), any});
  return rule.outputs({dy.with_cols(w.dim(1))});
}

SpecList linear_dw(const Spec* dw, const Spec* db, const Spec& dy, const Spec& x) {
  const Rule rule("linear_dw");
  rule("dy", dy).floating().at_least(1, "(N,O)");
  rule("x", x).dtype(dy.dtype).at_least(1, "(N,I)");
  if (x.rows() != dy.rows()) rule.refuse_shape("x with the N = " + std::to_string(dy.rows()) + " rows of dy", x.text());
  rule("dw", dw).dtype(DType::f32).shape("(O,I)", {dy.cols(), x.cols()});
  rule("db", db).dtype(DType::f32).shape("(O)", {dy.cols()});
  return {};
}

SpecList linear_quantized(const Spec& x, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset, const Spec* b,
                          QuantFormat format, int64_t block, int64_t out_features, double threshold) {
  const Rule rule("linear_quantized");
  rule("x", x).floating().at_least(1, "(N,I)");
  expect_weight(rule, codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols());
  rule("bias", b).dtype(x.dtype).shape("(O)", {out_features});
  expect_threshold(rule, format, threshold);
  return rule.outputs({x.with_cols(out_features)});
}

SpecList linear_quantized_dx(const Spec& dy, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset,
                             QuantFormat format, int64_t block, int64_t in_features) {
  const Rule rule("linear_quantized_dx");
  rule("dy", dy).floating().at_least(1, "(N,O)");
  expect_weight(rule, codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), in_features);
  return rule.outputs({dy.with_cols(in_features)});
}

SpecList linear_quantized_lora(const Spec& x, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset,
                               const Spec* b, const Spec& lora_a, const Spec& lora_b, QuantFormat format, int64_t block, int64_t out_features,
                               double threshold, double scaling, double dropout, int64_t, int64_t offset) {
  const Rule rule("linear_quantized_lora");
  rule("x", x).floating().at_least(1, "(N,I)");
  expect_weight(rule, codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols());
  rule("bias", b).dtype(x.dtype).shape("(O)", {out_features});
  expect_threshold(rule, format, threshold);
  expect_lora(rule, x.dtype, lora_a, lora_b, x.cols(), out_features, scaling, dropout, offset);
  return rule.outputs({x.with_cols(out_features), x.with_cols(lora_a.dim(0))});
}

SpecList linear_quantized_lora_backward(bool dx, const Spec* da, const Spec* db, const Spec& dy, const Spec& x, const Spec& u, const Spec& codes,
                                        const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset, const Spec& lora_a,
                                        const Spec& lora_b, QuantFormat format, int64_t block, double scaling, double dropout, int64_t,
                                        int64_t offset) {
  const Rule rule("linear_quantized_lora_backward");
  rule("x", x).floating().at_least(1, "(N,I)");
  rule("dy", dy).dtype(x.dtype).at_least(1, "(N,O)").shape_of("x but for O", x.with_cols(dy.cols()));
  expect_weight(rule, codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), x.cols());
  expect_lora(rule, x.dtype, lora_a, lora_b, x.cols(), dy.cols(), scaling, dropout, offset);
  rule("u", u).like("x but for r", x.with_cols(lora_a.dim(0)));
  rule("da", da).dtype(DType::f32).shape_of("lora_a", lora_a);
  rule("db", db).dtype(DType::f32).shape_of("lora_b", lora_b);
  return {dx ? x : Spec::absent()};
}

SpecList linear_eight_bit(bool y1, bool y2, const Spec& x, const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax,
                          const SpecList& nested_offset, const SpecList& biases, QuantFormat format, int64_t block, int64_t out_features,
                          int64_t out_features1, int64_t out_features2) {
  const Rule rule("linear_eight_bit");
  rule("x", x).floating().at_least(1, "(N,I)");
  if (y2 && !y1) rule.refuse("a second output with the third", "the third without it");
  const int64_t features[] = {out_features, out_features1, out_features2};
  const size_t count = 1 + y1 + y2;
  const auto expect_count = [&](const char* name, const SpecList& list, bool may_be_empty) {
    if (list.size() != count && !(may_be_empty && list.empty()))
      rule.refuse(std::string("as many ") + name + " as weights, " + std::to_string(count) + (may_be_empty ? ", or none" : ""),
                  std::to_string(list.size()));
  };
  expect_count("codes", codes, false);
  expect_count("absmax", absmax, false);
  expect_count("nested_absmax", nested_absmax, true);
  expect_count("nested_offset", nested_offset, true);
  expect_count("biases", biases, true);
  Spec y[3] = {Spec::absent(), Spec::absent(), Spec::absent()};
  for (size_t i = 0; i < count; ++i) {
    expect_weight(rule, codes[i], absmax[i], nested_absmax.empty() ? nullptr : &nested_absmax[i], nested_offset.empty() ? nullptr : &nested_offset[i],
                  format, block, features[i], x.cols());
    if (!biases.empty()) rule("bias", biases[i]).dtype(x.dtype).shape("(O)", {features[i]});
    y[i] = x.with_cols(features[i]);
  }
  return rule.outputs({y[0], y[1], y[2]});
}

}  // namespace anymal::shapes
