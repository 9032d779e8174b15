// Device memory: a stretch of address space of its own, so that an address says what it is.
#pragma once
#include <cstddef>

namespace emu {

constexpr size_t kArenaBytes = size_t{4} << 30;  // reserved; memory comes as the heap grows
extern char* const arena;                        // slots of shared memory first, then the heap
inline bool in_arena(const void* p) { return static_cast<size_t>(static_cast<const char*>(p) - arena) < kArenaBytes; }
bool in_shared(const void* p);

// Whether bytes may be touched, for the address sanitizer; nothing otherwise.
void arena_open(char* p, size_t n);
void arena_close(char* p, size_t n);

// Memory that is all 0xFF, NaN in every float type (its first 4 MiB), with red zones on both sides; null when there is none.
char* heap_take(size_t bytes, bool pinned);
bool heap_give(void* p);  // false: no such allocation
size_t heap_bytes();      // of the card
size_t heap_allocations();
size_t heap_in_use();  // bytes
void check_red_zones(const char* kernel);

enum class Space { host, device, pinned, none };  // none: touches the arena, but not within one allocation
Space space_of(const void* p, size_t n);

}  // namespace emu
