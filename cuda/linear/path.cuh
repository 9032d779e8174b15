// Which kernels make a product with a quantised weight.
#pragma once
#include "linear/measured.cuh"
#include "linear/quantized.cuh"

namespace anymal::cuda::gemm {

// The path of x.W^T (x has in_features columns) or of x.W (Pass::dx: out_features), and why: path.cu. Throws where the device's option path= names
// one that does not serve.
Path path_of(const Stream& s, Pass pass, const View& x, const Quantized& w);

}  // namespace anymal::cuda::gemm
