#include "shapes/quantization.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

constexpr int64_t kStateBlock = 256;

// Item i of a list that runs beside the parameters.
void each_beside(const Rule& rule, const char* name, const SpecList& list, const SpecList& p, DType t) {
  if (list.size() != p.size()) rule.refuse(std::string(name) + " of as many tensors as p, " + std::to_string(p.size()), std::to_string(list.size()));
  for (size_t i = 0; i < list.size(); ++i)
    rule((std::string(name) + "[" + std::to_string(i) + "]").c_str(), list[i]).dtype(t).shape_of("its p", p[i]);
}
void each_absmax(const Rule& rule, const char* name, const SpecList& list, const SpecList& p) {
  if (list.size() != p.size()) rule.refuse(std::string(name) + " of as many tensors as p, " + std::to_string(p.size()), std::to_string(list.size()));
  for (size_t i = 0; i < list.size(); ++i)
    rule((std::string(name) + "[" + std::to_string(i) + "]").c_str(), list[i])
        .dtype(DType::f32)
        .elements("(ceil(n/256))", blocks_of(p[i].size(), kStateBlock));
}

void expect_hyperparameters(const Rule& rule, const Spec* scale, double lr, double beta1, double beta2, double eps, double weight_decay,
                            int64_t step) {
  rule("scale", scale).dtype(DType::f32).elements("(1)", 1);
  rule.not_negative("lr", lr);
  rule.fraction("beta1", beta1);
  rule.fraction("beta2", beta2);
  rule.positive("eps", eps);
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
