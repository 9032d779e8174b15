// Products of one x with several weights at once.
#include <cmath>

#include "shapes/quantization.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

constexpr int64_t kMostWeights = 3;

void expect_count(const Rule& rule, const std::string& name, size_t got, const char* as, size_t count, bool may_be_empty) {
  if (got != count && !(may_be_empty && got == 0))
    rule.refuse("as many " + name + " as " + as + ", " + std::to_string(count) + (may_be_empty ? ", or none" : ""), std::to_string(got));
}

// Weights of one format and block with so many outputs each.
void expect_weights(const Rule& rule, const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax, const SpecList& nested_offset,
                    QuantFormat format, int64_t block, const Shape& out_features, int64_t in_features) {
  const auto expect = [&](const char* name, const SpecList& list, bool may_be_empty) {
    expect_count(rule, name, list.size(), "weights", out_features.size(), may_be_empty);
  };
  expect("codes", codes, false);
  expect("absmax", absmax, false);
  expect("nested_absmax", nested_absmax, true);
  expect("nested_offset", nested_offset, true);
  for (size_t i = 0; i < out_features.size(); ++i)
    expect_weight(rule, codes[i], absmax[i], nested_absmax.empty() ? nullptr : &nested_absmax[i], nested_offset.empty() ? nullptr : &nested_offset[i],
                  format, block, out_features[i], in_features);
}

void expect_biases(const Rule& rule, DType t, const SpecList& biases, const Shape& out_features) {
  expect_count(rule, "biases", biases.size(), "weights", out_features.size(), true);
  for (size_t i = 0; i < biases.size(); ++i) rule("bias", biases[i]).dtype(t).shape("(O)", {out_features[i]});
}

int64_t whole(const Rule& rule, const std::string& name, double v) {
  if (!(v == std::floor(v) && std::abs(v) <= 9007199254740991.0)) rule.refuse(name + " as whole numbers", std::to_string(v));
  return static_cast<int64_t>(v);
}

// Branches of the weights that `of` names; gives the sum of their ranks.
int64_t expect_branches(const Rule& rule, DType t, const SpecList& lora_a, const SpecList& lora_b, const NumberList& of, const NumberList& scaling,
                        const NumberList& offset, const Shape& out_features, int64_t in_features, double dropout) {
  const size_t count = lora_a.size();
  expect_count(rule, "lora_b", lora_b.size(), "lora_a", count, false);
  expect_count(rule, "numbers of weights", of.size(), "lora_a", count, false);
  expect_count(rule, "scalings", scaling.size(), "lora_a", count, false);
  expect_count(rule, "offsets", offset.size(), "lora_a", count, false);
  rule.fraction("dropout", dropout);
  int64_t ranks = 0, next = 0;
  for (size_t j = 0; j < count; ++j) {
    const int64_t i = whole(rule, "numbers of weights", of[j]);
    rule.between("weight of a branch, ascending,", i, next, static_cast<int64_t>(out_features.size()));
    next = i + 1;
    expect_lora(rule, t, lora_a[j], lora_b[j], in_features, out_features[static_cast<size_t>(i)], scaling[j], dropout,
                whole(rule, "offsets", offset[j]));
    ranks += lora_a[j].dim(0);
  }
  return ranks;
}

}  // namespace

SpecList linear_quantized_group(int64_t count, bool u, const Spec& x, const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax,
                                const SpecList& nested_offset, const SpecList& biases, const SpecList& lora_a, const SpecList& lora_b,
                                const NumberList& out_features, const NumberList& of, const NumberList& scaling, const NumberList& offset,
                                QuantFormat format, int64_t block, double threshold, double dropout, int64_t) {
  const Rule rule("linear_quantized_group");
  rule("x", x).floating().at_least(1, "(N,I)");
  rule.between("number of weights", count, 1, kMostWeights + 1);
  expect_count(rule, "out_features", out_features.size(), "weights", static_cast<size_t>(count), false);
  Shape O;
  for (const double o : out_features) O.push_back(whole(rule, "out_features", o));
  expect_weights(rule, codes, absmax, nested_absmax, nested_offset, format, block, O, x.cols());
  expect_biases(rule, x.dtype, biases, O);
  expect_threshold(rule, format, threshold);
  const int64_t ranks = expect_branches(rule, x.dtype, lora_a, lora_b, of, scaling, offset, O, x.cols(), dropout);
  if (u != !lora_a.empty()) rule.refuse("u where there are branches, and only there", u ? "u without branches" : "branches without u");
  SpecList all;
  for (const int64_t o : O) all.push_back(rule.outputs({x.with_cols(o)})[0]);
  all.push_back(u ? rule.make(x.dtype, {rule.product("N * sum of ranks", x.rows(), ranks)}) : Spec::absent());
  return all;
}

SpecList linear_quantized_group_backward(bool dx, const SpecList& da, const SpecList& db, const SpecList& dy, const Spec* x, const Spec* u,
                                         const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax, const SpecList& nested_offset,
                                         const SpecList& lora_a, const SpecList& lora_b, const NumberList& of, const NumberList& scaling,
                                         const NumberList& offset, QuantFormat format, int64_t block, int64_t in_features, double dropout, int64_t) {
  const Rule rule("linear_quantized_group_backward");
  rule.between("number of weights", static_cast<int64_t>(dy.size()), 1, kMostWeights + 1);
  rule("dy", dy[0]).floating().at_least(1, "(N,O)");
  Shape O;
  for (const Spec& d : dy) {
    rule("dy", d).dtype(dy[0].dtype).at_least(1, "(N,O)").shape_of("the first but for O", dy[0].with_cols(d.cols()));
    O.push_back(d.cols());
  }
  expect_weights(rule, codes, absmax, nested_absmax, nested_offset, format, block, O, in_features);
  const Spec of_x = rule.outputs({dy[0].with_cols(in_features)})[0];
  const int64_t ranks = expect_branches(rule, of_x.dtype, lora_a, lora_b, of, scaling, offset, O, in_features, dropout);
  if (!lora_a.empty()) {
    rule("x", x).given().like("dx", of_x);
    rule("u", u).given().dtype(of_x.dtype).elements("(N * sum of ranks)", rule.product("N * sum of ranks", of_x.rows(), ranks));
  }
  expect_count(rule, "da", da.size(), "lora_a", lora_a.size(), true);
  expect_count(rule, "db", db.size(), "lora_b", lora_b.size(), true);
  for (size_t j = 0; j < da.size(); ++j) rule("da", da[j]).dtype(DType::f32).shape_of("lora_a", lora_a[j]);
  for (size_t j = 0; j < db.size(); ++j) rule("db", db[j]).dtype(DType::f32).shape_of("lora_b", lora_b[j]);
  return {dx ? of_x : Spec::absent()};
}

SpecList linear_eight_bit(bool y1, bool y2, const Spec& x, const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax,
                          const SpecList& nested_offset, const SpecList& biases, QuantFormat format, int64_t block, int64_t out_features,
                          int64_t out_features1, int64_t out_features2) {
  const Rule rule("linear_eight_bit");
  rule("x", x).floating().at_least(1, "(N,I)");
  if (y2 && !y1) rule.refuse("a second output with the third", "the third without it");
  Shape O{out_features};
  if (y1) O.push_back(out_features1);
  if (y2) O.push_back(out_features2);
  expect_weights(rule, codes, absmax, nested_absmax, nested_offset, format, block, O, x.cols());
  expect_biases(rule, x.dtype, biases, O);
  return rule.outputs(
      {x.with_cols(out_features), y1 ? x.with_cols(out_features1) : Spec::absent(), y2 ? x.with_cols(out_features2) : Spec::absent()});
}

}  // namespace anymal::shapes
