// Embedding, losses, reductions, sampling.
#include "shapes/check.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

void expect_logits(const Rule& rule, const Spec& logits) {
  rule("logits", logits).floating().at_least(1, "(N,V)");
  rule.between("vocabulary V", logits.cols(), 1, kMaxStep);
}
void expect_target(const Rule& rule, const Spec& target, const Spec& rows) { rule("target", target).dtype(DType::i32).elements("(N)", rows.rows()); }

void expect_pairs(const Rule& rule, const Spec& a, const Spec& b, const Spec& t, TemperatureForm form) {
  rule("a", a).dtype(DType::f32).rank(2, "(B,C)");
  rule("b", b).like("a", a);
  rule.at_least("pairs B", a.dim(0), 1);
  rule("t", t).dtype(DType::f32).elements("(1)", 1);
  rule.kind("form", form, TemperatureForm::reciprocal);
}

}  // namespace

SpecList embedding(const Spec& ids, const Spec& w) {
  const Rule rule("embedding");
  rule("ids", ids).dtype(DType::i32);
  rule("weight", w).floating().rank(2, "(V,C)");
  return rule.outputs({rule.appended(ids, w.dtype, w.dim(1))});
}

SpecList embedding_backward(const Spec* dw, const Spec& dy, const Spec& ids) {
  const Rule rule("embedding_backward");
  rule("dy", dy).floating().at_least(1, "(N,C)");
  rule("ids", ids).dtype(DType::i32).elements("(N)", dy.rows());
  rule("dw", dw).given().dtype(DType::f32).shape("(V,C)", {any, dy.cols()});
  return {};
}

SpecList softmax_cross_entropy(const Spec& logits, const Spec& target, int64_t) {
  const Rule rule("softmax_cross_entropy");
  expect_logits(rule, logits);
  expect_target(rule, target, logits);
  return {rule.per_row(logits), rule.per_row(logits)};
}

SpecList softmax_cross_entropy_backward(const Spec& dloss, const Spec& logits, const Spec& lse, const Spec& target, int64_t) {
  const Rule rule("softmax_cross_entropy_backward");
  expect_logits(rule, logits);
  expect_target(rule, target, logits);
  rule("dloss", dloss).dtype(DType::f32).elements("(N)", logits.rows());
  rule("lse", lse).dtype(DType::f32).elements("(N)", logits.rows());
  return {logits};
}

SpecList head_cross_entropy(bool dx, const Spec* dw, const Spec& x, const Spec& w, const Spec& target, const Spec* row_scale, int64_t,
                            int64_t first) {
  const Rule rule("head_cross_entropy");
  rule("x", x).floating().at_least(1, "(N,C)");
  rule("weight", w).dtype(x.dtype).shape("(V,C)", {any, x.cols()});
  rule.between("vocabulary V", w.dim(0), 1, kMaxStep);
  expect_target(rule, target, x);
  rule("row_scale", row_scale).dtype(DType::f32).elements("(N)", x.rows());
  rule("dw", dw).dtype(DType::f32).shape("(R,C)", {any, x.cols()});
  const int64_t trained = dw ? dw->dim(0) : 0;
  rule.between("rows of dw", trained, 0, w.dim(0) + 1);
  rule.between("first row of dw", first, 0, w.dim(0) - trained + 1);
  return {rule.per_row(x), dx ? x : Spec::absent()};
}

SpecList contrastive_loss(const Spec& a, const Spec& b, const Spec& t, TemperatureForm form) {
  const Rule rule("contrastive_loss");
  expect_pairs(rule, a, b, t, form);
  return rule.outputs({Spec(DType::f32, {1}), Spec(DType::f32, {a.dim(0), a.dim(0)})});
}

SpecList contrastive_loss_backward(bool da, bool db, const Spec* dt, const Spec& dloss, const Spec& a, const Spec& b, const Spec& t,
                                   const Spec& logits, TemperatureForm form) {
  const Rule rule("contrastive_loss_backward");
  expect_pairs(rule, a, b, t, form);
  rule("dloss", dloss).dtype(DType::f32).elements("(1)", 1);
  rule("logits", logits).dtype(DType::f32).shape("(B,B)", {a.dim(0), a.dim(0)});
  rule("dt", dt).dtype(DType::f32).elements("(1)", 1);
  return {da ? a : Spec::absent(), db ? b : Spec::absent()};
}

SpecList sum(const Spec& x, double scale) {
  const Rule rule("sum");
  rule("x", x).floating();
  rule.finite("scale", scale);
  return {Spec(DType::f32, {1})};
}

SpecList argmax(const Spec& x) {
  const Rule rule("argmax");
  rule("x", x).floating().at_least(1, "(N,V)");
  rule.between("V", x.cols(), 1, kMaxStep);
  return {rule.per_row(x).with_dtype(DType::i32)};
}

SpecList sample_categorical(const Spec& logits, const Spec& counter, int64_t) {
  const Rule rule("sample_categorical");
  expect_logits(rule, logits);
  rule("counter", counter).dtype(DType::i32).elements("(1)", 1);
  return {rule.per_row(logits).with_dtype(DType::i32)};
}

SpecList increment(const Spec& x, int64_t by) {
  const Rule rule("increment");
  rule("x", x).dtype(DType::i32);
  rule.between("by", by, -kMaxStep, kMaxStep);
  return {};
}

}  // namespace anymal::shapes
