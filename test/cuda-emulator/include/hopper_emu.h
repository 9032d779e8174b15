// The emulator's side of cuda/hopper.cuh.
#pragma once
#include <cuda.h>

#include "ptx_emu.h"

namespace emu {

// mbarrier.cc
void mbarrier_init(uint32_t bar, uint32_t arrivals);
void mbarrier_arrive(uint32_t bar, uint32_t expected_bytes);
bool mbarrier_try_wait(uint32_t bar, uint32_t parity, Loc = Loc::current());
void fence_mbarrier_init();
void fence_proxy_async();
void tma_load_2d(uint32_t dst, const CUtensorMap& map, uint32_t bar, int x, int y, Loc = Loc::current());

// wgmma.cc
void wgmma_fence(Loc = Loc::current());
void wgmma(float* d, int n, uint64_t a, uint64_t b, bool a_transposed, Loc = Loc::current());
void wgmma_s8(int32_t* d, int n, uint64_t a, uint64_t b, Loc = Loc::current());
void wgmma_commit(Loc = Loc::current());
void wgmma_wait(int pending_groups, Loc = Loc::current());
void set_registers(int count, Loc = Loc::current());

}  // namespace emu
