// attention_backward, attention_two_source_backward: delta first, then the kernels of backward.cuh.
#include "backward.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

// delta (B,H,T) = rowsum(dy * y): a warp per row.
// budget: 48 registers, 0 KiB shared, 0 spills
template <class X>
__global__ void __launch_bounds__(kThreads) delta_kernel(int64_t threads, Job<X> j) {
  const int lane = threadIdx.x % 32;
  for (int64_t i = first_index(); i < threads; i += index_stride()) {
    const int64_t row = i / 32;  // (B,T,H)
    const X *y = j.y + row * j.D, *dy = j.dy + row * j.D;
    float sum = 0;
    if (j.aligned) {
      for (int c = lane * Pack<X>::kSize; c < j.D; c += 32 * Pack<X>::kSize) {
        const Pack<X> a = load_pack(y + c), g = load_pack(dy + c);
#pragma unroll
        for (int e = 0; e < Pack<X>::kSize; ++e) sum += to_float(a.v[e]) * to_float(g.v[e]);
      }
    } else {
      for (int c = lane; c < j.D; c += 32) sum += to_float(y[c]) * to_float(dy[c]);
    }
    sum = warp_sum(sum);
    const int64_t h = row % j.H, t = row / j.H % j.T, b = row / j.H / j.T;
    if (lane == 0) j.delta[(b * j.H + h) * j.T + t] = sum;
  }
}

template <class X>
void backward(Stream& s, Job<X> j, const View& dq, const View& dk, const View& dv, const View& dk2, const View& dv2, const View& dbias,
              const View& dy, const View& y, const View& lse) {
  Scratch scratch(s);
  const int64_t rows = static_cast<int64_t>(j.B) * j.H * j.T;
  j.dq = dq.as<X>();
  j.source[0].dk = dk.as<X>();
  j.source[0].dv = dv.as<X>();
  j.source[1].dk = dk2.as<X>();
  j.source[1].dv = dv2.as<X>();
  j.dbias = dbias.as<float>();
  j.dy = dy.as<X>();
  j.y = y.as<X>();
  j.lse = lse.as<float>();
  j.delta = scratch.take<float>(rows);
  j.aligned = j.aligned && aligned16({dq.data, dk.data, dv.data, dk2.data, dv2.data, dy.data, y.data});
  launch_items<delta_kernel<X>>(s, 32 * rows, j);
  key_gradients(s, j);
  query_gradients(s, j);
  if (dbias) bias_gradients(s, j);
}

}  // namespace

void attention_backward(Stream& s, Out dq, Out dk, Out dv, Acc dbias, In dy, In q, In k, In v, In y, In lse, InOpt range, InOpt bias, double scale,
                        bool causal, int64_t window) {
  by_dtype(q.dtype, [&](auto x) {
    const auto j = make_job<decltype(x)>(q, k, v, {}, {}, range, bias, scale, causal, window);
    backward(s, j, dq, dk, dv, {}, {}, dbias, dy, y, lse);
  });
}

void attention_two_source_backward(Stream& s, Out dq, Out dk1, Out dv1, Out dk2, Out dv2, In dy, In q, In k1, In v1, In k2, In v2, In y, In lse,
                                   InOpt range, double scale) {
  by_dtype(q.dtype, [&](auto x) {
    const auto j = make_job<decltype(x)>(q, k1, v1, k2, v2, range, {}, scale, false, 0);
    backward(s, j, dq, dk1, dv1, dk2, dv2, {}, dy, y, lse);
  });
}

}  // namespace anymal::cuda
