// AdamW (arXiv 1711.05101) over many tensors in one call: f32 states as torch.optim.AdamW, and 8-bit block states as bitsandbytes' device
// kernel (decay after the step, the sign of a coded first moment never flips, a non-finite gradient resets its states and spares its value).
#include "cpu/dynamic_code.h"
#include "cpu/lanes.h"
#include "cpu/ops.h"
#include "cpu/where.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

namespace {

void step_whole(Stream& s, const View& p, const View& g, const View& m, const View& v, float clip, double lr, double beta1, double beta2, double eps,
                double weight_decay, int64_t step) {
  const float b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2), keep1 = static_cast<float>(1 - beta1),
              keep2 = static_cast<float>(1 - beta2);
  const float decay = static_cast<float>(1 - lr * weight_decay), least = static_cast<float>(eps);
  const float rate = static_cast<float>(lr / (1 - std::pow(beta1, static_cast<double>(step))));
  const float correction = static_cast<float>(1.0 / std::sqrt(1 - std::pow(beta2, static_cast<double>(step))));
  float *pi = p.as<float>(), *mi = m.as<float>(), *vi = v.as<float>();
  each<float, 3, 4>(s, {pi, mi, vi}, {pi, mi, vi, g.as<float>()}, p.size(), 8, [=](const Floats(&in)[4], Floats(&out)[3]) {
    const Floats d = in[3] * clip, m1 = b1 * in[1] + keep1 * d, m2 = b2 * in[2] + keep2 * d * d;
    out[0] = in[0] * decay - rate * m1 / (root(m2) * correction + least);
    out[1] = m1;
    out[2] = m2;
  });
}

constexpr int64_t kBlock = quant::kNestedBlock;

// What one step of the 8-bit form is made of, for all tensors.
struct Step {
  const float *map1, *map2;
  const NearbyCodes codes1, codes2;
  int32_t not_negative;  // the lowest code of map1 whose value has no sign
  float clip, b1, b2, step_size, floor, decay;
};

// One block of exactly kBlock elements, in loops over what stays in the first cache: every element goes through the same instructions, wherever
// it lies.
void step_block(const Step& t, float* p, const float* g, uint8_t* m, float* m_absmax, uint8_t* v, float* v_absmax) {
  alignas(64) float nm[kBlock], nv[kBlock];
  alignas(64) int32_t codes_m[kBlock], codes_v[kBlock];
  const float keep1 = 1.0f - t.b1, keep2 = 1.0f - t.b2, old_m = *m_absmax, old_v = *v_absmax;
  dynamic_values_of(nm, m, kBlock, t.map1);
  dynamic_values_of(nv, v, kBlock, t.map2);
  float most_m = 0, most_v = 0;
#pragma omp simd reduction(max : most_m, most_v)
  for (int64_t j = 0; j < kBlock; ++j) {
    const float d = g[j] * t.clip;
    const bool finite = std::fabs(g[j]) < INFINITY;
    const float a = where(finite, fused(nm[j] * old_m, t.b1, keep1 * d), 0.0f), b = where(finite, fused(nv[j] * old_v, t.b2, keep2 * d * d), 0.0f);
    const float value = (p[j] + t.step_size * (a / (std::sqrt(b) + t.floor))) * t.decay;
    p[j] = where(finite, value, p[j]);
    nm[j] = a;
    nv[j] = b;
    most_m = std::fabs(a) > most_m ? std::fabs(a) : most_m;
    most_v = b > most_v ? b : most_v;
  }
  *m_absmax = most_m;
  *v_absmax = most_v;
  for (int64_t j = 0; j < kBlock; ++j) {
    nm[j] /= most_m;
    nv[j] /= most_v;
  }
  dynamic_codes_of(codes_m, nm, kBlock, t.codes1);
  dynamic_codes_of(codes_v, nv, kBlock, t.codes2);
  const int32_t not_negative = t.not_negative;
#pragma omp simd
  for (int64_t j = 0; j < kBlock; ++j) {
    // A NaN, of a block of zeros, has the code of the lowest entry and no sign.
    const bool sign = std::copysign(1.0f, where(nm[j] == nm[j], nm[j], 0.0f)) < 0, coded = codes_m[j] < not_negative;
    m[j] = static_cast<uint8_t>(codes_m[j] + (sign == coded ? 0 : nm[j] > 0 ? 1 : -1));
    v[j] = static_cast<uint8_t>(codes_v[j]);
  }
}

// The last block of a tensor, shorter than kBlock: filled up with elements that step_block spares and that count for no maximum.
void step_rest(const Step& t, int64_t count, float* p, const float* g, uint8_t* m, float* m_absmax, uint8_t* v, float* v_absmax) {
  float ps[kBlock] = {}, gs[kBlock];
  uint8_t ms[kBlock] = {}, vs[kBlock] = {};
  for (int64_t j = 0; j < kBlock; ++j) gs[j] = j < count ? g[j] : INFINITY;
  std::memcpy(ps, p, static_cast<size_t>(count) * 4);
  std::memcpy(ms, m, static_cast<size_t>(count));
  std::memcpy(vs, v, static_cast<size_t>(count));
  step_block(t, ps, gs, ms, m_absmax, vs, v_absmax);
  std::memcpy(p, ps, static_cast<size_t>(count) * 4);
  std::memcpy(m, ms, static_cast<size_t>(count));
  std::memcpy(v, vs, static_cast<size_t>(count));
}

void step_coded(Stream& s, const View& p, const View& g, const View& m, const View& m_absmax, const View& v, const View& v_absmax, float clip,
                double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step) {
  const float b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2), least = static_cast<float>(eps), rate = static_cast<float>(lr);
  const float correction1 = 1.0f - std::pow(b1, static_cast<float>(step)), correction2 = std::sqrt(1.0f - std::pow(b2, static_cast<float>(step)));
  const float step_size = -rate * correction2 / correction1, decay = weight_decay > 0 ? 1.0f - rate * static_cast<float>(weight_decay) : 1.0f;
  const float* map1 = quant::dynamic_map(true);
  int32_t not_negative = 0;
  while (std::signbit(map1[not_negative])) ++not_negative;
  const Step t{map1,
               quant::dynamic_map(false),
               NearbyCodes(quant::dynamic_codes(true)),
               NearbyCodes(quant::dynamic_codes(false)),
               not_negative,
               clip,
               b1,
               b2,
               step_size,
               correction2 * least,
               decay};
  const int64_t n = p.size();
  float *pi = p.as<float>(), *am = m_absmax.as<float>(), *av = v_absmax.as<float>();
  uint8_t *cm = m.as<uint8_t>(), *cv = v.as<uint8_t>();
  const float* gi = g.as<float>();
  parallel_range(s, (n + kBlock - 1) / kBlock, 20 * kBlock, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t at = b * kBlock, count = n - at;
      if (count >= kBlock) step_block(t, pi + at, gi + at, cm + at, am + b, cv + at, av + b);
      else step_rest(t, count, pi + at, gi + at, cm + at, am + b, cv + at, av + b);
    }
  });
}

}  // namespace

void adamw(Stream& s, InOutList p, InList g, InOutList m, InOutList v, InOpt scale, double lr, double beta1, double beta2, double eps,
           double weight_decay, int64_t step) {
  const float clip = scale ? *scale.as<float>() : 1.0f;
  for (int64_t i = 0; i < p.count; ++i)
    step_whole(s, p.items[i], g.items[i], m.items[i], v.items[i], clip, lr, beta1, beta2, eps, weight_decay, step);
}

void adamw_8bit(Stream& s, InOutList p, InList g, InOutList m, InOutList m_absmax, InOutList v, InOutList v_absmax, InOpt scale, double lr,
                double beta1, double beta2, double eps, double weight_decay, int64_t step) {
  const float clip = scale ? *scale.as<float>() : 1.0f;
  for (int64_t i = 0; i < p.count; ++i)
    step_coded(s, p.items[i], g.items[i], m.items[i], m_absmax.items[i], v.items[i], v_absmax.items[i], clip, lr, beta1, beta2, eps, weight_decay,
               step);
}

void adamw_clipped(Stream& s, Out norm, InOutList p, InList g, InOutList m, InOutList v, InOutList m_absmax, InOutList v_absmax, Numbers lr,
                   Numbers weight_decay, Numbers step, double beta1, double beta2, double eps, double max_norm) {
  grad_norm(s, norm, g);
  float clip = 1.0f;
  if (std::isfinite(max_norm)) {
    Out scale;
    scale.data = &clip;
    clip_scale(s, scale, In{norm}, max_norm);
  }
  for (int64_t i = 0, coded = 0; i < p.count; ++i) {
    const int64_t count = static_cast<int64_t>(step.items[i]);
    if (m.items[i].dtype == DType::u8) {
      step_coded(s, p.items[i], g.items[i], m.items[i], m_absmax.items[coded], v.items[i], v_absmax.items[coded], clip, lr.items[i], beta1, beta2,
                 eps, weight_decay.items[i], count);
      ++coded;
    } else {
      step_whole(s, p.items[i], g.items[i], m.items[i], v.items[i], clip, lr.items[i], beta1, beta2, eps, weight_decay.items[i], count);
    }
  }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
