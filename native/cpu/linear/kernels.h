// What one dispatch level brings to the matrix products. The driver (driver.h) is compiled into each level's file with its micro-kernels.
#pragma once
#include "cpu/flash/kernel.h"
#include "cpu/linear/coded.h"
#include "cpu/linear/gemm.h"
#include "cpu/stream.h"

namespace anymal::cpu::linear {

struct Problem {
  int64_t M, N, K;
  Matrix a;
  Matrix b;  // not read when `panels` is given
  const PanelSource* panels;
  Destination c;
  Epilogue e;
  MoreSteps more = {};
};

// Of a group of products.
inline constexpr int64_t kMostTogether = 3;

struct Kernels {
  void (*gemm)(Stream&, const Problem&);
  void (*gemm_serial)(Scratch&, const Problem&);
  double (*peak_f32)(int64_t iterations);  // FLOPs done by a register-only loop: the benchmark's physical limit
  double (*peak_bf16)(int64_t iterations);
  const flash::Kernel& (*attention)(DType);
  // bf16 through a weight of 4-bit codes by rows; null where the level packs such weights in panels and decodes these (packed_weight.h).
  void (*coded)(Stream&, const CodedProblem&);
  // At most kMostTogether problems of as many rows, in as few regions as one. Each to its own place: they have one A, but for its further steps, and
  // a result has the bits that gemm() gives it. Or one sum: all have as many columns, and C, in the first one's place and by its epilogue, is the sum
  // of all products, in their order.
  void (*group)(Stream&, const Problem* of, int64_t count, bool one_sum);
};

const Kernels& kernels_of(Level level);

extern const Kernels kernels_generic;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512, kernels_avx512_bf16, kernels_amx;
#endif

}  // namespace anymal::cpu::linear
