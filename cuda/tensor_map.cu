#include <cuda_runtime.h>

#include "tensor_map.h"

namespace anymal::cuda {
namespace {

using Encode = decltype(cuTensorMapEncodeTiled)*;

// The module does not link to the driver's library: it asks the runtime for this one function.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if defined(GPU_EMU) || CUDART_VERSION >= 12050
  constexpr unsigned since = 12000;
  const cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, since, cudaEnableDefault, &found);
#else
  const cudaError_t e = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  if (e != cudaSuccess) cudaGetLastError();
  return e == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function) : nullptr;
}

// Boxes of 128 bytes a row.
bool encode(CUtensorMap& map, CUtensorMapDataType type, cuuint32_t bytes, const void* data, int64_t rows, int64_t cols, int64_t pitch, int box_rows) {
  static const Encode function = find_encode();
  if (!function || rows <= 0 || cols <= 0) return false;
  const cuuint64_t dims[] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows)}, strides[] = {static_cast<cuuint64_t>(pitch)};
  const cuuint32_t box[] = {128 / bytes, static_cast<cuuint32_t>(box_rows)}, steps[] = {1, 1};
  if (reinterpret_cast<uintptr_t>(data) % 16 || strides[0] % 16) return false;
  return function(&map, type, 2, const_cast<void*>(data), dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace

bool tensor_map(CUtensorMap& map, const void* data, int64_t rows, int64_t cols, int box_rows) {
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, data, rows, cols, 2 * cols, box_rows);
}
bool tensor_map_of_bytes(CUtensorMap& map, const void* data, int64_t rows, int64_t cols, int64_t pitch, int box_rows) {
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, data, rows, cols, pitch, box_rows);
}

}  // namespace anymal::cuda
