#include <utility>

#include "shapes/quantization.h"
#include "shapes/rules.h"

namespace anymal::shapes {

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

SpecList linear_fused(bool pre, const Spec& x, const Spec& w, const Spec* b, const Spec* residual, Activation kind) {
  const Rule rule("linear_fused");
  rule("x", x).floating().at_least(1, "(N,I)");
  rule("weight", w).f32_or(x.dtype).shape("(O,I)", {any, x.cols()});
  rule("bias", b).dtype(x.dtype).shape("(O)", {w.dim(0)});
  rule.kind("kind", kind, Activation::identity);
  const Spec y = x.with_cols(w.dim(0));
  rule("residual", residual).like("y", y);
  if (residual && (pre || kind != Activation::identity)) rule.refuse("no activation before a residual", "both");
  return rule.outputs({y, pre ? y : Spec::absent()});
}

SpecList linear_fused_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec* x, const Spec* w, const Spec* pre,
                               Activation kind) {
  const Rule rule("linear_fused_backward");
  rule("dy", dy).floating().at_least(1, "(N,O)");
  rule.kind("kind", kind, Activation::identity);
  rule("db", db).dtype(DType::f32).shape("(O)", {dy.cols()});
  if (dw) {
    rule("x", x).given().dtype(dy.dtype).at_least(1, "(N,I)");
    if (x->rows() != dy.rows()) rule.refuse_shape("x with the N = " + std::to_string(dy.rows()) + " rows of dy", x->text());
    rule("dw", dw).dtype(DType::f32).shape("(O,I)", {dy.cols(), x->cols()});
  }
  if (!dx) return {Spec::absent()};
  rule("weight", w).given().f32_or(dy.dtype).shape("(O,I)", {dy.cols(), any});
  const Spec of_x = dy.with_cols(w->dim(1));
  rule("pre", pre).like("dx", of_x);
  return rule.outputs({of_x});
}

SpecList project_two_source(const Spec& x1, const Spec& x2, const Spec& wq, const Spec& wk, const Spec& wv) {
  const Rule rule("project_two_source");
  rule("x1", x1).floating().at_least(1, "(...,I)");
  rule("x2", x2).dtype(x1.dtype).at_least(1, "(...,I)");
  if (x2.cols() != x1.cols()) rule.refuse_shape("x2 as wide as x1, I = " + std::to_string(x1.cols()), x2.text());
  for (const auto& [name, w] : {std::pair{"wq", &wq}, {"wk", &wk}, {"wv", &wv}}) rule(name, *w).f32_or(x1.dtype).shape("(O,I)", {any, x1.cols()});
  return rule.outputs({x2.with_cols(wq.dim(0)), x1.with_cols(wk.dim(0)), x1.with_cols(wv.dim(0)), x2.with_cols(wk.dim(0)), x2.with_cols(wv.dim(0))});
}

SpecList project_two_source_backward(bool dx1, bool dx2, const Spec* dwq, const Spec* dwk, const Spec* dwv, const Spec& dq, const Spec& dk1,
                                     const Spec& dv1, const Spec& dk2, const Spec& dv2, const Spec& x1, const Spec& x2, const Spec& wq,
                                     const Spec& wk, const Spec& wv) {
  const SpecList ahead = project_two_source(x1, x2, wq, wk, wv);
  const Rule rule("project_two_source_backward");
  rule("dq", dq).like("q", ahead[0]);
  rule("dk1", dk1).like("k1", ahead[1]);
  rule("dv1", dv1).like("v1", ahead[2]);
  rule("dk2", dk2).like("k2", ahead[3]);
  rule("dv2", dv2).like("v2", ahead[4]);
  rule("dwq", dwq).dtype(DType::f32).shape_of("wq", wq);
  rule("dwk", dwk).dtype(DType::f32).shape_of("wk", wk);
  rule("dwv", dwv).dtype(DType::f32).shape_of("wv", wv);
  return {dx1 ? x1 : Spec::absent(), dx2 ? x2 : Spec::absent()};
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

}  // namespace anymal::shapes
