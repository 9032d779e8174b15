// Shape rules: one function per op, with the op's name. A rule checks dtypes, shapes and scalars in the caller's words and returns the
// specs of the op's outputs in the order in which the Backend entry lists them.
//
// native/node/bind.h derives a rule's parameters from the Backend entry, in the entry's order (Stream left out):
//   In, InOut -> const Spec&      InOpt, Acc -> const Spec* (null when absent)      InList, InOutList, AccList -> const SpecList&
//   Out -> nothing                OutOpt -> bool (is it wanted?)                    double, int64_t, bool, enums -> themselves
//   Numbers -> const NumberList&   OutList -> int64_t (how many are wanted?)
// Where the inputs do not fix an output's shape or dtype (cast, dequantize_*), the rule takes trailing parameters of its own (DType, Shape).
// JavaScript passes the same arguments in the same order. A rule without outputs returns {}.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "backend.h"

namespace anymal {

struct Spec {
  DType dtype = DType::f32;
  int32_t rank = -1;  // -1: an OutOpt that is not wanted
  int64_t shape[kMaxRank] = {};

  Spec() = default;
  Spec(DType t, std::initializer_list<int64_t> sizes);
  static Spec absent() { return {}; }
  bool wanted() const { return rank >= 0; }
  int64_t size() const;
  int64_t dim(int i) const { return shape[i < 0 ? rank + i : i]; }
  int64_t rows() const;
  int64_t cols() const { return rank ? shape[rank - 1] : 1; }
  size_t bytes() const { return static_cast<size_t>(size()) * dtype_bytes(dtype); }
  Spec with_dtype(DType t) const;
  Spec with_cols(int64_t c) const;  // same leading sizes, last size c
  bool same_shape(const Spec& o) const;
  std::string text() const;  // "f32 (2,3,4)"
};
using SpecList = std::vector<Spec>;
using Shape = std::vector<int64_t>;
using NumberList = std::vector<double>;

// A caller's mistake, thrown on the caller's thread. `code` is stable and documented in docs/errors.md.
struct Error : std::runtime_error {
  Error(std::string code_, const std::string& message) : std::runtime_error(message), code(std::move(code_)) {}
  std::string code;
};

namespace shapes {
// Wording helpers: expect(ok, "rms_norm", "weight of shape (C) = (48)", "f32 (47)") throws
// Error("E_SHAPE", "rms_norm: expected weight of shape (C) = (48), got f32 (47)").
void expect_shape(bool ok, const char* op, const std::string& expected, const std::string& got);  // E_SHAPE
void expect_dtype(bool ok, const char* op, const std::string& expected, const std::string& got);  // E_DTYPE
void expect_value(bool ok, const char* op, const std::string& expected, const std::string& got);  // E_VALUE
}  // namespace shapes
}  // namespace anymal
