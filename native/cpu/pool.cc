#include "cpu/pool.h"

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

}  // namespace

Pool::Pool(int threads) {
  // Where the system gives no more threads (a limit on processes, or on memory), those that are there do the work: the bits are the same.
  try {
    for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { work(t); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

Pool::~Pool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    ++round_;
  }
  wake_.notify_all();
  for (std::thread& w : workers_) w.join();
}

void Pool::take_chunks(int thread) {
  try {
    for (;;) {
      const int64_t c = next_.fetch_add(1, std::memory_order_relaxed);
      if (c >= chunks_) return;
      body_(context_, c, thread);
    }
  } catch (...) {
    next_.store(chunks_, std::memory_order_relaxed);  // the others stop early
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void Pool::run(int64_t chunks, Body body, void* context) {
  if (chunks <= 1 || workers_.empty()) {
    for (int64_t c = 0; c < chunks; ++c) body(context, c, 0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    chunks_ = chunks;
    body_ = body;
    context_ = context;
    next_.store(0, std::memory_order_relaxed);
    open_ = true;
    ++round_;
  }
  if (chunks == 2) wake_.notify_one();
  else wake_.notify_all();
  take_chunks(0);
  for (int i = 0; i < kSpins && active_.load(std::memory_order_acquire) > 0; ++i) pause_briefly();
  std::unique_lock lock(mutex_);
  open_ = false;  // who wakes up only now finds the round closed
  done_.wait(lock, [&] { return active_.load() == 0; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Pool::work(int thread) {
  uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < kSpins && round_.load(std::memory_order_acquire) == seen; ++i) pause_briefly();
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return round_.load() != seen || stop_; });
      if (stop_) return;
      seen = round_.load();
      if (!open_) continue;
      ++active_;
    }
    take_chunks(thread);
    {
      std::lock_guard lock(mutex_);
      if (--active_ > 0) continue;
    }
    done_.notify_one();
  }
}

}  // namespace anymal::cpu
