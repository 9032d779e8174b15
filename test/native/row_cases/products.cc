// Products of rows with a weight: dense, quantised, with LoRA, the head's loss, and the convolutions and the recurrence that are made of them.
#include <cmath>
#include <utility>

#include "op_cases/cases.h"  // the Cast of a View to any role
#include "row_cases/cases.h"

namespace anymal::row_cases {

using op_cases::_;
using op_cases::none;

namespace {

void dense(Maker& m) {
  const int64_t n = m.pick(2, 70), I = m.pick(1, 600), O = m.pick(1, 140);
  const View w = m.in({O, I}), bias = m.in({O});
  m.add(
      "linear", n, {m.in({n, I})}, {m.shape({n, O})}, RUN { b.linear(s, _(out[0]), _(cut[0]), _(w), _(bias)); });
  m.add(
      "linear_dx", n, {m.in({n, O})}, {m.shape({n, I})}, RUN { b.linear_dx(s, _(out[0]), _(cut[0]), _(w)); });
  const int64_t V = m.pick(2, 500);
  const View head = m.in({V, I}, 0.1f);
  m.add(
      "head_cross_entropy", n, {m.in({n, I}), m.ints({n}, 0, static_cast<int32_t>(V)), m.floats({n})}, {Maker::of(DType::f32, {n}), m.shape({n, I})},
      RUN { b.head_cross_entropy(s, _(out[0]), _(out[1]), none, _(cut[0]), _(head), _(cut[1]), _(cut[2]), -100, 0); });
}

View packed(Maker& m, QuantFormat format, int64_t O, int64_t I) {
  const int64_t n = O * I;
  const View codes = m.memory.make(DType::u8, {format == QuantFormat::int8 ? n : (n + 1) / 2});
  for (int64_t i = 0; i < codes.size(); ++i) codes.as<uint8_t>()[i] = static_cast<uint8_t>(m.random());
  const View to = m.memory.make(DType::u8, {m.b.packed_bytes(format, O, I)});
  m.b.pack_codes(m.s, Out{to}, In{codes}, format, O, I);
  return to;
}

void quantised(Maker& m, QuantFormat format) {
  const bool eight = format == QuantFormat::int8;
  const int64_t n = m.pick(2, 70), I = 2 * m.pick(1, 300), O = m.pick(1, 140), r = m.pick(1, 40), block = eight ? 0 : 64,
                blocks = eight ? O : (O * I + 63) / 64;
  const std::string name = eight ? " int8" : format == QuantFormat::fp4 ? " fp4" : " nf4";
  const View w = packed(m, format, O, I), absmax = m.floats({blocks}, 0.1f, 0.4f), bias = m.in({O}), lora_a = m.in({r, I}, 0.1f),
             lora_b = m.in({O, r}, 0.1f);
  m.add(
      "linear_quantized" + name, n, {m.in({n, I})}, {m.shape({n, O})},
      RUN { b.linear_quantized(s, _(out[0]), _(cut[0]), _(w), _(absmax), none, none, _(bias), format, block, O, 0.0); });
  m.add(
      "linear_quantized_dx" + name, n, {m.in({n, O})}, {m.shape({n, I})},
      RUN { b.linear_quantized_dx(s, _(out[0]), _(cut[0]), _(w), _(absmax), none, none, format, block, I); });
  m.add(
      "linear_quantized_lora" + name, n, {m.in({n, I})}, {m.shape({n, O}), m.shape({n, r})}, RUN {
        b.linear_quantized_lora(s, _(out[0]), _(out[1]), _(cut[0]), _(w), _(absmax), none, none, _(bias), _(lora_a), _(lora_b), format, block, O, 0.0,
                                0.5, 0.0, 3, 4);
      });
  m.add(
      "linear_quantized_lora_backward" + name, n, {m.in({n, O}), m.in({n, I}), m.in({n, r})}, {m.shape({n, I})}, RUN {
        b.linear_quantized_lora_backward(s, _(out[0]), none, none, _(cut[0]), _(cut[1]), _(cut[2]), _(w), _(absmax), none, none, _(lora_a), _(lora_b),
                                         format, block, 0.5, 0.0, 3, 4);
      });
  if (!eight) return;
  // LLM.int8 takes the columns with an outlier in any row of the call: the numbers of the others choose them, not how many these are.
  const View x = m.in({n, I});
  const int64_t column = m.pick(0, I - 1);
  for (int64_t i = 0; i < n; ++i)
    if (x.dtype == DType::f32) x.as<float>()[i * I + column] = 9;
    else x.as<uint16_t>()[i * I + column] = 0x4110;  // 9
  m.add(
      "linear_quantized int8 with an outlier", n, {x}, {m.shape({n, O})},
      RUN { b.linear_quantized(s, _(out[0]), _(cut[0]), _(w), _(absmax), none, none, _(bias), format, block, O, 8.0); });
}

void convolutions(Maker& m) {
  const int64_t B = m.pick(2, 5), I = m.pick(1, 5), O = m.pick(1, 17), k = m.pick(1, 4), L = k + m.pick(0, 40), stride = m.pick(1, 3);
  const int64_t out_l = (L - k) / stride + 1;
  const View w1 = m.in({O, I, k}), bias = m.in({O}), w2 = m.in({O, I, k, k});
  m.add(
      "conv1d", B, {m.in({B, I, L})}, {m.shape({B, O, out_l})}, RUN { b.conv1d(s, _(out[0]), _(cut[0]), _(w1), _(bias), stride, 0, 1); });
  m.add(
      "conv1d_backward", B, {m.in({B, O, out_l}), m.in({B, I, L})}, {m.shape({B, I, L})},
      RUN { b.conv1d_backward(s, _(out[0]), none, none, _(cut[0]), _(cut[1]), _(w1), stride, 0, 1); });
  m.add(
      "conv2d", B, {m.in({B, I, L, L})}, {m.shape({B, O, out_l, out_l})},
      RUN { b.conv2d(s, _(out[0]), _(cut[0]), _(w2), _(bias), stride, stride, 0, 0); });
  m.add(
      "conv2d_backward", B, {m.in({B, O, out_l, out_l}), m.in({B, I, L, L})}, {m.shape({B, I, L, L})},
      RUN { b.conv2d_backward(s, _(out[0]), none, none, _(cut[0]), _(cut[1]), _(w2), stride, stride, 0, 0); });
}

void recurrence(Maker& m) {
  const int64_t B = m.pick(2, 20), T = m.pick(1, 5), I = m.pick(1, 40), H = m.pick(1, 40);
  const View w_ih = m.floats({3 * H, I}, 0.3f), w_hh = m.floats({3 * H, H}, 0.3f), b_ih = m.floats({3 * H}), b_hh = m.floats({3 * H});
  m.add(
      "gru", B, {m.floats({B, T, I}), m.floats({B, T, H})},
      {Maker::of(DType::f32, {B, T, H}), Maker::of(DType::f32, {B, T, 4 * H}), Maker::of(DType::f32, {B, T, I})}, RUN {
        b.gru(s, _(out[0]), _(out[1]), _(cut[0]), _(w_ih), _(w_hh), _(b_ih), _(b_hh));
        b.gru_backward(s, _(out[2]), none, none, none, none, _(cut[1]), _(out[0]), _(out[1]), _(cut[0]), _(w_ih), _(w_hh));
      });
}

}  // namespace

// A chunk of head_cross_entropy has at least 64 rows: a last chunk of one row.
void head_in_chunks(Maker& m) {
  const int64_t n = 64 + m.pick(1, 6), C = m.pick(1, 9), V = (16 << 20) / 64 + m.pick(1, 9);
  const View w = m.in({V, C});
  m.add(
      "head_cross_entropy in chunks", n, {m.in({n, C}), m.ints({n}, 0, static_cast<int32_t>(V))}, {Maker::of(DType::f32, {n}), m.shape({n, C})},
      RUN { b.head_cross_entropy(s, _(out[0]), _(out[1]), none, _(cut[0]), _(w), _(cut[1]), none, -100, 0); });
}

// Kernels for a few rows, for strips of rows and for what is left of them meet in one product's every number of rows. Widths that are whole panels
// and others, depths with and without a rest, maxima plain and quantised themselves, and what maxima may hold: nothing, nearly nothing, no number.
void every_count(Maker& m) {
  const int64_t n = 41;
  const auto add = [&](std::string name, int64_t I, int64_t O, auto run) {
    m.add(std::move(name) + " " + std::to_string(O) + "x" + std::to_string(I), n, {m.in({n, I})}, {m.shape({n, O})}, run);
    m.list.back().every_count = true;
  };
  const std::pair<int64_t, int64_t> dense[] = {{576, 96}, {301, 45}, {31, 7}};
  for (const auto& [I, O] : dense) {
    const View w = m.in({O, I}), bias = m.in({O});
    add(
        "linear", I, O, RUN { b.linear(s, _(out[0]), _(cut[0]), _(w), _(bias)); });
  }
  struct Quantised {
    QuantFormat format;
    int64_t I, O, block;
    bool nested;
    bool odd;  // maxima too that no quantiser writes
  };
  const Quantised quantised_cases[] = {
      {QuantFormat::nf4, 576, 96, 64, false, false}, {QuantFormat::nf4, 608, 77, 32, true, false},  {QuantFormat::fp4, 512, 40, 512, false, false},
      {QuantFormat::nf4, 640, 33, 128, true, false}, {QuantFormat::nf4, 576, 40, 64, false, true},  {QuantFormat::fp4, 320, 96, 64, false, true},
      {QuantFormat::nf4, 330, 41, 64, false, false}, {QuantFormat::nf4, 96, 40, 4096, true, false}, {QuantFormat::int8, 515, 70, 0, false, false},
  };
  for (const Quantised& q : quantised_cases) {
    const bool eight = q.format == QuantFormat::int8;
    const int64_t blocks = eight ? q.O : (q.O * q.I + q.block - 1) / q.block, r = 5;
    const View w = packed(m, q.format, q.O, q.I), bias = m.in({q.O}), lora_a = m.in({r, q.I}, 0.1f), lora_b = m.in({q.O, r}, 0.1f);
    View absmax = m.floats({blocks}, 0.1f, 0.4f), nested = m.floats({(blocks + 255) / 256}, 0.1f, 0.4f), offset = m.floats({1});
    for (int64_t i = 0; q.odd && i < blocks; i += 3) {
      const float values[] = {0.0f, -0.0f, 1.1e-38f, 1.17e-38f, 3e-39f, -1e-30f, 0.3f, INFINITY, NAN};
      absmax.as<float>()[i] = values[i / 3 % 9];
    }
    if (q.nested) {
      absmax = m.memory.make(DType::u8, {blocks});
      for (int64_t i = 0; i < blocks; ++i) absmax.as<uint8_t>()[i] = static_cast<uint8_t>(m.random());
    }
    const InOpt second = q.nested ? InOpt{nested} : InOpt{}, shift = q.nested ? InOpt{offset} : InOpt{};
    const std::string name = eight ? " int8" : q.format == QuantFormat::fp4 ? " fp4" : " nf4";
    add(
        "linear_quantized" + name, q.I, q.O,
        RUN { b.linear_quantized(s, _(out[0]), _(cut[0]), _(w), _(absmax), second, shift, _(bias), q.format, q.block, q.O, 0.0); });
    add(
        "linear_quantized_lora" + name, q.I, q.O, RUN {
          Memory of_u;
          b.linear_quantized_lora(s, _(out[0]), _(of_u.make(cut[0].dtype, {cut[0].shape[0], r})), _(cut[0]), _(w), _(absmax), second, shift, _(bias),
                                  _(lora_a), _(lora_b), q.format, q.block, q.O, 0.0, 0.5, 0.0, 3, 4);
        });
  }
}

void products(Maker& m) {
  for (int i = 0; i < 4; ++i) dense(m);
  for (QuantFormat format : {QuantFormat::nf4, QuantFormat::fp4, QuantFormat::int8}) quantised(m, format);
  for (int i = 0; i < 2; ++i) convolutions(m);
  if (m.t == DType::f32) recurrence(m);
}

}  // namespace anymal::row_cases
