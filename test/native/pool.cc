// The thread pool on a system that gives fewer threads than asked for.
#include "cpu/pool.h"

#include <sys/resource.h>

#include <atomic>
#include <cstdio>

#include "check.h"

using anymal::cpu::Pool;

namespace {

// Bytes of address space in use: a limit a little above leaves room for a few stacks.
rlim_t address_space() {
  long pages = 0;
  if (FILE* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%ld", &pages) != 1) pages = 0;
    std::fclose(f);
  }
  return static_cast<rlim_t>(pages) * 4096;
}

void works(Pool& pool) {
  std::atomic<int64_t> sum{0};
  pool.run(
      1000, [](void* to, int64_t chunk, int) { *static_cast<std::atomic<int64_t>*>(to) += chunk; }, &sum);
  CHECK(sum == 999 * 1000 / 2);
}

void threads_that_cannot_be_made_are_done_without() {
  rlimit before;
  CHECK(getrlimit(RLIMIT_AS, &before) == 0);
  rlimit tight = before;
  tight.rlim_cur = address_space() + (rlim_t{64} << 20);
  CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
  {
    Pool pool(1024);
    CHECK_SAY(pool.threads() >= 1 && pool.threads() < 1024, std::to_string(pool.threads()));
    works(pool);
  }
  CHECK(setrlimit(RLIMIT_AS, &before) == 0);
  Pool pool(8);
  CHECK(pool.threads() == 8);
  works(pool);
}

}  // namespace

int main() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  Pool pool(8);  // the sanitizers' own memory is not to be limited
  works(pool);
#else
  threads_that_cannot_be_made_are_done_without();
#endif
  return check::finish();
}
