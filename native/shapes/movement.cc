#include "shapes/check.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

void expect_dim(const Rule& rule, const char* name, int64_t dim, const Spec& x) { rule.between(name, dim, 0, x.rank); }

// (N,C) by index (N)
Spec indexed_rows(const Rule& rule, const Spec& index, DType t, int64_t cols) {
  rule("index", index).dtype(DType::i32);
  return rule.appended(index, t, cols);
}
void expect_indexed(const Rule& rule, const Spec& dy, const Spec& index) {
  rule("dy", dy).floating().at_least(1, "(N,C)");
  rule("index", index).dtype(DType::i32).elements("(N)", dy.rows());
}

}  // namespace

SpecList copy(const Spec& x) { return {x}; }

SpecList fill(const Spec& y, double value) {
  const Rule rule("fill");
  if (y.dtype == DType::i32 && !(value >= -2147483648.0 && value <= 2147483647.0)) rule.refuse("a value that i32 holds", std::to_string(value));
  if (y.dtype == DType::u8 && !(value >= 0 && value <= 255)) rule.refuse("a value that u8 holds", std::to_string(value));
  return {};
}

SpecList cast(const Spec& x, DType dtype) {
  const auto allowed = [](DType from, DType to) {
    if (from == to) return true;
    if (from == DType::f32) return to == DType::bf16 || to == DType::i32;
    if (from == DType::u8) return to == DType::f32 || to == DType::i32;
    return to == DType::f32;
  };
  if (!allowed(x.dtype, dtype))
    Rule("cast").refuse_dtype("one of f32 <-> bf16, f32 <-> i32, u8 -> f32, u8 -> i32", x.text() + " to " + name_of(dtype));
  return {x.with_dtype(dtype)};
}

SpecList concat(const SpecList& xs, int64_t dim) {
  const Rule rule("concat");
  if (xs.empty()) rule.refuse("at least one tensor", "none");
  expect_dim(rule, "dim", dim, xs[0]);
  Spec y = xs[0];
  y.shape[dim] = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    const std::string name = "tensor " + std::to_string(i);
    Spec same = xs[0];
    if (xs[i].rank == same.rank) same.shape[dim] = xs[i].shape[dim];
    rule(name.c_str(), xs[i]).like("tensor 0 in all but the joined dim", same);
    y.shape[dim] += xs[i].shape[dim];
  }
  return rule.outputs({y});
}

SpecList slice_copy(const Spec& x, int64_t dim, int64_t start, int64_t length) {
  const Rule rule("slice_copy");
  expect_dim(rule, "dim", dim, x);
  const int64_t n = x.shape[dim];
  rule.between("start", start, 0, n + 1);
  rule.between("length", length, 0, n - start + 1);
  Spec y = x;
  y.shape[dim] = length;
  return rule.outputs({y});
}

SpecList slice_place(const Spec& x, int64_t dim, int64_t start, int64_t full) {
  const Rule rule("slice_place");
  expect_dim(rule, "dim", dim, x);
  rule.between("full", full, x.shape[dim], kMaxElements + 1);
  rule.between("start", start, 0, full - x.shape[dim] + 1);
  Spec y = x;
  y.shape[dim] = full;
  return rule.outputs({y});
}

SpecList transpose_copy(const Spec& x, int64_t dim0, int64_t dim1) {
  const Rule rule("transpose_copy");
  expect_dim(rule, "dim0", dim0, x);
  expect_dim(rule, "dim1", dim1, x);
  Spec y = x;
  std::swap(y.shape[dim0], y.shape[dim1]);
  return {y};
}

SpecList gather_rows(const Spec& x, const Spec& index) {
  const Rule rule("gather_rows");
  rule("x", x).at_least(1, "(M,C)");
  return rule.outputs({indexed_rows(rule, index, x.dtype, x.cols())});
}

SpecList gather_rows_backward(const Spec& dy, const Spec& index, int64_t rows) {
  const Rule rule("gather_rows_backward");
  expect_indexed(rule, dy, index);
  rule.at_least("rows", rows, 0);
  return rule.outputs({Spec(dy.dtype, {rows, dy.cols()})});
}

SpecList splice_rows(const Spec& text, const Spec& media, const Spec& index) {
  const Rule rule("splice_rows");
  rule("text", text).floating().at_least(1, "(Nt,C)");
  rule("media", media).dtype(text.dtype).at_least(1, "(Nm,C)");
  if (media.cols() != text.cols()) rule.refuse_shape("media rows as wide as text rows, C = " + std::to_string(text.cols()), media.text());
  return rule.outputs({indexed_rows(rule, index, text.dtype, text.cols())});
}

SpecList splice_rows_backward(bool dtext, bool dmedia, const Spec& dy, const Spec& index, int64_t text_rows, int64_t media_rows) {
  const Rule rule("splice_rows_backward");
  expect_indexed(rule, dy, index);
  rule.between("text_rows", text_rows, 0, kMaxElements);
  rule.between("media_rows", media_rows, 0, kMaxElements);
  const Spec a(dy.dtype, {text_rows, dy.cols()}), b(dy.dtype, {media_rows, dy.cols()});
  return rule.outputs({dtext ? a : Spec::absent(), dmedia ? b : Spec::absent()});
}

SpecList random_uniform(const Spec& y, double low, double high, int64_t, int64_t offset) {
  const Rule rule("random_uniform");
  rule("y", y).floating();
  rule.finite("low", low);
  rule.finite("high", high);
  if (low > high) rule.refuse("low <= high", std::to_string(low) + " and " + std::to_string(high));
  rule.at_least("offset", offset, 0);
  return {};
}

SpecList random_normal(const Spec& y, double mean, double std, int64_t, int64_t offset) {
  const Rule rule("random_normal");
  rule("y", y).floating();
  rule.finite("mean", mean);
  rule.not_negative("std", std);
  rule.at_least("offset", offset, 0);
  return {};
}

}  // namespace anymal::shapes
