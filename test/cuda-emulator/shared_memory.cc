// Shared memory and cp.async.
#include "shared_memory.h"

#include "checker.h"
#include "device_memory.h"
#include "reports.h"
#include "scheduler.h"

namespace emu {

char* shared_slot(int index) { return arena + kSharedSlot * static_cast<size_t>(index); }
int shared_slot_index(const char* slot) { return static_cast<int>(static_cast<size_t>(slot - arena) / kSharedSlot); }

namespace {
void hand_out(Block& b, size_t at, size_t bytes) {
  b.used = at + bytes;
  if (b.used > kSharedBase + shared_limit()) fail("a block has more than %zu KiB of shared memory", shared_limit() / 1024);
  arena_open(b.shared + at, bytes);
  std::memset(b.shared + at, 0xFF, bytes);  // what a former block left reads as NaN
  if (checker) checker->allocate(b.shared + at, bytes, false);
}
}  // namespace

void shared_begin(Block& b, size_t dynamic) { hand_out(b, kSharedBase, dynamic); }
void shared_end(Block& b) {
  arena_close(b.shared, b.used);
  b.arrays.clear();
}

void* shared_static(const void* key, size_t bytes, size_t align) {
  Block& b = *self->block;
  const auto [it, fresh] = b.arrays.try_emplace(key, 0);
  if (fresh) {
    align = std::max<size_t>(align, 16);
    it->second = (b.used + 16 + align - 1) / align * align;  // no two arrays touch: an overrun hits what nobody owns
    hand_out(b, it->second, bytes);
  }
  return b.shared + it->second;
}
void* shared_dynamic() { return self->block->shared + kSharedBase; }
uint32_t shared_offset(const void* p) {
  const ptrdiff_t d = static_cast<const char*>(p) - self->block->shared;
  if (d < static_cast<ptrdiff_t>(kSharedBase) || d > static_cast<ptrdiff_t>(kSharedSlot))
    fail("generic pointer %p is not into this block's shared memory", p);
  return static_cast<uint32_t>(d);
}
void* shared_pointer(uint32_t offset, size_t bytes, const char* op) {
  Block& b = *self->block;
  if (offset < kSharedBase || offset + bytes > b.used)
    fail("%s: shared address %u..%zu outside [%zu,%zu)", op, offset, offset + bytes, kSharedBase, b.used);
  if (offset % bytes) fail("%s: shared address %u not aligned to %zu", op, offset, bytes);
  return b.shared + offset;
}

void check_read(const void* p, size_t n) {
  if (checker) checker->access(p, n, false, __builtin_return_address(0));
}

// cp.async may land at once or at the wait, both are legal: in order always at the wait, otherwise a coin toss each. Until it lands the destination
// holds poison.
namespace {
void land(const CpAsync& c, const void* pc) {
  void* d = shared_pointer(c.dst, static_cast<size_t>(c.bytes), "cp.async");
  if (checker && c.src_bytes) checker->access(c.src, static_cast<size_t>(c.src_bytes), false, pc);
  if (checker) checker->access(d, static_cast<size_t>(c.bytes), true, pc);
  std::memset(d, 0, static_cast<size_t>(c.bytes));
  std::memcpy(d, c.src, static_cast<size_t>(c.src_bytes));
}
}  // namespace

void cp_async(uint32_t dst, const void* src, int bytes, int src_bytes, Loc loc) {
  const CpAsync c{dst, src, bytes, src_bytes};
  if (src_bytes && reinterpret_cast<uintptr_t>(src) % static_cast<size_t>(bytes))
    fail("cp.async at %s: global address %p not aligned to %d", where(loc).c_str(), src, bytes);
  land(c, __builtin_return_address(0));
  if (coin()) return;
  void* d = shared_pointer(dst, static_cast<size_t>(bytes), "cp.async");
  std::memset(d, 0xFF, static_cast<size_t>(bytes));
  if (checker) checker->forget(d, static_cast<size_t>(bytes));
  self->open.push_back(c);
}
void cp_async_commit() {
  self->groups.push_back(std::move(self->open));
  self->open.clear();
}
void cp_async_wait(int pending_groups) {
  auto& groups = self->groups;
  while (static_cast<int>(groups.size()) > pending_groups) {
    for (const CpAsync& c : groups.front()) land(c, __builtin_return_address(0));
    groups.erase(groups.begin());
  }
}

}  // namespace emu
