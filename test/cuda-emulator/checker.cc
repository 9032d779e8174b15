// Race, bounds and initialisation checker. Kernels are compiled with -fsanitize=thread, but libtsan is not
// linked: this file supplies the hooks the compiler calls on every load and store, and interprets them under
// CUDA's rules (a barrier orders warps, __syncwarp orders lanes, shuffles order nothing, blocks are ordered
// only by fence + atomic). Happens-before, so a race is reported whatever order this run happened to take.
#include <dlfcn.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <unordered_map>

#include "emulator.h"

namespace emu {
extern void* main_stack_pointer();
namespace {
using Clocks = std::array<uint32_t, 32>;  // one clock per warp of a block
struct Seen {
  Clocks warps{};
  std::map<uint16_t, uint32_t> lanes;
};                                       // accesses below these clocks are visible: whole warps, single threads
using Known = std::map<uint32_t, Seen>;  // by block serial
struct Rec {
  uint32_t block = 0, clk = 0;
  uint32_t pc = 0;
  uint16_t thread = 0;
  uint8_t atomic = 0, async = 0;
};
struct Cell {
  Rec w, r0, r1;
};  // last write, last read, last read by another warp
struct BlockState {
  Clocks clk{}, warp_sync{};
  std::array<Seen, 32> seen;
  std::array<Known, 32> acquired;
  std::map<int, Known> fenced, pending;
  std::map<int, uint32_t> proxy;
  std::map<uint32_t, Seen> objects;
};

void join(Seen& a, const Seen& b) {
  for (int i = 0; i < 32; ++i) a.warps[i] = std::max(a.warps[i], b.warps[i]);
  for (auto& [t, c] : b.lanes)
    if (c > a.warps[t / 32]) {
      auto& mine = a.lanes[t];
      mine = std::max(mine, c);
    }
}
void join(Known& a, const Known& b) {
  for (auto& [k, c] : b) join(a[k], c);
}
template <class T>
T* reserve(size_t n) {
  void* p = mmap(nullptr, n * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    perror("emu checker shadow");
    abort();
  }
  return static_cast<T*>(p);
}
Dl_info image() {
  Dl_info i;
  dladdr(reinterpret_cast<void*>(&image), &i);
  return i;
}
extern "C" char _end;  // of this shared library

struct Impl final : Checker {
  Cell* const cells = reserve<Cell>(arena_bytes);
  uint8_t* const state = reserve<uint8_t>(arena_bytes);  // 0 not allocated, 1 uninitialised, 2 initialised
  char* const base = static_cast<char*>(image().dli_fbase);
  std::unordered_map<uint32_t, BlockState> blocks;
  std::unordered_map<uintptr_t, Known> sync_vars;
  std::map<const char*, size_t> live;
  uint32_t first_serial = 1;
  Impl() { checker = this; }

  std::string line(uint32_t pc) {
    char cmd[1024], buf[512];
    std::string out;
    snprintf(cmd, sizeof cmd, "addr2line -Ciape %s 0x%x 2>/dev/null", image().dli_fname, pc - 1);
    if (FILE* f = popen(cmd, "r")) {
      while (fgets(buf, sizeof buf, f)) out += std::string("      ") + buf;
      pclose(f);
    }
    return out.empty() ? "      ?\n" : out;
  }
  std::string place(const char* p) {
    char b[128];
    if (!inside(p)) {
      snprintf(b, 128, "address %p", (const void*)p);
      return b;
    }
    if (p < arena + kSharedSlot * 64) {
      snprintf(b, 128, "shared memory, offset %zd", (p - arena) % ptrdiff_t(kSharedSlot) - ptrdiff_t(kSharedBase));
      return b;
    }
    auto it = live.upper_bound(p);
    if (it == live.begin()) return "unallocated global memory";
    --it;
    snprintf(b, 128, "global memory, byte %zd of an allocation of %zu", p - it->first, it->second);
    return b;
  }
  [[noreturn]] void report(const char* what, const char* p, const char* how, const void* pc, const Rec* other, const char* other_how) {
    Thread* me = self;
    self = nullptr;
    fprintf(stderr, "\nEMU: %s: %s\n", what, place(p).c_str());
    fprintf(stderr, "  %s by block (%u,%u,%u) thread %d at\n%s", how, me->block->idx.x, me->block->idx.y, me->block->idx.z, me->linear,
            line(uint32_t(static_cast<const char*>(pc) - base)).c_str());
    if (other)
      fprintf(stderr, "  %s by block #%u%s thread %d at\n%s", other_how, other->block, other->block == me->block->serial ? " (the same)" : "",
              other->thread, line(other->pc).c_str());
    _exit(3);
  }
  void allocate(const void* p, size_t n, bool init) override {
    memset(state + off(p), init ? 2 : 1, n);
    live[static_cast<const char*>(p)] = n;
  }
  void release(const void* p, size_t n) override {
    memset(state + off(p), 0, n);
    live.erase(static_cast<const char*>(p));
  }
  void initialise(const void* p, size_t n) override {
    if (inside(p)) memset(state + off(p), 2, n);
  }
  void launch_start() override {
    blocks.clear();
    sync_vars.clear();
    fresh = true;
  }
  void block_start(Block& b) override {
    if (fresh) {
      first_serial = b.serial;
      fresh = false;
    }
    memset(state + off(b.smem), 0, kSharedSlot);
    for (auto it = live.lower_bound(b.smem); it != live.end() && it->first < b.smem + kSharedSlot;) it = live.erase(it);
    BlockState& s = blocks[b.serial];
    s.clk.fill(1);
  }
  bool fresh = false;
  static size_t off(const void* p) { return size_t(static_cast<const char*>(p) - arena); }
  static bool inside(const void* p) { return size_t(static_cast<const char*>(p) - arena) < arena_bytes; }

  BlockState* cur_state = nullptr;
  uint32_t cur_serial = 0;
  BlockState& mine() {
    if (cur_serial != self->block->serial) cur_serial = self->block->serial, cur_state = &blocks[cur_serial];
    return *cur_state;
  }
  static bool visible(const Rec& r, const Seen& k) {
    if (r.clk < k.warps[r.thread / 32]) return true;
    auto it = k.lanes.find(r.thread);
    return it != k.lanes.end() && r.clk < it->second;
  }
  // What one thread can hand on: its own accesses, its warp's up to the last __syncwarp or barrier, and all it has seen.
  Seen release(BlockState& s) {
    int w = self->warp->index;
    Seen k = s.seen[w];
    k.warps[w] = s.warp_sync[w];
    k.lanes[uint16_t(self->linear)] = ++s.clk[w];
    return k;
  }
  bool ordered(const Rec& r, const BlockState& s, bool shared) {
    int w = self->warp->index, rw = r.thread / 32;
    if (!r.block) return true;
    if (r.block == self->block->serial) return r.thread == self->linear || (rw == w ? r.clk < s.warp_sync[w] : visible(r, s.seen[w]));
    if (r.block < first_serial || shared) return true;  // an earlier launch, or the slot's former block
    auto it = s.acquired[w].find(r.block);
    return it != s.acquired[w].end() && visible(r, it->second);
  }
  void touch(const char* p, size_t n, bool write, bool atomic, const void* pc) {
    BlockState& s = mine();
    int w = self->warp->index;
    bool shared = p < arena + kSharedSlot * 64;
    Rec me{self->block->serial, s.clk[w], uint32_t(static_cast<const char*>(pc) - base), uint16_t(self->linear), atomic, 0};
    const char* how = atomic ? "atomic" : write ? "write" : "read";
    for (size_t i = off(p), e = i + n; i < e; ++i) {
      if (!state[i]) report("out of bounds", arena + i, how, pc, nullptr, nullptr);
      if (shared && (arena + i < self->block->smem || arena + i >= self->block->smem + kSharedSlot))
        report("another block's shared memory", arena + i, how, pc, nullptr, nullptr);
      if (state[i] == 1 && (!write || atomic)) report("uninitialised", arena + i, how, pc, nullptr, nullptr);
      Cell& c = cells[i];
      if (!(atomic && c.w.atomic) && !ordered(c.w, s, shared))
        report("race", arena + i, how, pc, &c.w, c.w.atomic ? "previous atomic" : "previous write");
      if (write) {
        for (const Rec* r : {&c.r0, &c.r1})
          if (!ordered(*r, s, shared)) report("race", arena + i, how, pc, r, "previous read");
        c.w = me;
        state[i] = 2;
      } else {
        if (c.r0.block != me.block || c.r0.thread / 32 != me.thread / 32) c.r1 = c.r0;
        else if (c.r0.thread != me.thread && c.r0.clk == me.clk && c.r1.clk != me.clk) c.r1 = c.r0;
        c.r0 = me;
      }
    }
  }
  void aligned(const void* p, size_t n, const void* pc) {
    if (self && !in_runtime && inside(p) && reinterpret_cast<uintptr_t>(p) % n)
      report("misaligned", static_cast<const char*>(p), "access", pc, nullptr, nullptr);
  }
  void proxy_fence() override {
    BlockState& s = mine();
    s.proxy[self->linear] = s.clk[self->warp->index]++;
  }
  void async_read(const void* p, size_t n, const void* pc) override {
    access(p, n, false, pc);
    BlockState& s = mine();
    for (size_t i = off(p), e = i + n; i < e; ++i) {
      const Rec& w = cells[i].w;
      auto it = s.proxy.find(w.thread);
      if (w.block == self->block->serial && !w.async && (it == s.proxy.end() || it->second < w.clk))
        report("no fence.proxy.async between an ordinary write and wgmma's read", arena + i, "wgmma read", pc, &w, "write");
    }
  }
  void async_write(const void* p, size_t n, const void* pc) override {
    access(p, n, true, pc);
    for (size_t i = off(p), e = i + n; i < e; ++i) cells[i].w.async = 1;
  }
  void access(const void* p, size_t n, bool write, const void* pc) override {
    if (!self || in_runtime) return;
    auto c = static_cast<const char*>(p);
    if (inside(c)) return touch(c, n, write, false, pc);
    bool own = c >= self->stack && c < self->stack + (1 << 20), image = c >= base && c < &_end;
    auto host = static_cast<const char*>(main_stack_pointer());
    if (!own && !image && !(c >= host && c < host + (8 << 20)))
      report("host pointer dereferenced in a kernel", c, write ? "write" : "read", pc, nullptr, nullptr);
  }
  void atomic(const void* p, size_t n, const void* pc) override {
    if (!self || !inside(p)) return;
    touch(static_cast<const char*>(p), n, true, true, pc);
    BlockState& s = mine();
    Known& v = sync_vars[reinterpret_cast<uintptr_t>(p)];
    join(s.pending[self->linear], v);  // takes effect at this thread's next fence
    if (auto it = s.fenced.find(self->linear); it != s.fenced.end()) join(v, it->second);
  }
  void fence() override {
    BlockState& s = mine();
    int w = self->warp->index;
    if (auto it = s.pending.find(self->linear); it != s.pending.end()) {
      join(s.acquired[w], it->second);
      s.pending.erase(it);
    }
    Known k = s.acquired[w];
    join(k[self->block->serial], release(s));
    s.fenced[self->linear] = std::move(k);
  }
  void warp_sync(Warp& w, unsigned mask) override {
    if ((mask & w.live) == w.live) {
      BlockState& s = mine();
      s.warp_sync[w.index] = ++s.clk[w.index];
    }
  }
  void sync_release(Block&, uint32_t o) override {
    BlockState& s = mine();
    join(s.objects[o], release(s));
  }
  void sync_acquire(Block&, uint32_t o) override {
    BlockState& s = mine();
    join(s.seen[self->warp->index], s.objects[o]);
  }
  void barrier(Block& b, unsigned arrived, unsigned waiting) override {
    BlockState& s = blocks[b.serial];
    Seen all;
    Known acq;
    for (unsigned m = arrived; m; m &= m - 1) {
      int w = std::countr_zero(m);
      s.seen[w].warps[w] = ++s.clk[w];
      join(all, s.seen[w]);
      join(acq, s.acquired[w]);
    }
    for (unsigned m = waiting; m; m &= m - 1) {
      int w = std::countr_zero(m);
      s.seen[w] = all;
      s.warp_sync[w] = s.clk[w];
      if (!acq.empty()) s.acquired[w] = acq;
    }
  }
};
Impl instance;
}  // namespace
}  // namespace emu

// ---- the hooks -fsanitize=thread compiles in ----
#define PC __builtin_return_address(0)
#define RW(n)                                                                       \
  void __tsan_read##n(void* p) {                                                    \
    emu::instance.aligned(p, n, PC);                                                \
    emu::instance.access(p, n, false, PC);                                          \
  }                                                                                 \
  void __tsan_write##n(void* p) {                                                   \
    emu::instance.aligned(p, n, PC);                                                \
    emu::instance.access(p, n, true, PC);                                           \
  }                                                                                 \
  void __tsan_read_write##n(void* p) {                                              \
    emu::instance.access(p, n, false, PC);                                          \
    emu::instance.access(p, n, true, PC);                                           \
  }                                                                                 \
  void __tsan_unaligned_read##n(void* p) { emu::instance.access(p, n, false, PC); } \
  void __tsan_unaligned_write##n(void* p) { emu::instance.access(p, n, true, PC); }
#define ATOMIC(bits, T)                                        \
  T __tsan_atomic##bits##_load(const T* p, int) { return *p; } \
  void __tsan_atomic##bits##_store(T* p, T v, int) { *p = v; } \
  T __tsan_atomic##bits##_exchange(T* p, T v, int) {           \
    T o = *p;                                                  \
    *p = v;                                                    \
    return o;                                                  \
  }                                                            \
  T __tsan_atomic##bits##_fetch_add(T* p, T v, int) {          \
    T o = *p;                                                  \
    *p += v;                                                   \
    return o;                                                  \
  }                                                            \
  T __tsan_atomic##bits##_fetch_sub(T* p, T v, int) {          \
    T o = *p;                                                  \
    *p -= v;                                                   \
    return o;                                                  \
  }
extern "C" {
RW(1)
RW(2) RW(4) RW(8) RW(16) ATOMIC(8, uint8_t) ATOMIC(16, uint16_t) ATOMIC(32, uint32_t) ATOMIC(64, uint64_t) void __tsan_read_range(void* p, size_t n) {
  emu::instance.access(p, n, false, PC);
}
void __tsan_write_range(void* p, size_t n) { emu::instance.access(p, n, true, PC); }
void* __tsan_memcpy(void* d, const void* s, size_t n) {
  emu::instance.access(s, n, false, PC);
  emu::instance.access(d, n, true, PC);
  return memcpy(d, s, n);
}
void* __tsan_memmove(void* d, const void* s, size_t n) {
  emu::instance.access(s, n, false, PC);
  emu::instance.access(d, n, true, PC);
  return memmove(d, s, n);
}
void* __tsan_memset(void* d, int v, size_t n) {
  emu::instance.access(d, n, true, PC);
  return memset(d, v, n);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
