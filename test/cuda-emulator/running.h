// What exists while a kernel runs: threads, warps, blocks and their barriers, and who runs now. Kernels never include this.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "cuda_runtime.h"

namespace emu {

struct Block;
struct Warp;
struct Hopper;

struct CpAsync {
  uint32_t dst;
  const void* src;
  int bytes, src_bytes;
};

enum class State : uint8_t { ready, warp_wait, bar_wait, mbarrier_wait, done };

struct Thread {
  void* sp = nullptr;  // where its fiber was left
  char* stack = nullptr;
  Block* block = nullptr;
  Warp* warp = nullptr;
  uint3 idx{};
  int linear = 0, lane = 0;
  State state = State::ready;
  const char* op = "";  // what it waits in, and where: for reports of deadlocks
  Loc loc;
  std::vector<CpAsync> open;                 // cp.async not yet committed
  std::vector<std::vector<CpAsync>> groups;  // committed, not yet waited for
  void* asan_fake_stack = nullptr;
};

// An operation of several lanes that some have reached.
struct Pending {
  unsigned mask = 0, arrived = 0;
  const char* op = "";
  void (*fn)(const Collective&) = nullptr;
  void* args[32];
};

struct Warp {
  int index = 0;
  unsigned ready = 0, live = 0;         // by lane
  std::array<Pending, 4> pending = {};  // groups of lanes may wait side by side
};

struct Barrier {
  int arrived = 0;
  unsigned warps = 0, waiting_warps = 0;  // that arrived; of these, that wait (bar.arrive does not)
  bool has_loc = false;
  Loc loc;
  std::vector<Thread*> waiters;
};

struct Block {
  uint3 idx{};
  unsigned serial = 0;  // over all launches
  int nthreads = 0, live = 0;
  unsigned runnable_warps = 0;
  char* shared = nullptr;  // its slot; offsets within it are the 32-bit addresses of shared memory
  size_t used = 0;         // end of what was handed out
  std::map<const void*, size_t> arrays;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::array<Barrier, 16> bars;
  std::shared_ptr<Hopper> hopper;  // what is under way there; null: nothing was
};

// One fiber runs at a time, on whichever host thread launched; other host threads are none of the kernel's. A library opened at run time still gets
// its few bytes of initial-exec storage, and the checker asks for these at every load.
extern __thread Thread* self __attribute__((tls_model("initial-exec")));
// Set while the runtime reaches into other lanes' stacks for an instrumented callback.
extern __thread bool in_runtime __attribute__((tls_model("initial-exec")));

struct Settings {
  uint64_t seed;      // EMU_SEED: 0 runs in order, others in random schedules
  int resident;       // EMU_RESIDENT: blocks that run side by side
  const char* stats;  // EMU_STATS: a file that gets a line per kernel of the library, with its launches
  int processors;     // EMU_PROCESSORS: multiprocessors of the card, by which the backend chooses kernels
  int capability;     // EMU_CAPABILITY: 80, an Ampere card, or 90, a Hopper one
};
extern const Settings settings;

class Random {  // xorshift
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 0x1234567) {
    for (int i = 0; i < 4; ++i) (*this)();
  }
  uint32_t operator()() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ >> 16);
  }

 private:
  uint64_t state_;
};

}  // namespace emu
