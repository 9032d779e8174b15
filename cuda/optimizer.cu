// AdamW (arXiv 1711.05101) over many tensors in few launches: f32 states as torch.optim.AdamW, and 8-bit block states as bitsandbytes' device
// kernel (decay after the step, the sign of a coded first moment never flips, a non-finite gradient resets its states and spares its value).
#include "dynamic_code.cuh"
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

// Which tensor of a launch block blockIdx.x works on.
template <int Count>
struct Tiles {
  uint32_t first[Count + 1];
  __device__ __forceinline__ int tensor() const {
    int i = 0;
    while (blockIdx.x >= first[i + 1]) ++i;
    return i;
  }
};

struct AdamW {
  const float* scale;
  float b1, b2, keep1, keep2, decay, rate, correction, eps;
  __device__ __forceinline__ void step(float& p, float g, float& m, float& v, float clip) const {
    const float d = g * clip;
    m = b1 * m + keep1 * d;
    v = b2 * v + keep2 * d * d;
    p = p * decay - rate * m / (sqrtf(v) * correction + eps);
  }
};

constexpr int kTensors = 64;
constexpr int64_t kTile = 4096;
struct Tensors {
  float* p[kTensors];
  const float* g[kTensors];
  float *m[kTensors], *v[kTensors];
  int64_t n[kTensors];
  Tiles<kTensors> tiles;
};

template <int W>
__device__ __forceinline__ void step_at(const AdamW& adam, float clip, float* p, const float* g, float* m, float* v) {
  float pk[W], gk[W], mk[W], vk[W];
  load<W>(pk, p);
  load<W>(gk, g);
  load<W>(mk, m);
  load<W>(vk, v);
  for (int k = 0; k < W; ++k) adam.step(pk[k], gk[k], mk[k], vk[k], clip);
  store<W>(p, pk);
  store<W>(m, mk);
  store<W>(v, vk);
}

__global__ void adamw_kernel(Tensors t, AdamW adam) {
  const int i = t.tiles.tensor();
  const int64_t begin = static_cast<int64_t>(blockIdx.x - t.tiles.first[i]) * kTile, end = begin + kTile < t.n[i] ? begin + kTile : t.n[i];
  float *p = t.p[i], *m = t.m[i], *v = t.v[i];
  const float* g = t.g[i];
  const bool packs =
      (reinterpret_cast<uintptr_t>(p) | reinterpret_cast<uintptr_t>(g) | reinterpret_cast<uintptr_t>(m) | reinterpret_cast<uintptr_t>(v)) % 16 == 0;
  const float clip = adam.scale ? *adam.scale : 1.0f;
  for (int64_t j = begin + threadIdx.x * 4; j < end; j += kThreads * 4) {
    if (packs && j + 4 <= end) step_at<4>(adam, clip, p + j, g + j, m + j, v + j);
    else
      for (int64_t k = j; k < j + 4 && k < end; ++k) step_at<1>(adam, clip, p + k, g + k, m + k, v + k);
  }
}

struct AdamW8 {
  const float* scale;
  float b1, b2, keep1, keep2, step_size, floor, decay;
  bool decays;
};
constexpr int kTensors8 = 24;
constexpr int64_t kStateBlock = quant::kNestedBlock, kTile8 = 32 * kStateBlock;
constexpr int kPerLane = kStateBlock / 32;
struct Tensors8 {
  float* p[kTensors8];
  const float* g[kTensors8];
  uint8_t *m[kTensors8], *v[kTensors8];
  float *m_absmax[kTensors8], *v_absmax[kTensors8];
  int64_t n[kTensors8];
  Tiles<kTensors8> tiles;
};

// A warp has a block of states, its lanes every 32nd element of it.
__global__ void adamw_8bit_kernel(Tensors8 t, AdamW8 adam, DynamicMap signed_map, DynamicMap unsigned_map) {
  SHARED_ARRAY(float, map1, [256]);
  SHARED_ARRAY(float, map2, [256]);
  for (int i = threadIdx.x; i < 256; i += kThreads) {
    map1[i] = signed_map.v[i];
    map2[i] = unsigned_map.v[i];
  }
  __syncthreads();
  const int i = t.tiles.tensor(), lane = threadIdx.x % 32;
  const int64_t begin = static_cast<int64_t>(blockIdx.x - t.tiles.first[i]) * kTile8, end = begin + kTile8 < t.n[i] ? begin + kTile8 : t.n[i];
  const float clip = adam.scale ? *adam.scale : 1.0f;
  for (int64_t first = begin + threadIdx.x / 32 * kStateBlock; first < end; first += kThreads / 32 * kStateBlock) {
    const int64_t b = first / kStateBlock;
    const float am = t.m_absmax[i][b], av = t.v_absmax[i][b];
    float nm[kPerLane], nv[kPerLane], most_m = 0, most_v = 0;
    for (int k = 0; k < kPerLane; ++k) {
      const int64_t j = first + k * 32 + lane;
      nm[k] = nv[k] = 0;
      if (j >= end) continue;
      const float raw = t.g[i][j], d = raw * clip;
      if (!(fabsf(raw) < INFINITY)) continue;
      nm[k] = map1[t.m[i][j]] * am * adam.b1 + adam.keep1 * d;
      nv[k] = map2[t.v[i][j]] * av * adam.b2 + adam.keep2 * d * d;
      most_m = fmaxf(most_m, fabsf(nm[k]));
      most_v = fmaxf(most_v, nv[k]);
      float value = t.p[i][j] + adam.step_size * (nm[k] / (sqrtf(nv[k]) + adam.floor));
      if (adam.decays) value *= adam.decay;
      t.p[i][j] = value;
    }
    most_m = warp_max(most_m);
    most_v = warp_max(most_v);
    __syncwarp();  // all lanes have read the block's maxima
    if (lane == 0) {
      t.m_absmax[i][b] = most_m;
      t.v_absmax[i][b] = most_v;
    }
    for (int k = 0; k < kPerLane; ++k) {
      const int64_t j = first + k * 32 + lane;
      if (j >= end) continue;
      uint8_t code = dynamic_code(nm[k] / most_m, map1);
      if ((__float_as_uint(map1[code]) ^ __float_as_uint(nm[k])) >> 31) code = static_cast<uint8_t>(nm[k] > 0 ? code + 1 : code - 1);
      t.m[i][j] = code;
      t.v[i][j] = dynamic_code(nv[k] / most_v, map2);
    }
  }
}

}  // namespace

void adamw(Stream& s, InOutList p, InList g, InOutList m, InOutList v, InOpt scale, double lr, double beta1, double beta2, double eps,
           double weight_decay, int64_t step) {
  const AdamW adam{scale.as<float>(),
                   static_cast<float>(beta1),
                   static_cast<float>(beta2),
                   static_cast<float>(1 - beta1),
                   static_cast<float>(1 - beta2),
                   static_cast<float>(1 - lr * weight_decay),
                   static_cast<float>(lr / (1 - std::pow(beta1, static_cast<double>(step)))),
                   static_cast<float>(1.0 / std::sqrt(1 - std::pow(beta2, static_cast<double>(step)))),
                   static_cast<float>(eps)};
  for (int64_t i = 0; i < p.count;) {
    Tensors t{};
    int k = 0;
    for (; i < p.count && k < kTensors; ++i) {
      const int64_t n = p.items[i].size();
      if (n == 0) continue;
      t.p[k] = p.items[i].as<float>();
      t.g[k] = g.items[i].as<float>();
      t.m[k] = m.items[i].as<float>();
      t.v[k] = v.items[i].as<float>();
      t.n[k] = n;
      t.tiles.first[k + 1] = t.tiles.first[k] + static_cast<uint32_t>((n + kTile - 1) / kTile);
      ++k;
    }
    launch<adamw_kernel>(s, t.tiles.first[k], kThreads, 0, t, adam);
  }
}

void adamw_8bit(Stream& s, InOutList p, InList g, InOutList m, InOutList m_absmax, InOutList v, InOutList v_absmax, InOpt scale, double lr,
                double beta1, double beta2, double eps, double weight_decay, int64_t step) {
  const float b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2), rate = static_cast<float>(lr);
  const float correction1 = 1.0f - std::pow(b1, static_cast<float>(step)), correction2 = std::sqrt(1.0f - std::pow(b2, static_cast<float>(step)));
  const AdamW8 adam{scale.as<float>(),
                    b1,
                    b2,
                    1.0f - b1,
                    1.0f - b2,
                    -rate * correction2 / correction1,
                    correction2 * static_cast<float>(eps),
                    1.0f - rate * static_cast<float>(weight_decay),
                    weight_decay > 0};
  const DynamicMap with_sign(true), without(false);
  for (int64_t i = 0; i < p.count;) {
    Tensors8 t{};
    int k = 0;
    for (; i < p.count && k < kTensors8; ++i) {
      const int64_t n = p.items[i].size();
      if (n == 0) continue;
      t.p[k] = p.items[i].as<float>();
      t.g[k] = g.items[i].as<float>();
      t.m[k] = m.items[i].as<uint8_t>();
      t.v[k] = v.items[i].as<uint8_t>();
      t.m_absmax[k] = m_absmax.items[i].as<float>();
      t.v_absmax[k] = v_absmax.items[i].as<float>();
      t.n[k] = n;
      t.tiles.first[k + 1] = t.tiles.first[k] + static_cast<uint32_t>((n + kTile8 - 1) / kTile8);
      ++k;
    }
    launch<adamw_8bit_kernel>(s, t.tiles.first[k], kThreads, 0, t, adam, with_sign, without);
  }
}

}  // namespace anymal::cuda
