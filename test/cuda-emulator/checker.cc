// The checker: races, bounds, initialisation, alignment, under CUDA's rules of what orders what:
//   __syncthreads orders the warps of a block, __syncwarp the lanes of a warp; shuffles and votes order nothing;
//   blocks are ordered by fence + atomic on one side and atomic + fence on the other, and by the end of a launch.
// It keeps happens-before clocks, so a race is reported whatever order this run happened to take. Each warp has a clock; every access is kept with
// the clock of its warp; a thread knows up to which clock it sees every other warp and lane.
//
// Hopper: an mbarrier's arrivals order what came before them for those who have waited; TMA and wgmma see ordinary stores only behind a
// fence.proxy.async of the thread that stored.
#include "checker.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <unordered_map>

#include "device_memory.h"
#include "fibers.h"
#include "reports.h"
#include "scheduler.h"
#include "shared_memory.h"

namespace emu {
namespace {

using Clocks = std::array<uint32_t, 32>;  // one per warp of a block

// Accesses below these clocks are visible: whole warps, single lanes.
struct Seen {
  Clocks warps{};
  std::map<uint16_t, uint32_t> lanes;
};
using Known = std::map<uint32_t, Seen>;  // by block

struct Access {
  uint32_t block = 0, clock = 0;
  uint32_t pc = 0;  // from the image's base
  uint16_t thread = 0;
  uint8_t atomic = 0, async = 0;  // async: by TMA
};
// What is kept of a byte. Two reads, of different warps or lanes, are enough to find a write that races with either.
struct Cell {
  Access write, read, read_before;
};
static_assert(sizeof(Cell) == 48);
enum Byte : uint8_t { unowned = 0, uninitialised = 1, initialised = 2 };

struct BlockState {
  Clocks clock{}, warp_sync{};  // now; at the last __syncwarp or barrier
  std::array<Seen, 32> seen;
  std::array<Known, 32> acquired;        // of other blocks, by warp
  std::map<int, Known> fenced, pending;  // by thread: what its next atomic hands on; what its next fence makes visible
  std::map<uint32_t, Seen> objects;      // by mbarrier: what arrivals handed over
  std::map<int, uint32_t> proxied;       // by thread: its stores up to this clock are there for TMA and wgmma
};

void join(Seen& a, const Seen& b) {
  for (size_t i = 0; i < 32; ++i) a.warps[i] = std::max(a.warps[i], b.warps[i]);
  for (const auto& [lane, clock] : b.lanes)
    if (clock > a.warps[lane / 32]) {
      uint32_t& mine = a.lanes[lane];
      mine = std::max(mine, clock);
    }
}
void join(Known& a, const Known& b) {
  for (const auto& [block, seen] : b) join(a[block], seen);
}
bool visible(const Access& r, const Seen& k) {
  if (r.clock < k.warps[r.thread / 32]) return true;
  const auto it = k.lanes.find(r.thread);
  return it != k.lanes.end() && r.clock < it->second;
}

// Zeros, and memory only where it is touched.
template <class T>
T* reserve(size_t n) {
  void* p = mmap(nullptr, n * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    perror("EMU: reserving address space for the checker");
    abort();
  }
  return static_cast<T*>(p);
}
template <class T>
void zero(T* from, size_t n) {
  const size_t bytes = n * sizeof(T);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(from), first = (begin + 4095) & ~uintptr_t{4095}, last = (begin + bytes) & ~uintptr_t{4095};
  if (bytes < size_t{1} << 20) {
    std::memset(static_cast<void*>(from), 0, bytes);
    return;
  }
  std::memset(static_cast<void*>(from), 0, first - begin);
  madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  std::memset(reinterpret_cast<void*>(last), 0, begin + bytes - last);
}

class Rules final : public Checker {
 public:
  Rules() { checker = this; }

  void allocate(const void* p, size_t n, bool is_initialised) override {
    std::memset(bytes_ + offset(p), is_initialised ? initialised : uninitialised, n);
    live_[static_cast<const char*>(p)] = n;
  }
  void release(const void* p, size_t n) override {
    zero(bytes_ + offset(p), n);
    zero(cells_ + offset(p), n);
    live_.erase(static_cast<const char*>(p));
  }
  void initialise(const void* p, size_t n) override { std::memset(bytes_ + offset(p), initialised, n); }
  void forget(const void* p, size_t n) override { std::memset(bytes_ + offset(p), uninitialised, n); }
  void copy(void* d, const void* s, size_t n, bool to_device, bool from_device) override {
    // The host writes pinned memory behind the checker's back, so all of it counts as initialised.
    if (to_device && from_device) std::memcpy(bytes_ + offset(d), bytes_ + offset(s), n);
    else if (in_arena(d)) initialise(d, n);
  }

  void launch_start() override {
    blocks_.clear();
    sync_variables_.clear();
    first_block_ = 0;
  }
  void block_start(Block& b) override {
    if (!first_block_) first_block_ = b.serial;
    blocks_[b.serial].clock.fill(1);
  }
  void block_end(Block& b) override {
    zero(bytes_ + offset(b.shared), b.used);
    live_.erase(live_.lower_bound(b.shared), live_.lower_bound(b.shared + kSharedSlot));
  }

  void access(const void* p, size_t n, bool write, const void* pc) override {
    if (!self || in_runtime) return;
    const auto c = static_cast<const char*>(p);
    if (in_arena(c)) return touch(c, n, write, false, pc);
    if (on_stack_of(*self, c)) return;
    const Image& module = image();
    if (c >= module.begin && c < module.end && !write) return;  // constants
    report(write ? "host memory is written" : "host memory is read", c, write ? "write" : "read", pc, nullptr, nullptr);
  }
  void aligned(const void* p, size_t n, const void* pc) {
    if (self && !in_runtime && in_arena(p) && reinterpret_cast<uintptr_t>(p) % n)
      report("misaligned", static_cast<const char*>(p), "access", pc, nullptr, nullptr);
  }
  void atomic(const void* p, size_t n, const void* pc) override {
    if (!in_arena(p)) return access(p, n, true, pc);
    touch(static_cast<const char*>(p), n, true, true, pc);
    BlockState& s = mine();
    Known& variable = sync_variables_[reinterpret_cast<uintptr_t>(p)];
    if (!variable.empty()) join(s.pending[self->linear], variable);  // takes effect at this thread's next fence
    if (const auto it = s.fenced.find(self->linear); it != s.fenced.end()) join(variable, it->second);
  }
  void fence() override {
    BlockState& s = mine();
    const auto w = static_cast<size_t>(self->warp->index);
    if (const auto it = s.pending.find(self->linear); it != s.pending.end()) {
      join(s.acquired[w], it->second);
      s.pending.erase(it);
    }
    Known known = s.acquired[w];
    join(known[self->block->serial], own(s));
    s.fenced[self->linear] = std::move(known);
  }
  void warp_sync(Warp& w, unsigned mask) override {
    if ((mask & w.live) != w.live) return;  // a part of the warp is not credited: stricter than CUDA
    BlockState& s = mine();
    s.warp_sync[static_cast<size_t>(w.index)] = ++s.clock[static_cast<size_t>(w.index)];
  }
  void barrier(Block& b, unsigned arrived, unsigned waiting) override {
    BlockState& s = blocks_[b.serial];
    Seen all;
    Known acquired;
    for (unsigned m = arrived; m; m &= m - 1) {
      const auto w = static_cast<size_t>(std::countr_zero(m));
      s.seen[w].warps[w] = ++s.clock[w];
      join(all, s.seen[w]);
      join(acquired, s.acquired[w]);
    }
    for (unsigned m = waiting; m; m &= m - 1) {
      const auto w = static_cast<size_t>(std::countr_zero(m));
      s.seen[w] = all;
      s.warp_sync[w] = s.clock[w];
      if (!acquired.empty()) s.acquired[w] = acquired;
    }
  }
  void sync_release(uint32_t object) override {
    BlockState& s = mine();
    join(s.objects[object], own(s));
  }
  void sync_acquire(uint32_t object) override {
    BlockState& s = mine();
    join(s.seen[static_cast<size_t>(self->warp->index)], s.objects[object]);
  }
  void proxy_fence() override {
    BlockState& s = mine();
    s.proxied[self->linear] = s.clock[static_cast<size_t>(self->warp->index)]++;
  }
  void async_read(const void* p, size_t n, const void* pc) override {
    access(p, n, false, pc);
    need_proxy_fence(p, n, "asynchronous read", pc);
  }
  void async_write(const void* p, size_t n, const void* pc) override {
    need_proxy_fence(p, n, "asynchronous write", pc);
    access(p, n, true, pc);
    for (size_t i = offset(p); i < offset(p) + n; ++i) cells_[i].write.async = 1;
  }

 private:
  static size_t offset(const void* p) { return static_cast<size_t>(static_cast<const char*>(p) - arena); }

  BlockState& mine() {
    if (current_block_ != self->block->serial) {
      current_block_ = self->block->serial;
      current_ = &blocks_[current_block_];
    }
    return *current_;
  }

  // What a thread can hand on: its own accesses, its warp's up to the last __syncwarp or barrier, and all that these saw.
  Seen own(BlockState& s) {
    const auto w = static_cast<size_t>(self->warp->index);
    Seen k = s.seen[w];
    k.warps[w] = s.warp_sync[w];
    k.lanes[static_cast<uint16_t>(self->linear)] = ++s.clock[w];
    return k;
  }

  bool ordered(const Access& r, const BlockState& s, bool shared) const {
    if (r.block < first_block_) return true;  // an earlier launch, or nobody
    const auto w = static_cast<size_t>(self->warp->index);
    if (r.block == self->block->serial) return r.thread == self->linear || (r.thread / 32u == w && r.clock < s.warp_sync[w]) || visible(r, s.seen[w]);
    if (shared) return true;  // the slot's former block
    const auto it = s.acquired[w].find(r.block);
    return it != s.acquired[w].end() && visible(r, it->second);
  }

  void touch(const char* p, size_t n, bool write, bool atomic, const void* pc) {
    const BlockState& s = mine();
    const bool shared = in_shared(p);
    const Access me{self->block->serial,
                    s.clock[static_cast<size_t>(self->warp->index)],
                    static_cast<uint32_t>(static_cast<const char*>(pc) - base_),
                    static_cast<uint16_t>(self->linear),
                    atomic,
                    0};
    const char* how = atomic ? "atomic" : write ? "write" : "read";
    if (shared && (p < self->block->shared || p + n > self->block->shared + kSharedSlot))
      report("another block's shared memory", p, how, pc, nullptr, nullptr);
    // Neighbouring bytes mostly have one history: it is judged once.
    Cell before, after;
    uint8_t byte_before = unowned;
    for (size_t first = offset(p), i = first; i < first + n; ++i) {
      Cell& c = cells_[i];
      if (i > first && bytes_[i] == byte_before && std::memcmp(&c, &before, sizeof c) == 0) {
        c = after;
        if (write) bytes_[i] = initialised;
        continue;
      }
      before = c;
      byte_before = bytes_[i];
      if (byte_before == unowned) report("out of bounds", arena + i, how, pc, nullptr, nullptr);
      if (byte_before == uninitialised && (!write || atomic)) report("uninitialised", arena + i, how, pc, nullptr, nullptr);
      if (!(atomic && c.write.atomic) && !ordered(c.write, s, shared))
        report("race", arena + i, how, pc, &c.write, c.write.atomic ? "previous atomic" : "previous write");
      if (write) {
        for (const Access* r : {&c.read, &c.read_before})
          if (!ordered(*r, s, shared)) report("race", arena + i, how, pc, r, "previous read");
        c.write = me;
        bytes_[i] = initialised;
      } else {
        const bool other_warp = c.read.block != me.block || c.read.thread / 32 != me.thread / 32;
        const bool other_lane = c.read.thread != me.thread && c.read.clock == me.clock && c.read_before.clock != me.clock;
        if (other_warp || other_lane) c.read_before = c.read;
        c.read = me;
      }
      after = c;
    }
  }

  void need_proxy_fence(const void* p, size_t n, const char* how, const void* pc) {
    const BlockState& s = mine();
    for (size_t i = offset(p); i < offset(p) + n; ++i) {
      const Access& w = cells_[i].write;
      if (w.block != self->block->serial || w.async) continue;
      const auto it = s.proxied.find(w.thread);
      if (it == s.proxied.end() || it->second < w.clock) report("no fence.proxy.async behind a store", arena + i, how, pc, &w, "previous write");
    }
  }

  std::string place(const char* p) {
    char text[128];
    if (!in_arena(p)) {
      snprintf(text, sizeof text, "address %p", static_cast<const void*>(p));
      return text;
    }
    if (in_shared(p)) {
      snprintf(text, sizeof text, "shared memory, offset %td",
               (p - arena) % static_cast<ptrdiff_t>(kSharedSlot) - static_cast<ptrdiff_t>(kSharedBase));
      return text;
    }
    auto it = live_.upper_bound(p);
    if (it == live_.begin()) return "global memory that is not allocated";
    --it;
    snprintf(text, sizeof text, "global memory, byte %td of %s allocation of %zu", p - it->first,
             p < it->first + it->second ? "an" : "what begins with an", it->second);
    return text;
  }

  [[noreturn]] void report(const char* what, const char* p, const char* how, const void* pc, const Access* other, const char* other_how) {
    const Thread* me = self;
    self = nullptr;  // the report's own loads are nobody's
    fprintf(stderr, "\nEMU: %s in %s (seed %lu): %s\n", what, running_kernel(), static_cast<unsigned long>(settings.seed), place(p).c_str());
    fprintf(stderr, "  %s by block (%u,%u,%u) thread %d at\n%s", how, me->block->idx.x, me->block->idx.y, me->block->idx.z, me->linear,
            code_at(pc).c_str());
    if (other)
      fprintf(stderr, "  %s by %s block, thread %d at\n%s", other_how, other->block == me->block->serial ? "the same" : "another", other->thread,
              code_at(base_ + other->pc).c_str());
    end_process();
  }

  Cell* const cells_ = reserve<Cell>(kArenaBytes);
  uint8_t* const bytes_ = reserve<uint8_t>(kArenaBytes);  // of enum Byte
  const char* const base_ = reinterpret_cast<const char*>(image().base);
  std::unordered_map<uint32_t, BlockState> blocks_;
  std::unordered_map<uintptr_t, Known> sync_variables_;
  std::map<const char*, size_t> live_;
  uint32_t first_block_ = 0;  // of this launch
  BlockState* current_ = nullptr;
  uint32_t current_block_ = 0;
} rules;

}  // namespace

// For the compiler's hooks.
void hook_access(const void* p, size_t n, bool write, const void* pc) { rules.access(p, n, write, pc); }
void hook_aligned(const void* p, size_t n, const void* pc) { rules.aligned(p, n, pc); }

}  // namespace emu
