// The vocabulary of the shape rules. A rule names its op once, then says of each argument what it must be, in the letters of backend.h:
//
//   const Rule rule("rms_norm");
//   rule("x", x).floating().at_least(1, "(N,C)");
//   rule("weight", w).shape("(C)", {x.cols()});       // rms_norm: expected weight of shape (C) = (48), got f32 (47)
//   rule.positive("eps", eps);
//   return rule.outputs({x, rule.per_row(x)});
//
// An optional argument that is absent (a null pointer) satisfies everything said of it.
#pragma once
#include <initializer_list>
#include <string>

#include "shapes.h"

namespace anymal::shapes {

inline constexpr int64_t any = -1;                         // in expected sizes: not fixed by the other arguments
inline constexpr int64_t kMaxElements = int64_t{1} << 46;  // of one tensor; keeps byte counts and index arithmetic far from overflow
inline constexpr int64_t kMaxStep = int64_t{1} << 31;      // of strides, paddings, dilations and the like

class Argument {
 public:
  Argument(const char* op, const char* name, const Spec* spec) : op_(op), name_(name), spec_(spec) {}

  const Argument& dtype(DType expected) const;
  const Argument& floating() const;          // f32 or bf16
  const Argument& f32_or(DType also) const;  // a parameter kept in f32, or in the dtype of x
  const Argument& rank(int n, const char* letters) const;
  const Argument& at_least(int n, const char* letters) const;  // rank
  const Argument& shape(const char* letters, std::initializer_list<int64_t> sizes) const;
  const Argument& elements(const char* letters, int64_t n) const;  // any shape of n elements
  const Argument& shape_of(const char* other, const Spec& spec) const;
  const Argument& like(const char* other, const Spec& spec) const;  // dtype and shape
  const Argument& given() const;                                    // of an argument whose type lets it be absent

 private:
  std::string of(const char* what, const std::string& expected) const { return std::string(name_) + " of " + what + " " + expected; }
  const char *op_, *name_;
  const Spec* spec_;
};

class Rule {
 public:
  explicit Rule(const char* op) : op_(op) {}

  Argument operator()(const char* name, const Spec& spec) const { return {op_, name, &spec}; }
  Argument operator()(const char* name, const Spec* spec) const { return {op_, name, spec}; }

  // Called behind an `if`, so that words are made only for a mistake.
  [[noreturn]] void refuse(const std::string& expected, const std::string& got) const { throw Error("E_VALUE", said(expected, got)); }
  [[noreturn]] void refuse_shape(const std::string& expected, const std::string& got) const { throw Error("E_SHAPE", said(expected, got)); }
  [[noreturn]] void refuse_dtype(const std::string& expected, const std::string& got) const { throw Error("E_DTYPE", said(expected, got)); }
  void at_least(const char* name, int64_t value, int64_t least) const;
  void between(const char* name, int64_t value, int64_t low, int64_t high) const;  // low <= value < high
  void finite(const char* name, double value) const;
  void positive(const char* name, double value) const;      // finite, > 0
  void not_negative(const char* name, double value) const;  // finite, >= 0
  void fraction(const char* name, double value) const;      // in [0, 1)
  void divides(const char* part_name, int64_t part, const char* whole_name, int64_t whole) const;
  template <class Enum>
  void kind(const char* name, Enum value, Enum last) const {
    between(name, static_cast<int64_t>(value), 0, static_cast<int64_t>(last) + 1);
  }
  int64_t product(const char* name, int64_t a, int64_t b) const;  // refuses what a tensor could not hold

  Spec per_row(const Spec& x) const;  // f32, the leading sizes of x (rank >= 1)
  // `leading`'s sizes but the last, then `cols`; and all sizes, then `cols`.
  Spec with_cols(const Spec& leading, DType t, int64_t cols) const;
  Spec appended(const Spec& leading, DType t, int64_t cols) const;
  Spec make(DType t, const Shape& sizes) const;
  SpecList outputs(std::initializer_list<Spec> specs) const;  // refuses what is too large to exist

 private:
  std::string said(const std::string& expected, const std::string& got) const { return std::string(op_) + ": expected " + expected + ", got " + got; }
  const char* op_;
};

const char* name_of(DType t);

}  // namespace anymal::shapes
