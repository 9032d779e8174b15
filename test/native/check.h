// The C++ tests' few lines of harness: CHECK counts and reports, finish() prints the closing line and gives the exit code.
#pragma once
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace check {
inline std::atomic<int> passed{0}, failed{0};  // CHECK may run on any thread

inline bool that(bool ok, const char* expression, const char* file, int line, const std::string& detail = "") {
  ok ? ++passed : ++failed;
  if (!ok && failed <= 50) std::printf("FAIL %s:%d: %s%s%s\n", file, line, expression, detail.empty() ? "" : ": ", detail.c_str());
  return ok;
}
// Tests that go through the CPU's dispatch levels keep to the one that ANYMAL_CPU_LEVEL names.
inline bool wants_level(const std::string& level) {
  const char* only = std::getenv("ANYMAL_CPU_LEVEL");
  return !only || !*only || level == only;
}
inline int finish() {
  std::printf("%d passed, %d failed\n", passed.load(), failed.load());
  return failed > 0 || passed == 0 ? 1 : 0;
}
}  // namespace check

#define CHECK(expression) check::that((expression), #expression, __FILE__, __LINE__)
// `detail` says what was got.
#define CHECK_SAY(expression, detail) check::that((expression), #expression, __FILE__, __LINE__, (detail))
