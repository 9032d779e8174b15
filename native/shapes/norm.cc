#include "shapes/check.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

void expect_rows(const Rule& rule, const char* name, const Spec& x) {
  rule(name, x).floating().at_least(1, "(N,C)");
  rule.at_least("width C", x.cols(), 1);
}
void expect_channels(const Rule& rule, const Spec& x) { rule("x", x).floating().at_least(2, "(B,C,...)"); }
// A parameter over C channels and its gradient.
void expect_parameter(const Rule& rule, const char* name, const Spec* p, DType x, int64_t channels) {
  rule(name, p).f32_or(x).shape("(C)", {channels});
}
void expect_gradient(const Rule& rule, const char* name, const Spec* g, int64_t channels) {
  rule(name, g).dtype(DType::f32).shape("(C)", {channels});
}
void expect_statistic(const Rule& rule, const char* name, const Spec& s, const Spec& x) { rule(name, s).dtype(DType::f32).elements("(N)", x.rows()); }
void expect_groups(const Rule& rule, const Spec& x, int64_t groups) {
  rule.at_least("channels C", x.dim(1), 1);
  rule.divides("groups", groups, "C", x.dim(1));
}
void expect_running(const Rule& rule, const Spec& x, const Spec& mean, const Spec& var) {
  rule("mean", mean).dtype(DType::f32).shape("(C)", {x.dim(1)});
  rule("var", var).dtype(DType::f32).shape("(C)", {x.dim(1)});
}

}  // namespace

SpecList rms_norm(const Spec& x, const Spec& w, double eps) {
  const Rule rule("rms_norm");
  expect_rows(rule, "x", x);
  expect_parameter(rule, "weight", &w, x.dtype, x.cols());
  rule.positive("eps", eps);
  return {x, rule.per_row(x)};
}

SpecList add_rms_norm(const Spec& a, const Spec& b, const Spec& w, double eps) {
  const Rule rule("add_rms_norm");
  expect_rows(rule, "a", a);
  rule("b", b).like("a", a);
  expect_parameter(rule, "weight", &w, a.dtype, a.cols());
  rule.positive("eps", eps);
  return {a, a, rule.per_row(a)};
}

SpecList rms_norm_backward(bool dx, const Spec* dw, const Spec& dy, const Spec& x, const Spec& w, const Spec& rstd, const Spec* past) {
  const Rule rule("rms_norm_backward");
  expect_rows(rule, "x", x);
  rule("dy", dy).like("x", x);
  expect_parameter(rule, "weight", &w, x.dtype, x.cols());
  expect_statistic(rule, "rstd", rstd, x);
  expect_gradient(rule, "dw", dw, x.cols());
  rule("past", past).like("x", x);
  if (past && !dx) rule.refuse("dx for what flows past the norm", "none that is wanted");
  return {dx ? x : Spec::absent()};
}

SpecList layer_norm(const Spec& x, const Spec* w, const Spec* b, double eps) {
  const Rule rule("layer_norm");
  expect_rows(rule, "x", x);
  expect_parameter(rule, "weight", w, x.dtype, x.cols());
  expect_parameter(rule, "bias", b, x.dtype, x.cols());
  rule.positive("eps", eps);
  return {x, rule.per_row(x), rule.per_row(x)};
}

SpecList layer_norm_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec* w, const Spec& mean,
                             const Spec& rstd) {
  const Rule rule("layer_norm_backward");
  expect_rows(rule, "x", x);
  rule("dy", dy).like("x", x);
  expect_parameter(rule, "weight", w, x.dtype, x.cols());
  expect_statistic(rule, "mean", mean, x);
  expect_statistic(rule, "rstd", rstd, x);
  expect_gradient(rule, "dw", dw, x.cols());
  expect_gradient(rule, "db", db, x.cols());
  return {dx ? x : Spec::absent()};
}

SpecList group_norm(const Spec& x, const Spec& w, const Spec& b, int64_t groups, double eps) {
  const Rule rule("group_norm");
  expect_channels(rule, x);
  expect_parameter(rule, "weight", &w, x.dtype, x.dim(1));
  expect_parameter(rule, "bias", &b, x.dtype, x.dim(1));
  expect_groups(rule, x, groups);
  rule.positive("eps", eps);
  const Spec statistics(DType::f32, {x.dim(0), groups});
  return {x, statistics, statistics};
}

SpecList group_norm_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& w, const Spec& mean,
                             const Spec& rstd, int64_t groups) {
  const Rule rule("group_norm_backward");
  expect_channels(rule, x);
  rule("dy", dy).like("x", x);
  expect_parameter(rule, "weight", &w, x.dtype, x.dim(1));
  expect_groups(rule, x, groups);
  rule("mean", mean).dtype(DType::f32).shape("(B,G)", {x.dim(0), groups});
  rule("rstd", rstd).dtype(DType::f32).shape("(B,G)", {x.dim(0), groups});
  expect_gradient(rule, "dw", dw, x.dim(1));
  expect_gradient(rule, "db", db, x.dim(1));
  return {dx ? x : Spec::absent()};
}

SpecList batch_norm_inference(const Spec& x, const Spec& mean, const Spec& var, const Spec& w, const Spec& b, double eps) {
  const Rule rule("batch_norm_inference");
  expect_channels(rule, x);
  expect_running(rule, x, mean, var);
  expect_parameter(rule, "weight", &w, x.dtype, x.dim(1));
  expect_parameter(rule, "bias", &b, x.dtype, x.dim(1));
  rule.positive("eps", eps);
  return {x};
}

SpecList batch_norm_inference_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& mean, const Spec& var,
                                       const Spec& w, double eps) {
  const Rule rule("batch_norm_inference_backward");
  expect_channels(rule, x);
  rule("dy", dy).like("x", x);
  expect_running(rule, x, mean, var);
  expect_parameter(rule, "weight", &w, x.dtype, x.dim(1));
  rule.positive("eps", eps);
  expect_gradient(rule, "dw", dw, x.dim(1));
  expect_gradient(rule, "db", db, x.dim(1));
  return {dx ? x : Spec::absent()};
}

SpecList l2_normalize(const Spec& x, double eps) {
  const Rule rule("l2_normalize");
  expect_rows(rule, "x", x);
  rule.positive("eps", eps);
  return {x, rule.per_row(x)};
}

SpecList l2_normalize_backward(const Spec& dy, const Spec& y, const Spec& norm, double eps) {
  const Rule rule("l2_normalize_backward");
  expect_rows(rule, "y", y);
  rule("dy", dy).like("y", y);
  expect_statistic(rule, "norm", norm, y);
  rule.positive("eps", eps);
  return {y};
}

}  // namespace anymal::shapes
