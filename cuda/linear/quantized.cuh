// Products with a quantised weight, as linear_quantized.cu offers them to the op with LoRA: the low-rank branch rides on the same sums.
#pragma once
#include "linear/gemm.cuh"

namespace anymal::cuda::gemm {

// W (O,I) as an op gets it.
struct Quantized {
  In codes, absmax;
  InOpt nested_absmax, nested_offset;
  QuantFormat format;
  int64_t block, out_features, in_features;
};

// y += scaling * u . B^T, u (N,r), B (O,r)
struct LoraForward {
  const void *u = nullptr, *b = nullptr;
  int64_t rank = 0;
  float scaling = 0;
};
// dx += dropout'(t . A), t (N,r), A (r,I)
struct LoraBackward {
  const void *t = nullptr, *a = nullptr;
  int64_t rank = 0;
  Dropout dropout{};
};

void quantized(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
               const LoraForward& lora = {});
void quantized_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora = {});

}  // namespace anymal::cuda::gemm
