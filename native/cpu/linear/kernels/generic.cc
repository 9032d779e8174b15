// Matrix products in plain C++ for any CPU: the compiler vectorises the NR loop with what the baseline has.
#define ANYMAL_LEVEL generic
#include "cpu/flash/table.h"
#include "cpu/linear/driver.h"

namespace anymal::cpu {
namespace generic {
namespace {

struct MicroF32 {
  using Element = float;
  static constexpr int64_t MR = 4, NR = 8, KB = 1, PB = 1;
  template <int64_t Rows = MR>
  static void run(int64_t kc, const float* a, const float* b, float* c, int64_t ldc) {
    float sum[Rows][NR] = {};
    for (int64_t k = 0; k < kc; ++k)
      for (int64_t i = 0; i < Rows; ++i)
        for (int64_t j = 0; j < NR; ++j) sum[i][j] += a[k * Rows + i] * b[k * NR + j];
    for (int64_t i = 0; i < Rows; ++i)
      for (int64_t j = 0; j < NR; ++j) c[i * ldc + j] += sum[i][j];
  }
#if defined(__x86_64__)  // which has no fused multiply-add at this level: elsewhere the compiler may fuse here and not there
  using Units = Transpose::Vector;
  static Units add(Units sum, Units x, Units w) {
    typedef float Floats __attribute__((vector_size(sizeof(Units))));
    return reinterpret_cast<Units>(reinterpret_cast<Floats>(sum) + reinterpret_cast<Floats>(x) * reinterpret_cast<Floats>(w));
  }
#endif
};

double peak_f32(int64_t iterations) {
  float sum[8][4] = {};
  volatile float factor = 0.999f, term = 0.001f;
  const float f = factor, t = term;
  for (int64_t n = 0; n < iterations; ++n)
    for (int i = 0; i < 8; ++i)
      for (int j = 0; j < 4; ++j) sum[i][j] = sum[i][j] * f + t;
  volatile float keep = 0;
  for (auto& row : sum)
    for (float v : row) keep = keep + v;
  return static_cast<double>(iterations) * 8 * 4 * 2;
}

}  // namespace
}  // namespace generic

namespace linear {
// bf16 is widened while packing.
const Kernels kernels_generic = {generic::driver::gemm<generic::MicroF32, generic::MicroF32>,
                                 generic::driver::gemm_serial<generic::MicroF32, generic::MicroF32>,
                                 generic::peak_f32,
                                 generic::peak_f32,
                                 generic::flash::kernel_of<generic::MicroF32, generic::MicroF32>,
                                 nullptr,
                                 generic::driver::group<generic::MicroF32, generic::MicroF32>};
}  // namespace linear
}  // namespace anymal::cpu
