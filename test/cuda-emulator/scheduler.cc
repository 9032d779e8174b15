// The scheduler: seeded, single-threaded, adversarial. Seed 0 runs blocks, warps and lanes in order and changes threads only when one must wait;
// other seeds draw the order of blocks and change threads at random, some eagerly, some rarely. The same seed runs the same way.
#include "scheduler.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "checker.h"
#include "device_memory.h"
#include "fibers.h"
#include "hopper.h"
#include "reports.h"
#include "shared_memory.h"

namespace emu {
namespace {

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* value = getenv(variable);
  return value ? strtoull(value, nullptr, 0) : otherwise;
}

}  // namespace

const Settings settings = {number_from("EMU_SEED", 0), std::clamp<int>(static_cast<int>(number_from("EMU_RESIDENT", 4)), 1, kMaxResident),
                           getenv("EMU_STATS"), std::clamp<int>(static_cast<int>(number_from("EMU_PROCESSORS", 4)), 1, 4096),
                           static_cast<int>(number_from("EMU_CAPABILITY", 80))};

Checker* checker = nullptr;

namespace {

constexpr int kResidentThreads = 16384;  // two mappings a stack, and a process may have 65530
constexpr uint64_t kMostPolls = 1'000'000;

std::vector<Block*> resident;
std::vector<std::unique_ptr<Block>> idle_blocks;  // kept: their vectors are warm
std::vector<int> free_slots;
// Read by the instrumented call, so it lies where the checker lets kernels read: in this image.
std::function<void()> entry;
std::string kernel;
Random random_number(0);
bool random_order = false;
unsigned stay = 0;  // of 16 chances, those to keep running the same block
unsigned next_serial = 1;
uint64_t polls = 0;

void set_blocked(Thread* t, State why) {
  t->state = why;
  t->warp->ready &= ~(1u << t->lane);
  if (!t->warp->ready) t->block->runnable_warps &= ~(1u << t->warp->index);
}

// The lowest bit, or the first at or after a random position.
int pick_bit(unsigned mask, bool random) {
  if (!random) return std::countr_zero(mask);
  const int r = random_number() & 31;
  return (std::countr_zero(std::rotr(mask, r)) + r) & 31;
}

// `fair` never prefers the thread that asks: it polls, and another must set what it waits for.
Thread* pick(bool fair = false) {
  const bool random = random_order || fair;
  Block* b = self && !fair ? self->block : nullptr;
  const bool keep = b && b->runnable_warps && (!random_order || (random_number() & 15) < stay);
  if (!keep) {
    b = nullptr;
    const size_t n = resident.size(), start = random && n ? random_number() % n : 0;
    for (size_t i = 0; i < n && !b; ++i)
      if (Block* c = resident[(start + i) % n]; c->runnable_warps) b = c;
    if (!b) return nullptr;
  }
  Warp& w = keep && self->warp->ready ? *self->warp : b->warps[pick_bit(b->runnable_warps, random)];
  return &b->threads[w.index * 32 + pick_bit(w.ready, random)];
}

void switch_to(Thread* to, bool ends = false) {
  if (to != self) fiber_switch(self, to, ends);
}

void thread_main() {
  fiber_entered(self);
  entry();
  Thread* t = self;
  Block& b = *t->block;
  set_blocked(t, State::done);
  t->warp->live &= ~(1u << t->lane);
  --b.live;
  // bar.sync 0 waits for the threads that have not exited.
  if (Barrier& bar = b.bars[0]; bar.arrived && bar.arrived == b.live) barrier_complete(bar, b);
  switch_to(b.live ? pick() : nullptr, true);
  abort();
}

Block* start_block(uint3 idx, int nthreads, size_t dynamic) {
  Block* b = idle_blocks.empty() ? new Block : idle_blocks.back().release();
  if (!idle_blocks.empty()) idle_blocks.pop_back();
  b->idx = idx;
  b->serial = next_serial++;
  b->nthreads = b->live = nthreads;
  b->runnable_warps = 0;
  b->bars = {};
  b->threads.resize(nthreads);
  b->warps.assign((nthreads + 31) / 32, Warp{});
  b->shared = shared_slot(free_slots.back());
  free_slots.pop_back();
  if (checker) checker->block_start(*b);
  shared_begin(*b, dynamic);
  for (int i = 0; i < nthreads; ++i) {
    Thread& t = b->threads[i];
    Warp& w = b->warps[i / 32];
    t.block = b;
    t.warp = &w;
    t.linear = i;
    t.lane = i % 32;
    t.idx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    w.index = i / 32;
    w.live |= 1u << t.lane;
    fiber_make(t, thread_main);
    set_ready(&t);
  }
  return b;
}

void end_block(Block* b) {
  for (Thread& t : b->threads) {
    fiber_recycle(t);
    t.open.clear();
    t.groups.clear();
  }
  hopper_ends(*b);
  free_slots.push_back(shared_slot_index(b->shared));
  if (checker) checker->block_end(*b);
  shared_end(*b);
  idle_blocks.emplace_back(b);
}

[[noreturn]] void report_deadlock() {
  fprintf(stderr, "\nEMU: deadlock in %s (seed %lu)\n", kernel.c_str(), static_cast<unsigned long>(settings.seed));
  for (Block* b : resident) {
    std::map<std::string, std::vector<int>> groups;
    for (Thread& t : b->threads) {
      const bool waits = t.state == State::warp_wait || t.state == State::bar_wait || t.state == State::mbarrier_wait;
      groups[waits ? std::string(t.op) + " at " + where(t.loc) : t.state == State::done ? "exited" : "runnable"].push_back(t.linear);
    }
    fprintf(stderr, "  block (%u,%u,%u):\n", b->idx.x, b->idx.y, b->idx.z);
    for (auto& [what, ids] : groups) fprintf(stderr, "    %4zu threads (first %d, last %d): %s\n", ids.size(), ids.front(), ids.back(), what.c_str());
  }
  self = nullptr;
  end_process();
}

}  // namespace

void set_ready(Thread* t) {
  t->state = State::ready;
  t->warp->ready |= 1u << t->lane;
  t->block->runnable_warps |= 1u << t->warp->index;
}
void block_self(State why, const char* op, const Loc& at) {
  self->op = op;
  self->loc = at;
  set_blocked(self, why);
  switch_to(pick());
}
bool coin() { return random_order && (random_number() & 1); }
void maybe_yield() {
  if (coin()) switch_to(pick());
}
void progressed() { polls = 0; }

void yield() {
  if (++polls > kMostPolls) {
    fprintf(stderr, "\nEMU: no progress after %lu polls (a flag that is never set, or blocks that need to be co-resident: EMU_RESIDENT=%d)\n",
            static_cast<unsigned long>(polls), settings.resident);
    report_deadlock();
  }
  switch_to(pick(true));
}

const char* running_kernel() { return kernel.c_str(); }

void run(dim3 grid, dim3 block, size_t dynamic_shared, const std::function<void()>& body, const std::string& name) {
  const int nthreads = static_cast<int>(block.x * block.y * block.z);
  const uint64_t nblocks = uint64_t{grid.x} * grid.y * grid.z;
  entry = body;
  kernel = name;
  blockDim = block;
  gridDim = grid;
  random_number = Random(settings.seed);  // a launch runs the same way whatever ran before
  random_order = settings.seed != 0;
  stay = std::array<unsigned, 3>{15, 8, 0}[settings.seed % 3];
  polls = 0;
  fibers_begin();
  if (checker) checker->launch_start();
  free_slots.clear();
  for (int i = std::max(1, std::min(settings.resident, kResidentThreads / nthreads)); i--;) free_slots.push_back(i);
  std::vector<uint64_t> drawn(random_order ? nblocks : 0);
  for (uint64_t i = 0; i < drawn.size(); ++i) drawn[i] = i;
  for (uint64_t i = drawn.size(); i-- > 1;) std::swap(drawn[i], drawn[random_number() % (i + 1)]);

  for (uint64_t next = 0; next < nblocks || !resident.empty();) {
    for (; next < nblocks && !free_slots.empty(); ++next) {
      const uint64_t i = random_order ? drawn[next] : next;
      const uint3 idx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y), static_cast<unsigned>(i / grid.x / grid.y)};
      resident.push_back(start_block(idx, nthreads, dynamic_shared));
    }
    if (Thread* t = pick()) switch_to(t);
    bool retired = false;
    for (size_t i = resident.size(); i--;)
      if (Block* b = resident[i]; !b->live) {
        resident.erase(resident.begin() + static_cast<ptrdiff_t>(i));
        end_block(b);
        retired = true;
      }
    if (!retired && !resident.empty() && !pick()) report_deadlock();
  }
  entry = nullptr;
  log_launch(name.c_str());
  check_red_zones(name.c_str());
}

}  // namespace emu
