// linear_fused, project_two_source and their gradients: the ops that they stand for, one after the other, with the bits of those.
#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

size_t bytes_of(const View& v, DType t) { return (static_cast<size_t>(v.size()) * dtype_bytes(t) + 63) / 64 * 64; }

// Room in the stream's shared scratch for results between two ops, and for a weight in the dtype of the rows that it meets: panels of some levels are
// f32 and would not round an f32 master. One weight at a time.
class Between {
 public:
  Between(Stream& s, DType dtype, std::initializer_list<View> weights, const View& result = View{})
      : s_(s), dtype_(dtype), result_(result ? bytes_of(result, dtype) : 0) {
    size_t most = 0;
    for (const View& w : weights)
      if (w && w.dtype != dtype && bytes_of(w, dtype) > most) most = bytes_of(w, dtype);
    if (result_ + most) room_ = static_cast<char*>(s.shared.get(result_ + most));
  }
  View result(const View& like) const { return at(like, room_); }
  View rounded(const View& w) const {
    if (w.dtype == dtype_) return w;
    const View narrow = at(w, room_ + result_);
    cast(s_, Out{narrow}, In{w});
    return narrow;
  }

 private:
  View at(View v, void* data) const {
    v.data = data;
    v.dtype = dtype_;
    return v;
  }
  Stream& s_;
  DType dtype_;
  size_t result_;
  char* room_ = nullptr;
};

// dx += dy.w, rounded as an op of its own would.
void add_dx(Stream& s, const Between& between, const View& dx, const View& dy, const View& w) {
  const View more = between.result(dx);
  linear_dx(s, Out{more}, In{dy}, In{w});
  add(s, Out{dx}, In{dx}, In{more});
}

}  // namespace

void linear_fused(Stream& s, Out y, OutOpt pre, In x, In w, InOpt b, InOpt residual, Activation kind) {
  const Between between(s, x.dtype, {w});
  const View raw = pre ? View{pre} : View{y};
  linear(s, Out{raw}, x, In{between.rounded(w)}, b);
  if (pre || kind != Activation::identity) activation(s, y, In{raw}, kind);
  if (residual) add(s, y, In{residual}, In{y});
}

void linear_fused_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, InOpt x, InOpt w, InOpt pre, Activation kind) {
  if (dw || db) linear_dw(s, dw, db, dy, In{x});
  if (!dx) return;
  const Between between(s, dy.dtype, {w});
  linear_dx(s, Out{dx}, dy, In{between.rounded(w)});
  if (pre) activation_backward(s, Out{dx}, In{dx}, In{pre}, kind);
}

void project_two_source(Stream& s, Out q, Out k1, Out v1, Out k2, Out v2, In x1, In x2, In wq, In wk, In wv) {
  const Between between(s, x1.dtype, {wq, wk, wv});
  const InOpt none{};
  linear(s, q, x2, In{between.rounded(wq)}, none);
  const In k{between.rounded(wk)};
  linear(s, k1, x1, k, none);
  linear(s, k2, x2, k, none);
  const In v{between.rounded(wv)};
  linear(s, v1, x1, v, none);
  linear(s, v2, x2, v, none);
}

// In the order of a tape: values first, of x2 first.
void project_two_source_backward(Stream& s, OutOpt dx1, OutOpt dx2, Acc dwq, Acc dwk, Acc dwv, In dq, In dk1, In dv1, In dk2, In dv2, In x1, In x2,
                                 In wq, In wk, In wv) {
  const Acc none{};
  if (dwv) {
    linear_dw(s, dwv, none, dv2, x2);
    linear_dw(s, dwv, none, dv1, x1);
  }
  if (dwk) {
    linear_dw(s, dwk, none, dk2, x2);
    linear_dw(s, dwk, none, dk1, x1);
  }
  if (dwq) linear_dw(s, dwq, none, dq, x2);
  if (!dx1 && !dx2) return;
  const Between between(s, x1.dtype, {wq, wk, wv}, !dx2 || (dx1 && dx1.size() > dx2.size()) ? View{dx1} : View{dx2});
  const View v = between.rounded(wv);
  if (dx1) linear_dx(s, Out{dx1}, dv1, In{v});
  if (dx2) linear_dx(s, Out{dx2}, dv2, In{v});
  const View k = between.rounded(wk);
  if (dx1) add_dx(s, between, dx1, dk1, k);
  if (dx2) {
    add_dx(s, between, dx2, dk2, k);
    add_dx(s, between, dx2, dq, between.rounded(wq));
  }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
