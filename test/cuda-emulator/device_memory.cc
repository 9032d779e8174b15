// The heap behind cudaMalloc. A span is a red zone, the bytes, and another red zone; spans given back join their neighbours and are used again.
// The variants that look for errors keep spans in quarantine first, so that a use after free meets memory that nobody owns.
#include "device_memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

#include "checker.h"
#include "reports.h"
#include "scheduler.h"
#include "shared_memory.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define EMU_ASAN 1
#else
#define ASAN_POISON_MEMORY_REGION(p, n) (static_cast<void>(p), static_cast<void>(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) (static_cast<void>(p), static_cast<void>(n))
#endif

namespace emu {

char* const arena = [] {
  void* p = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    perror("EMU: reserving address space");
    abort();
  }
  return static_cast<char*>(p);
}();

namespace {

constexpr size_t kShared = kSharedSlot * kMaxResident;
constexpr size_t kZone = 512;  // bytes of a red zone at least, and the alignment of allocations
constexpr unsigned char kZoneByte = 0xA7;
constexpr size_t kPoison = size_t{4} << 20;  // beyond it an allocation reads as zeros, and costs no memory until it is used
constexpr size_t kQuarantine = size_t{256} << 20;
constexpr size_t kStep = size_t{2} << 20;
constexpr size_t kReturned = size_t{8} << 20;  // smaller pieces stay with the process: their pages would be faulted in again and again

struct Allocation {
  size_t bytes, span;
  bool pinned;
};
std::map<char*, Allocation> live;  // by the first byte handed out
std::map<char*, size_t> gaps;      // spans to use again; no two touch
std::deque<std::pair<char*, size_t>> quarantine;
size_t quarantined = 0, in_use = 0;
char* top = nullptr;         // of the heap: above it nothing was ever handed out
char* accessible = nullptr;  // up to here pages may be touched

unsigned char zone_pattern[2 * kZone];

bool looks_for_errors() {
#ifdef EMU_ASAN
  return true;
#else
  return checker != nullptr;
#endif
}

void make_accessible(char* end) {
  if (end <= accessible) return;
  const size_t grown = (static_cast<size_t>(end - accessible) + kStep - 1) / kStep * kStep;
  char* to = std::min(accessible + grown, arena + kArenaBytes);
  if (mprotect(accessible, static_cast<size_t>(to - accessible), PROT_READ | PROT_WRITE) != 0) fail("the system gives no more memory");
  ASAN_POISON_MEMORY_REGION(accessible, static_cast<size_t>(to - accessible));
  accessible = to;
}

[[maybe_unused]] const bool started = [] {
  std::memset(zone_pattern, kZoneByte, sizeof zone_pattern);
  accessible = arena;
  make_accessible(arena + kShared);
  top = arena + kShared;
  return true;
}();

// The pages wholly inside of a large piece go back to the system; they read as zeros when they come again.
void return_pages(char* p, size_t n) {
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(p) + 4095) & ~uintptr_t{4095}, end = (reinterpret_cast<uintptr_t>(p) + n) & ~uintptr_t{4095};
  if (end > begin && end - begin >= kReturned) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void add_gap(char* p, size_t n) {
  auto next = gaps.lower_bound(p);
  if (next != gaps.end() && p + n == next->first) {
    n += next->second;
    next = gaps.erase(next);
  }
  if (next != gaps.begin())
    if (auto before = std::prev(next); before->first + before->second == p) {
      before->second += n;
      p = before->first, n = before->second;
    }
  if (p + n == top) {
    top = p;
    gaps.erase(p);
  } else {
    gaps[p] = n;
  }
}

void shrink_quarantine(size_t most) {
  while (quarantined > most) {
    const auto [p, n] = quarantine.front();
    quarantine.pop_front();
    quarantined -= n;
    add_gap(p, n);
  }
}

char* take_span(size_t span) {
  for (auto it = gaps.begin(); it != gaps.end(); ++it) {
    if (it->second < span) continue;
    const auto [p, n] = *it;
    gaps.erase(it);
    if (n > span) gaps[p + span] = n - span;
    return p;
  }
  if (span > static_cast<size_t>(arena + kArenaBytes - top)) return nullptr;
  make_accessible(top + span);
  char* p = top;
  top += span;
  return p;
}

void fill(char* p, int byte, size_t n) {
  ASAN_UNPOISON_MEMORY_REGION(p, n);
  std::memset(p, byte, n);
}
void fill_zone(char* p, size_t n) {
  fill(p, kZoneByte, n);
  ASAN_POISON_MEMORY_REGION(p, n);
}

}  // namespace

bool in_shared(const void* p) { return static_cast<size_t>(static_cast<const char*>(p) - arena) < kShared; }
void arena_open(char* p, size_t n) { ASAN_UNPOISON_MEMORY_REGION(p, n); }
void arena_close(char* p, size_t n) { ASAN_POISON_MEMORY_REGION(p, n); }
size_t heap_bytes() { return kArenaBytes - kShared; }
size_t heap_allocations() { return live.size(); }
size_t heap_in_use() { return in_use; }

char* heap_take(size_t bytes, bool pinned) {
  if (bytes > heap_bytes()) return nullptr;
  const size_t span = kZone + (bytes + kZone + kZone - 1) / kZone * kZone;
  char* begin = take_span(span);
  if (!begin) {
    shrink_quarantine(0);
    begin = take_span(span);
    if (!begin) return nullptr;
  }
  char* p = begin + kZone;
  fill_zone(begin, kZone);
  fill_zone(p + bytes, span - kZone - bytes);
  fill(p, 0xFF, std::min(bytes, kPoison));
  ASAN_UNPOISON_MEMORY_REGION(p, bytes);
  live[p] = {bytes, span, pinned};
  in_use += bytes;
  if (checker) checker->allocate(p, bytes, pinned);
  return p;
}

bool heap_give(void* data) {
  const auto it = live.find(static_cast<char*>(data));
  if (it == live.end()) return false;
  const auto [p, a] = *it;
  live.erase(it);
  in_use -= a.bytes;
  if (checker) checker->release(p, a.bytes);
  fill(p, 0xFF, std::min<size_t>(a.bytes, 4096));
  ASAN_POISON_MEMORY_REGION(p, a.bytes);
  return_pages(p, a.bytes);
  quarantine.emplace_back(p - kZone, a.span);
  quarantined += a.span;
  shrink_quarantine(looks_for_errors() ? kQuarantine : 0);
  return true;
}

void check_red_zones([[maybe_unused]] const char* kernel) {
#ifndef EMU_ASAN
  if (checker) return;  // it sees the access itself
  for (const auto& [p, a] : live) {
    const size_t behind = a.span - kZone - a.bytes;
    if (std::memcmp(p - kZone, zone_pattern, kZone) == 0 && std::memcmp(p + a.bytes, zone_pattern, behind) == 0) continue;
    ptrdiff_t at = -static_cast<ptrdiff_t>(kZone);
    while (at < 0 && static_cast<unsigned char>(p[at]) == kZoneByte) ++at;
    if (at == 0)
      for (at = static_cast<ptrdiff_t>(a.bytes); static_cast<unsigned char>(p[at]) == kZoneByte;) ++at;
    fail("%s wrote outside an allocation: byte %td of %zu", kernel, at, a.bytes);
  }
#endif
}

Space space_of(const void* data, size_t n) {
  const char* p = static_cast<const char*>(data);
  const auto address = reinterpret_cast<uintptr_t>(p), begin = reinterpret_cast<uintptr_t>(arena);
  if (address >= begin + kArenaBytes || address + n <= begin) return address + n < address ? Space::none : Space::host;
  auto it = live.upper_bound(const_cast<char*>(p));
  if (it == live.begin()) return Space::none;
  --it;
  if (n > it->second.bytes || static_cast<size_t>(p - it->first) > it->second.bytes - n) return Space::none;
  return it->second.pinned ? Space::pinned : Space::device;
}

}  // namespace emu
