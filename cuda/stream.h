// The CUDA backend's Stream: one card, one stream of it, scratch memory, pinned staging, and the slot for what kernels find wrong.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "backend.h"

namespace anymal {
namespace cuda {

// Throws with the runtime's words and those of the caller.
void check(cudaError_t error, const char* doing);

// Indices come from data, so kernels look at them. The first bad one is kept here, in pinned memory that kernels write to, until the host next
// waits: synchronize and copy_to_host throw it as std::out_of_range.
struct Fault {
  enum Kind : int32_t { none = 0, row_index, splice_index, token, target, position, pool_index };
  int32_t kind;
  int32_t taken;  // by the first thread
  int64_t at, got, low, high;
};

}  // namespace cuda

struct Stream {
  explicit Stream(int index);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int index;
  cudaStream_t stream = nullptr;
  int multiprocessors = 0;
  size_t shared_limit = 0;  // bytes of shared memory that one block may have
  cuda::Fault* fault = nullptr;
  std::string description;

  // Device memory until the op's Scratch goes out of scope; contents are garbage. Blocks are kept, so that the steady state allocates nothing and
  // a captured graph finds its scratch where it was.
  void* take_scratch(size_t bytes);
  void wait();  // for all that was issued; throws the first error

  static constexpr size_t kStagingBytes = size_t{8} << 20;
  struct Staging {
    void* data = nullptr;
    cudaEvent_t done = nullptr;  // the copy out of it has ended
  } staging[2];

 private:
  friend class Scratch;
  struct Block {
    char* data;
    size_t bytes, used;
  };
  std::vector<Block> scratch_;
  int scratch_users_ = 0;
};

// Scratch of one op: taken in any number of pieces, given back together when the outermost Scratch of the op ends.
class Scratch {
 public:
  explicit Scratch(Stream& s) : stream_(s) { ++s.scratch_users_; }
  ~Scratch() {
    if (--stream_.scratch_users_ > 0) return;
    for (Stream::Block& b : stream_.scratch_) b.used = 0;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* take(int64_t n) {
    return static_cast<T*>(stream_.take_scratch(static_cast<size_t>(n) * sizeof(T)));
  }

 private:
  Stream& stream_;
};

}  // namespace anymal
