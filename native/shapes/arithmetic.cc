#include "shapes/check.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

constexpr Activation kLastActivation = Activation::identity;

// b is broadcast over the leading sizes of a.
void expect_suffix(const Rule& rule, const char* name, const Spec& b, const char* of, const Spec& a) {
  bool ok = b.rank <= a.rank;
  for (int i = 1; ok && i <= b.rank; ++i) ok = b.dim(-i) == a.dim(-i);
  if (!ok) rule.refuse_shape(std::string(name) + " of the shape of " + of + " = " + a.text() + " or of its last sizes", b.text());
}

SpecList broadcast(const Rule& rule, const Spec& a, const Spec& b) {
  rule("a", a).floating();
  rule("b", b).dtype(a.dtype);
  expect_suffix(rule, "b", b, "a", a);
  return {a};
}

void expect_gate(const Rule& rule, const Spec& x, const Spec& g) {
  rule("x", x).floating();
  rule("g", g).dtype(DType::f32);
  if (g.size() == 1) return;
  rule("x", x).at_least(2, "(...,G,W)");
  rule("g", g).shape("(G)", {x.dim(-2)});
}

}  // namespace

SpecList add(const Spec& a, const Spec& b) { return broadcast(Rule("add"), a, b); }
SpecList mul(const Spec& a, const Spec& b) { return broadcast(Rule("mul"), a, b); }

SpecList mul_backward(bool da, const Spec* db, const Spec& dy, const Spec& a, const Spec& b) {
  const Rule rule("mul_backward");
  broadcast(rule, a, b);
  rule("dy", dy).like("a", a);
  rule("db", db).dtype(DType::f32).shape_of("b", b);
  return {da ? a : Spec::absent()};
}

SpecList sum_leading(const Spec* db, const Spec& dy) {
  const Rule rule("sum_leading");
  rule("dy", dy).floating();
  rule("db", db).given().dtype(DType::f32);
  expect_suffix(rule, "db", *db, "dy", dy);
  return {};
}

SpecList scale_add(const Spec& x, const Spec* r, double alpha, double beta) {
  const Rule rule("scale_add");
  rule("x", x).floating();
  rule("r", r).like("x", x);
  rule.finite("alpha", alpha);
  rule.finite("beta", beta);
  return {x};
}

SpecList scale_by(const Spec& x, const Spec& s) {
  const Rule rule("scale_by");
  rule("x", x).floating();
  rule("s", s).dtype(DType::f32).elements("(1)", 1);
  return {x};
}

SpecList accumulate(const Spec& y, const Spec& x, double alpha) {
  const Rule rule("accumulate");
  rule("y", y).dtype(DType::f32);
  rule("x", x).floating().shape_of("y", y);
  rule.finite("alpha", alpha);
  return {};
}

SpecList activation(const Spec& x, Activation kind) {
  const Rule rule("activation");
  rule("x", x).floating();
  rule.kind("kind", kind, kLastActivation);
  return {x};
}

SpecList activation_backward(const Spec& dy, const Spec& x, Activation kind) {
  const Rule rule("activation_backward");
  rule("x", x).floating();
  rule("dy", dy).like("x", x);
  rule.kind("kind", kind, kLastActivation);
  return {x};
}

SpecList gated_activation(const Spec& gate, const Spec& up, Activation kind) {
  const Rule rule("gated_activation");
  rule("gate", gate).floating();
  rule("up", up).like("gate", gate);
  rule.kind("kind", kind, kLastActivation);
  return {gate};
}

SpecList gated_activation_backward(const Spec& dy, const Spec& gate, const Spec& up, Activation kind) {
  const Rule rule("gated_activation_backward");
  rule("gate", gate).floating();
  rule("up", up).like("gate", gate);
  rule("dy", dy).like("gate", gate);
  rule.kind("kind", kind, kLastActivation);
  return {gate, up};
}

SpecList tanh_gate(const Spec& x, const Spec* residual, const Spec& g) {
  const Rule rule("tanh_gate");
  expect_gate(rule, x, g);
  rule("residual", residual).like("x", x);
  return {x};
}

SpecList tanh_gate_backward(const Spec* dg, const Spec& dy, const Spec& x, const Spec& g) {
  const Rule rule("tanh_gate_backward");
  expect_gate(rule, x, g);
  rule("dy", dy).like("x", x);
  rule("dg", dg).like("g", g);
  return {x};
}

SpecList dropout(const Spec& x, double p, int64_t, int64_t offset) {
  const Rule rule("dropout");
  rule("x", x).floating();
  rule.fraction("p", p);
  rule.at_least("offset", offset, 0);
  return {x};
}

}  // namespace anymal::shapes
