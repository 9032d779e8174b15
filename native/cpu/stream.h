// The CPU backend's Stream: a thread pool, scratch memory per thread, and the matmul kernels chosen at start.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "backend.h"
#include "cpu/pool.h"

namespace anymal {
namespace cpu {
enum class Level : int { generic = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3, amx = 4 };
const char* level_name(Level level);
Level level_detected();  // the highest level this machine and operating system can run (cpuid, xgetbv, arch_prctl for AMX)

namespace linear {
struct Kernels;  // linear/gemm.h
}

// Scratch that only grows, one block per thread; a kernel's use of it ends with the kernel (or the parallel body).
class Scratch {
 public:
  ~Scratch();
  void* get(size_t bytes);  // 64-byte aligned; contents are garbage; invalidates what get() gave before
  void account(ScratchAccount* account);

 private:
  void drop();
  void* block_ = nullptr;
  size_t bytes_ = 0;
  ScratchAccount* account_ = nullptr;
};
}  // namespace cpu

struct Stream {
  Stream(int threads, cpu::Level level);
  void account_scratch(ScratchAccount* account);
  cpu::Level level;
  const cpu::linear::Kernels* kernels;  // of this level
  cpu::Pool pool;
  // scratch[t] belongs to thread t inside a parallel body. `shared` is for the thread that runs the op, outside of bodies,
  // to hold what all bodies read. gemm() uses `packed` and scratch[t]; a kernel that calls gemm may use `shared` only.
  std::vector<cpu::Scratch> scratch;
  cpu::Scratch shared, packed;
  std::string description;
};
}  // namespace anymal
