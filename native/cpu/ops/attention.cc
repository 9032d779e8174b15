// Attention with keys in one or two buffers, its gradient, the decode step, and the cache write.
//
// Forward: a block of queries of one head against all the keys it can see. Scores of the block (kQueries x keys, f32) live in scratch, become
// probabilities row by row, and meet the values: the (T,S) matrix is never held. Backward recomputes the block's probabilities from lse:
//   P = softmax(scale q.k + bias)   dP = dy.v^T   dS = P (dP - rowsum(P * dP))   dq = scale dS.k   dk += scale dS^T.q   dv += P^T.dy
// (FlashAttention, arXiv 2205.14135, algorithm 4, but for the row's sum: there it is rowsum(dy * y), the same number by another way. Where softmax
// is saturated dP - rowsum vanishes, and two ways that round apart leave noise of f32's size, which AdamW would blow up to whole steps.) A task owns
// all heads of one (batch, key/value head), so dk and dv are summed by one thread in a fixed order; with a bias gradient a task owns everything that
// shares a row of bias.
#include "cpu/kernel.h"
#include "cpu/linear/gemm.h"
#include "cpu/math.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

using linear::gemm_serial;

constexpr int64_t kQueries = 64;

struct Source {
  View k, v;
  View dk, dv;  // backward only
  int64_t S() const { return k.dim(1); }
};

struct Job {
  View q, y, lse, dy, dq, dbias;
  Source source[2];
  int sources;
  View range, bias;
  float scale;
  bool causal;
  int64_t window;

  int64_t B() const { return q.dim(0); }
  int64_t T() const { return q.dim(1); }
  int64_t H() const { return q.dim(2); }
  int64_t K() const { return source[0].k.dim(2); }
  int64_t D() const { return q.dim(3); }
  int64_t keys() const { return source[0].S() + (sources == 2 ? source[1].S() : 0); }

  // Keys of the first source that query t of batch row b sees: [begin, end). Those of the second are all seen.
  void visible(int64_t b, int64_t t, int64_t& begin, int64_t& end) const {
    const int64_t S = source[0].S();
    begin = 0;
    end = S;
    if (range) {
      const int32_t* r = range.as<int32_t>() + 2 * b;
      begin = r[0] > 0 ? r[0] : 0;
      end = r[1] < S ? r[1] : S;
    }
    const int64_t position = t + S - T();
    if (causal && position + 1 < end) end = position + 1;
    if (window > 0 && position - window + 1 > begin) begin = position - window + 1;
    if (end < begin) end = begin;
  }
  const float* bias_row(int64_t b, int64_t h, int64_t t) const {
    return bias ? bias.as<float>() + ((b % bias.dim(0) * bias.dim(1) + (bias.dim(1) == 1 ? 0 : h)) * T() + t) * keys() : nullptr;
  }
  float* dbias_row(int64_t b, int64_t h, int64_t t) const {
    return dbias.as<float>() + ((b % dbias.dim(0) * dbias.dim(1) + (dbias.dim(1) == 1 ? 0 : h)) * T() + t) * keys();
  }
};

template <class T>
T* element(const View& v, int64_t b, int64_t t, int64_t h) {
  return v.as<T>() + ((b * v.dim(1) + t) * v.dim(2) + h) * v.dim(3);
}

// A block of queries [t0, t0 + n) of (b, h): the columns [lo, hi) of the first source that any of them sees, then the second source.
struct Block {
  int64_t b, h, kv, t0, n, lo, hi, width;
};

Block block_of(const Job& j, int64_t b, int64_t h, int64_t t0) {
  Block k{b, h, h / (j.H() / j.K()), t0, j.T() - t0 < kQueries ? j.T() - t0 : kQueries, j.source[0].S(), 0, 0};
  for (int64_t t = t0; t < t0 + k.n; ++t) {
    int64_t begin, end;
    j.visible(b, t, begin, end);
    if (begin == end) continue;
    k.lo = begin < k.lo ? begin : k.lo;
    k.hi = end > k.hi ? end : k.hi;
  }
  if (k.hi < k.lo) k.lo = k.hi = 0;
  k.width = k.hi - k.lo + (j.sources == 2 ? j.source[1].S() : 0);
  return k;
}

// f(first key, number of keys, first column of the block, source)
template <class F>
void each_source(const Job& j, const Block& k, const F& f) {
  if (k.hi > k.lo) f(k.lo, k.hi - k.lo, int64_t{0}, j.source[0]);
  if (j.sources == 2 && j.source[1].S() > 0) f(int64_t{0}, j.source[1].S(), k.hi - k.lo, j.source[1]);
}

// out (n, width) f32 = factor * a . keys^T, where `a` is q with keys k, or dy with keys v.
template <class T>
void against_keys(Stream& s, int thread, const Job& j, const Block& k, const View& a, View Source::*keys, float factor, float* out) {
  const int64_t D = j.D();
  each_source(j, k, [&](int64_t first, int64_t count, int64_t column, const Source& source) {
    const View& m = source.*keys;
    gemm_serial(s, thread, k.n, count, D, {element<T>(a, k.b, k.t0, k.h), a.dtype, j.H() * D, 1},
                {element<T>(m, k.b, first, k.kv), m.dtype, 1, j.K() * D}, {out + column, DType::f32, k.width}, {.alpha = factor});
  });
}

// Adds the bias, hides what row t must not see, and gives the row's place in the whole score matrix.
void mask_row(const Job& j, const Block& k, int64_t t, float* row) {
  int64_t begin, end;
  j.visible(k.b, t, begin, end);
  const int64_t first = k.hi - k.lo;  // columns of the first source
  if (const float* bias = j.bias_row(k.b, k.h, t)) {
    for (int64_t c = 0; c < first; ++c) row[c] += bias[k.lo + c];
    for (int64_t c = first; c < k.width; ++c) row[c] += bias[j.source[0].S() + c - first];
  }
  for (int64_t c = 0; c < begin - k.lo && c < first; ++c) row[c] = -INFINITY;
  for (int64_t c = end - k.lo < 0 ? 0 : end - k.lo; c < first; ++c) row[c] = -INFINITY;
}

template <class T>
void to_elements(T* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from_float<T>(from[i]);
}

template <class T>
void forward_block(Stream& s, int thread, const Job& j, const Block& k, float* scores, T* p) {
  const int64_t D = j.D();
  against_keys<T>(s, thread, j, k, j.q, &Source::k, j.scale, scores);
  for (int64_t i = 0; i < k.n; ++i) {
    float* row = scores + i * k.width;
    mask_row(j, k, k.t0 + i, row);
    float most = -INFINITY;
    for (int64_t c = 0; c < k.width; ++c) most = row[c] > most ? row[c] : most;
    float total = 0;
    const float shift = most == -INFINITY ? 0.0f : most;  // a row that sees nothing stays all zeros
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < k.width; ++c) {
      row[c] = exp_fast(row[c] - shift);
      total += row[c];
    }
    const bool sees = most != -INFINITY;
    j.lse.as<float>()[(k.b * j.H() + k.h) * j.T() + k.t0 + i] = sees ? most + std::log(total) : -INFINITY;
    const float inverse = sees ? 1.0f / total : 0.0f;
    for (int64_t c = 0; c < k.width; ++c) p[i * k.width + c] = from_float<T>(row[c] * inverse);
  }
  T* y = element<T>(j.y, k.b, k.t0, k.h);
  if (k.width == 0)
    for (int64_t i = 0; i < k.n; ++i) std::memset(static_cast<void*>(y + i * j.H() * D), 0, static_cast<size_t>(D) * sizeof(T));
  // Two sources meet in f32 before the one rounding.
  bool first = true;
  each_source(j, k, [&](int64_t key, int64_t count, int64_t column, const Source& source) {
    gemm_serial(s, thread, k.n, D, count, {p + column, j.q.dtype, k.width, 1}, {element<T>(source.v, k.b, key, k.kv), j.q.dtype, j.K() * D, 1},
                {scores, DType::f32, D}, {.accumulate = !first});
    first = false;
  });
  if (!first)
    for (int64_t i = 0; i < k.n; ++i) to_elements(y + i * j.H() * D, scores + i * D, D);
}

template <class T>
void forward(Stream& s, const Job& j) {
  const int64_t blocks = (j.T() + kQueries - 1) / kQueries, H = j.H();
  // Scores double as the f32 output block.
  const int64_t wide = j.keys() > j.D() ? j.keys() : j.D();
  const int64_t per_thread = (kQueries * wide * 4 + kQueries * j.keys() * static_cast<int64_t>(sizeof(T)) + 127) / 64 * 64;
  char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(per_thread * s.pool.threads())));
  parallel(s, j.B() * H * blocks, [&](int64_t c, int thread) {
    // The last query block sees the most keys under a causal mask: it goes first, so that no thread ends on it.
    const int64_t t0 = (blocks - 1 - c % blocks) * kQueries, h = c / blocks % H, b = c / blocks / H;
    float* scores = reinterpret_cast<float*>(room + per_thread * thread);
    forward_block<T>(s, thread, j, block_of(j, b, h, t0), scores, reinterpret_cast<T*>(scores + kQueries * wide));
  });
}

// Scratch of one thread in backward: P and dS as f32 (n, keys), one of them as T, and the f32 sums of dk and dv (keys, D).
template <class T>
struct BackwardRoom {
  float *p, *ds, *dk, *dv;
  T* rounded;
  static int64_t bytes(const Job& j) {
    const int64_t n = kQueries * j.keys(), sums = j.keys() * j.D(), wide = kQueries * (j.keys() > j.D() ? j.keys() : j.D());
    return ((n + wide + 2 * sums) * 4 + n * static_cast<int64_t>(sizeof(T)) + 127) / 64 * 64;
  }
  BackwardRoom(char* at, const Job& j) {
    const int64_t n = kQueries * j.keys(), sums = j.keys() * j.D(), wide = kQueries * (j.keys() > j.D() ? j.keys() : j.D());
    p = reinterpret_cast<float*>(at);
    ds = p + n;
    dk = ds + wide;
    dv = dk + sums;
    rounded = reinterpret_cast<T*>(dv + sums);
  }
};

template <class T>
void backward_block(Stream& s, int thread, const Job& j, const Block& k, const BackwardRoom<T>& room) {
  const int64_t D = j.D(), row_q = j.H() * D, row_k = j.K() * D, S1 = j.source[0].S(), first = k.hi - k.lo;
  const DType t = j.q.dtype;
  const T *q = element<T>(j.q, k.b, k.t0, k.h), *dy = element<T>(j.dy, k.b, k.t0, k.h);
  T* dq = element<T>(j.dq, k.b, k.t0, k.h);
  against_keys<T>(s, thread, j, k, j.q, &Source::k, j.scale, room.p);
  against_keys<T>(s, thread, j, k, j.dy, &Source::v, 1.0f, room.ds);
  for (int64_t i = 0; i < k.n; ++i) {
    float *p = room.p + i * k.width, *ds = room.ds + i * k.width;
    mask_row(j, k, k.t0 + i, p);
    float most = -INFINITY;
    for (int64_t c = 0; c < k.width; ++c) most = p[c] > most ? p[c] : most;
    if (most == -INFINITY) {
      for (int64_t c = 0; c < k.width; ++c) p[c] = ds[c] = 0.0f;
      continue;
    }
    // From the row's own maximum, as in forward: a large lse is rounded so far that P would no longer add up to 1.
    double total = 0, weighted = 0;
#pragma omp simd reduction(+ : total, weighted)
    for (int64_t c = 0; c < k.width; ++c) {
      p[c] = exp_fast(p[c] - most);
      total += p[c];
      weighted += static_cast<double>(p[c]) * ds[c];
    }
    const double delta = weighted / total;
    const float inverse = static_cast<float>(1.0 / total);
#pragma omp simd
    for (int64_t c = 0; c < k.width; ++c) {
      p[c] *= inverse;
      ds[c] = p[c] * static_cast<float>(ds[c] - delta);
    }
    if (j.dbias) {
      float* to = j.dbias_row(k.b, k.h, k.t0 + i);
      for (int64_t c = 0; c < first; ++c) to[k.lo + c] += ds[c];
      for (int64_t c = first; c < k.width; ++c) to[S1 + c - first] += ds[c];
    }
  }
  to_elements(room.rounded, room.p, k.n * k.width);
  each_source(j, k, [&](int64_t key, int64_t count, int64_t column, const Source& source) {
    const int64_t at = (&source == &j.source[0] ? key : S1) * D;
    gemm_serial(s, thread, count, D, k.n, {room.rounded + column, t, 1, k.width}, {dy, t, row_q, 1}, {room.dv + at, DType::f32, D},
                {.accumulate = true});
  });
  to_elements(room.rounded, room.ds, k.n * k.width);
  bool begun = false;
  each_source(j, k, [&](int64_t key, int64_t count, int64_t column, const Source& source) {
    const int64_t at = (&source == &j.source[0] ? key : S1) * D;
    gemm_serial(s, thread, count, D, k.n, {room.rounded + column, t, 1, k.width}, {q, t, row_q, 1}, {room.dk + at, DType::f32, D},
                {.accumulate = true, .alpha = j.scale});
    gemm_serial(s, thread, k.n, D, count, {room.rounded + column, t, k.width, 1}, {element<T>(source.k, k.b, key, k.kv), t, row_k, 1},
                {room.ds, DType::f32, D}, {.accumulate = begun, .alpha = j.scale});
    begun = true;
  });
  for (int64_t i = 0; i < k.n; ++i) {
    if (begun) to_elements(dq + i * row_q, room.ds + i * D, D);
    else std::memset(static_cast<void*>(dq + i * row_q), 0, static_cast<size_t>(D) * sizeof(T));
  }
}

template <class T>
void backward_group(Stream& s, int thread, const Job& j, int64_t b, int64_t kv, const BackwardRoom<T>& room) {
  const int64_t D = j.D(), group = j.H() / j.K(), sums = j.keys() * D;
  std::memset(room.dk, 0, static_cast<size_t>(sums) * 4);
  std::memset(room.dv, 0, static_cast<size_t>(sums) * 4);
  for (int64_t h = kv * group; h < (kv + 1) * group; ++h)
    for (int64_t t0 = 0; t0 < j.T(); t0 += kQueries) backward_block<T>(s, thread, j, block_of(j, b, h, t0), room);
  int64_t at = 0;
  for (int i = 0; i < j.sources; ++i) {
    const Source& source = j.source[i];
    for (int64_t key = 0; key < source.S(); ++key, at += D) {
      to_elements(element<T>(source.dk, b, key, kv), room.dk + at, D);
      to_elements(element<T>(source.dv, b, key, kv), room.dv + at, D);
    }
  }
}

template <class T>
void backward(Stream& s, const Job& j) {
  const int64_t per_thread = BackwardRoom<T>::bytes(j);
  char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(per_thread * s.pool.threads())));
  // Batch rows and kv heads that one task takes in turn: one each, unless they add to the same bias gradient.
  const int64_t b_tasks = j.dbias ? j.dbias.dim(0) : j.B(), k_tasks = j.dbias && j.dbias.dim(1) == 1 ? 1 : j.K();
  parallel(s, b_tasks * k_tasks, [&](int64_t c, int thread) {
    const BackwardRoom<T> mine(room + per_thread * thread, j);
    for (int64_t b = c / k_tasks; b < j.B(); b += b_tasks)
      for (int64_t kv = c % k_tasks; kv < j.K(); kv += k_tasks) backward_group<T>(s, thread, j, b, kv, mine);
  });
}

template <class F>
void run(const Job& j, const F& f) {
  by_dtype(j.q.dtype, f);
}

}  // namespace

void attention(Stream& s, Out y, Out lse, In q, In k, In v, InOpt range, InOpt bias, double scale, bool causal, int64_t window) {
  const Job j{q, y, lse, {}, {}, {}, {{k, v, {}, {}}, {}}, 1, range, bias, static_cast<float>(scale), causal, window};
  run(j, [&](auto t) { forward<decltype(t)>(s, j); });
}

void attention_backward(Stream& s, Out dq, Out dk, Out dv, Acc dbias, In dy, In q, In k, In v, In y, In lse, InOpt range, InOpt bias, double scale,
                        bool causal, int64_t window) {
  const Job j{q, y, lse, dy, dq, dbias, {{k, v, dk, dv}, {}}, 1, range, bias, static_cast<float>(scale), causal, window};
  run(j, [&](auto t) { backward<decltype(t)>(s, j); });
}

void attention_two_source(Stream& s, Out y, Out lse, In q, In k1, In v1, In k2, In v2, InOpt range, double scale) {
  const Job j{q, y, lse, {}, {}, {}, {{k1, v1, {}, {}}, {k2, v2, {}, {}}}, 2, range, {}, static_cast<float>(scale), false, 0};
  run(j, [&](auto t) { forward<decltype(t)>(s, j); });
}

void attention_two_source_backward(Stream& s, Out dq, Out dk1, Out dv1, Out dk2, Out dv2, In dy, In q, In k1, In v1, In k2, In v2, In y, In lse,
                                   InOpt range, double scale) {
  const Job j{q, y, lse, dy, dq, {}, {{k1, v1, dk1, dv1}, {k2, v2, dk2, dv2}}, 2, range, {}, static_cast<float>(scale), false, 0};
  run(j, [&](auto t) { backward<decltype(t)>(s, j); });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
