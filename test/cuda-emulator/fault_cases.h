// Small kernels with a planted fault, each in a process of its own, which must end with the emulator's report.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "test_support.h"

constexpr const char* kEither = "?";  // as the schedule will have it: a report, or nothing
struct Fault {
  const char* name;
  const char* plain;  // words of the report; none: it crashes; null: this variant sees nothing and the process ends well
  const char* checked;
  const char* asan;
  std::function<void()> run;
};

inline float* zeros(size_t n) {  // never freed: the process ends
  float* p;
  MUST(cudaMalloc(&p, n * sizeof(float)));
  MUST(cudaMemsetAsync(p, 0, n * sizeof(float), nullptr));
  return p;
}
inline float* garbage(size_t n) {
  float* p;
  MUST(cudaMalloc(&p, n * sizeof(float)));
  return p;
}
inline unsigned* counter() { return reinterpret_cast<unsigned*>(zeros(1)); }
template <auto Kernel, class... A>
std::function<void()> with(unsigned blocks, unsigned threads, A... args) {
  return [=] { launch<Kernel>(blocks, threads, args()...); };
}
template <size_t N>
float* array() {
  return garbage(N);
}
template <size_t N>
float* zeroed() {
  return zeros(N);
}
struct Ending {
  int status;
  std::string text;
};
inline Ending in_a_child(const std::function<void()>& run) {
  std::fflush(nullptr);
  int ends[2];
  if (pipe(ends) != 0) return {-1, "no pipe"};
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    alarm(120);
    run();
    _exit(0);
  }
  close(ends[1]);
  Ending e{0, ""};
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) e.text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  waitpid(child, &e.status, 0);
  return e;
}

inline void check_faults(const std::vector<Fault>& faults) {
  for (const Fault& f : faults) {
    const char* expected = f.EMU_VARIANT;
    const Ending e = in_a_child(f.run);
    const std::string detail = std::string(f.name) + ": status " + std::to_string(e.status) + "\n" + e.text;
    const bool well = WIFEXITED(e.status) && WEXITSTATUS(e.status) == 0;
    if (expected == kEither) continue;
    if (!expected) CHECK_SAY(well && e.text.empty(), detail);
    else CHECK_SAY(!well && e.text.find(expected) != std::string::npos, detail);
    // A race is between two lines, and the report names both.
    if (expected && std::string(expected) == "race in") {
      const size_t first = e.text.find("faults_test.cu:"), second = e.text.find("faults_test.cu:", first + 1);
      CHECK_SAY(second != std::string::npos && e.text.find("previous") > first, detail);
    }
  }
}
