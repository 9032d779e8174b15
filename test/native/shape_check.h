// Calls of shape rules, held to what they give or say, and counted by op; and specs in a few letters.
#pragma once
#include <cmath>
#include <functional>
#include <map>

#include "check.h"
#include "shapes/rules.h"

using namespace anymal;

inline std::map<std::string, int> good_calls, bad_calls;

inline void good(const char* op, const std::function<SpecList()>& call, const std::string& expected) {
  ++good_calls[op];
  std::string got;
  try {
    for (const Spec& s : call()) got += (got.empty() ? "" : "; ") + s.text();
  } catch (const Error& e) {
    got = e.code + " " + e.what();
  }
  CHECK_SAY(got == expected, std::string(op) + ": expected \"" + expected + "\", got \"" + got + "\"");
}

inline void bad(const char* op, const std::function<SpecList()>& call, const std::string& code, const std::string& words) {
  ++bad_calls[op];
  std::string got = "no error";
  try {
    call();
  } catch (const Error& e) {
    got = e.code + " " + e.what();
  }
  CHECK_SAY(got == code + " " + op + ": expected " + words, "got \"" + got + "\"");
}

#define GOOD(op, expected, ...) \
  good(                         \
      #op, [&] { return shapes::op(__VA_ARGS__); }, expected)
#define BAD(op, code, words, ...) \
  bad(                            \
      #op, [&] { return shapes::op(__VA_ARGS__); }, code, words)

template <class... Sizes>
Spec make(DType t, Sizes... sizes) {
  return Spec(t, {static_cast<int64_t>(sizes)...});
}
template <class... S>
Spec f(S... s) {
  return make(DType::f32, s...);
}
template <class... S>
Spec h(S... s) {
  return make(DType::bf16, s...);
}
template <class... S>
Spec i(S... s) {
  return make(DType::i32, s...);
}
template <class... S>
Spec u(S... s) {
  return make(DType::u8, s...);
}
