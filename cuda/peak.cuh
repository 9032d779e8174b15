// How peaks are timed.
#pragma once
#include <algorithm>

#include "common.cuh"

namespace anymal::cuda {

struct Timer {
  Stream& s;
  cudaEvent_t begin = nullptr, end = nullptr;
  explicit Timer(Stream& stream) : s(stream) {
    check(cudaEventCreateWithFlags(&begin, 0), "making an event");
    check(cudaEventCreateWithFlags(&end, 0), "making an event");
  }
  Timer(const Timer&) = delete;
  ~Timer() {
    if (begin) cudaEventDestroy(begin);
    if (end) cudaEventDestroy(end);
  }
  // The least seconds of several runs after a first one.
  template <class F>
  double seconds(const F& run) {
    constexpr int kRepeats = 5;
    double best = 1e30;
    for (int i = 0; i <= kRepeats; ++i) {
      check(cudaEventRecord(begin, s.stream), "recording an event");
      run();
      check(cudaEventRecord(end, s.stream), "recording an event");
      check(cudaEventSynchronize(end), "measuring");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin, end), "measuring");
      if (i > 0) best = std::min(best, milliseconds * 1e-3);
    }
    return std::max(best, 1e-9);
  }
};

// Work grows with the square of the card's size, so that the largest run for milliseconds and an emulated one of four multiprocessors does not
// run for minutes.
inline int64_t size_of(const Stream& s) { return static_cast<int64_t>(s.multiprocessors) * s.multiprocessors; }

double peak_warp_group_products(Stream& s);  // FLOP/s; 0 where the card has none

}  // namespace anymal::cuda
