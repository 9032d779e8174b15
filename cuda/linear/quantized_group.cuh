// Several products with quantised weights over one x: the parts of linear_quantized_group's backward.
#pragma once
#include "linear/quantized.cuh"

namespace anymal::cuda::gemm {

Dropout dropout_of(double p, int64_t seed, int64_t offset);

// A LoRA branch in backward: dA += t^T.dropout(x) and dB += s dy^T.u where these are given, and t (N,r) = s dy.B, which lora_gradients() makes in
// scratch.
struct BranchBackward {
  View dy, u, a, b, da, db;
  float scaling;
  Dropout dropout;
  View t{};
};
// Of at most kMostWeights branches in one launch.
void lora_gradients(Stream& s, Scratch& scratch, const View& x, BranchBackward* of, int count);

}  // namespace anymal::cuda::gemm
