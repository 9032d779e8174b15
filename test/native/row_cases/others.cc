// What sums along a row, or goes element by element through rows of odd length: norms, losses, activations, rope, pooling, resampling, rows to int8.
#include "op_cases/cases.h"
#include "row_cases/cases.h"

namespace anymal::row_cases {

using op_cases::_;
using op_cases::none;

namespace {

View f32(const Sizes& shape) { return Maker::of(DType::f32, shape); }

void norms(Maker& m) {
  const int64_t n = m.pick(2, 70), C = m.pick(1, 300);
  const View w = m.in({C}), bias = m.in({C});
  const Sizes x{n, C};
  m.add(
      "rms_norm", n, {m.in(x), m.in(x)}, {m.shape(x), f32({n}), m.shape(x)}, RUN {
        b.rms_norm(s, _(out[0]), _(out[1]), _(cut[0]), _(w), 1e-5);
        b.rms_norm_backward(s, _(out[2]), none, _(cut[1]), _(cut[0]), _(w), _(out[1]), none);
      });
  m.add(
      "add_rms_norm", n, {m.in(x), m.in(x), m.in(x), m.in(x)}, {m.shape(x), m.shape(x), f32({n}), m.shape(x)}, RUN {
        b.add_rms_norm(s, _(out[0]), _(out[1]), _(out[2]), _(cut[0]), _(cut[1]), _(w), 1e-5);
        b.rms_norm_backward(s, _(out[3]), none, _(cut[2]), _(out[0]), _(w), _(out[2]), _(cut[3]));
      });
  m.add(
      "layer_norm", n, {m.in(x), m.in(x)}, {m.shape(x), f32({n}), f32({n}), m.shape(x)}, RUN {
        b.layer_norm(s, _(out[0]), _(out[1]), _(out[2]), _(cut[0]), _(w), _(bias), 1e-5);
        b.layer_norm_backward(s, _(out[3]), none, none, _(cut[1]), _(cut[0]), _(w), _(out[1]), _(out[2]));
      });
  m.add(
      "l2_normalize", n, {m.in(x), m.in(x)}, {m.shape(x), f32({n}), m.shape(x)}, RUN {
        b.l2_normalize(s, _(out[0]), _(out[1]), _(cut[0]), 1e-12);
        b.l2_normalize_backward(s, _(out[2]), _(cut[1]), _(out[0]), _(out[1]), 1e-12);
      });
  const int64_t B = m.pick(2, 5), G = m.pick(1, 4), channels = G * m.pick(1, 5), L = m.pick(1, 90);
  const View wc = m.in({channels}), bc = m.in({channels}), mean = m.floats({channels}), var = m.floats({channels}, 0.1f, 2);
  const Sizes image{B, channels, L};
  m.add(
      "group_norm", B, {m.in(image), m.in(image)}, {m.shape(image), f32({B, G}), f32({B, G}), m.shape(image)}, RUN {
        b.group_norm(s, _(out[0]), _(out[1]), _(out[2]), _(cut[0]), _(wc), _(bc), G, 1e-5);
        b.group_norm_backward(s, _(out[3]), none, none, _(cut[1]), _(cut[0]), _(wc), _(out[1]), _(out[2]), G);
      });
  m.add(
      "batch_norm_inference", B, {m.in(image), m.in(image)}, {m.shape(image), m.shape(image)}, RUN {
        b.batch_norm_inference(s, _(out[0]), _(cut[0]), _(mean), _(var), _(wc), _(bc), 1e-5);
        b.batch_norm_inference_backward(s, _(out[1]), none, none, _(cut[1]), _(cut[0]), _(mean), _(var), _(wc), 1e-5);
      });
}

void elements(Maker& m) {
  const int64_t n = m.pick(2, 70), C = m.pick(1, 300);
  const Sizes x{n, C};
  for (Activation kind : {Activation::gelu, Activation::gelu_tanh, Activation::quick_gelu, Activation::silu, Activation::tanh})
    m.add(
        "activation " + std::to_string(static_cast<int>(kind)), n, {m.in(x, 3), m.in(x)}, {m.shape(x), m.shape(x)}, RUN {
          b.activation(s, _(out[0]), _(cut[0]), kind);
          b.activation_backward(s, _(out[1]), _(cut[1]), _(cut[0]), kind);
        });
  m.add(
      "gated_activation", n, {m.in(x, 3), m.in(x), m.in(x)}, {m.shape(x), m.shape(x), m.shape(x)}, RUN {
        b.gated_activation(s, _(out[0]), _(cut[0]), _(cut[1]), Activation::silu);
        b.gated_activation_backward(s, _(out[1]), _(out[2]), _(cut[2]), _(cut[0]), _(cut[1]), Activation::silu);
      });
  const View gate = m.floats({1}), factor = m.in({C});
  m.add(
      "tanh_gate", n, {m.in(x), m.in(x), m.in(x)}, {m.shape(x), m.shape(x)}, RUN {
        b.tanh_gate(s, _(out[0]), _(cut[0]), _(cut[1]), _(gate));
        b.tanh_gate_backward(s, _(out[1]), none, _(cut[2]), _(cut[0]), _(gate));
      });
  m.add(
      "add, mul, scale_add", n, {m.in(x), m.in(x)}, {m.shape(x), m.shape(x), m.shape(x)}, RUN {
        b.add(s, _(out[0]), _(cut[0]), _(factor));
        b.mul(s, _(out[1]), _(cut[0]), _(factor));
        b.scale_add(s, _(out[2]), _(cut[0]), _(cut[1]), 0.3, 0.7);
      });
}

void losses(Maker& m) {
  const int64_t n = m.pick(2, 70), V = m.pick(2, 700);
  m.add(
      "softmax_cross_entropy", n, {m.in({n, V}, 4), m.ints({n}, 0, static_cast<int32_t>(V)), m.floats({n})}, {f32({n}), f32({n}), m.shape({n, V})},
      RUN {
        b.softmax_cross_entropy(s, _(out[0]), _(out[1]), _(cut[0]), _(cut[1]), -100);
        b.softmax_cross_entropy_backward(s, _(out[2]), _(cut[2]), _(cut[0]), _(out[1]), _(cut[1]), -100);
      });
}

void positions(Maker& m) {
  const int64_t n = m.pick(2, 40), H = m.pick(1, 4), D = 2 * m.pick(1, 40), P = 50;
  const View table = m.floats({P, D / 2, 2});
  m.add(
      "rope", n, {m.in({n, 1, H, D}), m.ints({n, 1}, 0, P)}, {m.shape({n, 1, H, D}), m.shape({n, 1, H, D})}, RUN {
        b.rope(s, _(out[0]), _(cut[0]), _(table), _(cut[1]), false);
        b.rope(s, _(out[1]), _(cut[0]), _(table), _(cut[1]), true);
      });
  const int64_t K = m.pick(1, 3);
  m.add(
      "rope_pair", n, {m.in({n, 1, H, D}), m.in({n, 1, K, D}), m.ints({n, 1}, 0, P)}, {m.shape({n, 1, H, D}), m.shape({n, 1, K, D})},
      RUN { b.rope_pair(s, _(out[0]), _(out[1]), _(cut[0]), _(cut[1]), _(table), _(cut[2]), true); });
  m.add(
      "rope_cached", n, {m.in({n, 1, H, D}), m.in({n, 1, K, D}), m.in({n, 1, K, D}), m.ints({n, 1}, 0, P), m.ints({n}, 0, 1)},
      {m.shape({n, 1, H, D}), m.shape({n, 1, K, D}), m.shape({n, 1, K, D})},
      RUN { b.rope_cached(s, _(out[0]), _(out[1]), _(out[2]), _(cut[0]), _(cut[1]), _(cut[2]), _(table), _(cut[3]), _(cut[4])); });
}

void images(Maker& m) {
  const int64_t B = m.pick(2, 5), C = m.pick(1, 4), H = m.pick(3, 19), W = m.pick(3, 19), h = m.pick(1, 25), w = m.pick(1, 25);
  const Sizes x{B, C, H, W}, y{B, C, h, w};
  for (bool antialias : {false, true})
    m.add(
        "interpolate_bicubic", B, {m.in(x), m.in(y)}, {m.shape(y), m.shape(x)}, RUN {
          b.interpolate_bicubic(s, _(out[0]), _(cut[0]), h, w, false, antialias);
          b.interpolate_bicubic_backward(s, _(out[1]), _(cut[1]), H, W, false, antialias);
        });
  m.add(
      "mean_pool", B, {m.in({B, H, W}), m.in({B, W})}, {m.shape({B, W}), m.shape({B, H, W})}, RUN {
        b.mean_pool(s, _(out[0]), _(cut[0]), 1);
        b.mean_pool_backward(s, _(out[1]), _(cut[1]), 1, H);
      });
  const int64_t pooled = (W - 3) / 2 + 1;
  m.add(
      "max_pool1d", B, {m.in({B, H, W}), m.in({B, H, pooled})}, {m.shape({B, H, pooled}), Maker::of(DType::i32, {B, H, pooled}), m.shape({B, H, W})},
      RUN {
        b.max_pool1d(s, _(out[0]), _(out[1]), _(cut[0]), 3, 2);
        b.max_pool1d_backward(s, _(out[2]), _(cut[1]), _(out[1]), W);
      });
  const int64_t n = m.pick(2, 40), I = m.pick(1, 200);
  m.add(
      "quantize_rows_int8", n, {m.in({n, I})}, {Maker::of(DType::u8, {n, I}), f32({n}), m.shape({n, I})}, RUN {
        b.quantize_rows_int8(s, _(out[0]), _(out[1]), _(cut[0]));
        b.dequantize_rows_int8(s, _(out[2]), _(out[0]), _(out[1]));
      });
}

}  // namespace

void others(Maker& m) {
  norms(m);
  elements(m);
  losses(m);
  positions(m);
  images(m);
}

}  // namespace anymal::row_cases
