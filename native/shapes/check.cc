#include "shapes/check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace anymal {
namespace {

std::string sizes_text(const int64_t* sizes, size_t n) {
  std::string text = "(";
  for (size_t i = 0; i < n; ++i) text += (i ? "," : "") + (sizes[i] == shapes::any ? "*" : std::to_string(sizes[i]));
  return text + ")";
}
std::string shape_text(const Spec& s) { return sizes_text(s.shape, static_cast<size_t>(s.rank)); }

std::string number_text(double v) {
  char text[40];
  std::snprintf(text, sizeof text, "%g", v);
  return text;
}

}  // namespace

Spec::Spec(DType t, std::initializer_list<int64_t> sizes) : dtype(t), rank(static_cast<int32_t>(sizes.size())) {
  if (sizes.size() > static_cast<size_t>(kMaxRank)) throw Error("E_SHAPE", "expected at most " + std::to_string(kMaxRank) + " dimensions");
  std::copy(sizes.begin(), sizes.end(), shape);
}

int64_t Spec::size() const {
  int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= shape[i];
  return n;
}

int64_t Spec::rows() const {
  int64_t n = 1;
  for (int i = 0; i + 1 < rank; ++i) n *= shape[i];
  return n;
}

Spec Spec::with_dtype(DType t) const {
  Spec s = *this;
  s.dtype = t;
  return s;
}

Spec Spec::with_cols(int64_t c) const {
  Spec s = *this;
  if (s.rank > 0) s.shape[s.rank - 1] = c;
  return s;
}

bool Spec::same_shape(const Spec& o) const { return rank == o.rank && std::equal(shape, shape + std::max(rank, 0), o.shape); }

std::string Spec::text() const { return wanted() ? std::string(shapes::name_of(dtype)) + " " + shape_text(*this) : "nothing"; }

namespace shapes {
namespace {

void expect(bool ok, const char* code, const char* op, const std::string& expected, const std::string& got) {
  if (!ok) throw Error(code, std::string(op) + ": expected " + expected + ", got " + got);
}

}  // namespace

const char* name_of(DType t) {
  constexpr const char* names[] = {"f32", "bf16", "i32", "u8"};
  return names[static_cast<int>(t)];
}

void expect_shape(bool ok, const char* op, const std::string& expected, const std::string& got) { expect(ok, "E_SHAPE", op, expected, got); }
void expect_dtype(bool ok, const char* op, const std::string& expected, const std::string& got) { expect(ok, "E_DTYPE", op, expected, got); }
void expect_value(bool ok, const char* op, const std::string& expected, const std::string& got) { expect(ok, "E_VALUE", op, expected, got); }

const Argument& Argument::dtype(DType expected) const {
  if (spec_ && spec_->dtype != expected) expect_dtype(false, op_, of("dtype", name_of(expected)), spec_->text());
  return *this;
}
const Argument& Argument::floating() const {
  if (spec_ && spec_->dtype != DType::f32 && spec_->dtype != DType::bf16) expect_dtype(false, op_, of("dtype", "f32 or bf16"), spec_->text());
  return *this;
}
const Argument& Argument::f32_or(DType also) const {
  if (also == DType::f32) return dtype(also);
  if (spec_ && spec_->dtype != DType::f32 && spec_->dtype != also)
    expect_dtype(false, op_, of("dtype", std::string("f32 or ") + name_of(also) + ", the dtype of x"), spec_->text());
  return *this;
}
const Argument& Argument::rank(int n, const char* letters) const {
  if (spec_ && spec_->rank != n) expect_shape(false, op_, of("shape", letters), spec_->text());
  return *this;
}
const Argument& Argument::at_least(int n, const char* letters) const {
  if (spec_ && spec_->rank < n)
    expect_shape(false, op_, of("shape", std::string(letters) + " with at least " + std::to_string(n) + (n == 1 ? " dimension" : " dimensions")),
                 spec_->text());
  return *this;
}
const Argument& Argument::shape(const char* letters, std::initializer_list<int64_t> sizes) const {
  if (!spec_) return *this;
  const bool ok = spec_->rank == static_cast<int32_t>(sizes.size()) &&
                  std::equal(sizes.begin(), sizes.end(), spec_->shape, [](int64_t want, int64_t got) { return want == any || want == got; });
  if (!ok) expect_shape(false, op_, of("shape", std::string(letters) + " = " + sizes_text(sizes.begin(), sizes.size())), spec_->text());
  return *this;
}
const Argument& Argument::elements(const char* letters, int64_t n) const {
  if (spec_ && spec_->size() != n)
    expect_shape(false, op_, of("shape", std::string(letters) + " with " + std::to_string(n) + (n == 1 ? " element" : " elements")), spec_->text());
  return *this;
}
const Argument& Argument::shape_of(const char* other, const Spec& spec) const {
  if (spec_ && !spec_->same_shape(spec)) expect_shape(false, op_, of("the shape of", other) + " = " + shape_text(spec), spec_->text());
  return *this;
}
const Argument& Argument::like(const char* other, const Spec& spec) const { return dtype(spec.dtype).shape_of(other, spec); }
const Argument& Argument::given() const {
  if (!spec_) throw Error("E_ARGUMENT", std::string(op_) + ": expected " + name_ + ", got nothing");
  return *this;
}

void Rule::at_least(const char* name, int64_t value, int64_t least) const {
  if (value < least) refuse(std::string(name) + " >= " + std::to_string(least), std::to_string(value));
}
void Rule::between(const char* name, int64_t value, int64_t low, int64_t high) const {
  if (value < low || value >= high)
    refuse(std::string(name) + " in [" + std::to_string(low) + ", " + std::to_string(high) + ")", std::to_string(value));
}
void Rule::finite(const char* name, double value) const {
  if (!std::isfinite(value)) refuse(std::string("a finite ") + name, number_text(value));
}
void Rule::positive(const char* name, double value) const {
  if (!(std::isfinite(value) && value > 0)) refuse(std::string(name) + " > 0", number_text(value));
}
void Rule::not_negative(const char* name, double value) const {
  if (!(std::isfinite(value) && value >= 0)) refuse(std::string(name) + " >= 0", number_text(value));
}
void Rule::fraction(const char* name, double value) const {
  if (!(value >= 0 && value < 1)) refuse(std::string(name) + " in [0, 1)", number_text(value));
}
void Rule::divides(const char* part_name, int64_t part, const char* whole_name, int64_t whole) const {
  if (part < 1 || whole % part != 0)
    refuse(std::string(part_name) + " that divides " + whole_name + " = " + std::to_string(whole), std::to_string(part));
}
int64_t Rule::product(const char* name, int64_t a, int64_t b) const {
  int64_t n = 0;
  if (__builtin_mul_overflow(a, b, &n) || n > kMaxElements)
    refuse(std::string(name) + " of at most 2^46", std::to_string(a) + " * " + std::to_string(b));
  return n;
}

Spec Rule::per_row(const Spec& x) const {
  Spec s = x.with_dtype(DType::f32);
  s.shape[--s.rank] = 0;
  return s;
}
Spec Rule::with_cols(const Spec& leading, DType t, int64_t cols) const { return leading.with_cols(cols).with_dtype(t); }
Spec Rule::appended(const Spec& leading, DType t, int64_t cols) const {
  if (leading.rank >= kMaxRank) refuse_shape("at most " + std::to_string(kMaxRank - 1) + " leading dimensions", leading.text());
  Spec s = leading.with_dtype(t);
  s.shape[s.rank++] = cols;
  return s;
}
Spec Rule::make(DType t, const Shape& sizes) const {
  if (sizes.size() > static_cast<size_t>(kMaxRank)) refuse_shape("at most " + std::to_string(kMaxRank) + " dimensions", std::to_string(sizes.size()));
  Spec s(t, {});
  for (int64_t n : sizes) {
    if (n < 0) refuse_shape("sizes >= 0", sizes_text(sizes.data(), sizes.size()));
    s.shape[s.rank++] = n;
  }
  return s;
}
// Sizes of zero count as one here, so that no product of some of the sizes overflows either.
SpecList Rule::outputs(std::initializer_list<Spec> specs) const {
  for (const Spec& s : specs) {
    int64_t n = 1;
    for (int i = 0; i < s.rank; ++i)
      if (__builtin_mul_overflow(n, std::max<int64_t>(s.shape[i], 1), &n) || n > kMaxElements)
        refuse_shape("an output of at most 2^46 elements", s.text());
  }
  return specs;
}

}  // namespace shapes
}  // namespace anymal
