// Caching allocator of one device. Lives on the queue's thread: every call but stats(), reset_peak() and those of the scratch account is made
// there, so "freed, then taken again" happens in queue order and needs no lock and no event.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backend.h"

namespace anymal {

struct MemoryStats {
  int64_t in_use;    // bytes handed out to tensors, by the size class of what was asked for
  int64_t scratch;   // bytes that the backend's ops work in
  int64_t peak;      // high-water mark of the two together
  int64_t reserved;  // bytes held from the system: those two and the cached buffers
  int64_t limit;     // of reserved; 0: none
};

class Memory {
 public:
  struct Buffer {
    void* data = nullptr;
    size_t bytes = 0;  // its own size class, which may be above that of what was asked for
  };
  // Free buffers by size class. A capture has an arena of its own, so that nobody else is given a buffer that a replay writes to.
  struct Arena {
    struct Class {
      std::vector<void*> buffers;
      uint64_t used = 0;  // when one was last taken
    };
    std::map<size_t, Class> free;
    bool closed = false;  // the capture is gone: what comes back goes to the common arena
  };
  using ArenaRef = std::shared_ptr<Arena>;

  Memory(const Backend& backend, Stream& stream, int64_t limit);
  ~Memory();  // returns the cached buffers to the system; none may be handed out any more
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  Buffer take(size_t bytes);  // from the current arena; throws std::bad_alloc after giving back what is cached and trying again
  void give_back(Buffer buffer, size_t asked, const ArenaRef& home);
  const ArenaRef& current() const { return current_; }  // the home of what take() gives
  void enter(ArenaRef arena) { current_ = std::move(arena); }
  void leave() { current_ = common_; }
  void close(const ArenaRef& arena);
  bool trim() noexcept;  // gives all cached buffers back to the system; false where there are none, or where it must not be done now

  MemoryStats stats() const { return {in_use_.load(), scratch_.load(), peak_.load(), reserved_.load(), limit_}; }
  void reset_peak() { peak_.store(in_use_.load() + scratch_.load()); }
  static size_t size_class(size_t bytes);

 private:
  // Called by the threads of the op that runs, while the queue's own thread waits for it.
  struct Account final : ScratchAccount {
    explicit Account(Memory& m) : memory(m) {}
    void take(size_t bytes) override;
    void give_back(size_t bytes) noexcept override;
    bool reclaim() noexcept override;
    Memory& memory;
    std::mutex mutex;
  };

  void* from_system(size_t size);
  void* ask_system(size_t size);         // null where it has not so much
  bool make_room(size_t size) noexcept;  // below the limit
  bool shrink(int64_t bytes) noexcept;   // the cache, by at least that much where it has it; what was not used for longest goes first. False: nothing
  void release(size_t size, void* data) noexcept;
  bool capturing_graph() const { return backend_.capture_begin && current_ != common_; }
  void note_peak() { peak_.store(std::max(peak_.load(), in_use_.load() + scratch_.load())); }

  const Backend& backend_;
  Stream& stream_;
  const int64_t limit_;
  Account account_{*this};
  ArenaRef common_ = std::make_shared<Arena>(), current_ = common_;
  uint64_t clock_ = 0;
  int64_t highest_ = 0;  // in_use_ at its highest; never reset
  std::atomic<int64_t> in_use_{0}, scratch_{0}, peak_{0}, reserved_{0};
};

}  // namespace anymal
