// Matrix products with AVX-512.
#define ANYMAL_LEVEL avx512
#include "cpu/flash/table.h"
#include "cpu/linear/driver.h"
#include "cpu/linear/float_tile.h"

namespace anymal::cpu {
namespace linear {
// bf16 is widened while packing.
const Kernels kernels_avx512 = {avx512::driver::gemm<avx512::MicroF32, avx512::MicroF32>,
                                avx512::driver::gemm_serial<avx512::MicroF32, avx512::MicroF32>,
                                avx512::peak_f32,
                                avx512::peak_f32,
                                avx512::flash::kernel_of<avx512::MicroF32, avx512::MicroF32>,
                                nullptr,
                                avx512::driver::group<avx512::MicroF32, avx512::MicroF32>};
}  // namespace linear
}  // namespace anymal::cpu
