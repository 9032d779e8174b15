// The gradient of a bias: column sums of dy, for the ops whose outputs have one.
#include "column_sums.cuh"
#include "linear/gemm.cuh"

namespace anymal::cuda::gemm {
namespace {
template <class T>
struct DyColumns {
  const T* dy;
  int64_t cols;
  template <int W>
  __device__ __forceinline__ void add(float (&sum)[1][W], int64_t r, int64_t c) const {
    if constexpr (W == 1) {
      sum[0][0] += to_float(dy[r * cols + c]);
    } else {
      const Pack<T> p = load_pack(dy + r * cols + c);
#pragma unroll
      for (int k = 0; k < W; ++k) sum[0][k] += to_float(p.v[k]);
    }
  }
};
}  // namespace

void add_bias_gradient(Stream& s, float* db, const View& dy, int64_t rows, int64_t cols) {
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int W = Pack<T>::kSize;
    const bool packs = aligned16({dy.data}) && cols % W == 0;
    add_column_sums<W, 1>(s, rows, cols, packs, DyColumns<T>{dy.as<T>(), cols}, ColumnTargets<1>{{db}});
  });
}

}  // namespace anymal::cuda::gemm
