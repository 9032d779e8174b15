// Products with a weight of 4-bit codes, for levels that bring kernels of their own for it (Kernels::coded).
#pragma once
#include <cstdint>

#include "cpu/linear/gemm.h"

namespace anymal::cpu::linear {

// bf16. Forward y (M,O) = x.W^T + s.B^T, backward y (M,I) = x.W + s.B: `steps` further steps of the same sums (LoRA), where that is not 0.
struct CodedProblem {
  bool backward;
  int64_t M;
  const QuantizedWeight* w;  // nf4 or fp4; its codes lie by rows (row_layout.h)
  const void* x;             // (M,I), backward (M,O), rows x_row apart
  int64_t x_row;
  int64_t steps;
  const void* s;  // (M, steps), rows s_row apart
  int64_t s_row;
  const void* b;  // (O, steps), backward (steps, I)
  Destination y;
  Epilogue e;
};

}  // namespace anymal::cpu::linear
