// Runtime state shared by emu.cpp (scheduler) and checker.cpp. Kernels never include this.
#pragma once
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "cuda_runtime.h"

namespace emu {
struct Block;
struct Warp;
struct CpAsync {
  uint32_t dst;
  const void* src;
  int bytes, src_bytes;
};
enum class State : uint8_t { ready, warp_wait, bar_wait, done };

struct Thread {
  void* sp = nullptr;
  char* stack = nullptr;
  Block* block = nullptr;
  Warp* warp = nullptr;
  uint3 idx{};
  int linear = 0, lane = 0;
  State state = State::ready;
  const char* op = "";
  Loc loc;  // where it waits, for deadlock reports
  std::vector<CpAsync> open;
  std::deque<std::vector<CpAsync>> groups;  // cp.async: uncommitted, committed
  void* asan_fake = nullptr;
};
struct Pending {
  unsigned mask = 0, arrived = 0;
  const char* op = "";
  void (*fn)(const Collective&) = nullptr;
  bool orders = false;
  void* args[32];
};
struct Warp {
  int index = 0;
  unsigned ready = 0, live = 0;
  std::array<Pending, 4> pending;
};
struct Barrier {
  int arrived = 0, expected = 0;
  unsigned warps = 0, waiting_warps = 0;
  bool has_loc = false;
  Loc loc;
  std::vector<Thread*> waiters;
};
struct Block {
  uint3 idx{};
  unsigned serial = 0;
  int nthreads = 0, live = 0;
  unsigned runnable_warps = 0;
  char* smem = nullptr;
  size_t dynamic = 0, used = 0;
  std::map<const void*, size_t> statics;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::array<Barrier, 16> bars;
};
extern Thread* self;
extern bool in_runtime;  // the compiler's hooks are off while set
constexpr size_t kSharedBase = 1024, kSharedMax = 227 * 1024, kSharedSlot = 256 * 1024;
constexpr size_t kSharedLimit =
    99 * 1024;  // of the smallest card that cuda/ is built for (sm_86, sm_89, sm_120)   // offsets start at 1024, as on hardware

struct Checker {  // implemented by checker.cpp, absent otherwise
  virtual void allocate(const void*, size_t, bool initialised) = 0;
  virtual void release(const void*, size_t) = 0;
  virtual void initialise(const void*, size_t) = 0;
  virtual void launch_start() = 0;
  virtual void block_start(Block&) = 0;
  virtual void access(const void*, size_t, bool write, const void* pc) = 0;
  virtual void atomic(const void*, size_t, const void* pc) = 0;
  virtual void async_read(const void*, size_t, const void* pc) = 0;  // by wgmma and TMA
  virtual void async_write(const void*, size_t, const void* pc) = 0;
  virtual void proxy_fence() = 0;
  virtual void fence() = 0;
  virtual void warp_sync(Warp&, unsigned mask) = 0;
  virtual void sync_release(Block&, uint32_t object) = 0;  // mbarriers
  virtual void sync_acquire(Block&, uint32_t object) = 0;
  virtual void barrier(Block&, unsigned arrived_warps, unsigned waiting_warps) = 0;
};
extern Checker* checker;
extern char* const arena;
extern size_t const arena_bytes;  // all device memory, global and shared, lives here
[[noreturn]] void fail(const char* fmt, ...) __attribute__((format(printf, 1, 2)));
}  // namespace emu
