// One call of attention as its kernels see it: sizes, pointers, and who sees whom.
#pragma once
#include <stdexcept>
#include <string>
#include <type_traits>

#include "tiles.cuh"

namespace anymal::cuda::flash {

template <class X>
struct Source {
  const X *k, *v;  // (B,S,K,D)
  X *dk, *dv;      // backward only
  int S;
};

// A query's softmax and its gradient, for backward: P = e^(score - most) inverse, dS = P ((dP - reference) - delta). `reference` is the dP of the
// key with the largest score, and delta the sum of P (dP - reference): where softmax is saturated, dP - reference is 0 for that key, and what is left
// is as small as the gradient. Sixteen bytes, the space between the rows of a tile.
struct alignas(16) Row {
  float most, inverse, reference, delta;
  template <class X>
  __device__ __forceinline__ float probability(float score) const {
    return exponential<X>(score - most) * inverse;
  }
  __device__ __forceinline__ float score_gradient(float p, float dp) const { return p * (dp - reference - delta); }
};

template <class X>
struct Job {
  const X *q, *dy;    // (B,T,H,D)
  X *y, *dq;          // (B,T,H,D), y forward only
  float* lse;         // (B,H,T), forward only
  Row* rows;          // (B,H,T), backward only
  const float* bias;  // (Bb,Hb,T,S) or null
  float* dbias;       // the same
  float4* parts;      // backward: for each tile of queries dq so far, and how many have added to it (meetings.cuh)
  unsigned* arrived;
  int64_t tiles;              // of queries of all heads, counted by `arrived`
  const int32_t* range;       // (B,2) or null
  Source<X> source[2];        // the second has no keys in plain attention
  int B, T, H, K, D, Bb, Hb;  // letters of backend.h
  int window;
  float scale, unit_scale;  // what q.k is multiplied by, and to be a score as the kernels count them (kUnit)
  bool causal;
  bool aligned;  // every row of every tensor begins at a multiple of sixteen bytes
};

struct Span {
  int begin, end;
  __device__ __forceinline__ bool holds(int i) const { return i >= begin && i < end; }
};

__device__ __forceinline__ int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

// Keys of the first source that batch row b may see at all.
template <class X>
__device__ __forceinline__ Span range_of(const Job<X>& j, int b) {
  Span r{0, j.source[0].S};
  if (j.range) {
    r.begin = clamp(j.range[2 * b], 0, r.end);
    r.end = clamp(j.range[2 * b + 1], r.begin, r.end);
  }
  return r;
}

// Keys of the first source that query t sees. Both ends grow with t: queries [t0, t1] see nothing outside of [begin of t0, end of t1).
template <class X>
__device__ __forceinline__ Span keys_seen(const Job<X>& j, Span range, int t) {
  const int position = t + j.source[0].S - j.T;
  const int end = j.causal ? clamp(position + 1, range.begin, range.end) : range.end;
  return {j.window > 0 ? clamp(position - j.window + 1, range.begin, end) : range.begin, end};
}

// Queries that see key s: the same rule from the other side. Within the range, both ends grow with s.
template <class X>
__device__ __forceinline__ Span queries_seeing(const Job<X>& j, Span range, int source, int s) {
  if (source == 1) return {0, j.T};
  const int diagonal = s - j.source[0].S + j.T;
  const int begin = j.causal ? clamp(diagonal, 0, j.T) : 0;
  if (!range.holds(s)) return {begin, begin};
  return {begin, j.window > 0 ? clamp(diagonal + j.window, begin, j.T) : j.T};
}

// Tiles of Rows keys of both sources, of the first only its part `seen`.
template <int Rows>
struct KeyTiles {
  Span seen;
  int first, total;  // tiles of the first source, of both
  template <class X>
  __device__ __forceinline__ KeyTiles(const Job<X>& j, Span s)
      : seen(s), first(s.end > s.begin ? (s.end - s.begin + Rows - 1) / Rows : 0), total(first + (j.source[1].S + Rows - 1) / Rows) {}
  __device__ __forceinline__ int source(int i) const { return i >= first; }
  __device__ __forceinline__ int start(int i) const { return i < first ? seen.begin + i * Rows : (i - first) * Rows; }
  template <class X>
  __device__ __forceinline__ int count(const Job<X>& j, int i) const {
    const int left = (i < first ? seen.end : j.source[1].S) - start(i);
    return left < Rows ? left : Rows;
  }
};

template <class X>
__device__ __forceinline__ int64_t query_offset(const Job<X>& j, int b, int t, int h) {
  return ((static_cast<int64_t>(b) * j.T + t) * j.H + h) * j.D;
}
template <class X>
__device__ __forceinline__ int64_t key_offset(const Job<X>& j, int b, int source, int s, int kv) {
  return ((static_cast<int64_t>(b) * j.source[source].S + s) * j.K + kv) * j.D;
}
template <class X>
__device__ __forceinline__ int64_t row_offset(const Job<X>& j, int b, int h, int t) {
  return (static_cast<int64_t>(b) * j.H + h) * j.T + t;
}
template <class X>
__device__ __forceinline__ int64_t bias_offset(const Job<X>& j, int b, int h, int t) {
  return ((static_cast<int64_t>(b % j.Bb) * j.Hb + (j.Hb == 1 ? 0 : h)) * j.T + t) * j.source[0].S;
}
// Calls f with the head size that kernels are made for: the next larger one, zeros fill the rest.
template <class F>
void by_head_size(int64_t D, const F& f) {
  if (D <= 32) f(std::integral_constant<int, 32>{});
  else if (D <= 64) f(std::integral_constant<int, 64>{});
  else if (D <= 96) f(std::integral_constant<int, 96>{});
  else if (D <= 128) f(std::integral_constant<int, 128>{});
  else if (D <= 256) f(std::integral_constant<int, 256>{});
  else throw std::runtime_error("attention on CUDA takes heads of up to 256, got " + std::to_string(D));
}

constexpr int kSharedLimit = 99 * 1024;  // what every card from compute capability 8.0 on gives a block

inline int64_t tiles_of(int64_t n, int rows) { return (n + rows - 1) / rows; }

template <class X>
Job<X> make_job(const View& q, const View& k, const View& v, const View& k2, const View& v2, const View& range, const View& bias, double scale,
                bool causal, int64_t window) {
  Job<X> j{};
  j.q = q.as<X>();
  j.source[0] = {k.as<X>(), v.as<X>(), nullptr, nullptr, static_cast<int>(k.dim(1))};
  if (k2.rank) j.source[1] = {k2.as<X>(), v2.as<X>(), nullptr, nullptr, static_cast<int>(k2.dim(1))};
  j.range = range.as<int32_t>();
  j.bias = bias.as<float>();
  j.B = static_cast<int>(q.dim(0));
  j.T = static_cast<int>(q.dim(1));
  j.H = static_cast<int>(q.dim(2));
  j.K = static_cast<int>(k.dim(2));
  j.D = static_cast<int>(q.dim(3));
  j.Bb = bias ? static_cast<int>(bias.dim(0)) : 1;
  j.Hb = bias ? static_cast<int>(bias.dim(1)) : 1;
  // A window of everything hides nothing.
  j.window = window >= j.T + static_cast<int64_t>(j.source[0].S) ? 0 : static_cast<int>(window);
  j.scale = static_cast<float>(scale);
  j.unit_scale = static_cast<float>(scale * kUnit<X>);
  j.causal = causal;
  j.aligned = q.dim(3) * sizeof(X) % 16 == 0 && aligned16({q.data, k.data, v.data, k2.data, v2.data});
  return j;
}

}  // namespace anymal::cuda::flash
