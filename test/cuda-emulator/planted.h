// What tests plant in the emulated card and ask of it: allocations that fail, a card of less memory, calls that fail for ever, how often was waited.
#pragma once
#include <cuda_runtime.h>

#include <mutex>

namespace emu {

extern std::recursive_mutex host_mutex;  // of the host API: one call at a time
extern cudaError_t broken;               // what every call says after a kernel's illegal access, say
extern size_t waits, frees;              // calls of cudaStreamSynchronize and cudaFree

// cudaMalloc's and cudaHostAlloc's way to memory; null where there is none, or a failure was planted. A graph takes of it too.
char* planted_take(size_t bytes, bool pinned);

// EMU_DRIVER, the CUDA that the driver is for (12040: 12.4; 0: there is no driver), and EMU_KERNELS, the error that all launches end in.
int number_of(const char* variable, int otherwise);

}  // namespace emu
