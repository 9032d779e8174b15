// Which dispatch levels this machine and operating system can run.
#include "cpu/stream.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace anymal::cpu {

const char* level_name(Level level) {
  static constexpr const char* names[] = {"generic", "avx2", "avx512", "avx512_bf16", "amx"};
  return names[static_cast<int>(level)];
}

#if defined(__x86_64__)
namespace {

// AMX needs the CPU's bits, an operating system that saves the tiles, and its leave for this process (arch_prctl).
bool amx_usable() {
#if defined(__linux__)
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
  if ((d & bf16) == 0 || (d & tile) == 0) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  return granted;
#else
  return false;
#endif
}

}  // namespace

// __builtin_cpu_supports asks cpuid and, for the wide registers, xgetbv.
Level level_detected() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  unsigned a = 0, b, c, d;
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512vnni") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
  if (bf16 && amx_usable()) return Level::amx;
  return bf16 && __builtin_cpu_supports("avx512vbmi") ? Level::avx512_bf16 : avx512 ? Level::avx512 : avx2 ? Level::avx2 : Level::generic;
}
#else
Level level_detected() { return Level::generic; }
#endif

}  // namespace anymal::cpu
