// Row-major codes, as on disk, to and from the layout of operands.cuh.
#include "linear/operands.cuh"

namespace anymal::cuda {
namespace {

__device__ __forceinline__ uint32_t code_on_disk(const uint8_t* codes, int64_t i) { return codes[i / 2] >> (i % 2 ? 0 : 4) & 15; }

// A block makes one row; what pads it decodes to zero.
// budget: 40 registers, 0 KiB shared, 0 spills
__global__ void pack_rows_kernel(uint8_t* packed, const uint8_t* codes, int64_t in_features, int64_t bytes, bool eight, uint32_t zero) {
  uint8_t* to = packed + blockIdx.x * bytes;
  const int64_t first = blockIdx.x * in_features;
  for (int64_t j = threadIdx.x; j < bytes; j += blockDim.x) {
    if (eight) {
      to[j] = j < in_features ? codes[first + j] : 0;
      continue;
    }
    const int64_t k = 2 * j;
    const uint32_t low = k < in_features ? code_on_disk(codes, first + k) : zero;
    const uint32_t high = k + 1 < in_features ? code_on_disk(codes, first + k + 1) : zero;
    to[gemm::four_bit_place(k)] = static_cast<uint8_t>(low | high << 4);
  }
}

__device__ __forceinline__ uint32_t packed_code(const uint8_t* packed, int64_t i, int64_t in_features, int64_t bytes) {
  const int64_t k = i % in_features;
  return packed[i / in_features * bytes + gemm::four_bit_place(k)] >> (k % 2 * 4) & 15;
}

// One byte on disk per item; n codes.
// budget: 40 registers, 0 KiB shared, 0 spills
__global__ void unpack_rows_kernel(int64_t items, uint8_t* codes, const uint8_t* packed, int64_t n, int64_t in_features, int64_t bytes, bool eight) {
  for (int64_t i = first_index(); i < items; i += index_stride()) {
    if (eight) {
      codes[i] = packed[i / in_features * bytes + i % in_features];
      continue;
    }
    const uint32_t second = 2 * i + 1 < n ? packed_code(packed, 2 * i + 1, in_features, bytes) : 0;
    codes[i] = static_cast<uint8_t>(packed_code(packed, 2 * i, in_features, bytes) << 4 | second);
  }
}

}  // namespace

int64_t packed_bytes(QuantFormat format, int64_t out_features, int64_t in_features) { return out_features * gemm::row_bytes(format, in_features); }

void pack_codes(Stream& s, Out packed, In codes, QuantFormat format, int64_t out_features, int64_t in_features) {
  const bool eight = format == QuantFormat::int8;
  launch<pack_rows_kernel>(s, grid_of(out_features), kThreads, 0, packed.as<uint8_t>(), codes.as<uint8_t>(), in_features,
                           gemm::row_bytes(format, in_features), eight, format == QuantFormat::nf4 ? 7u : 0u);
}

void unpack_codes(Stream& s, Out codes, In packed, QuantFormat format, int64_t out_features, int64_t in_features) {
  const bool eight = format == QuantFormat::int8;
  const int64_t n = out_features * in_features;
  launch_items<unpack_rows_kernel>(s, eight ? n : (n + 1) / 2, codes.as<uint8_t>(), packed.as<uint8_t>(), n, in_features,
                                   gemm::row_bytes(format, in_features), eight);
}

}  // namespace anymal::cuda
