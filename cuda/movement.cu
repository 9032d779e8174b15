// copy, fill, cast, concat, slice_copy, slice_place, transpose_copy: the movers that need no index.
#include "common.cuh"

namespace anymal::cuda {

void copy(Stream& s, Out y, In x) {
  const size_t bytes = static_cast<size_t>(x.size()) * dtype_bytes(x.dtype);
  if (bytes) check(cudaMemcpyAsync(y.data, x.data, bytes, cudaMemcpyDeviceToDevice, s.stream), "copy");
}

}  // namespace anymal::cuda
