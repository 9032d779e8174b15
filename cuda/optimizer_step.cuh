// What one step of AdamW does to a tile of a tensor: with f32 states as torch.optim.AdamW, with 8-bit block states as bitsandbytes' device kernel
// (decay after the step, the sign of a coded first moment never flips, a non-finite gradient resets its states and spares its value).
#pragma once
#include "elementwise.cuh"
#include "state_codes.cuh"

namespace anymal::cuda {

struct StepItem {
  float* p;
  const float* g;
  void *m, *v;  // f32, or codes where there are maxima
  float *m_absmax, *v_absmax;
  int64_t n;
  int32_t rates;  // which of the launch's
  bool packs;     // addresses allow loads of sixteen bytes, and of four codes
  __host__ __device__ int64_t size() const { return n; }
};
// What tensors of one rate, decay and count of updates have in common; f32 states: the root's correction, 8-bit ones: what is added to the root.
struct Rates {
  float decay, rate, root;
};
struct Betas {
  float b1, b2, keep1, keep2, eps;
};

constexpr int64_t kTile = 4096;
constexpr int64_t kStateBlock = quant::kNestedBlock, kTileCoded = 32 * kStateBlock;

template <int W>
__device__ __forceinline__ void step_at(const StepItem& t, int64_t j, const Betas& b, const Rates& r, float clip) {
  float *p = t.p + j, *m = static_cast<float*>(t.m) + j, *v = static_cast<float*>(t.v) + j;
  float pk[W], gk[W], mk[W], vk[W];
  load<W>(pk, p);
  load<W>(gk, t.g + j);
  load<W>(mk, m);
  load<W>(vk, v);
  for (int k = 0; k < W; ++k) {
    const float d = gk[k] * clip;
    mk[k] = b.b1 * mk[k] + b.keep1 * d;
    vk[k] = b.b2 * vk[k] + b.keep2 * d * d;
    pk[k] = pk[k] * r.decay - r.rate * mk[k] / (sqrtf(vk[k]) * r.root + b.eps);
  }
  store<W>(p, pk);
  store<W>(m, mk);
  store<W>(v, vk);
}
__device__ __forceinline__ void step_tile(const StepItem& t, int64_t begin, const Betas& b, const Rates& r, float clip) {
  const int64_t end = begin + kTile < t.n ? begin + kTile : t.n;
  for (int64_t j = begin + threadIdx.x * 4; j < end; j += kThreads * 4) {
    if (t.packs && j + 4 <= end) step_at<4>(t, j, b, r, clip);
    else
      for (int64_t k = j; k < j + 4 && k < end; ++k) step_at<1>(t, k, b, r, clip);
  }
}

// Four neighbours of a block of states, and what has become of them. Beyond the tensor's end: gradients that are no numbers, which spare all.
template <bool Whole>
struct StateFour {
  float p[4], g[4];
  uint32_t m, v;
  int64_t j;
  int count;
  __device__ __forceinline__ void load_at(const StepItem& t, int64_t at) {
    j = at;
    count = t.n - j < 4 ? static_cast<int>(t.n - j) : 4;
    const auto *codes_m = static_cast<const uint8_t*>(t.m) + j, *codes_v = static_cast<const uint8_t*>(t.v) + j;
    if constexpr (Whole) {
      load<4>(p, t.p + j);
      load<4>(g, t.g + j);
      m = *reinterpret_cast<const uint32_t*>(codes_m);
      v = *reinterpret_cast<const uint32_t*>(codes_v);
    } else {
      m = v = 0;
      for (int e = 0; e < 4; ++e) {
        p[e] = e < count ? t.p[j + e] : 0;
        g[e] = e < count ? t.g[j + e] : INFINITY;
        if (e < count) m |= static_cast<uint32_t>(codes_m[e]) << (8 * e);
        if (e < count) v |= static_cast<uint32_t>(codes_v[e]) << (8 * e);
      }
    }
  }
  __device__ __forceinline__ void store_value(const StepItem& t) const {
    if constexpr (Whole) store<4>(t.p + j, p);
    else
      for (int e = 0; e < 4; ++e)
        if (e < count) t.p[j + e] = p[e];
  }
  __device__ __forceinline__ void store_codes(const StepItem& t) const {
    auto *codes_m = static_cast<uint8_t*>(t.m) + j, *codes_v = static_cast<uint8_t*>(t.v) + j;
    if constexpr (Whole) {
      *reinterpret_cast<uint32_t*>(codes_m) = m;
      *reinterpret_cast<uint32_t*>(codes_v) = v;
    } else {
      for (int e = 0; e < 4; ++e) {
        if (e < count) codes_m[e] = static_cast<uint8_t>(m >> (8 * e));
        if (e < count) codes_v[e] = static_cast<uint8_t>(v >> (8 * e));
      }
    }
  }
};

// A warp has a block of states, a lane twice four neighbours of it. The moments are those of the reference to the bit, for their codes are compared
// with its; a value's step goes by the root's and the quotient's approximations, whose errors are a millionth of it.
template <bool Whole>
__device__ __forceinline__ void step_block(const StateCodes& codes, const StepItem& t, int64_t first, const Betas& b, const Rates& r, float clip) {
  const int lane = threadIdx.x % 32;
  const int64_t block = first / kStateBlock;
  StateFour<Whole> four[2];
  for (int k = 0; k < 2; ++k) four[k].load_at(t, first + k * 128 + lane * 4);
  const float am = t.m_absmax[block], av = t.v_absmax[block];
  float nm[2][4], nv[2][4], most_m = 0, most_v = 0;
  for (int k = 0; k < 2; ++k) {
    for (int e = 0; e < 4; ++e) {
      const float g = four[k].g[e], d = g * clip;
      const bool finite = fabsf(g) < INFINITY;
      const float m = codes.signed_values[four[k].m >> (8 * e) & 0xff] * am * b.b1 + b.keep1 * d;
      const float v = codes.plain_values[four[k].v >> (8 * e) & 0xff] * av * b.b2 + b.keep2 * d * d;
      nm[k][e] = finite ? m : 0;
      nv[k][e] = finite ? v : 0;
      most_m = fmaxf(most_m, fabsf(nm[k][e]));
      most_v = fmaxf(most_v, nv[k][e]);
      const float value = (four[k].p[e] + r.rate * __fdividef(m, ptx::sqrt_approx(v) + r.root)) * r.decay;
      four[k].p[e] = finite ? value : four[k].p[e];
    }
    four[k].store_value(t);
  }
  most_m = warp_max(most_m);
  most_v = warp_max(most_v);
  __syncwarp();  // all lanes have read the block's maxima
  if (lane == 0) {
    t.m_absmax[block] = most_m;
    t.v_absmax[block] = most_v;
  }
  const Share of_m(most_m), of_v(most_v);
  for (int k = 0; k < 2; ++k) {
    four[k].m = four[k].v = 0;
    for (int e = 0; e < 4; ++e) {
      four[k].m |= (codes.signed_code(of_m.of(nm[k][e])) & 0xff) << (8 * e);
      four[k].v |= codes.plain_code(of_v.of(nv[k][e])) << (8 * e);
    }
    four[k].store_codes(t);
  }
}
__device__ __forceinline__ void step_tile_coded(const StateCodes& codes, const StepItem& t, int64_t begin, const Betas& b, const Rates& r,
                                                float clip) {
  const int64_t end = begin + kTileCoded < t.n ? begin + kTileCoded : t.n;
  for (int64_t first = begin + threadIdx.x / 32 * kStateBlock; first < end; first += kThreads / 32 * kStateBlock) {
    if (t.packs && first + kStateBlock <= t.n) step_block<true>(codes, t, first, b, r, clip);
    else step_block<false>(codes, t, first, b, r, clip);
  }
}

}  // namespace anymal::cuda
