// What device code compiled for the emulator calls: each CUDA intrinsic in emu/intrinsics.h and each PTX wrapper comes down to one of these.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>

#include "host_api.h"

struct dim3;

namespace emu {

using Loc = std::source_location;

// An operation that the lanes of `mask` do together. lane_args[i] is valid where bit i is set.
struct Collective {
  void* const* lane_args;
  unsigned mask;
};
// The last lane to come calls fn for all. Only __syncwarp orders memory.
void warp_collective(unsigned mask, const char* op, void* arg, void (*fn)(const Collective&), Loc loc, bool orders_memory = false);
void barrier(int id, int threads, bool wait, Loc loc);  // bar.sync, or bar.arrive; threads < 0: the whole block
void yield();                                           // a loop that polls lets other threads run
void fence();
int lane_id();

void* shared_static(const void* key, size_t bytes, size_t align);
void* shared_dynamic();
uint32_t shared_offset(const void* p);  // the 32-bit address
void* shared_pointer(uint32_t offset, size_t bytes, const char* op);

void atomic_load(const void* p, void* value, size_t n);  // the two halves of a read-modify-write
void atomic_store(void* p, const void* value, size_t n);
void check_read(const void* p, size_t n);  // for loads that the runtime makes in a lane's name

void cp_async(uint32_t dst, const void* src, int bytes, int src_bytes, Loc loc);
void cp_async_commit();
void cp_async_wait(int pending_groups);

// Runs `body` once per thread: now, later in the stream's order, or whenever the graph that captures it is launched. `text` holds the kernel's name,
// `kernel` is its address.
cudaError_t launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, std::function<void()> body, const char* text, const void* kernel);
// A kernel that this library can launch, for the statistics; true.
bool know_kernel(const char* text);

}  // namespace emu
