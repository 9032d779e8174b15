// A thread pool whose threads spin where more work is on its way, and block where none is. A spinning barrier starves the thread that it waits for as
// soon as two share a core: threads spin for microseconds, inside a region for a little longer, and not at all where somebody else wants their core.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace anymal::cpu {

class Pool {
 public:
  using Body = void (*)(void* context, int64_t chunk, int thread);
  explicit Pool(int threads);  // the caller is thread 0; threads - 1 workers are started, or as many as the system allows
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body(context, c, thread) once for each c in [0, chunks), in any order on any thread, and returns when all are done. Neighbours are one
  // thread's as far as can be.
  // One chunk, or one thread, runs on the caller alone. The first exception of a body is rethrown here. A body must not call run().
  // The caller waits only for workers that took part: one that the system has not scheduled in time is not missed.
  void run(int64_t chunks, Body body, void* context);

  // Between region(true) and region(false) one run follows another at once: waking a worker would cost more than what lies between two of them.
  // Called by who calls run().
  void region(bool open) { region_.store(open, std::memory_order_relaxed); }

  // How often a worker has gone to sleep since the pool was made.
  int64_t sleeps() const { return sleeps_.load(std::memory_order_relaxed); }

 private:
  void work(int thread);
  void take_chunks(int thread);
  template <class Ready>
  bool spin(const Ready& ready);
  uint32_t round() const { return static_cast<uint32_t>(state_.load() >> 32); }
  bool join(uint32_t& seen);  // the round that is open, if one is
  void wait_for_workers();

  // The number of the round, whether it is open to workers that come, and how many are inside. Only the caller opens and closes, and what it opens
  // with is not touched before all have left: the fields below need no lock.
  static constexpr uint64_t kOpen = uint64_t{1} << 31, kInside = kOpen - 1;
  std::atomic<uint64_t> state_{0};
  // Each thread has a stretch of chunks, in which it walks through memory as the hardware foresees it, and where it finds what it wrote in the op
  // before still near. Who has done its own takes from the others'. Where there are many threads several have one together.
  struct alignas(64) Stretch {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  static constexpr int kStretches = 16;
  Stretch stretches_[kStretches];
  int used_ = 0;  // stretches
  Body body_ = nullptr;
  void* context_ = nullptr;

  bool roomy_ = false;  // a core for each thread, if nobody else wants one
  std::atomic<bool> region_{false}, stop_{false};
  std::atomic<int64_t> crowded_until_{0};  // nanoseconds of the steady clock: somebody else wants our cores
  std::atomic<int64_t> sleeps_{0};

  // Who blocks says so, then looks once more; who has something to tell says it, then looks whether anybody blocks.
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<int> asleep_{0};
  std::atomic<bool> caller_asleep_{false};
  std::exception_ptr error_;  // under mutex_
  std::atomic<bool> failed_{false};
  std::vector<std::thread> workers_;
};

}  // namespace anymal::cpu
