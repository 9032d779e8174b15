// A matrix in global memory as TMA takes it.
#pragma once
#include <cuda.h>

#include <cstdint>

namespace anymal::cuda {

// rows x cols of bf16, side by side; a load brings `box_rows` rows of 64 columns, swizzled by 128 bytes. False where TMA cannot: data or rows are not
// a multiple of 16 bytes, or the driver knows no tensor maps.
bool tensor_map(CUtensorMap& map, const void* data, int64_t rows, int64_t cols, int box_rows);
// The same of bytes, rows `pitch` bytes apart: a load brings 128 columns.
bool tensor_map_of_bytes(CUtensorMap& map, const void* data, int64_t rows, int64_t cols, int64_t pitch, int box_rows);

}  // namespace anymal::cuda
