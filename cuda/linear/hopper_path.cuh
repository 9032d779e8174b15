// Products of many rows with a quantised weight on Hopper's own units (hopper.cu): the other path is mma.sync's, on every card.
#pragma once
#include "linear/quantized.cuh"

namespace anymal::cuda::gemm {

// y = x.W^T + s u.B^T + b and dx = dy.W + dropout'(t.A). False where this path does not serve: the caller goes on with the other.
bool on_hopper(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, const LoraForward& lora);
bool on_hopper_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora);

}  // namespace anymal::cuda::gemm
