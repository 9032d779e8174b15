#include "cpu/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>

#include "cpu/linear/kernels.h"
#include "cpu/stream.h"

namespace anymal::cpu {
namespace {

constexpr int kRepeats = 7;
constexpr int64_t kIterations = 2'000'000;
constexpr int64_t kBlock = int64_t{256} << 20;  // larger than the last-level cache of any machine this runs on

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
// Of one thread alone: what others take of the machine meanwhile is no part of what it can do.
double now_of_thread() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  timespec t{};
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0) return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
#endif
  return now();
}

double seconds_of(Stream& s, int64_t chunks, Pool::Body body, void* context) {
  const auto clock = s.pool.threads() == 1 ? now_of_thread : now;
  const double start = clock();
  s.pool.run(chunks, body, context);
  return clock() - start;
}

double peak_flops(Stream& s, Peak what) {
  struct Probe {
    double (*run)(int64_t);
    std::atomic<double> flops;
  } probe{what == Peak::f32 ? s.kernels->peak_f32 : s.kernels->peak_bf16, 0};
  double best = 0;
  for (int i = 0; i < kRepeats; ++i) {
    const double t = seconds_of(
        s, s.pool.threads(), [](void* p, int64_t, int) { static_cast<Probe*>(p)->flops = static_cast<Probe*>(p)->run(kIterations); }, &probe);
    best = std::max(best, probe.flops * s.pool.threads() / t);
  }
  return best;
}

double peak_bandwidth(Stream& s) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  struct Blocks {
    std::unique_ptr<uint64_t[]> from{new uint64_t[kBlock / 8]()}, to{new uint64_t[kBlock / 8]()};
    std::atomic<uint64_t> sum{0};
  } blocks;
  const auto read = [](void* p, int64_t piece, int) {
    const uint64_t* data = static_cast<Blocks*>(p)->from.get() + piece * (kPiece / 8);
    uint64_t sums[8] = {};
    for (int64_t i = 0; i < kPiece / 8; i += 8)
      for (int j = 0; j < 8; ++j) sums[j] += data[i + j];
    for (const uint64_t sum : sums) static_cast<Blocks*>(p)->sum += sum;
  };
  const auto copy = [](void* p, int64_t piece, int) {
    std::memcpy(static_cast<Blocks*>(p)->to.get() + piece * (kPiece / 8), static_cast<Blocks*>(p)->from.get() + piece * (kPiece / 8), kPiece);
  };
  double best = 0;
  for (int i = 0; i < kRepeats; ++i) {
    best = std::max(best, kBlock / seconds_of(s, kBlock / kPiece, read, &blocks));
    best = std::max(best, 2 * kBlock / seconds_of(s, kBlock / kPiece, copy, &blocks));
  }
  return best;
}

}  // namespace

double measure_peak(Stream& s, Peak what) { return what == Peak::bandwidth ? peak_bandwidth(s) : peak_flops(s, what); }

}  // namespace anymal::cpu
