// The emulator: fibers, a seeded adversarial scheduler, rendezvous, device memory.
// Compile without -fsanitize=thread (checker.cpp owns those hooks; kernels' TUs are the instrumented ones).
#include "emulator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define EMU_ASAN 1
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)0)
#endif

extern "C" void emu_switch(void** save_sp, void* load_sp);
#if defined(__x86_64__)
asm(".text\n.globl emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
static void* first_frame(char* top, void (*entry)()) {
  void** p = reinterpret_cast<void**>(top) - 8;
  std::fill(p, p + 8, nullptr);
  p[6] = reinterpret_cast<void*>(entry);
  return p;
}
#elif defined(__aarch64__)
asm(".text\n.globl emu_switch\n.type emu_switch,%function\nemu_switch:\n"
    "sub sp,sp,#160\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\n"
    "stp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
    "mov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
    "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\n"
    "ldp x27,x28,[sp,#64]\nldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\n"
    "add sp,sp,#160\nret\n");
static void* first_frame(char* top, void (*entry)()) {
  void** p = reinterpret_cast<void**>(top - 160);
  std::fill(p, p + 20, nullptr);
  p[11] = reinterpret_cast<void*>(entry);  // x30
  return p;
}
#else
#error "add a context switch for this CPU"
#endif

namespace emu {
Thread* self = nullptr;
Checker* checker = nullptr;
bool in_runtime = false;
size_t const arena_bytes = size_t(4) << 30;
char* const arena = [] {
  void* p = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    perror("emu arena");
    abort();
  }
  ASAN_POISON_MEMORY_REGION(p, arena_bytes);
  return static_cast<char*>(p);
}();

namespace {
constexpr int kMaxResident = 64;
#ifdef EMU_ASAN
constexpr size_t kStack = 256 * 1024;
#else
constexpr size_t kStack = 64 * 1024;
#endif
struct Settings {  // EMU_SEED=0: in order; other seeds: random schedules
  uint64_t seed = env("EMU_SEED", 0);
  int resident = std::clamp<int>(env("EMU_RESIDENT", 4), 1, kMaxResident);
  bool stats = env("EMU_STATS", 0);
  static uint64_t env(const char* n, uint64_t d) {
    const char* v = getenv(n);
    return v ? strtoull(v, nullptr, 0) : d;
  }
} settings;

uint64_t rng_state = 1;
uint32_t rnd() {
  rng_state ^= rng_state << 13;
  rng_state ^= rng_state >> 7;
  rng_state ^= rng_state << 17;
  return uint32_t(rng_state >> 16);
}
int pick_bit(unsigned mask, bool random) {  // lowest bit, or the first at or after a random position
  if (!random) return std::countr_zero(mask);
  int r = rnd() & 31;
  return (std::countr_zero(std::rotr(mask, r)) + r) & 31;
}

std::vector<Block*> resident;
std::vector<char*> free_stacks;
void* main_sp = nullptr;
[[maybe_unused]] const void* main_stack = nullptr;
[[maybe_unused]] size_t main_stack_size = 0;
const std::function<void()>* entry = nullptr;
const char* kernel_name = "";
std::recursive_mutex mutex;  // several queues of one process launch from threads of their own
uint64_t n_switches = 0, n_collectives = 0, n_barriers = 0, spins = 0, n_threads = 0;
bool random_order = false;
unsigned stay = 0;  // stay/16: chance to keep running the same warp
unsigned next_serial = 1;

std::string where(const Loc& l) {
  const char* f = strrchr(l.file_name(), '/');
  return std::string(f ? f + 1 : l.file_name()) + ":" + std::to_string(l.line());
}

void set_ready(Thread* t) {
  t->state = State::ready;
  t->warp->ready |= 1u << t->lane;
  t->block->runnable_warps |= 1u << t->warp->index;
}
void set_blocked(Thread* t, State s) {
  t->state = s;
  t->warp->ready &= ~(1u << t->lane);
  if (!t->warp->ready) t->block->runnable_warps &= ~(1u << t->warp->index);
}
Thread* pick(bool fair = false) {
  Block* b = self && !fair ? self->block : nullptr;
  bool keep = b && b->runnable_warps && (!random_order || (rnd() & 15) < stay);
  if (!keep) {
    b = nullptr;
    size_t n = resident.size(), start = random_order || fair ? rnd() % n : 0;
    for (size_t i = 0; i < n && !b; ++i)
      if (Block* c = resident[(start + i) % n]; c->runnable_warps) b = c;
    if (!b) return nullptr;
  }
  Warp& w = keep && self->warp->ready ? *self->warp : b->warps[pick_bit(b->runnable_warps, random_order || fair)];
  return &b->threads[w.index * 32 + pick_bit(w.ready, random_order || fair)];
}
void asan_leave([[maybe_unused]] Thread* from, [[maybe_unused]] Thread* to, [[maybe_unused]] bool last) {
#ifdef EMU_ASAN
  static void* main_fake;
  __sanitizer_start_switch_fiber(last ? nullptr : from ? &from->asan_fake : &main_fake, to ? to->stack : main_stack, to ? kStack : main_stack_size);
#endif
}
void asan_arrive([[maybe_unused]] Thread* me) {
#ifdef EMU_ASAN
  const void* old;
  size_t size;
  __sanitizer_finish_switch_fiber(me ? me->asan_fake : nullptr, &old, &size);
  if (!main_stack && me) main_stack = old, main_stack_size = size;
#endif
}
void switch_to(Thread* to, bool last = false) {  // to == nullptr: back to launch()
  Thread* from = self;
  if (to == from) return;
  ++n_switches;
  asan_leave(from, to, last);
  if (to) {
    self = to;
    threadIdx = to->idx;
    blockIdx = to->block->idx;
  } else self = nullptr;
  emu_switch(from ? &from->sp : &main_sp, to ? to->sp : main_sp);
  asan_arrive(from);
}
void block_self(State s, const char* op, const Loc& loc) {
  self->op = op;
  self->loc = loc;
  set_blocked(self, s);
  switch_to(pick());
}
void maybe_yield() {
  if (random_order && (rnd() & 1)) switch_to(pick());
}

void release(Barrier& bar, Block& b) {
  if (checker) checker->barrier(b, bar.warps, bar.waiting_warps);
  for (Thread* t : bar.waiters) set_ready(t);
  bar.waiters.clear();
  bar.arrived = 0;
  bar.warps = bar.waiting_warps = 0;
  bar.has_loc = false;
}
void thread_main() {
  asan_arrive(self);
  (*entry)();
  Thread* t = self;
  Block& b = *t->block;
  set_blocked(t, State::done);
  t->warp->live &= ~(1u << t->lane);
  --b.live;
  if (Barrier& bar = b.bars[0]; bar.arrived && bar.arrived == b.live) release(bar, b);  // bar.sync 0 waits for non-exited threads
  switch_to(b.live ? pick() : nullptr, true);
  abort();
}
char* new_stack() {
  if (!free_stacks.empty()) {
    char* s = free_stacks.back();
    free_stacks.pop_back();
    return s;
  }
  char* p = static_cast<char*>(mmap(nullptr, kStack + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (p == MAP_FAILED) fail("out of fiber stacks");
  mprotect(p, 4096, PROT_NONE);
  return p + 4096;
}
std::vector<int> free_slots;
Block* start_block(uint3 idx, int nthreads, size_t dynamic) {
  Block* b = new Block;
  b->idx = idx;
  b->serial = next_serial++;
  b->nthreads = b->live = nthreads;
  b->dynamic = dynamic;
  b->smem = arena + kSharedSlot * free_slots.back();
  free_slots.pop_back();
  ASAN_UNPOISON_MEMORY_REGION(b->smem, kSharedSlot);
  std::memset(b->smem, 0xFF, kSharedSlot);  // stale shared memory reads as NaN
  ASAN_POISON_MEMORY_REGION(b->smem, kSharedSlot);
  b->used = kSharedBase + dynamic;
  ASAN_UNPOISON_MEMORY_REGION(b->smem + kSharedBase, dynamic);
  if (checker) {
    checker->block_start(*b);
    checker->allocate(b->smem + kSharedBase, dynamic, false);
  }
  b->threads.resize(nthreads);
  b->warps.resize((nthreads + 31) / 32);
  for (int i = 0; i < nthreads; ++i) {
    Thread& t = b->threads[i];
    Warp& w = b->warps[i / 32];
    t.block = b;
    t.warp = &w;
    t.linear = i;
    t.lane = i % 32;
    w.index = i / 32;
    t.idx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    t.stack = new_stack();
    t.sp = first_frame(t.stack + kStack, thread_main);
    w.live |= 1u << t.lane;
    set_ready(&t);
  }
  n_threads += nthreads;
  return b;
}
void report_deadlock() {
  fprintf(stderr, "\nEMU: deadlock in %s (seed %lu)\n", kernel_name, (unsigned long)settings.seed);
  for (Block* b : resident) {
    std::map<std::string, std::vector<int>> groups;
    for (Thread& t : b->threads)
      groups[t.state == State::done    ? "exited"
             : t.state == State::ready ? "runnable"
                                       : std::string(t.op) + " at " + where(t.loc)]
          .push_back(t.linear);
    fprintf(stderr, "  block (%u,%u,%u):\n", b->idx.x, b->idx.y, b->idx.z);
    for (auto& [what, ids] : groups) fprintf(stderr, "    %4zu threads (first %d, last %d): %s\n", ids.size(), ids.front(), ids.back(), what.c_str());
  }
  _exit(3);
}
}  // namespace

void fail(const char* fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "\nEMU: ");
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  if (self)
    fprintf(stderr, "\n  in %s, block (%u,%u,%u) thread (%u,%u,%u), seed %lu", kernel_name, self->block->idx.x, self->block->idx.y,
            self->block->idx.z, self->idx.x, self->idx.y, self->idx.z, (unsigned long)settings.seed);
  fprintf(stderr, "\n");
  _exit(3);
}

static void check_zones();
static cudaError_t run(dim3 grid, dim3 block, size_t smem, const std::function<void()>& body, const char* name) {
  std::lock_guard lock(mutex);
  const int nthreads = block.x * block.y * block.z;
  const uint64_t nblocks = uint64_t(grid.x) * grid.y * grid.z;
  static std::string short_name;  // "... [with auto Kernel = nf4::gemm; ...]" -> nf4::gemm
  short_name = name;
  for (const char* key : {"Kernel = ", "(P ...) = "})
    if (auto at = short_name.rfind(key); at != std::string::npos) {
      at += strlen(key);
      short_name = short_name.substr(at, short_name.find_first_of(";,]", at) - at);
      break;
    }
  const std::function<void()> on_stack = body;  // whose fields the instrumented call reads: the checker knows this stack, not the heap
  entry = &on_stack;
  main_stack = nullptr;
  kernel_name = short_name.c_str();
  blockDim = block;
  gridDim = grid;
  rng_state = settings.seed * 0x9E3779B97F4A7C15ull + 0x1234567;
  for (int i = 0; i < 4; ++i) rnd();
  random_order = settings.seed != 0;
  stay = std::array<unsigned, 3>{15, 8, 0}[settings.seed % 3];
  free_slots.clear();
  for (int i = settings.resident; i--;) free_slots.push_back(i);
  if (checker) checker->launch_start();
  std::vector<uint64_t> order(nblocks);
  for (uint64_t i = 0; i < nblocks; ++i) order[i] = nblocks - 1 - i;
  if (random_order)
    for (uint64_t i = nblocks; i-- > 1;) std::swap(order[i], order[rnd() % (i + 1)]);
  while (!order.empty() || !resident.empty()) {
    while (!order.empty() && !free_slots.empty()) {
      unsigned long i = order.back();
      order.pop_back();
      resident.push_back(start_block({unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)}, nthreads, smem));
    }
    if (Thread* t = pick()) switch_to(t);
    bool retired = false;
    for (size_t i = resident.size(); i--;)
      if (Block* b = resident[i]; !b->live) {
        for (Thread& t : b->threads) free_stacks.push_back(t.stack);
        free_slots.push_back(int((b->smem - arena) / kSharedSlot));
        resident.erase(resident.begin() + i);
        delete b;
        retired = true;
      }
    if (!retired && !resident.empty() && !pick()) report_deadlock();
  }
  if (settings.stats)
    fprintf(stderr, "EMU: %s: %lu threads, %lu switches, %lu warp collectives, %lu barriers\n", kernel_name, (unsigned long)n_threads,
            (unsigned long)n_switches, (unsigned long)n_collectives, (unsigned long)n_barriers);
  n_threads = n_switches = n_collectives = n_barriers = spins = 0;
  check_zones();
  return cudaSuccess;
}

void yield() {
  if (++spins > 4'000'000) {
    fprintf(stderr, "\nEMU: no progress after %lu polls (a flag that is never set, or blocks that need to be co-resident: EMU_RESIDENT=%d)\n",
            (unsigned long)spins, settings.resident);
    report_deadlock();
  }
  switch_to(pick(true));
}

void warp_collective(unsigned mask, const char* op, void* arg, void (*fn)(const Collective&), Loc loc, bool orders) {
  Warp& w = *self->warp;
  unsigned bit = 1u << self->lane;
  spins = 0;
  if (w.live != ~0u && mask == ~0u && w.index == int(self->block->warps.size()) - 1 && self->block->nthreads % 32)
    mask &= (1u << self->block->nthreads % 32) - 1;
  if (!(mask & bit)) fail("%s at %s: mask %08x leaves out the calling lane %d", op, where(loc).c_str(), mask, self->lane);
  if (mask & ~w.live) fail("%s at %s: mask %08x names lanes that have exited (live %08x)", op, where(loc).c_str(), mask, w.live);
  Pending* p = nullptr;
  for (Pending& q : w.pending) {
    if (q.mask == mask) {
      p = &q;
      break;
    }
    if (q.mask & mask && (q.arrived & mask || q.mask & bit))
      fail("%s at %s: mask %08x overlaps %s with mask %08x still waiting", op, where(loc).c_str(), mask, q.op, q.mask);
  }
  if (!p) {
    for (Pending& q : w.pending)
      if (!q.mask) {
        p = &q;
        break;
      }
    if (!p) fail("too many concurrent partial-warp collectives");
    p->mask = mask;
    p->arrived = 0;
    p->op = op;
    p->fn = fn;
    p->orders = orders;
  } else if (strcmp(p->op, op) || p->fn != fn) {
    Thread& other = self->block->threads[w.index * 32 + std::countr_zero(p->arrived)];
    fail("divergent warp: lane %d at %s (%s) while lane %d waits at %s (%s)", self->lane, op, where(loc).c_str(), other.lane, p->op,
         where(other.loc).c_str());
  }
  p->args[self->lane] = arg;
  p->arrived |= bit;
  if (p->arrived != mask) {
    block_self(State::warp_wait, op, loc);
    return;
  }
  ++n_collectives;
  Pending done = *p;
  p->mask = 0;
  in_runtime = true;  // fn reaches into other lanes' stacks
  if (fn) fn({done.args, mask});
  in_runtime = false;
  if (checker && orders) checker->warp_sync(w, mask);
  for (unsigned m = mask & ~bit; m; m &= m - 1) set_ready(&self->block->threads[w.index * 32 + std::countr_zero(m)]);
  maybe_yield();
}

void barrier(int id, int threads, bool wait, Loc loc) {
  Block& b = *self->block;
  Barrier& bar = b.bars[id];
  spins = 0;
  int expected = threads < 0 ? b.live : threads;
  if (id == 0 && bar.has_loc && (bar.loc.line() != loc.line() || strcmp(bar.loc.file_name(), loc.file_name())))
    fail("divergent __syncthreads: this thread at %s, thread %d at %s", where(loc).c_str(), bar.waiters.front()->linear, where(bar.loc).c_str());
  bar.loc = loc;
  bar.has_loc = true;
  bar.expected = expected;
  ++bar.arrived;
  bar.warps |= 1u << self->warp->index;
  if (wait) {
    bar.waiting_warps |= 1u << self->warp->index;
  }
  if (bar.arrived > expected) fail("barrier %d at %s: %d threads arrived, %d expected", id, where(loc).c_str(), bar.arrived, expected);
  if (bar.arrived == expected) {
    ++n_barriers;
    release(bar, b);
    if (wait) maybe_yield();
    return;
  }
  if (!wait) return;
  bar.waiters.push_back(self);
  block_self(State::bar_wait, "barrier", loc);
}

void* main_stack_pointer() { return main_sp; }
void fence() {
  if (checker) checker->fence();
}
int lane_id() { return self->lane; }
void check_read(const void* p, size_t n) {
  if (checker) checker->access(p, n, false, __builtin_return_address(0));
}
void check_write(const void* p, size_t n) {
  if (checker) checker->access(p, n, true, __builtin_return_address(0));
}
void atomic_load(const void* p, void* value, size_t n) {
  maybe_yield();
  if (reinterpret_cast<uintptr_t>(p) % n) fail("atomic on misaligned address %p", p);
  if (checker) checker->atomic(p, n, __builtin_return_address(0));
  std::memcpy(value, p, n);
}
void atomic_store(void* p, const void* value, size_t n) { std::memcpy(p, value, n); }

void* shared_static(const void* key, size_t bytes, size_t align) {
  Block& b = *self->block;
  auto [it, fresh] = b.statics.try_emplace(key, 0);
  if (fresh) {
    align = std::max<size_t>(align, 16);
    it->second = (b.used + 16 + align - 1) / align * align;  // at least 16 bytes of red zone
    b.used = it->second + bytes;
    if (b.used > kSharedBase + kSharedMax) fail("shared memory over 227 KiB");
    ASAN_UNPOISON_MEMORY_REGION(b.smem + it->second, bytes);
    if (checker) checker->allocate(b.smem + it->second, bytes, false);
  }
  return b.smem + it->second;
}
void* shared_dynamic() { return self->block->smem + kSharedBase; }
uint32_t shared_offset(const void* p) {
  ptrdiff_t d = static_cast<const char*>(p) - self->block->smem;
  if (d < ptrdiff_t(kSharedBase) || d > ptrdiff_t(kSharedSlot)) fail("generic pointer %p is not into this block's shared memory", p);
  return uint32_t(d);
}
void* shared_pointer(uint32_t off, size_t bytes, const char* op) {
  Block& b = *self->block;
  if (off < kSharedBase || off + bytes > b.used) fail("%s: shared address %u..%zu outside [%zu,%zu)", op, off, off + bytes, kSharedBase, b.used);
  if (off % bytes) fail("%s: shared address %u not aligned to %zu", op, off, bytes);
  return b.smem + off;
}

// cp.async may land at once or at the wait: in order (seed 0) always at the wait, otherwise a coin toss each.
// Until it lands the destination holds poison.
static void copy(const CpAsync& c) {
  void* d = shared_pointer(c.dst, c.bytes, "cp.async");
  if (c.src_bytes) check_read(c.src, c.src_bytes);
  check_write(d, c.bytes);
  std::memset(d, 0, c.bytes);
  std::memcpy(d, c.src, c.src_bytes);
}
void cp_async(uint32_t dst, const void* src, int bytes, int src_bytes, Loc loc) {
  CpAsync c{dst, src, bytes, src_bytes};
  if (src_bytes && reinterpret_cast<uintptr_t>(src) % bytes)
    fail("cp.async at %s: global address %p not aligned to %d", where(loc).c_str(), src, bytes);
  copy(c);
  if (random_order && (rnd() & 1)) return;
  std::memset(shared_pointer(dst, bytes, "cp.async"), 0xFF, bytes);
  self->open.push_back(c);
}
void cp_async_commit() {
  self->groups.push_back(std::move(self->open));
  self->open.clear();
}
void cp_async_wait(int n) {
  for (; int(self->groups.size()) > n; self->groups.pop_front())
    for (const CpAsync& c : self->groups.front()) copy(c);
}

static std::map<char*, size_t> allocations;
static char* heap_top = nullptr;
static constexpr size_t kZone = 512;  // red zone on both sides, checked after every launch and at cudaFree
static constexpr unsigned char kZoneByte = 0xA7;
static void fill_zone(char* p, size_t n) {
  ASAN_UNPOISON_MEMORY_REGION(p, n);
  std::memset(p, kZoneByte, n);
  ASAN_POISON_MEMORY_REGION(p, n);
}
static void check_zones() {
#ifndef EMU_ASAN
  for (auto& [p, n] : allocations)
    for (size_t i = 0; i < kZone; ++i)
      for (const char* at : {p - 1 - i, p + n + i})
        if (static_cast<unsigned char>(*at) != kZoneByte) fail("%s wrote outside an allocation: byte %td of %zu", kernel_name, at - p, n);
#endif
}
}  // namespace emu

struct CUstream_st {
  std::vector<std::function<cudaError_t()>>* recording = nullptr;
};
struct CUgraph_st {
  std::vector<std::function<cudaError_t()>> work;
};
struct CUgraphExec_st {
  std::vector<std::function<cudaError_t()>> work;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point at;
};

namespace emu {
static cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work) {
  if (!stream || !stream->recording) return work();
  stream->recording->push_back(std::move(work));
  return cudaSuccess;
}
cudaError_t launch(dim3 grid, dim3 block, size_t smem, cudaStream_t stream, std::function<void()> body, const char* name) {
  const uint64_t nthreads = uint64_t(block.x) * block.y * block.z, nblocks = uint64_t(grid.x) * grid.y * grid.z;
  if (nthreads < 1 || nthreads > 1024 || !nblocks || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535 || smem > kSharedLimit)
    return cudaErrorInvalidValue;
  return enqueue(stream, [=, body = std::move(body)] { return run(grid, block, smem, body, name); });
}
}  // namespace emu

using namespace emu;
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 2;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int index) { return index == 0 || index == 1 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int index) {
  *p = {};
  snprintf(p->name, sizeof p->name, "emulated GPU %d", index);
  p->major = 8;
  p->multiProcessorCount = 4;
  p->totalGlobalMem = arena_bytes;
  p->sharedMemPerBlockOptin = kSharedLimit;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** p, size_t n) {
  std::lock_guard lock(mutex);
  if (!heap_top) {
    heap_top = arena + kSharedSlot * kMaxResident + kZone;
    fill_zone(heap_top - kZone, kZone);
  }
  if (heap_top + n + 3 * kZone > arena + arena_bytes) return cudaErrorMemoryAllocation;
  char* a = heap_top;
  heap_top += (n + 2 * kZone - 1) / kZone * kZone;  // never reused: use-after-free stays visible
  fill_zone(a + n, size_t(heap_top - a) - n);
  ASAN_UNPOISON_MEMORY_REGION(a, n);
  std::memset(a, 0xFF, n);
  allocations[a] = n;
  *p = a;
  if (checker) checker->allocate(a, n, false);
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  std::lock_guard lock(mutex);
  if (!p) return cudaSuccess;
  auto it = allocations.find(static_cast<char*>(p));
  if (it == allocations.end()) return cudaErrorInvalidValue;
  if (checker) checker->release(p, it->second);
  ASAN_POISON_MEMORY_REGION(p, it->second);
  if (size_t whole = it->second & ~size_t(4095); whole > 8192) {
    char* first = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p) + 4095) & ~uintptr_t(4095));
    madvise(first, whole - 4096, MADV_DONTNEED);
  }
  allocations.erase(it);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** p, size_t n, unsigned) {  // kernels may read and write it
  const cudaError_t e = cudaMalloc(p, n);
  if (e == cudaSuccess && checker) checker->initialise(*p, n);
  return e;
}
cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }
cudaError_t cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind, cudaStream_t stream) {
  return enqueue(stream, [=] {
    std::lock_guard lock(mutex);
    std::memcpy(d, s, n);
    if (checker) checker->initialise(d, n);
    return cudaSuccess;
  });
}
cudaError_t cudaMemsetAsync(void* d, int v, size_t n, cudaStream_t stream) {
  return enqueue(stream, [=] {
    std::lock_guard lock(mutex);
    std::memset(d, v, n);
    if (checker) checker->initialise(d, n);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  *s = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  delete s->recording;
  delete s;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return s && s->recording ? cudaErrorStreamCaptureUnsupported : cudaSuccess; }
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  if (s->recording) return cudaErrorStreamCaptureUnsupported;
  s->recording = new std::vector<std::function<cudaError_t()>>;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph) {
  if (!s->recording) return cudaErrorStreamCaptureInvalidated;
  *graph = new CUgraph_st{std::move(*s->recording)};
  delete s->recording;
  s->recording = nullptr;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const auto& work : exec->work)
    if (const cudaError_t e = enqueue(stream, work)) return e;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  *e = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t) {
  e->at = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  *ms = std::chrono::duration<float, std::milli>(to->at - from->at).count();
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    default:
      return "emulated CUDA error";
  }
}
