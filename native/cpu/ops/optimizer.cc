// AdamW (arXiv 1711.05101) over many tensors in one call: f32 states as torch.optim.AdamW, and 8-bit block states as bitsandbytes' device
// kernel (decay after the step, the sign of a coded first moment never flips, a non-finite gradient resets its states and spares its value).
#include "cpu/dynamic_code.h"
#include "cpu/ops.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {

void adamw(Stream& s, InOutList p, InList g, InOutList m, InOutList v, InOpt scale, double lr, double beta1, double beta2, double eps,
           double weight_decay, int64_t step) {
  const float b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2), keep1 = static_cast<float>(1 - beta1),
              keep2 = static_cast<float>(1 - beta2);
  const float decay = static_cast<float>(1 - lr * weight_decay), least = static_cast<float>(eps);
  const float rate = static_cast<float>(lr / (1 - std::pow(beta1, static_cast<double>(step))));
  const float correction = static_cast<float>(1.0 / std::sqrt(1 - std::pow(beta2, static_cast<double>(step))));
  const float clip = scale ? *scale.as<float>() : 1.0f;
  for (int64_t i = 0; i < p.count; ++i) {
    float *pi = p.items[i].as<float>(), *mi = m.items[i].as<float>(), *vi = v.items[i].as<float>();
    const float* gi = g.items[i].as<float>();
    parallel_range(s, p.items[i].size(), 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t j = begin; j < end; ++j) {
        const float d = gi[j] * clip;
        mi[j] = b1 * mi[j] + keep1 * d;
        vi[j] = b2 * vi[j] + keep2 * d * d;
        pi[j] = pi[j] * decay - rate * mi[j] / (std::sqrt(vi[j]) * correction + least);
      }
    });
  }
}

void adamw_8bit(Stream& s, InOutList p, InList g, InOutList m, InOutList m_absmax, InOutList v, InOutList v_absmax, InOpt scale, double lr,
                double beta1, double beta2, double eps, double weight_decay, int64_t step) {
  const float *map1 = quant::dynamic_map(true), *map2 = quant::dynamic_map(false);
  const quant::DynamicCodes &codes1 = quant::dynamic_codes(true), &codes2 = quant::dynamic_codes(false);
  const float b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2), least = static_cast<float>(eps), rate = static_cast<float>(lr);
  const float correction1 = 1.0f - std::pow(b1, static_cast<float>(step)), correction2 = std::sqrt(1.0f - std::pow(b2, static_cast<float>(step)));
  const float step_size = -rate * correction2 / correction1, floor = correction2 * least, decay = 1.0f - rate * static_cast<float>(weight_decay);
  const float clip = scale ? *scale.as<float>() : 1.0f;
  constexpr int64_t block = quant::kNestedBlock;
  for (int64_t i = 0; i < p.count; ++i) {
    const int64_t n = p.items[i].size();
    float *pi = p.items[i].as<float>(), *am = m_absmax.items[i].as<float>(), *av = v_absmax.items[i].as<float>();
    uint8_t *cm = m.items[i].as<uint8_t>(), *cv = v.items[i].as<uint8_t>();
    const float* gi = g.items[i].as<float>();
    parallel_range(s, (n + block - 1) / block, 80 * block, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t first = b * block, count = first + block < n ? block : n - first;
        float nm[block], nv[block], most_m = 0, most_v = 0;
        for (int64_t j = 0; j < count; ++j) {
          const float raw = gi[first + j], d = raw * clip;
          const bool finite = std::fabs(raw) < INFINITY;
          nm[j] = finite ? map1[cm[first + j]] * am[b] * b1 + (1.0f - b1) * d : 0.0f;
          nv[j] = finite ? map2[cv[first + j]] * av[b] * b2 + (1.0f - b2) * d * d : 0.0f;
          most_m = std::fabs(nm[j]) > most_m ? std::fabs(nm[j]) : most_m;
          most_v = nv[j] > most_v ? nv[j] : most_v;
          if (finite) {
            float value = pi[first + j] + step_size * (nm[j] / (std::sqrt(nv[j]) + floor));
            if (weight_decay > 0) value *= decay;
            pi[first + j] = value;
          }
        }
        am[b] = most_m;
        av[b] = most_v;
        for (int64_t j = 0; j < count; ++j) {
          uint8_t code = dynamic_code(nm[j] / most_m, codes1);
          if (std::signbit(map1[code]) != std::signbit(nm[j])) code = static_cast<uint8_t>(nm[j] > 0 ? code + 1 : code - 1);
          cm[first + j] = code;
          cv[first + j] = dynamic_code(nv[j] / most_v, codes2);
        }
      }
    });
  }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
