// Convolution, pooling, resampling, recurrence.
#include "shapes/check.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

// Positions of a window of `kernel` taps on `length` elements.
int64_t window_count(const Rule& rule, const char* axis, int64_t length, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  rule.between("kernel", kernel, 1, kMaxStep);
  rule.between("stride", stride, 1, kMaxStep);
  rule.between("padding", padding, 0, kMaxStep);
  rule.between("dilation", dilation, 1, kMaxStep);
  rule.between("length", length, 0, kMaxElements);
  const int64_t reach = dilation * (kernel - 1) + 1, room = length + 2 * padding;
  if (room < reach)
    rule.refuse_shape(std::string("an input that holds the kernel") + axis + ", at least " + std::to_string(reach) + " elements with the padding",
                      std::to_string(room));
  return (room - reach) / stride + 1;
}

Spec conv1d_output(const Rule& rule, const Spec& x, const Spec& w, int64_t stride, int64_t padding, int64_t dilation) {
  rule("x", x).floating().rank(3, "(B,I,L)");
  rule("weight", w).dtype(x.dtype).shape("(O,I,k)", {any, x.dim(1), any});
  return Spec(x.dtype, {x.dim(0), w.dim(0), window_count(rule, "", x.dim(2), w.dim(2), stride, padding, dilation)});
}

Spec conv2d_output(const Rule& rule, const Spec& x, const Spec& w, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w) {
  rule("x", x).floating().rank(4, "(B,I,H,W)");
  rule("weight", w).dtype(x.dtype).shape("(O,I,kh,kw)", {any, x.dim(1), any, any});
  return Spec(x.dtype, {x.dim(0), w.dim(0), window_count(rule, " down", x.dim(2), w.dim(2), stride_h, padding_h, 1),
                        window_count(rule, " across", x.dim(3), w.dim(3), stride_w, padding_w, 1)});
}

SpecList conv_gradients(const Rule& rule, const Spec& y, bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& w) {
  rule("dy", dy).like("the output", y);
  rule("dw", dw).dtype(DType::f32).shape_of("weight", w);
  rule("db", db).dtype(DType::f32).shape("(O)", {w.dim(0)});
  return {dx ? x : Spec::absent()};
}

Spec resized(const Rule& rule, const char* name, const Spec& x, int64_t h, int64_t w) {
  rule(name, x).floating().rank(4, "(B,C,H,W)");
  // Source coordinates are f64 and column indices i32.
  for (const int64_t n : {x.dim(2), x.dim(3), h, w}) rule.between("heights and widths", n, 1, kMaxStep);
  return Spec(x.dtype, {x.dim(0), x.dim(1), h, w});
}

void expect_gru(const Rule& rule, const Spec& x, const Spec& w_ih, const Spec& w_hh) {
  rule("x", x).dtype(DType::f32).rank(3, "(B,T,I)");
  rule("w_hh", w_hh).dtype(DType::f32).rank(2, "(3H,H)");
  rule.between("hidden size H", w_hh.dim(1), 1, kMaxStep);
  rule("w_hh", w_hh).shape("(3H,H)", {3 * w_hh.dim(1), w_hh.dim(1)});
  rule("w_ih", w_ih).dtype(DType::f32).shape("(3H,I)", {3 * w_hh.dim(1), x.dim(2)});
}

}  // namespace

SpecList conv1d(const Spec& x, const Spec& w, const Spec* b, int64_t stride, int64_t padding, int64_t dilation) {
  const Rule rule("conv1d");
  const Spec y = conv1d_output(rule, x, w, stride, padding, dilation);
  rule("bias", b).dtype(x.dtype).shape("(O)", {w.dim(0)});
  return rule.outputs({y});
}

SpecList conv1d_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& w, int64_t stride, int64_t padding,
                         int64_t dilation) {
  const Rule rule("conv1d_backward");
  return conv_gradients(rule, conv1d_output(rule, x, w, stride, padding, dilation), dx, dw, db, dy, x, w);
}

SpecList conv2d(const Spec& x, const Spec& w, const Spec* b, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w) {
  const Rule rule("conv2d");
  const Spec y = conv2d_output(rule, x, w, stride_h, stride_w, padding_h, padding_w);
  rule("bias", b).dtype(x.dtype).shape("(O)", {w.dim(0)});
  return rule.outputs({y});
}

SpecList conv2d_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& w, int64_t stride_h, int64_t stride_w,
                         int64_t padding_h, int64_t padding_w) {
  const Rule rule("conv2d_backward");
  return conv_gradients(rule, conv2d_output(rule, x, w, stride_h, stride_w, padding_h, padding_w), dx, dw, db, dy, x, w);
}

SpecList max_pool1d(const Spec& x, int64_t kernel, int64_t stride) {
  const Rule rule("max_pool1d");
  rule("x", x).floating().at_least(1, "(B,C,L)");
  rule.between("length L", x.cols(), 1, kMaxStep);  // the index is i32
  const Spec y = x.with_cols(window_count(rule, "", x.cols(), kernel, stride, 0, 1));
  return {y, y.with_dtype(DType::i32)};
}

SpecList max_pool1d_backward(const Spec& dy, const Spec& index, int64_t length) {
  const Rule rule("max_pool1d_backward");
  rule("dy", dy).floating().at_least(1, "(B,C,L')");
  rule("index", index).dtype(DType::i32).shape_of("dy", dy);
  rule.between("length", length, 1, kMaxStep);
  return rule.outputs({dy.with_cols(length)});
}

SpecList mean_pool(const Spec& x, int64_t dim) {
  const Rule rule("mean_pool");
  rule("x", x).floating();
  rule.between("dim", dim, 0, x.rank);
  rule.at_least("elements to average", x.shape[dim], 1);
  Spec y = x;
  for (int64_t i = dim; i + 1 < x.rank; ++i) y.shape[i] = x.shape[i + 1];
  y.shape[--y.rank] = 0;
  return {y};
}

SpecList mean_pool_backward(const Spec& dy, int64_t dim, int64_t length) {
  const Rule rule("mean_pool_backward");
  rule("dy", dy).floating();
  rule.between("dim", dim, 0, dy.rank + 1);
  rule.at_least("length", length, 1);
  Spec dx = rule.appended(dy, dy.dtype, length);
  for (int64_t i = dx.rank - 1; i > dim; --i) dx.shape[i] = dy.shape[i - 1];
  dx.shape[dim] = length;
  return rule.outputs({dx});
}

SpecList interpolate_bicubic(const Spec& x, int64_t out_h, int64_t out_w, bool, bool) {
  const Rule rule("interpolate_bicubic");
  return rule.outputs({resized(rule, "x", x, out_h, out_w)});
}

SpecList interpolate_bicubic_backward(const Spec& dy, int64_t in_h, int64_t in_w, bool, bool) {
  const Rule rule("interpolate_bicubic_backward");
  return rule.outputs({resized(rule, "dy", dy, in_h, in_w)});
}

SpecList gru(const Spec& x, const Spec& w_ih, const Spec& w_hh, const Spec& b_ih, const Spec& b_hh) {
  const Rule rule("gru");
  expect_gru(rule, x, w_ih, w_hh);
  const int64_t H = w_hh.dim(1);
  rule("b_ih", b_ih).dtype(DType::f32).shape("(3H)", {3 * H});
  rule("b_hh", b_hh).dtype(DType::f32).shape("(3H)", {3 * H});
  return rule.outputs({x.with_cols(H), x.with_cols(4 * H)});
}

SpecList gru_backward(bool dx, const Spec* dw_ih, const Spec* dw_hh, const Spec* db_ih, const Spec* db_hh, const Spec& dh, const Spec& h,
                      const Spec& saved, const Spec& x, const Spec& w_ih, const Spec& w_hh) {
  const Rule rule("gru_backward");
  expect_gru(rule, x, w_ih, w_hh);
  const int64_t H = w_hh.dim(1);
  rule("h", h).like("x but for H", x.with_cols(H));
  rule("dh", dh).like("h", h);
  rule("saved", saved).like("x but for 4H", x.with_cols(4 * H));
  rule("dw_ih", dw_ih).like("w_ih", w_ih);
  rule("dw_hh", dw_hh).like("w_hh", w_hh);
  rule("db_ih", db_ih).dtype(DType::f32).shape("(3H)", {3 * H});
  rule("db_hh", db_hh).dtype(DType::f32).shape("(3H)", {3 * H});
  return {dx ? x : Spec::absent()};
}

}  // namespace anymal::shapes
