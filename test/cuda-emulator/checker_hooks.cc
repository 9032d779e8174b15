// What the compiler calls under -fsanitize=thread on every load and store. The kernels are compiled so, but libtsan is not linked: its place is here.
// Host code of the same files comes through here too; the checker lets it pass.
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace emu {
void hook_access(const void* p, size_t n, bool write, const void* pc);
void hook_aligned(const void* p, size_t n, const void* pc);
}  // namespace emu
using emu::hook_access, emu::hook_aligned;

#define PC __builtin_return_address(0)
#define LOADS_AND_STORES(n)                                                \
  void __tsan_read##n(void* p) {                                           \
    hook_aligned(p, n, PC);                                                \
    hook_access(p, n, false, PC);                                          \
  }                                                                        \
  void __tsan_write##n(void* p) {                                          \
    hook_aligned(p, n, PC);                                                \
    hook_access(p, n, true, PC);                                           \
  }                                                                        \
  void __tsan_read_write##n(void* p) {                                     \
    hook_aligned(p, n, PC);                                                \
    hook_access(p, n, false, PC);                                          \
    hook_access(p, n, true, PC);                                           \
  }                                                                        \
  void __tsan_unaligned_read##n(void* p) { hook_access(p, n, false, PC); } \
  void __tsan_unaligned_write##n(void* p) { hook_access(p, n, true, PC); } \
  void __tsan_unaligned_read_write##n(void* p) {                           \
    hook_access(p, n, false, PC);                                          \
    hook_access(p, n, true, PC);                                           \
  }

// std::atomic and the guards of static variables: host code, which only wants the operation. Kernels use atomicAdd and its kin.
#define ATOMICS(bits, T)                                                                                            \
  T __tsan_atomic##bits##_load(const volatile T* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }           \
  void __tsan_atomic##bits##_store(volatile T* p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }           \
  T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int) { return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_and(volatile T* p, T v, int) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_or(volatile T* p, T v, int) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }   \
  T __tsan_atomic##bits##_fetch_xor(volatile T* p, T v, int) { return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST); } \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T v, int, int) {                    \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                  \
  }                                                                                                                 \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T v, int, int) {                      \
    return __atomic_compare_exchange_n(p, expected, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                   \
  }

extern "C" {
LOADS_AND_STORES(1)
LOADS_AND_STORES(2)
LOADS_AND_STORES(4)
LOADS_AND_STORES(8)
LOADS_AND_STORES(16)
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}
void __tsan_read_range(void* p, size_t n) { hook_access(p, n, false, PC); }
void __tsan_write_range(void* p, size_t n) { hook_access(p, n, true, PC); }
void* __tsan_memcpy(void* d, const void* s, size_t n) {
  hook_access(s, n, false, PC);
  hook_access(d, n, true, PC);
  return memcpy(d, s, n);
}
void* __tsan_memmove(void* d, const void* s, size_t n) {
  hook_access(s, n, false, PC);
  hook_access(d, n, true, PC);
  return memmove(d, s, n);
}
void* __tsan_memset(void* d, int v, size_t n) {
  hook_access(d, n, true, PC);
  return memset(d, v, n);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
