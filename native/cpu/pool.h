// A thread pool that spins for a few microseconds and then blocks: on two cores a spinning barrier starves the thread it waits for.
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

  // Runs body(context, c, thread) once for each c in [0, chunks), in any order on any thread, and returns when all are done.
  // One chunk, or one thread, runs on the caller alone. The first exception of a body is rethrown here. A body must not call run().
  // The caller waits only for workers that took part: one that the system has not scheduled in time is not missed.
  void run(int64_t chunks, Body body, void* context);

 private:
  void work(int thread);
  void take_chunks(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<uint64_t> round_{0};    // changes when work arrives; workers spin on it before they block
  std::atomic<int64_t> next_{0};      // the next chunk to take
  std::atomic<int> active_{0};        // workers inside the current round
  bool open_ = false, stop_ = false;  // under mutex_
  int64_t chunks_ = 0;
  Body body_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;  // under mutex_
};

}  // namespace anymal::cpu
