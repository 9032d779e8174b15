// Matrix products on packed panels: pack B once per (K,N) block, A per thread, and hand both to the level's micro-kernel.
// f32 operands go through f32 FMA; bf16 operands through bf16 instructions where the level has them (avx512_bf16, amx), else they are
// widened while packing. Accumulation is f32. Work is split over M and N only, so results do not depend on the number of threads.
#pragma once
#include <cstdint>

#include "backend.h"
#include "cpu/linear/quantized_weight.h"

namespace anymal::cpu::linear {

// Element (i,j) lies at data[i*row + j*col] (strides in elements; a transpose is a swap of strides).
struct Matrix {
  const void* data;
  DType dtype;  // f32 or bf16, the same for a and b
  int64_t row, col;
};
// Columns are contiguous.
struct Destination {
  void* data;
  DType dtype;  // f32 or bf16
  int64_t row;
};
struct Epilogue {
  bool accumulate = false;     // C += instead of C =
  const void* bias = nullptr;  // (N) of C's dtype, added to each row
  float alpha = 1.0f;          // factor of A.B (not of bias or of the old C)
};

// C (M,N) <- A (M,K) . B (K,N) on all threads of the stream. Call it outside of parallel bodies.
void gemm(Stream&, int64_t M, int64_t N, int64_t K, const Matrix& a, const Matrix& b, const Destination& c, const Epilogue& e = {});
// The same on the calling thread, for use inside a parallel body; uses scratch[thread].
void gemm_serial(Stream&, int thread, int64_t M, int64_t N, int64_t K, const Matrix& a, const Matrix& b, const Destination& c,
                 const Epilogue& e = {});

// B that is not a matrix in memory: `fill` writes one packed panel, columns [n0, n0 + width) and rows [k0, k0 + kc) of B, zeros beyond N and K.
// The panel's layout is [kc / pair][width][pair] of `dtype`, pair = 1 for f32 and 2 for bf16 (k and k + 1 side by side); kc is a multiple of
// pair, k0 a multiple of kPanelDepth. Quantised weights are decoded straight into panels this way, for y = x.W^T and for dx = dy.W.
struct PanelSource {
  void (*fill)(const void* context, int64_t k0, int64_t kc, int64_t n0, int64_t width, DType dtype, void* panel);
  const void* context;
  const QuantizedWeight* weight = nullptr;  // B's first I rows are W^T: for kernels that read its codes themselves
};
inline constexpr int64_t kPanelDepth = 256;  // kc of every fill but the last of a column

// The last `steps` of K of A, where they lie apart from the others: (M, steps) of A's dtype, columns contiguous.
struct MoreSteps {
  const void* data = nullptr;
  int64_t row = 0, steps = 0;
};

void gemm_panels(Stream&, int64_t M, int64_t N, int64_t K, const Matrix& a, const PanelSource& b, const Destination& c, const Epilogue& e = {},
                 const MoreSteps& more = {});

}  // namespace anymal::cpu::linear
