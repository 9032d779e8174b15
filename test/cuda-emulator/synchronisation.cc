// Where threads meet: warp operations, barriers, fences, atomics. The last lane to arrive carries an operation out for all.
#include "checker.h"
#include "reports.h"
#include "scheduler.h"

namespace emu {
namespace {

// The slot of this mask, taken if no lane has come yet.
Pending& pending_of(Warp& w, unsigned mask, const char* op, void (*fn)(const Collective&), const Loc& loc) {
  const unsigned bit = 1u << self->lane;
  Pending* free = nullptr;
  for (Pending& p : w.pending) {
    if (p.mask == mask) {
      if (strcmp(p.op, op) == 0 && p.fn == fn) return p;
      const Thread& other = self->block->threads[w.index * 32 + std::countr_zero(p.arrived)];
      fail("divergent warp: lane %d at %s (%s) while lane %d waits at %s (%s)", self->lane, op, where(loc).c_str(), other.lane, p.op,
           where(other.loc).c_str());
    }
    if ((p.mask & mask) && ((p.arrived & mask) || (p.mask & bit)))
      fail("%s at %s: mask %08x overlaps %s with mask %08x still waiting", op, where(loc).c_str(), mask, p.op, p.mask);
    if (!p.mask && !free) free = &p;
  }
  if (!free) fail("%s at %s: too many groups of lanes wait side by side", op, where(loc).c_str());
  free->mask = mask;
  free->arrived = 0;
  free->op = op;
  free->fn = fn;
  return *free;
}

}  // namespace

void warp_collective(unsigned mask, const char* op, void* arg, void (*fn)(const Collective&), Loc loc, bool orders_memory) {
  Warp& w = *self->warp;
  const unsigned bit = 1u << self->lane;
  progressed();
  // The last warp of a block may be a part of one; ~0 then means the lanes that there are.
  if (const int lanes = self->block->nthreads - w.index * 32; mask == ~0u && lanes < 32) mask = (1u << lanes) - 1;
  if (!(mask & bit)) fail("%s at %s: mask %08x leaves out the calling lane %d", op, where(loc).c_str(), mask, self->lane);
  if (mask & ~w.live) fail("%s at %s: mask %08x names lanes that have exited (live %08x)", op, where(loc).c_str(), mask, w.live);
  Pending& p = pending_of(w, mask, op, fn, loc);
  p.args[self->lane] = arg;
  p.arrived |= bit;
  if (p.arrived != mask) return block_self(State::warp_wait, op, loc);
  const Pending done = p;
  p.mask = 0;
  in_runtime = true;  // fn reaches into other lanes' stacks
  if (fn) fn({done.args, mask});
  in_runtime = false;
  if (checker && orders_memory) checker->warp_sync(w, mask);
  for (unsigned m = mask & ~bit; m; m &= m - 1) set_ready(&self->block->threads[w.index * 32 + std::countr_zero(m)]);
  maybe_yield();
}

void barrier_complete(Barrier& bar, Block& b) {
  if (checker) checker->barrier(b, bar.warps, bar.waiting_warps);
  for (Thread* t : bar.waiters) set_ready(t);
  bar.waiters.clear();
  bar.arrived = 0;
  bar.warps = bar.waiting_warps = 0;
  bar.has_loc = false;
}

void barrier(int id, int threads, bool wait, Loc loc) {
  Block& b = *self->block;
  Barrier& bar = b.bars[id];
  progressed();
  const int expected = threads < 0 ? b.live : threads;
  // Hardware would let two different __syncthreads() meet; nobody means that.
  if (id == 0 && bar.has_loc && (bar.loc.line() != loc.line() || strcmp(bar.loc.file_name(), loc.file_name())))
    fail("divergent __syncthreads: this thread at %s, thread %d at %s", where(loc).c_str(), bar.waiters.front()->linear, where(bar.loc).c_str());
  bar.loc = loc;
  bar.has_loc = true;
  ++bar.arrived;
  bar.warps |= 1u << self->warp->index;
  if (wait) bar.waiting_warps |= 1u << self->warp->index;
  if (bar.arrived > expected) fail("barrier %d at %s: %d threads arrived, %d expected", id, where(loc).c_str(), bar.arrived, expected);
  if (bar.arrived == expected) {
    barrier_complete(bar, b);
    if (wait) maybe_yield();
  } else if (wait) {
    bar.waiters.push_back(self);
    block_self(State::bar_wait, "barrier", loc);
  }
}

void fence() {
  if (checker) checker->fence();
}
int lane_id() { return self->lane; }

// One host thread runs all fibers and none of them leaves between the two halves, so a plain update is atomic.
void atomic_load(const void* p, void* value, size_t n) {
  maybe_yield();
  if (reinterpret_cast<uintptr_t>(p) % n) fail("atomic on misaligned address %p", p);
  if (checker) checker->atomic(p, n, __builtin_return_address(0));
  std::memcpy(value, p, n);
}
void atomic_store(void* p, const void* value, size_t n) { std::memcpy(p, value, n); }

}  // namespace emu
