// attention_backward, attention_two_source_backward: the kernels of backward.cuh in turn.
#include "backward.cuh"

namespace anymal::cuda {
namespace {

using namespace flash;

template <class X>
void backward(Stream& s, Job<X> j, const View& dq, const View& dk, const View& dv, const View& dk2, const View& dv2, const View& dbias,
              const View& dy) {
  Scratch scratch(s);
  j.dq = dq.as<X>();
  j.source[0].dk = dk.as<X>();
  j.source[0].dv = dv.as<X>();
  j.source[1].dk = dk2.as<X>();
  j.source[1].dv = dv2.as<X>();
  j.dbias = dbias.as<float>();
  j.dy = dy.as<X>();
  j.rows = scratch.take<Row>(static_cast<int64_t>(j.B) * j.H * j.T);
  j.aligned = j.aligned && aligned16({dq.data, dk.data, dv.data, dk2.data, dv2.data, dy.data});
  if (j.D <= kJointHead<X>) {
    joint_gradients(s, scratch, j);
  } else {
    rows(s, j);
    key_gradients(s, j);
    query_gradients(s, j);
  }
  if (dbias) bias_gradients(s, j);
}

}  // namespace

void attention_backward(Stream& s, Out dq, Out dk, Out dv, Acc dbias, In dy, In q, In k, In v, In, In, InOpt range, InOpt bias, double scale,
                        bool causal, int64_t window) {
  by_dtype(q.dtype, [&](auto x) {
    const auto j = make_job<decltype(x)>(q, k, v, {}, {}, range, bias, scale, causal, window);
    backward(s, j, dq, dk, dv, {}, {}, dbias, dy);
  });
}

void attention_two_source_backward(Stream& s, Out dq, Out dk1, Out dv1, Out dk2, Out dv2, In dy, In q, In k1, In v1, In k2, In v2, In, In,
                                   InOpt range, double scale) {
  by_dtype(q.dtype, [&](auto x) {
    const auto j = make_job<decltype(x)>(q, k1, v1, k2, v2, range, {}, scale, false, 0);
    backward(s, j, dq, dk1, dv1, dk2, dv2, {}, dy);
  });
}

}  // namespace anymal::cuda
