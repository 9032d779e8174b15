// Products of many rows with a quantised weight on Hopper's own units (hopper.cu): the other path is mma.sync's, on every card.
#pragma once
#include "linear/path.cuh"

namespace anymal::cuda::gemm {

// Can it make this product, as far as shapes and the card say?
bool hopper_serves(const Stream& s, Pass pass, const View& x, const Quantized& w);
// y = x.W^T + s u.B^T + b and dx = dy.W + dropout'(t.A). False where the driver cannot describe x to TMA: the caller goes on with the other path.
bool on_hopper(Stream& s, Scratch& scratch, const View& y, const View& x, const Quantized& w, const View& bias, double threshold,
               const LoraForward& lora);
bool on_hopper_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora);

}  // namespace anymal::cuda::gemm
