// linear_fused: a linear layer with what follows it; project_two_source: queries, keys and values of two sources; and their gradients. Each is one
// launch of a group of products (products.cuh), but for the gradient of a bias.
#include "linear/products.cuh"

namespace anymal::cuda {

using namespace gemm;

namespace {
bool whole_packs(const View& v, std::initializer_list<const void*> pointers) {
  return aligned16(pointers) && v.cols() * static_cast<int64_t>(dtype_bytes(v.dtype)) % 16 == 0;
}
Product& add_result(Products& all, const View& y, const View& bias = View{}) { return all.add(y.rows(), y.cols(), matrix_of(y, y.cols(), bias)); }
Product& add_gradient(Products& all, const View& dw) { return all.add(dw.rows(), dw.cols(), matrix_of(dw, dw.cols(), View{}, true)); }
}  // namespace

void linear_fused(Stream& s, Out y, OutOpt pre, In x, In w, InOpt b, InOpt residual, Activation kind) {
  Scratch scratch(s);
  Products all;
  View raw = y;
  if (pre) raw.data = pre.data;
  Product& p = add_result(all, raw, b);
  if (residual) p.then = {Then::sum, kind, y.data, residual.data, whole_packs(y, {raw.data, y.data, residual.data})};
  else if (pre || kind != Activation::identity) p.then = {Then::value, kind, y.data, nullptr, whole_packs(y, {raw.data, y.data})};
  add_forward(p, x, w);
  launch_products(s, scratch, x.dtype, false, all);
}

void linear_fused_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, InOpt x, InOpt w, InOpt pre, Activation kind) {
  Scratch scratch(s);
  Products all;
  if (dx) {
    Product& p = add_result(all, dx);
    if (pre) p.then = {Then::slope, kind, dx.data, pre.data, whole_packs(dx, {dx.data, pre.data})};
    add_dx(p, dy, w);
  }
  if (dw) add_dw(add_gradient(all, dw), dy, x);
  launch_products(s, scratch, dy.dtype, true, all);
  if (db) add_bias_gradient(s, db.as<float>(), dy, dy.rows(), dy.cols());
}

void project_two_source(Stream& s, Out q, Out k1, Out v1, Out k2, Out v2, In x1, In x2, In wq, In wk, In wv) {
  Scratch scratch(s);
  Products all;
  add_forward(add_result(all, q), x2, wq);
  add_forward(add_result(all, k1), x1, wk);
  add_forward(add_result(all, v1), x1, wv);
  add_forward(add_result(all, k2), x2, wk);
  add_forward(add_result(all, v2), x2, wv);
  launch_products(s, scratch, x1.dtype, false, all);
}

void project_two_source_backward(Stream& s, OutOpt dx1, OutOpt dx2, Acc dwq, Acc dwk, Acc dwv, In dq, In dk1, In dv1, In dk2, In dv2, In x1, In x2,
                                 In wq, In wk, In wv) {
  Scratch scratch(s);
  Products all;
  if (dx1) {
    Product& p = add_result(all, dx1);
    add_dx(p, dv1, wv);
    add_dx(p, dk1, wk);
  }
  if (dx2) {
    Product& p = add_result(all, dx2);
    add_dx(p, dv2, wv);
    add_dx(p, dk2, wk);
    add_dx(p, dq, wq);
  }
  if (dwq) add_dw(add_gradient(all, dwq), dq, x2);
  const auto of_both = [&](const View& dw, const View& dy1, const View& dy2) {
    if (!dw) return;
    Product& p = add_gradient(all, dw);
    add_dw(p, dy2, x2);
    add_dw(p, dy1, x1);
  };
  of_both(dwk, dk1, dk2);
  of_both(dwv, dv1, dv2);
  launch_products(s, scratch, x1.dtype, true, all);
}

}  // namespace anymal::cuda
