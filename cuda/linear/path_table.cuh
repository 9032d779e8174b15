// Written by `npm run bench -- paths --write`: the kernels that were fastest on one card, by shape. None has written it yet, so the limits that
// path.cu computes hold everywhere.
#pragma once
#include <array>

#include "linear/measured.cuh"

namespace anymal::cuda::gemm {

// Compute capability, times ten, and multiprocessors of the card; others go by the computed limits.
inline constexpr int kMeasuredCapability = 0, kMeasuredProcessors = 0;
inline constexpr std::array<Measured, 0> kMeasured{};

}  // namespace anymal::cuda::gemm
