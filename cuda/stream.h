// The CUDA backend's Stream: one card, one stream of it, scratch memory, pinned staging, and the slot for what kernels find wrong.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend.h"

namespace anymal {
namespace cuda {

// Throws with the runtime's words and those of the caller.
void check(cudaError_t error, const char* doing);

// Indices come from data, so kernels look at them. The first bad one of each command is kept here, in pinned memory that kernels write to, until the
// host asks for it after a wait.
struct Fault {
  enum Kind : int32_t { none = 0, row_index, splice_index, token, target, position, pool_index };
  int32_t kind;
  int32_t owner;  // 0: nobody; else of the command, taken by its first thread
  int64_t command, at, got, low, high;
};
struct Faults {
  static constexpr int kSlots = 64;
  Fault slots[kSlots];
  int32_t lost;  // a command found another's fault in its slot
};
// What a kernel gets of it: where to write, and whose fault it is. Captured kernels keep it.
struct FaultSink {
  Faults* to;
  int64_t command;
};

}  // namespace cuda

struct Stream {
  // `processors`: choose kernels as a card with so many multiprocessors would; 0: with this card's.
  Stream(int index, int processors);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int index;
  cudaStream_t stream = nullptr;
  int multiprocessors = 0;  // that kernels are chosen for
  int capability = 0;       // compute capability, times ten
  size_t shared_limit = 0;  // bytes of shared memory that a block may ask for
  int path = -1;            // kernels that all products with quantised weights must take (kPathNames), for who compares them; -1: the best
  bool wgmma = false;       // the card has Hopper's products of warp groups, and the module was compiled for them
  cuda::FaultSink fault{};
  std::string description;

  // Counters that are 0 between kernels: those who share one find out who comes last, and the last sets it to 0 again. So a sum over blocks needs no
  // second launch, nothing to clear, and a captured graph finds its counters as the first run did. One kernel of the stream runs at a time.
  unsigned* counters = nullptr;
  int64_t counters_in_all() const { return std::max<int64_t>(1 << 14, int64_t{32} * multiprocessors); }

  bool capturing = false;  // waiting for the stream would break the capture
  int graphs = 0;          // captures that may run again: they hold addresses of scratch

  void enter() noexcept;                                     // makes the card the calling thread's: every entry of the table begins with it
  void allow_shared(const void* kernel, size_t bytes);       // dynamic shared memory beyond what a kernel has unasked
  void wait();                                               // for all that was issued; throws the first error
  void settle() noexcept;                                    // the same for what frees memory: an error is only said
  void warn(cudaError_t error, const char* doing) noexcept;  // a line on standard error, once: after the first all calls fail alike

  // Device memory until the op's Scratch goes out of scope; contents are garbage. Blocks are kept, so that the steady state allocates nothing and
  // a captured graph finds its scratch where it was. What they lack is allocated by reserve() alone, never in the middle of an op.
  void* take_scratch(size_t bytes);
  // Runs `op` without its launches, then allocates what scratch it lacked; throws std::bad_alloc before the op has changed anything, so that whoever
  // finds memory elsewhere may call the op again.
  template <class F>
  void reserve(const F& op) {
    begin_rehearsal();
    try {
      op();
    } catch (...) {
      rehearsing_ = false;
      throw;
    }
    end_rehearsal();
  }
  bool rehearsing() const { return rehearsing_; }
  // Device memory, at a multiple of 256, that holds `content`: what an earlier call left there or a copy made now, in the order of the stream. For
  // what is longer than a launch's arguments may be: lists of tensors, code books. A kernel that changes it changes it back. Asked for before an op's
  // first launch, since it may throw std::bad_alloc.
  char* table(const std::vector<char>& content);
  void upload(void* dst, const void* src, size_t bytes);  // through pinned memory; the source may go when this returns
  void account_scratch(ScratchAccount* account);          // of the blocks and tables below; null: nobody counts

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
  void open(int processors);
  void close() noexcept;
  void begin_rehearsal();
  void end_rehearsal();
  bool add_block(size_t bytes);
  void free_scratch() noexcept;

  struct Table {
    char* data;
    size_t bytes;
    std::vector<char> content;
    uint64_t used;  // when, counted in uses
    bool in_graph;  // of a graph that may run again
  };
  static constexpr size_t kTables = 8;
  Table& fill_table(const std::vector<char>& content);
  Table& room_for(size_t bytes);
  Table& new_table(size_t bytes);
  void free_table(Table& t) noexcept;
  void free_tables() noexcept;

  std::vector<Table> tables_;
  uint64_t table_uses_ = 0;
  cudaStream_t beside_ = nullptr;  // for copies while a graph is being captured
  std::vector<Block> scratch_;
  int scratch_users_ = 0;
  size_t scratch_bytes_ = 0;
  ScratchAccount* account_ = nullptr;
  bool rehearsing_ = false;
  size_t lacked_ = 0, most_lacked_ = 0, taken_ = 0, most_taken_ = 0;  // bytes, in one Scratch and in the largest of a rehearsal
  std::unordered_map<const void*, size_t> shared_allowed_;
  bool warned_ = false;
};

namespace cuda {
// Thrown by take_scratch where there is too little: the op's entry rehearses it, and runs it again.
struct ScratchLacks {};
}  // namespace cuda

// Scratch of one op: taken in any number of pieces, given back together when the outermost Scratch of the op ends.
class Scratch {
 public:
  explicit Scratch(Stream& s) : stream_(s) { ++s.scratch_users_; }
  ~Scratch() {
    if (--stream_.scratch_users_ > 0) return;
    for (Stream::Block& b : stream_.scratch_) b.used = 0;
    stream_.lacked_ = stream_.taken_ = 0;
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
