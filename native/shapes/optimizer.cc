#include <cmath>

#include "shapes/quantization.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

constexpr int64_t kStateBlock = 256;

void as_many(const Rule& rule, const char* name, const char* what, size_t got, const SpecList& p) {
  if (got != p.size()) rule.refuse(std::string(name) + " of as many " + what + " as p, " + std::to_string(p.size()), std::to_string(got));
}
// Item i of a list that runs beside the parameters.
void each_beside(const Rule& rule, const char* name, const SpecList& list, const SpecList& p, DType t) {
  as_many(rule, name, "tensors", list.size(), p);
  for (size_t i = 0; i < list.size(); ++i)
    rule((std::string(name) + "[" + std::to_string(i) + "]").c_str(), list[i]).dtype(t).shape_of("its p", p[i]);
}
void each_absmax(const Rule& rule, const char* name, const SpecList& list, const SpecList& p) {
  as_many(rule, name, "tensors", list.size(), p);
  for (size_t i = 0; i < list.size(); ++i)
    rule((std::string(name) + "[" + std::to_string(i) + "]").c_str(), list[i])
        .dtype(DType::f32)
        .elements("(ceil(n/256))", blocks_of(p[i].size(), kStateBlock));
}

void expect_common(const Rule& rule, double beta1, double beta2, double eps) {
  rule.fraction("beta1", beta1);
  rule.fraction("beta2", beta2);
  rule.positive("eps", eps);
}
void expect_hyperparameters(const Rule& rule, const Spec* scale, double lr, double beta1, double beta2, double eps, double weight_decay,
                            int64_t step) {
  rule("scale", scale).dtype(DType::f32).elements("(1)", 1);
  rule.not_negative("lr", lr);
  expect_common(rule, beta1, beta2, eps);
  rule.not_negative("weight_decay", weight_decay);
  rule.at_least("step", step, 1);
}

}  // namespace

SpecList adamw(const SpecList& p, const SpecList& g, const SpecList& m, const SpecList& v, const Spec* scale, double lr, double beta1, double beta2,
               double eps, double weight_decay, int64_t step) {
  const Rule rule("adamw");
  each_beside(rule, "p", p, p, DType::f32);
  each_beside(rule, "g", g, p, DType::f32);
  each_beside(rule, "m", m, p, DType::f32);
  each_beside(rule, "v", v, p, DType::f32);
  expect_hyperparameters(rule, scale, lr, beta1, beta2, eps, weight_decay, step);
  return {};
}

SpecList adamw_8bit(const SpecList& p, const SpecList& g, const SpecList& m, const SpecList& m_absmax, const SpecList& v, const SpecList& v_absmax,
                    const Spec* scale, double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step) {
  const Rule rule("adamw_8bit");
  each_beside(rule, "p", p, p, DType::f32);
  each_beside(rule, "g", g, p, DType::f32);
  each_beside(rule, "m", m, p, DType::u8);
  each_absmax(rule, "m_absmax", m_absmax, p);
  each_beside(rule, "v", v, p, DType::u8);
  each_absmax(rule, "v_absmax", v_absmax, p);
  expect_hyperparameters(rule, scale, lr, beta1, beta2, eps, weight_decay, step);
  return {};
}

SpecList adamw_clipped(const SpecList& p, const SpecList& g, const SpecList& m, const SpecList& v, const SpecList& m_absmax, const SpecList& v_absmax,
                       const NumberList& lr, const NumberList& weight_decay, const NumberList& step, double beta1, double beta2, double eps,
                       double max_norm) {
  const Rule rule("adamw_clipped");
  each_beside(rule, "p", p, p, DType::f32);
  each_beside(rule, "g", g, p, DType::f32);
  as_many(rule, "m", "tensors", m.size(), p);
  as_many(rule, "v", "tensors", v.size(), p);
  SpecList coded;
  for (size_t i = 0; i < p.size(); ++i) {
    const std::string at = "[" + std::to_string(i) + "]";
    if (m[i].dtype != DType::f32 && m[i].dtype != DType::u8) rule.refuse_dtype("m" + at + " of dtype f32 or u8", m[i].text());
    rule(("m" + at).c_str(), m[i]).shape_of("its p", p[i]);
    rule(("v" + at).c_str(), v[i]).dtype(m[i].dtype).shape_of("its p", p[i]);
    if (m[i].dtype == DType::u8) coded.push_back(p[i]);
  }
  each_absmax(rule, "m_absmax", m_absmax, coded);
  each_absmax(rule, "v_absmax", v_absmax, coded);
  as_many(rule, "lr", "numbers", lr.size(), p);
  as_many(rule, "weight_decay", "numbers", weight_decay.size(), p);
  as_many(rule, "step", "numbers", step.size(), p);
  for (size_t i = 0; i < p.size(); ++i) {
    rule.not_negative("lr", lr[i]);
    rule.not_negative("weight_decay", weight_decay[i]);
    if (!(step[i] >= 1 && step[i] == std::floor(step[i]) && step[i] < 9007199254740992.0))
      rule.refuse("step[" + std::to_string(i) + "] as an integer >= 1", std::to_string(step[i]));
  }
  expect_common(rule, beta1, beta2, eps);
  if (!std::isinf(max_norm) || max_norm < 0) rule.positive("max_norm", max_norm);
  return {Spec(DType::f32, {1})};
}

SpecList grad_norm(const SpecList& g) {
  const Rule rule("grad_norm");
  for (size_t i = 0; i < g.size(); ++i) rule(("g[" + std::to_string(i) + "]").c_str(), g[i]).dtype(DType::f32);
  return {Spec(DType::f32, {1})};
}

SpecList clip_scale(const Spec& norm, double max_norm) {
  const Rule rule("clip_scale");
  rule("norm", norm).dtype(DType::f32).elements("(1)", 1);
  rule.positive("max_norm", max_norm);
  return {Spec(DType::f32, {1})};
}

}  // namespace anymal::shapes
