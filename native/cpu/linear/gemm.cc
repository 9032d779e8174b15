#include "cpu/linear/gemm.h"

#include "cpu/linear/kernels.h"

namespace anymal::cpu::linear {

const Kernels& kernels_of(Level level) {
#if defined(__x86_64__)
  switch (level) {
    case Level::generic:
      return kernels_generic;
    case Level::avx2:
      return kernels_avx2;
    case Level::avx512:
      return kernels_avx512;
    case Level::avx512_bf16:
      return kernels_avx512_bf16;
    case Level::amx:
      return kernels_amx;
  }
#endif
  (void)level;
  return kernels_generic;
}

void gemm(Stream& s, int64_t M, int64_t N, int64_t K, const Matrix& a, const Matrix& b, const Destination& c, const Epilogue& e) {
  s.kernels->gemm(s, {M, N, K, a, b, nullptr, c, e});
}

void gemm_serial(Stream& s, int thread, int64_t M, int64_t N, int64_t K, const Matrix& a, const Matrix& b, const Destination& c, const Epilogue& e) {
  s.kernels->gemm_serial(s.scratch[static_cast<size_t>(thread)], {M, N, K, a, b, nullptr, c, e});
}

void gemm_panels(Stream& s, int64_t M, int64_t N, int64_t K, const Matrix& a, const PanelSource& b, const Destination& c, const Epilogue& e,
                 const MoreSteps& more) {
  s.kernels->gemm(s, {M, N, K, a, {}, &b, c, e, more});
}

}  // namespace anymal::cpu::linear
