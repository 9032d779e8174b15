// Rotary position embedding in half-split form (RoFormer, arXiv 2104.09864; Hugging Face's rotate_half): (a, b) = (x[i], x[i + D/2]) turns by
// the angle of its position. The inverse turns back: it is the gradient.
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

struct Heads {
  int64_t rows, H, half, positions;
};

// `threads` of a block share a row (H,D), W pairs to a thread at a time.
template <class T, int W>
__global__ void rope_kernel(T* y, const T* x, const float* table, const int32_t* positions, Heads n, int threads, float sign, FaultLog fault) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / threads) + threadIdx.x / threads;
  if (row >= n.rows) return;
  const int32_t at = positions[row];
  const bool holds = index_holds(fault, Fault::position, row, at, 0, n.positions);
  const float* angles = table + at * n.half * 2;
  const uint32_t per_head = static_cast<uint32_t>(n.half / W), items = per_head * static_cast<uint32_t>(n.H);
  for (uint32_t item = threadIdx.x % threads; item < items; item += threads) {
    const uint32_t h = item / per_head, i = (item - h * per_head) * W;
    const int64_t first = (row * n.H + h) * 2 * n.half + i;
    float a[W], b[W], turn[2 * W] = {};
    load<W>(a, x + first);
    load<W>(b, x + first + n.half);
    if (holds) {
      if constexpr (W == 1) {
        turn[0] = angles[2 * i];
        turn[1] = angles[2 * i + 1];
      } else {
        load<2 * W>(turn, angles + 2 * i);
      }
    }
    for (int k = 0; k < W; ++k) {
      const float cosine = turn[2 * k], sine = sign * turn[2 * k + 1], p = a[k], q = b[k];
      a[k] = p * cosine - q * sine;
      b[k] = q * cosine + p * sine;
    }
    store<W>(y + first, a);
    store<W>(y + first + n.half, b);
  }
}

}  // namespace

void rope(Stream& s, Out y, In x, In table, In positions, bool inverse) {
  const Heads n{x.dim(0) * x.dim(1), x.dim(2), x.dim(3) / 2, table.dim(0)};
  if (n.half == 0 || n.H == 0) return;
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const auto run = [&](auto w) {
      const int64_t items = n.H * (n.half / w());
      int threads = 8;
      while (threads < kThreads && threads < items) threads *= 2;
      const int64_t per = kThreads / threads;
      launch<rope_kernel<T, w()>>(s, grid_of((n.rows + per - 1) / per), kThreads, 0, y.as<T>(), x.as<T>(), table.as<float>(), positions.as<int32_t>(),
                                  n, threads, inverse ? -1.0f : 1.0f, s.fault_log());
    };
    if (n.half % kWidth<T> == 0 && aligned16({y.data, x.data, table.data})) run(std::integral_constant<int, kWidth<T>>{});
    else run(std::integral_constant<int, 1>{});
  });
}

}  // namespace anymal::cuda
