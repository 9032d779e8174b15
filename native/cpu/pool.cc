#include "cpu/pool.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace anymal::cpu {
namespace {

inline void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}
// About 3 us: longer than the gap between two ops of one layer, far shorter than a time slice.
constexpr int kSpins = 100;
// Inside a region a thread has that long to wait for the next op or for the others, in ns.
constexpr int64_t kPatience = 100'000;
// A look at the clock comes every microsecond or two. Where far more lies between two of them, somebody else had the core meanwhile: for a while
// nobody spins for long, so that whoever it is finds the core free as often as can be.
constexpr int64_t kLost = 50'000, kCrowded = 50'000'000;

int64_t now() { return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Pool::Pool(int threads) : roomy_(static_cast<unsigned>(threads) <= std::thread::hardware_concurrency()) {
  // Where the system gives no more threads (a limit on processes, or on memory), those that are there do the work: the bits are the same.
  try {
    for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { work(t); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

Pool::~Pool() {
  stop_ = true;
  { std::lock_guard lock(mutex_); }
  wake_.notify_all();
  for (std::thread& w : workers_) w.join();
}

void Pool::take_chunks(int thread) {
  try {
    for (int i = 0; i < used_; ++i) {
      Stretch& from = stretches_[(thread + i) % used_];
      for (;;) {
        const int64_t c = from.next.fetch_add(1, std::memory_order_relaxed);
        if (c >= from.end) break;
        body_(context_, c, thread);
      }
    }
  } catch (...) {
    for (int i = 0; i < used_; ++i) stretches_[i].next.store(stretches_[i].end, std::memory_order_relaxed);  // the others stop early
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
    failed_ = true;
  }
}

void Pool::run(int64_t chunks, Body body, void* context) {
  if (chunks <= 1 || workers_.empty()) {
    for (int64_t c = 0; c < chunks; ++c) body(context, c, 0);
    return;
  }
  body_ = body;
  context_ = context;
  used_ = static_cast<int>(std::min<int64_t>({chunks, threads(), kStretches}));
  for (int i = 0; i < used_; ++i) {
    stretches_[i].next.store(chunks * i / used_, std::memory_order_relaxed);
    stretches_[i].end = chunks * (i + 1) / used_;
  }
  state_ = static_cast<uint64_t>(round() + 1) << 32 | kOpen;
  if (const int asleep = asleep_; asleep > 0) {
    { std::lock_guard lock(mutex_); }
    if (chunks > asleep) wake_.notify_all();
    else
      for (int64_t c = 1; c < chunks; ++c) wake_.notify_one();
  }
  take_chunks(0);
  if (state_.fetch_and(~kOpen) & kInside) wait_for_workers();  // who comes only now finds the round closed
  if (!failed_.load(std::memory_order_relaxed)) return;
  std::lock_guard lock(mutex_);
  failed_ = false;
  std::rethrow_exception(std::exchange(error_, nullptr));
}

void Pool::wait_for_workers() {
  const auto left = [&] { return (state_.load() & kInside) == 0; };
  if (spin(left)) return;
  // A chunk takes far less, as a rule: the worker has lost its core.
  if (region_.load(std::memory_order_relaxed)) crowded_until_.store(now() + kCrowded, std::memory_order_relaxed);
  std::unique_lock lock(mutex_);
  caller_asleep_ = true;
  done_.wait(lock, left);
  caller_asleep_ = false;
}

// True when it came while the thread was spinning for it.
template <class Ready>
bool Pool::spin(const Ready& ready) {
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return true;
    pause_briefly();
  }
  if (!roomy_ || !region_.load(std::memory_order_relaxed)) return ready();
  const int64_t start = now();
  if (start < crowded_until_.load(std::memory_order_relaxed)) return ready();
  for (int64_t last = start; last - start < kPatience && region_.load(std::memory_order_relaxed);) {
    for (int i = 0; i < kSpins / 4; ++i) {
      if (ready()) return true;
      pause_briefly();
    }
    const int64_t at = now();
    if (at - last > kLost) {
      crowded_until_.store(at + kCrowded, std::memory_order_relaxed);
      break;
    }
    last = at;
  }
  return ready();
}

bool Pool::join(uint32_t& seen) {
  uint64_t state = state_;
  while (state & kOpen)
    if (state_.compare_exchange_weak(state, state + 1)) break;
  seen = static_cast<uint32_t>(state >> 32);
  return state & kOpen;
}

void Pool::work(int thread) {
  for (uint32_t seen = 0;;) {
    const auto called = [&] { return round() != seen || stop_.load(); };
    if (!spin(called)) {
      std::unique_lock lock(mutex_);
      ++asleep_;
      sleeps_.fetch_add(1, std::memory_order_relaxed);
      wake_.wait(lock, called);
      --asleep_;
    }
    if (stop_) return;
    if (!join(seen)) continue;
    take_chunks(thread);
    const uint64_t before = state_.fetch_sub(1);
    if ((before & kInside) == 1 && caller_asleep_) {
      { std::lock_guard lock(mutex_); }
      done_.notify_one();
    }
  }
}

}  // namespace anymal::cpu
