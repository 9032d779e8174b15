// torch.nn.GRU, one layer, h0 = 0. Gates in the order r, z, n:
//   r = sigmoid(Wr x + Ur h), z = sigmoid(Wz x + Uz h), n = tanh(Wn x + r * (Un h + bn)), h' = (1 - z) n + z h     (biases with each product)
// The products with x go over all steps at once; only those with h follow time.
#include "cpu/kernel.h"
#include "cpu/linear/gemm.h"
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {

using linear::gemm;

void gru(Stream& s, Out h, Out saved, In x, In w_ih, In w_hh, In b_ih, In b_hh) {
  const int64_t B = x.dim(0), T = x.dim(1), I = x.dim(2), H = w_hh.dim(1), G = 3 * H;
  float* from_x = static_cast<float*>(s.shared.get(static_cast<size_t>((B * T + B) * G) * 4 + 64));
  float* from_h = from_x + B * T * G;
  gemm(s, B * T, G, I, {x.data, DType::f32, I, 1}, {w_ih.data, DType::f32, 1, I}, {from_x, DType::f32, G}, {.bias = b_ih.data});
  for (int64_t t = 0; t < T; ++t) {
    const float* before = h.as<float>() + (t - 1) * H;  // row b at + b*T*H; not read at t = 0
    gemm(s, B, G, t > 0 ? H : 0, {before, DType::f32, T * H, 1}, {w_hh.data, DType::f32, 1, H}, {from_h, DType::f32, G}, {.bias = b_hh.data});
    parallel_range(s, B, 40 * H, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const float *gx = from_x + (b * T + t) * G, *gh = from_h + b * G, *last = before + b * T * H;
        float *to = h.as<float>() + (b * T + t) * H, *keep = saved.as<float>() + (b * T + t) * 4 * H;
        for (int64_t j = 0; j < H; ++j) {
          const float r = sigmoid_fast(gx[j] + gh[j]), z = sigmoid_fast(gx[H + j] + gh[H + j]), n = tanh_fast(gx[2 * H + j] + r * gh[2 * H + j]);
          keep[j] = r;
          keep[H + j] = z;
          keep[2 * H + j] = n;
          keep[3 * H + j] = gh[2 * H + j];
          to[j] = (1.0f - z) * n + (t > 0 ? z * last[j] : 0.0f);
        }
      }
    });
  }
}

void gru_backward(Stream& s, OutOpt dx, Acc dw_ih, Acc dw_hh, Acc db_ih, Acc db_hh, In dh, In h, In saved, In x, In w_ih, In w_hh) {
  const int64_t B = x.dim(0), T = x.dim(1), I = x.dim(2), H = w_hh.dim(1), G = 3 * H;
  // Gradients of the gates' inputs from x and from h, for all steps; the carried dL/dh (B,H); h shifted by one step.
  float* gx = static_cast<float*>(s.shared.get(static_cast<size_t>(2 * B * T * G + B * H + B * T * H) * 4 + 64));
  float *gh = gx + B * T * G, *carry = gh + B * T * G, *before = carry + B * H;
  std::memset(carry, 0, static_cast<size_t>(B * H) * 4);
  for (int64_t b = 0; b < B && T > 0; ++b) {
    std::memset(before + b * T * H, 0, static_cast<size_t>(H) * 4);
    std::memcpy(before + (b * T + 1) * H, h.as<float>() + b * T * H, static_cast<size_t>((T - 1) * H) * 4);
  }
  for (int64_t t = T - 1; t >= 0; --t) {
    parallel_range(s, B, 20 * H, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t at = b * T + t;
        const float *d = dh.as<float>() + at * H, *keep = saved.as<float>() + at * 4 * H, *last = before + at * H;
        float *to_x = gx + at * G, *to_h = gh + at * G, *c = carry + b * H;
        for (int64_t j = 0; j < H; ++j) {
          const float r = keep[j], z = keep[H + j], n = keep[2 * H + j], hn = keep[3 * H + j], g = d[j] + c[j];
          const float dn = g * (1.0f - z) * (1.0f - n * n), dz = g * (last[j] - n) * z * (1.0f - z), dr = dn * hn * r * (1.0f - r);
          to_x[j] = to_h[j] = dr;
          to_x[H + j] = to_h[H + j] = dz;
          to_x[2 * H + j] = dn;
          to_h[2 * H + j] = dn * r;
          c[j] = g * z;
        }
      }
    });
    if (t > 0) gemm(s, B, H, G, {gh + t * G, DType::f32, T * G, 1}, {w_hh.data, DType::f32, H, 1}, {carry, DType::f32, H}, {.accumulate = true});
  }
  if (dx) gemm(s, B * T, I, G, {gx, DType::f32, G, 1}, {w_ih.data, DType::f32, I, 1}, {dx.data, DType::f32, I});
  if (dw_ih) gemm(s, G, I, B * T, {gx, DType::f32, 1, G}, {x.data, DType::f32, I, 1}, {dw_ih.data, DType::f32, I}, {.accumulate = true});
  if (dw_hh) gemm(s, G, H, B * T, {gh, DType::f32, 1, G}, {before, DType::f32, H, 1}, {dw_hh.data, DType::f32, H}, {.accumulate = true});
  const auto add_columns = [&](float* to, const float* from) {
    for (int64_t i = 0; i < B * T; ++i)
      for (int64_t j = 0; j < G; ++j) to[j] += from[i * G + j];
  };
  if (db_ih) add_columns(db_ih.as<float>(), gx);
  if (db_hh) add_columns(db_hh.as<float>(), gh);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
