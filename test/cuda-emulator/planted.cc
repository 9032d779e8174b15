#include "planted.h"

#include <cstdlib>

#include "device_memory.h"

namespace emu {

std::recursive_mutex host_mutex;
cudaError_t broken = cudaSuccess;
size_t waits = 0, frees = 0;

namespace {

long until_failure = 0;
size_t most_bytes = SIZE_MAX;

bool fails() {
  if (until_failure > 1) --until_failure;
  else return until_failure == 1;
  return false;
}

}  // namespace

char* planted_take(size_t bytes, bool pinned) {
  if (!bytes || fails() || bytes > most_bytes || heap_in_use() > most_bytes - bytes) return nullptr;
  return heap_take(bytes, pinned);
}

int number_of(const char* variable, int otherwise) {
  const char* value = std::getenv(variable);
  return value ? std::atoi(value) : otherwise;
}

}  // namespace emu

#define FOR_TESTS extern "C" __attribute__((visibility("default")))

// The n-th allocation from now fails, and all that follow; 0: none.
FOR_TESTS void emu_fail_allocation(long n) {
  std::lock_guard lock(emu::host_mutex);
  emu::until_failure = n;
}
// Of the card's memory so much more than is in use now may be; 0: all that it has.
FOR_TESTS void emu_leave_memory(size_t bytes) {
  std::lock_guard lock(emu::host_mutex);
  emu::most_bytes = bytes ? emu::heap_in_use() + bytes : SIZE_MAX;
}
// What every call says from now on; 0: what is true.
FOR_TESTS void emu_break(int error) {
  std::lock_guard lock(emu::host_mutex);
  emu::broken = static_cast<cudaError_t>(error);
}
// What was allocated and not given back, graphs among it.
FOR_TESTS size_t emu_allocations() {
  std::lock_guard lock(emu::host_mutex);
  return emu::heap_allocations();
}
FOR_TESTS void emu_counts(size_t* waits, size_t* frees) {
  std::lock_guard lock(emu::host_mutex);
  *waits = emu::waits;
  *frees = emu::frees;
}
