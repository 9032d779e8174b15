// Caching allocator of one device. Lives on the queue's thread: every call but stats() and reset_peak() is made there, so "freed, then taken
// again" happens in queue order and needs no lock and no event.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "backend.h"

namespace anymal {

struct MemoryStats {
  int64_t in_use, peak, reserved;  // bytes handed out, their high-water mark, bytes held from the system
};

class Memory {
 public:
  // Free buffers by size class. A capture has an arena of its own, so that nobody else is given a buffer that a replay writes to.
  struct Arena {
    std::map<size_t, std::vector<void*>> free;
    bool closed = false;  // the capture is gone: what comes back goes to the common arena
  };
  using ArenaRef = std::shared_ptr<Arena>;

  Memory(const Backend& backend, Stream& stream);
  ~Memory();  // returns the cached buffers to the system; none may be handed out any more
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* take(size_t bytes);  // from the current arena; throws std::bad_alloc after giving the cache back and trying again
  void give_back(void* data, size_t bytes, const ArenaRef& home);
  const ArenaRef& current() const { return current_; }  // the home of what take() gives
  void enter(ArenaRef arena) { current_ = std::move(arena); }
  void leave() { current_ = common_; }
  void close(const ArenaRef& arena);
  void trim();  // gives all cached buffers back to the system

  MemoryStats stats() const { return {in_use_.load(), peak_.load(), reserved_.load()}; }
  void reset_peak() { peak_.store(in_use_.load()); }
  static size_t size_class(size_t bytes);

 private:
  const Backend& backend_;
  Stream& stream_;
  ArenaRef common_ = std::make_shared<Arena>(), current_ = common_;
  std::atomic<int64_t> in_use_{0}, peak_{0}, reserved_{0};
};

}  // namespace anymal
