// Hopper's own instructions (sm_90a): barriers in shared memory, tiles by TMA, products of warp groups. Same rule as ptx.cuh: one instruction each.
#pragma once
#include <cuda.h>

#include "ptx.cuh"
#ifdef GPU_EMU
#include "hopper_emu.h"
#endif

// Only cards of compute capability 9.0 have them. What is compiled for others, host code too, gets nothing here: kernels leave out their bodies, and
// nobody launches them.
#if defined(GPU_EMU)
#define ANYMAL_HOPPER 1
#define HOPPER(host, ...) host
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ANYMAL_HOPPER 1
#define HOPPER(host, ...) __VA_ARGS__
#else
#define ANYMAL_HOPPER 0
#define HOPPER(host, ...)
#endif

namespace anymal::cuda::ptx {

// ---- barriers in shared memory: a phase ends when so many threads have arrived and all bytes that were announced are there --------------------

__device__ __forceinline__ void mbarrier_init(uint32_t bar, uint32_t arrivals) {
  HOPPER(emu::mbarrier_init(bar, arrivals), asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory"));
}
// So that TMA sees what mbarrier_init wrote.
__device__ __forceinline__ void fence_mbarrier_init() {
  HOPPER(emu::fence_mbarrier_init(), asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"));
}
__device__ __forceinline__ void mbarrier_arrive(uint32_t bar) {
  HOPPER(emu::mbarrier_arrive(bar, 0), asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory"));
}
__device__ __forceinline__ void mbarrier_arrive_expecting(uint32_t bar, uint32_t bytes) {
  HOPPER(emu::mbarrier_arrive(bar, bytes), asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory"));
}
// Has the last phase of this parity ended? May sleep for a while first.
__device__ __forceinline__ bool mbarrier_try_wait(uint32_t bar, uint32_t parity) {
  uint32_t done = 0;
  HOPPER(done = emu::mbarrier_try_wait(bar, parity),
         asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                      : "=r"(done)
                      : "r"(bar), "r"(parity)
                      : "memory"));
  return done;
}
__device__ __forceinline__ void mbarrier_wait(uint32_t bar, uint32_t parity) {
  while (!mbarrier_try_wait(bar, parity)) {
  }
}

// ---- TMA ------------------------------------------------------------------------------------------------------------------------------------

// The box of a matrix whose first column and row are x and y, to shared memory; it announces itself to the barrier, by bytes. What lies outside of
// the matrix is zero.
__device__ __forceinline__ void tma_load_2d(uint32_t dst, const CUtensorMap& map, uint32_t bar, int x, int y) {
  HOPPER(emu::tma_load_2d(dst, map, bar, x, y),
         asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(dst), "l"(&map),
                      "r"(bar), "r"(x), "r"(y)
                      : "memory"));
}
// What this thread has stored to shared memory is there for TMA and wgmma.
__device__ __forceinline__ void fence_proxy_async() { HOPPER(emu::fence_proxy_async(), asm volatile("fence.proxy.async.shared::cta;" ::: "memory")); }

// ---- products of a warp group (128 threads) --------------------------------------------------------------------------------------------------

// An operand in shared memory, as rows of 128 bytes whose chunks of 16 are XORed with the row (what TMA calls a swizzle of 128 bytes); groups of
// eight rows follow each other. Rows are those of m or n and 64 k long, or, transposed, those of k and 64 m long. The address is that of the first k:
// the next sixteen are 32 bytes further, or, transposed, 2048.
__device__ __forceinline__ uint64_t wgmma_operand(uint32_t address) {
  constexpr uint64_t swizzle128 = uint64_t{1} << 62, group = uint64_t{1024 >> 4} << 32, unused = uint64_t{1} << 16;
  return swizzle128 | group | unused | (address & 0x3FFFF) >> 4;
}
// Before the first product, and wherever accumulators have been touched.
__device__ __forceinline__ void wgmma_fence() { HOPPER(emu::wgmma_fence(), asm volatile("wgmma.fence.sync.aligned;" ::: "memory")); }
__device__ __forceinline__ void wgmma_commit() { HOPPER(emu::wgmma_commit(), asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")); }
// Waits until at most N of the groups of products are under way.
template <int N>
__device__ __forceinline__ void wgmma_wait() {
  HOPPER(emu::wgmma_wait(N), asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"));
}

// d (64 x N, f32) += a (64x16, bf16) . b (N x 16, bf16)^T. Warp w of the group holds rows 16 w .. 16 w + 15: d[r] is that of row
// 16 w + lane / 4 + 8 (r / 2 % 2) and column 8 (r / 4) + 2 (lane % 4) + r % 2.
#define SUMS4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SUMS16(i) SUMS4(i), SUMS4(i + 4), SUMS4(i + 8), SUMS4(i + 12)
template <bool TransposedA>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[64], uint64_t a, uint64_t b) {
  // clang-format off
  HOPPER(emu::wgmma(d, 128, a, b, TransposedA), asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, 1, 1, 1, %66, 0;"
      : SUMS16(0), SUMS16(16), SUMS16(32), SUMS16(48)
      : "l"(a), "l"(b), "n"(TransposedA ? 1 : 0)));
  // clang-format on
}
template <bool TransposedA>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[96], uint64_t a, uint64_t b) {
  // clang-format off
  HOPPER(emu::wgmma(d, 192, a, b, TransposedA), asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, "
      "%68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "
      "%90, %91, %92, %93, %94, %95"
      "}, %96, %97, 1, 1, 1, %98, 0;"
      : SUMS16(0), SUMS16(16), SUMS16(32), SUMS16(48), SUMS16(64), SUMS16(80)
      : "l"(a), "l"(b), "n"(TransposedA ? 1 : 0)));
  // clang-format on
}
template <bool TransposedA>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[128], uint64_t a, uint64_t b) {
  // clang-format off
  HOPPER(emu::wgmma(d, 256, a, b, TransposedA), asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, "
      "%68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "
      "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, "
      "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, 1, 1, 1, %130, 0;"
      : SUMS16(0), SUMS16(16), SUMS16(32), SUMS16(48), SUMS16(64), SUMS16(80), SUMS16(96), SUMS16(112)
      : "l"(a), "l"(b), "n"(TransposedA ? 1 : 0)));
  // clang-format on
}
#undef SUMS16
#undef SUMS4

// The same of bytes: d (64 x N, integers) += a (64x32) . b (N x 32)^T, both as rows of 128 bytes. What does not fit 32 bits wraps.
#define INTEGERS4(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3])
#define INTEGERS16(i) INTEGERS4(i), INTEGERS4(i + 4), INTEGERS4(i + 8), INTEGERS4(i + 12)
__device__ __forceinline__ void wgmma_m64k32(int32_t (&d)[96], uint64_t a, uint64_t b) {
  // clang-format off
  HOPPER(emu::wgmma_s8(d, 192, a, b), asm volatile("wgmma.mma_async.sync.aligned.m64n192k32.s32.s8.s8 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
      "%60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
      "}, %96, %97, 1;"
      : INTEGERS16(0), INTEGERS16(16), INTEGERS16(32), INTEGERS16(48), INTEGERS16(64), INTEGERS16(80)
      : "l"(a), "l"(b)));
  // clang-format on
}
__device__ __forceinline__ void wgmma_m64k32(int32_t (&d)[128], uint64_t a, uint64_t b) {
  // clang-format off
  HOPPER(emu::wgmma_s8(d, 256, a, b), asm volatile("wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
      "%60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, "
      "%100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, "
      "%120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, 1;"
      : INTEGERS16(0), INTEGERS16(16), INTEGERS16(32), INTEGERS16(48), INTEGERS16(64), INTEGERS16(80), INTEGERS16(96), INTEGERS16(112)
      : "l"(a), "l"(b)));
  // clang-format on
}
#undef INTEGERS16
#undef INTEGERS4

// Registers of each thread of a warp group from here on: those that one group gives up another may take.
template <int Count>
__device__ __forceinline__ void give_up_registers() {
  HOPPER(emu::set_registers(Count), asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count)));
}
template <int Count>
__device__ __forceinline__ void take_registers() {
  HOPPER(emu::set_registers(Count), asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count)));
}

}  // namespace anymal::cuda::ptx
