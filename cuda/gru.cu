// torch.nn.GRU, one layer, h0 = 0. Gates in the order r, z, n:
//   r = sigmoid(Wr x + Ur h), z = sigmoid(Wz x + Uz h), n = tanh(Wn x + r * (Un h + bn)), h' = (1 - z) n + z h     (biases with each product)
// The products with x go over all steps at once; only those with h follow time.
#include "linear/gemm.cuh"

namespace anymal::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Step t of all sequences; item (b, j). from_x (B,T,3H), from_h (B,3H), h (B,T,H), saved (B,T,4H).
__global__ void gru_step_kernel(int64_t items, float* h, float* saved, const float* from_x, const float* from_h, int64_t t, int64_t T, int64_t H) {
  for (int64_t i = first_index(); i < items; i += index_stride()) {
    const int64_t b = i / H, j = i % H, at = b * T + t;
    const float *gx = from_x + at * 3 * H, *gh = from_h + b * 3 * H;
    const float r = sigmoid(gx[j] + gh[j]), z = sigmoid(gx[H + j] + gh[H + j]), n = tanhf(gx[2 * H + j] + r * gh[2 * H + j]);
    float* keep = saved + at * 4 * H;
    keep[j] = r;
    keep[H + j] = z;
    keep[2 * H + j] = n;
    keep[3 * H + j] = gh[2 * H + j];
    h[at * H + j] = (1.0f - z) * n + (t > 0 ? z * h[(at - 1) * H + j] : 0.0f);
  }
}

// Gradients of the gates' inputs of step t, gx and gh (B,T,3H); carry (B,H): dL/dh from the steps after.
__global__ void gru_step_backward_kernel(int64_t items, float* gx, float* gh, float* carry, const float* dh, const float* h, const float* saved,
                                         int64_t t, int64_t T, int64_t H) {
  for (int64_t i = first_index(); i < items; i += index_stride()) {
    const int64_t b = i / H, j = i % H, at = b * T + t;
    const float* keep = saved + at * 4 * H;
    const float r = keep[j], z = keep[H + j], n = keep[2 * H + j], hn = keep[3 * H + j];
    const float g = dh[at * H + j] + (t + 1 < T ? carry[i] : 0.0f), last = t > 0 ? h[(at - 1) * H + j] : 0.0f;
    const float dn = g * (1.0f - z) * (1.0f - n * n), dz = g * (last - n) * z * (1.0f - z), dr = dn * hn * r * (1.0f - r);
    float *to_x = gx + at * 3 * H, *to_h = gh + at * 3 * H;
    to_x[j] = to_h[j] = dr;
    to_x[H + j] = to_h[H + j] = dz;
    to_x[2 * H + j] = dn;
    to_h[2 * H + j] = dn * r;
    carry[i] = g * z;
  }
}

// h one step later, zeros first.
__global__ void gru_before_kernel(int64_t items, float* before, const float* h, int64_t T, int64_t H) {
  for (int64_t i = first_index(); i < items; i += index_stride()) before[i] = i / H % T > 0 ? h[i - H] : 0.0f;
}

// db (cols) += column sums, rows in order.
__global__ void gru_bias_kernel(int64_t cols, float* db, const float* g, int64_t rows) {
  for (int64_t c = first_index(); c < cols; c += index_stride()) {
    float sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += g[r * cols + c];
    db[c] += sum;
  }
}

}  // namespace

void gru(Stream& s, Out h, Out saved, In x, In w_ih, In w_hh, In b_ih, In b_hh) {
  const int64_t B = x.dim(0), T = x.dim(1), I = x.dim(2), H = w_hh.dim(1), G = 3 * H;
  Scratch all(s);
  float *from_x = all.take<float>(B * T * G), *from_h = all.take<float>(B * G), *states = h.as<float>();
  const auto to = [&](float* data, const View& bias) { return gemm::Matrix{data, DType::f32, G, bias.data}; };
  gemm::dense(s, all, DType::f32, B * T, G, I, {x.data, I}, {w_ih.data, I}, to(from_x, b_ih));
  float* partial = nullptr;
  for (int64_t t = 0; t < T; ++t) {
    gemm::dense(s, all, DType::f32, B, G, t > 0 ? H : 0, {t > 0 ? states + (t - 1) * H : states, T * H}, {w_hh.data, H}, to(from_h, b_hh), &partial);
    launch_items<gru_step_kernel>(s, B * H, states, saved.as<float>(), from_x, from_h, t, T, H);
  }
}

void gru_backward(Stream& s, OutOpt dx, Acc dw_ih, Acc dw_hh, Acc db_ih, Acc db_hh, In dh, In h, In saved, In x, In w_ih, In w_hh) {
  const int64_t B = x.dim(0), T = x.dim(1), I = x.dim(2), H = w_hh.dim(1), G = 3 * H;
  Scratch all(s);
  float *gx = all.take<float>(B * T * G), *gh = all.take<float>(B * T * G), *carry = all.take<float>(B * H);
  gemm::Matrix carried{carry, DType::f32, H};
  carried.accumulate = true;
  float* partial = nullptr;
  for (int64_t t = T - 1; t >= 0; --t) {
    launch_items<gru_step_backward_kernel>(s, B * H, gx, gh, carry, dh.as<float>(), h.as<float>(), saved.as<float>(), t, T, H);
    if (t > 0) gemm::dense(s, all, DType::f32, B, H, G, {gh + t * G, T * G}, {w_hh.data, H, true}, carried, &partial);
  }
  if (dx) gemm::dense(s, all, DType::f32, B * T, I, G, {gx, G}, {w_ih.data, I, true}, gemm::matrix_of(dx, I));
  if (dw_ih) gemm::dense(s, all, DType::f32, G, I, B * T, {gx, G, true}, {x.data, I, true}, gemm::matrix_of(dw_ih, I, View{}, true));
  if (dw_hh) {
    float* before = all.take<float>(B * T * H);
    launch_items<gru_before_kernel>(s, B * T * H, before, h.as<float>(), T, H);
    gemm::dense(s, all, DType::f32, G, H, B * T, {gh, G, true}, {before, H, true}, gemm::matrix_of(dw_hh, H, View{}, true));
  }
  if (db_ih) launch_items<gru_bias_kernel>(s, G, db_ih.as<float>(), gx, B * T);
  if (db_hh) launch_items<gru_bias_kernel>(s, G, db_hh.as<float>(), gh, B * T);
}

}  // namespace anymal::cuda
