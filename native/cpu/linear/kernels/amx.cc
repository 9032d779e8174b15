// Matrix products with AMX tiles for bf16 and AVX-512 for f32. With ANYMAL_AMX_TWIN this file compiles into kernels_amx_twin, whose tiles are
// emulated (amx_tile.h): test/native/gemm.cc runs it on any machine.
#ifdef ANYMAL_AMX_TWIN
#define ANYMAL_LEVEL amx_twin
#else
#define ANYMAL_LEVEL amx
#endif
#include "cpu/flash/table.h"
#include "cpu/linear/amx_product.h"

namespace anymal::cpu {
namespace ANYMAL_LEVEL {
namespace {

// 32 x 32: four accumulator tiles fed by two tiles of A and two of B, 16 multiplies of 16x16x32 between loads of 4.
struct MicroBf16 {
  using Element = bf16;
  static constexpr int64_t MR = 32, NR = 32, KB = 32, PB = 2;
  static void begin() {
    static constexpr tile::Config config{};
    tile::configure(config);
  }
  static void end() { tile::release(); }
  // The last strip of up to 16 rows takes the upper tiles alone. Fresh: C = A.B.
  template <int64_t Rows = MR, bool Fresh = false>
    requires(Rows == MR || Rows == 16)
  static void run(int64_t kc, const bf16* a, const bf16* b, float* c, int64_t ldc) {
    constexpr bool both = Rows == MR;
    constexpr int64_t a_row = 64, b_row = NR * 2 * 2;  // bytes
    const int64_t c_row = ldc * 4;
    if constexpr (Fresh) {
      tile::zero<0>();
      tile::zero<1>();
      tile::zero<2>();
      tile::zero<3>();
    } else {
      tile::load<0>(c, c_row);
      tile::load<1>(c + 16, c_row);
      if constexpr (both) {
        tile::load<2>(c + 16 * ldc, c_row);
        tile::load<3>(c + 16 * ldc + 16, c_row);
      }
    }
    for (int64_t k = 0; k < kc; k += KB, a += Rows * KB, b += NR * KB) {
      tile::load<4>(a, a_row);
      tile::load<6>(b, b_row);
      tile::load<7>(b + 32, b_row);
      tile::dot_bf16<0, 4, 6>();
      tile::dot_bf16<1, 4, 7>();
      if constexpr (both) {
        tile::load<5>(a + 16 * KB, a_row);
        tile::dot_bf16<2, 5, 6>();
        tile::dot_bf16<3, 5, 7>();
      }
    }
    tile::store<0>(c, c_row);
    tile::store<1>(c + 16, c_row);
    if constexpr (both) {
      tile::store<2>(c + 16 * ldc, c_row);
      tile::store<3>(c + 16 * ldc + 16, c_row);
    }
  }
};

#ifdef ANYMAL_AMX_TWIN
struct MicroF32 {  // never timed: the f32 path of this level is avx512.cc's
  using Element = float;
  static constexpr int64_t MR = 4, NR = 8, KB = 1, PB = 1;
  static void run(int64_t kc, const float* a, const float* b, float* c, int64_t ldc) {
    for (int64_t k = 0; k < kc; ++k)
      for (int64_t i = 0; i < MR; ++i)
        for (int64_t j = 0; j < NR; ++j) c[i * ldc + j] += a[k * MR + i] * b[k * NR + j];
  }
};
#endif

double peak_bf16(int64_t iterations) {
  alignas(64) static const uint8_t zeros[16 * 64] = {};
  MicroBf16::begin();
  tile::load<4>(zeros, 64);
  tile::load<6>(zeros, 64);
  tile::load<0>(zeros, 64);
  tile::load<1>(zeros, 64);
  tile::load<2>(zeros, 64);
  tile::load<3>(zeros, 64);
  for (int64_t n = 0; n < iterations; ++n) {
    tile::dot_bf16<0, 4, 6>();
    tile::dot_bf16<1, 4, 6>();
    tile::dot_bf16<2, 4, 6>();
    tile::dot_bf16<3, 4, 6>();
  }
  MicroBf16::end();
  return static_cast<double>(iterations) * 4 * 16 * 16 * 32 * 2;
}

// Rows of x with a weight whose rows lie as they do in memory: linear and its dx.
bool through_weight(Stream& s, const linear::Problem& p) {
  constexpr int64_t deep = 8192;  // the rows of x that stay in cache are few: the driver, which cuts K, reads the weight less often
  if (p.panels || p.a.dtype != DType::bf16 || p.a.col != 1 || p.K > deep) return false;
  const bf16 *x = static_cast<const bf16*>(p.a.data), *w = static_cast<const bf16*>(p.b.data);
  const DenseWeight none{nullptr, 0, 0, 0};
  if (p.b.row == 1) Product<false, DenseWeight>({w, p.N, p.K, p.b.col}, p.M, p.N, p.K, x, p.a.row, none, 0, nullptr, 0, p.c, p.e).run(s);
  else if (p.b.col == 1) Product<true, DenseWeight>({w, p.K, p.N, p.b.row}, p.M, p.N, p.K, x, p.a.row, none, 0, nullptr, 0, p.c, p.e).run(s);
  else return false;
  return true;
}

// f32 has no tile instruction.
void gemm(Stream& s, const linear::Problem& p) {
  if (through_weight(s, p)) return;
#ifdef ANYMAL_AMX_TWIN
  driver::gemm<MicroF32, MicroBf16>(s, p);
#else
  if (p.a.dtype == DType::f32) linear::kernels_avx512.gemm(s, p);
  else driver::gemm<MicroBf16, MicroBf16>(s, p);
#endif
}
void gemm_serial(Scratch& scratch, const linear::Problem& p) {
#ifdef ANYMAL_AMX_TWIN
  driver::gemm_serial<MicroF32, MicroBf16>(scratch, p);
#else
  if (p.a.dtype == DType::f32) linear::kernels_avx512.gemm_serial(scratch, p);
  else driver::gemm_serial<MicroBf16, MicroBf16>(scratch, p);
#endif
}
// Products on tiles have regions of their own, whose maxima and rows each unpacks for itself.
void group(Stream& s, const linear::Problem* of, int64_t count, bool one_sum) {
  if (!one_sum) {
    for (int64_t q = 0; q < count; ++q) gemm(s, of[q]);
    return;
  }
#ifdef ANYMAL_AMX_TWIN
  driver::group<MicroF32, MicroBf16>(s, of, count, true);
#else
  if (of[0].a.dtype == DType::f32) linear::kernels_avx512.group(s, of, count, true);
  else driver::group<MicroBf16, MicroBf16>(s, of, count, true);
#endif
}
void coded(Stream& s, const linear::CodedProblem& p) {
  const CodedRows rows(*p.w);
  const int64_t O = p.w->O, I = p.w->I;
  const DenseWeight more{static_cast<const bf16*>(p.b), p.backward ? p.steps : O, p.backward ? I : p.steps, p.backward ? I : p.steps};
  const bf16 *x = static_cast<const bf16*>(p.x), *further = static_cast<const bf16*>(p.s);
  if (!p.backward) return Product<false, CodedRows>(rows, p.M, O, I, x, p.x_row, more, p.steps, further, p.s_row, p.y, p.e).run(s);
  Product<true, CodedRows>(rows, p.M, I, O, x, p.x_row, more, p.steps, further, p.s_row, p.y, p.e).run(s);
}

const cpu::flash::Kernel& attention(DType t) {
#ifdef ANYMAL_AMX_TWIN
  return flash::kernel_of<MicroF32, MicroBf16>(t);
#else
  return t == DType::f32 ? linear::kernels_avx512.attention(t) : flash::Table<MicroBf16, bf16>::kernel;
#endif
}

double peak_f32(int64_t iterations) { return linear::kernels_of(Level::avx512).peak_f32(iterations); }

}  // namespace
}  // namespace ANYMAL_LEVEL

namespace linear {
#ifdef ANYMAL_AMX_TWIN
extern const Kernels kernels_amx_twin;
const Kernels kernels_amx_twin = {amx_twin::gemm,      amx_twin::gemm_serial, amx_twin::peak_f32, amx_twin::peak_bf16,
                                  amx_twin::attention, amx_twin::coded,       amx_twin::group};
#else
const Kernels kernels_amx = {amx::gemm, amx::gemm_serial, amx::peak_f32, amx::peak_bf16, amx::attention, amx::coded, amx::group};
#endif
}  // namespace linear
}  // namespace anymal::cpu
