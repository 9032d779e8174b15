// Matrix products with AVX2 and FMA.
#define ANYMAL_LEVEL avx2
#include "cpu/flash/table.h"
#include "cpu/linear/driver.h"
#include "cpu/linear/float_tile.h"

namespace anymal::cpu {
namespace linear {
// bf16 is widened while packing.
const Kernels kernels_avx2 = {avx2::driver::gemm<avx2::MicroF32, avx2::MicroF32>,
                              avx2::driver::gemm_serial<avx2::MicroF32, avx2::MicroF32>,
                              avx2::peak_f32,
                              avx2::peak_f32,
                              avx2::flash::kernel_of<avx2::MicroF32, avx2::MicroF32>,
                              nullptr,
                              avx2::driver::group<avx2::MicroF32, avx2::MicroF32>};
}  // namespace linear
}  // namespace anymal::cpu
