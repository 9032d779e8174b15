// The thread pool: each chunk once, whoever sleeps, spins or comes late; faults; a system that gives fewer threads than asked for.
#include "cpu/pool.h"

#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

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

// Rounds of all sizes behind gaps of all lengths: workers join in time, too late, and out of their sleep.
void each_chunk_runs_once() {
  for (const int threads : {1, 2, 3, 8, 20}) {  // more than there are stretches of chunks
    Pool pool(threads);
    struct Round {
      std::vector<std::atomic<int>> times;
      std::atomic<int> out_of_range{0};
      int threads;
    } round{std::vector<std::atomic<int>>(64), 0, threads};
    volatile int idle = 0;
    bool once = true;
    for (int i = 0; i < (threads > 8 ? 800 : 4000); ++i) {
      pool.region(i / 16 % 2 == 0);
      const int64_t chunks = i * 7 % 65;
      for (auto& t : round.times) t = 0;
      pool.run(
          chunks,
          [](void* to, int64_t chunk, int thread) {
            auto& r = *static_cast<Round*>(to);
            ++r.times[static_cast<size_t>(chunk)];
            if (thread < 0 || thread >= r.threads) ++r.out_of_range;
          },
          &round);
      for (int64_t c = 0; c < 64; ++c) once = once && round.times[static_cast<size_t>(c)] == (c < chunks ? 1 : 0);
      for (int k = 0; k < (i % 11) * (i % 13) * 20; ++k) idle = idle + 1;
    }
    CHECK_SAY(once, std::to_string(threads) + " threads");
    CHECK(round.out_of_range == 0);
  }
}

void a_fault_reaches_the_caller_and_the_next_round_runs() {
  Pool pool(3);
  for (const bool region : {false, true}) {
    pool.region(region);
    for (int64_t bad : {int64_t{0}, int64_t{17}, int64_t{99}}) {
      std::string said;
      try {
        pool.run(
            100,
            [](void* at, int64_t chunk, int) {
              if (chunk == *static_cast<int64_t*>(at)) throw std::runtime_error("chunk");
            },
            &bad);
      } catch (const std::exception& e) {
        said = e.what();
      }
      CHECK_SAY(said == "chunk", said);
      works(pool);
    }
  }
}

// In a region too: the caller may be at something that takes long.
void who_has_nothing_to_do_sleeps() {
  Pool pool(3);
  pool.region(true);
  works(pool);
  const int64_t before = pool.sleeps();
  pool.run(
      2, [](void*, int64_t, int) {}, nullptr);
  while (pool.sleeps() < before + 1) std::this_thread::yield();
  pool.region(false);
  works(pool);
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
  each_chunk_runs_once();
  a_fault_reaches_the_caller_and_the_next_round_runs();
  who_has_nothing_to_do_sleeps();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  Pool pool(8);  // the sanitizers' own memory is not to be limited
  works(pool);
#else
  threads_that_cannot_be_made_are_done_without();
#endif
  return check::finish();
}
