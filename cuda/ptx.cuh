// Thin wrappers, one PTX instruction each. The host branch of each is one call into test/cuda-emulator; test/cuda-emulator/ptx_test.cu runs the
// same code on the emulator and, where there is one, on a GPU.
#pragma once
#include "device.cuh"
#ifdef GPU_EMU
#include "ptx_emu.h"
#define PTX(host, ...) host
#else
#define PTX(host, ...) __VA_ARGS__
#endif

namespace anymal::cuda::ptx {

// 32-bit address of a place in shared memory, as ldmatrix and cp.async take it.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  PTX(return emu::shared_offset(p), return static_cast<uint32_t>(__cvta_generic_to_shared(p)));
}

// {low, high} -> two bf16, rounded to nearest even.
__device__ __forceinline__ uint32_t cvt_bf16x2(float low, float high) {
  PTX(return emu::cvt_bf16x2(low, high), uint32_t r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r);
}

// a - b of two bf16 each, rounded to nearest even.
__device__ __forceinline__ uint32_t sub_bf16x2(uint32_t a, uint32_t b) {
  PTX(return emu::sub_bf16x2(a, b), uint32_t r; asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(b), "r"(0xBF80BF80u), "r"(a)); return r);
}

// a & mask | bits
__device__ __forceinline__ uint32_t and_or(uint32_t a, uint32_t mask, uint32_t bits) {
  PTX(return (a & mask) | bits, uint32_t r; asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(a), "r"(mask), "r"(bits)); return r);
}

// Within two units in the last place of the root; of denormal numbers too.
__device__ __forceinline__ float sqrt_approx(float x) {
  PTX(return emu::sqrt_approx(x), float r; asm("sqrt.approx.f32 %0, %1;" : "=f"(r) : "f"(x)); return r);
}

// 2^x within two units in the last place; nothing where that is less than 2^-126.
__device__ __forceinline__ float exp2_approx(float x) {
  PTX(return emu::exp2_approx(x), float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r);
}

// Four bytes of shared memory.
__device__ __forceinline__ uint32_t load_shared(uint32_t from) {
  PTX(return emu::load_shared(from), uint32_t r; asm volatile("ld.shared.u32 %0, [%1];" : "=r"(r) : "r"(from)); return r);
}

// c + a b bytes, in global memory, as one instruction: compilers find it for some sums only.
template <class T>
__device__ __forceinline__ const T* mad_wide(int a, int b, const T* c) {
  PTX(return reinterpret_cast<const T*>(reinterpret_cast<const char*>(c) + int64_t{a} * b), size_t r;
      asm("mad.wide.s32 %0, %1, %2, %3;"
          : "=l"(r)
          : "r"(a), "r"(b), "l"(__cvta_generic_to_global(c)));
      return static_cast<const T*>(__cvta_global_to_generic(r)));
}

// 16 bytes global -> shared, asynchronously; in_bounds == false writes zeros and reads nothing.
__device__ __forceinline__ void cp_async16(uint32_t dst, const void* src, bool in_bounds = true) {
  PTX(emu::cp_async(dst, src, 16, in_bounds ? 16 : 0, emu::Loc::current()),
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(__cvta_generic_to_global(src)), "r"(in_bounds ? 16 : 0)
                   : "memory"));
}
__device__ __forceinline__ void cp_async_commit() { PTX(emu::cp_async_commit(), asm volatile("cp.async.commit_group;" ::: "memory")); }
// Waits until at most N of this thread's groups are under way.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  PTX(emu::cp_async_wait(N), asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"));
}

// Four 8x8 matrices of 16-bit numbers; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t row) {
  PTX(emu::ldmatrix(r, 4, row, false), asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                                                    : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                                                    : "r"(row)
                                                    : "memory"));
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t row) {
  PTX(emu::ldmatrix(r, 4, row, true), asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                                                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                                                   : "r"(row)
                                                   : "memory"));
}

// d (16x8, f32) += a (16x16, bf16) . b (16x8, bf16). With g = lane / 4 and t = 2 (lane % 4):
//   a[0], a[1]: rows g and g + 8, columns t, t + 1; a[2], a[3]: the same rows, columns t + 8, t + 9
//   b[0]: rows t, t + 1 of column g; b[1]: rows t + 8, t + 9
//   d[0], d[1]: row g, columns t, t + 1; d[2], d[3]: row g + 8
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  PTX(emu::mma_m16n8k16(d, a, b), asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                                               "{%0,%1,%2,%3};"
                                               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                                               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}

// d (16x8, s32) += a (16x32, s8) . b (32x8, s8). With g = lane / 4 and t = 4 (lane % 4):
//   a[0], a[1]: rows g and g + 8, columns t to t + 3; a[2], a[3]: the same rows, columns t + 16 to t + 19
//   b[0]: rows t to t + 3 of column g; b[1]: rows t + 16 to t + 19
//   d as above
__device__ __forceinline__ void mma_m16n8k32_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  PTX(emu::mma_m16n8k32_s8(d, a, b), asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                                                  "{%0,%1,%2,%3};"
                                                  : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                                                  : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}

}  // namespace anymal::cuda::ptx
