// Products with quantised weights, with and without LoRA, one or several over one x. Weights are decoded straight into the packed panels of the
// matrix product (linear/weight_panels.h), so nothing is ever dequantised whole.
//
//   y  = x.W^T + b                                W is (O,I); B(k,n) = W[n,k]: a column of a packed panel is a row of B
//   dx = dy.W                                     B(k,n) = W[k,n]: tiles are transposed in cache
//   LoRA (QLoRA, arXiv 2305.14314): x' = dropout(x), u = x'.A^T, y += s u.B^T: B is [W | lora_B] and A is [x | s u], r more steps of one sum.
//   Backward with t = s dy.B:  dx = dy.W + dropout'(t.A), dA += t^T.x', dB += s dy^T.u.
//   Several weights: x is packed once for all of them, and dx is one sum over the outputs of all. Branches' u and t lie one's behind the other's.
// A level may bring kernels of its own for 4-bit codes and bf16 (Kernels::coded).
#include <type_traits>

#include "cpu/linear/int8_rows.h"
#include "cpu/ops.h"
#include "cpu/random.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

using linear::Destination;
using linear::gemm;
using linear::kMostTogether;
using linear::Matrix;
using linear::PanelSource;
using linear::Problem;

// One of the weights, and its branch, where that has a rank.
struct Member {
  PackedWeight w;
  View out, bias{};  // y or dy
  View a{}, b{}, da{}, db{};
  int64_t rank = 0, offset = 0;
  double scaling = 0;
  int64_t before = 0;  // ranks of the branches before it

  Member& with(const View& lora_a, const View& lora_b, double factor, int64_t place) {
    a = lora_a, b = lora_b, rank = lora_a.dim(0), scaling = factor, offset = place;
    return *this;
  }
};
struct Group {
  Member of[kMostTogether];
  int64_t count;
  double dropout;
  int64_t seed;
  int64_t ranks = 0;

  Group(const Member& a, const Member& b, const Member& c, int64_t n, double p, int64_t first) : of{a, b, c}, count(n), dropout(p), seed(first) {
    for (int64_t i = 0; i < count; ++i) {
      of[i].before = ranks;
      ranks += of[i].rank;
    }
  }
  const Member* begin() const { return of; }
  const Member* end() const { return of + count; }
};
Group one(const Member& m, double dropout = 0, int64_t seed = 0) { return {m, m, m, 1, dropout, seed}; }

// As the op has them; out: y or dy.
Group group_of(const View* out, int64_t count, const InList& codes, const InList& absmax, const InList& nested_absmax, const InList& nested_offset,
               const InList& lora_a, const InList& lora_b, const Numbers& of, const Numbers& scaling, const Numbers& offset, QuantFormat format,
               int64_t block, int64_t in_features, double dropout, int64_t seed) {
  const auto member = [&](int64_t i) {
    if (i >= count) i = 0;
    Member m{{codes.items[i], absmax.items[i], nested_absmax.count ? nested_absmax.items[i] : View{},
              nested_offset.count ? nested_offset.items[i] : View{}, format, block, out[i].cols(), in_features},
             out[i]};
    for (int64_t j = 0; j < of.count; ++j)
      if (static_cast<int64_t>(of.items[j]) == i) m.with(lora_a.items[j], lora_b.items[j], scaling.items[j], static_cast<int64_t>(offset.items[j]));
    return m;
  };
  return {member(0), member(1), member(2), count, dropout, seed};
}

// dropout(x) into scratch; x itself when p is 0.
template <class T>
const T* dropped(Stream& s, const View& x, double p, int64_t seed, int64_t offset, T* room) {
  if (p <= 0) return x.as<T>();
  drop_all(s, room, x.as<T>(), x.size(), p, seed, offset);
  return room;
}

// u = dropout(x).A^T of each branch; room: for dropout(x).
template <class T>
void reduce(Stream& s, const Group& g, const View& x, T* u, T* room) {
  const int64_t N = x.rows(), I = x.cols();
  Problem branches[kMostTogether];
  int64_t count = 0;
  for (const Member& m : g) {
    if (m.rank == 0) continue;
    const T* kept = dropped(s, x, g.dropout, g.seed, m.offset, room);
    Problem& p = branches[count];
    p = {N, m.rank, I, {kept, x.dtype, I, 1}, {m.a.data, x.dtype, 1, I}, nullptr, {u + N * m.before, x.dtype, m.rank}, {}};
    if (g.dropout > 0) s.kernels->gemm(s, p);  // each has a mask of its own
    else ++count;
  }
  if (count > 0) s.kernels->group(s, branches, count, false);
}

template <class T>
void forward(Stream& s, const Group& g, const View& x, T* u, double threshold) {
  const int64_t N = x.rows(), I = x.cols(), R = g.ranks;
  // dropout(x) (N,I), where there is dropout, and s u
  const int64_t dropping = g.dropout > 0 && R > 0 ? N * I : 0;
  T* room = R > 0 ? static_cast<T*>(s.shared.get(static_cast<size_t>(dropping + N * R) * sizeof(T) + 64)) : nullptr;
  reduce(s, g, x, u, room);
  if (g.of[0].w.format == QuantFormat::int8) {
    for (const Member& m : g) {
      int8_forward<T>(s, m.w, x, m.bias, threshold, m.out.as<T>());
      if (m.rank > 0)
        gemm(s, N, m.w.O, m.rank, {u + N * m.before, x.dtype, m.rank, 1}, {m.b.data, x.dtype, 1, m.rank}, {m.out.data, x.dtype, m.w.O},
             {.accumulate = true, .alpha = static_cast<float>(m.scaling)});
    }
    return;
  }
  T* scaled = room + dropping;
  for (const Member& m : g)
    parallel_range(s, N * m.rank, 1, [&](int64_t begin, int64_t end, int) {
      const float factor = static_cast<float>(m.scaling);
      for (int64_t i = begin + N * m.before; i < end + N * m.before; ++i) scaled[i] = from_float<T>(factor * to_float(u[i]));
    });
  Weight weights[kMostTogether];
  PanelSource sources[kMostTogether];
  Problem products[kMostTogether];
  for (int64_t i = 0; i < g.count && i < kMostTogether; ++i) {  // the latter for the compiler alone
    const Member& m = g.of[i];
    const T* more = m.rank > 0 ? scaled + N * m.before : nullptr;
    const Destination y{m.out.data, x.dtype, m.w.O};
    if (is_coded(s, m.w.format, x.dtype)) {
      s.kernels->coded(s, {false, N, &m.w, x.data, I, m.rank, more, m.rank, m.b.data, y, {.bias = m.bias.data}});
      continue;
    }
    weights[i] = {&m.w, m.b, m.rank, 1, m.rank, is_coded(s, m.w.format)};
    sources[i] = {fill<true>, &weights[i], weights[i].by_rows ? nullptr : &m.w};
    products[i] = {N, m.w.O, I + m.rank, {x.data, x.dtype, I, 1}, {}, &sources[i], y, {.bias = m.bias.data}, {more, m.rank, m.rank}};
  }
  if (!is_coded(s, g.of[0].w.format, x.dtype)) s.kernels->group(s, products, g.count, false);
}

// to (N,I) = the sum of dy.W, and of t.A where those share a sum.
template <class T>
void sum_of_products(Stream& s, const Group& g, int64_t N, const T* t, bool branches, const Destination& to) {
  Weight weights[kMostTogether];
  PanelSource sources[kMostTogether];
  Problem products[kMostTogether];
  for (int64_t i = 0; i < g.count && i < kMostTogether; ++i) {
    const Member& m = g.of[i];
    const int64_t steps = branches ? m.rank : 0, O = m.w.O, I = m.w.I;
    const T* more = steps > 0 ? t + N * m.before : nullptr;
    if (is_coded(s, m.w.format, m.out.dtype)) {
      s.kernels->coded(s, {true, N, &m.w, m.out.data, O, steps, more, steps, m.a.data, to, {.accumulate = i > 0}});
      continue;
    }
    weights[i] = {&m.w, m.a, 1, I, steps, is_coded(s, m.w.format)};
    sources[i] = {fill<false>, &weights[i]};
    products[i] = {N, I, O + steps, {m.out.data, m.out.dtype, O, 1}, {}, &sources[i], to, {}, {more, steps, steps}};
  }
  if (!is_coded(s, g.of[0].w.format, g.of[0].out.dtype)) s.kernels->group(s, products, g.count, true);
}

// x and u where there are branches.
template <class T>
void backward(Stream& s, const Group& g, const View& dx, const View& x, const T* u) {
  const View& dy = g.of[0].out;
  const DType dtype = dy.dtype;
  const int64_t N = dy.rows(), I = g.of[0].w.I;
  // The mask lies between a branch and dx: then the branch cannot share dx's sum.
  const bool drops = g.dropout > 0 && g.ranks > 0, in_f32 = sizeof(T) == 2 && dx && (drops || (g.count > 1 && is_coded(s, g.of[0].w.format, dtype)));
  // The sum of dx in f32 (N,I), where it is rounded last; where there is dropout, a branch's gradient in f32, or dropout(x), (N,I); t.
  const size_t sum_bytes = in_f32 ? static_cast<size_t>(N * I) * 4 : 0, branch_bytes = drops ? static_cast<size_t>(N * I) * 4 : 0;
  const size_t bytes = sum_bytes + branch_bytes + static_cast<size_t>(N * g.ranks) * sizeof(T);
  char* room = bytes > 0 ? static_cast<char*>(s.shared.get(bytes + 64)) : nullptr;
  float *sum = in_f32 ? reinterpret_cast<float*>(room) : dx.as<float>(), *branch = reinterpret_cast<float*>(room + sum_bytes);
  T* all_t = reinterpret_cast<T*>(room + sum_bytes + branch_bytes);
  for (const Member& m : g) {
    if (m.rank == 0) continue;
    const float factor = static_cast<float>(m.scaling);
    const int64_t r = m.rank, O = m.w.O, at = N * m.before;
    T* t = all_t + at;
    gemm(s, N, r, O, {m.out.data, dtype, O, 1}, {m.b.data, dtype, r, 1}, {t, dtype, r}, {.alpha = factor});
    if (m.db) gemm(s, O, r, N, {m.out.data, dtype, 1, O}, {u + at, dtype, r, 1}, {m.db.data, DType::f32, r}, {.accumulate = true, .alpha = factor});
    if (!m.da) continue;
    const T* kept = dropped(s, x, g.dropout, g.seed, m.offset, reinterpret_cast<T*>(branch));
    gemm(s, r, I, N, {t, dtype, 1, r}, {kept, dtype, I, 1}, {m.da.data, DType::f32, I}, {.accumulate = true});
  }
  if (!dx) return;
  sum_of_products(s, g, N, all_t, !drops, in_f32 ? Destination{sum, DType::f32, I} : Destination{dx.data, dtype, I});
  const Kept keeps(g.dropout);
  const float scale = static_cast<float>(1.0 / (1.0 - g.dropout));
  for (const Member& m : g) {
    if (!drops || m.rank == 0) continue;
    gemm(s, N, I, m.rank, {all_t + N * m.before, dtype, m.rank, 1}, {m.a.data, dtype, I, 1}, {branch, DType::f32, I});
    along_draws<T>(s, N * I, g.seed, m.offset, [=](auto as, int64_t i, auto draws) {
      const auto base = as.template read_beside<T>(sum + i);
      as.template write_beside<T>(sum + i, keeps.of(draws, fused(as.template read_beside<T>(branch + i), scale, base), base));
    });
  }
  if (!in_f32) return;
  T* to = dx.as<T>();
  parallel_range(s, N * I, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) to[i] = from_float<T>(sum[i]);
  });
}

}  // namespace

void linear_quantized(Stream& s, Out y, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, QuantFormat format,
                      int64_t block, int64_t out_features, double threshold) {
  const Group g = one({{codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols()}, y, b});
  by_dtype(x.dtype, [&](auto t) { forward<decltype(t)>(s, g, x, nullptr, threshold); });
}

void linear_quantized_dx(Stream& s, Out dx, In dy, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, QuantFormat format, int64_t block,
                         int64_t in_features) {
  const Group g = one({{codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), in_features}, dy});
  by_dtype(dy.dtype, [&](auto t) { backward<decltype(t)>(s, g, dx, {}, nullptr); });
}

void linear_quantized_lora(Stream& s, Out y, Out u, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, In lora_a,
                           In lora_b, QuantFormat format, int64_t block, int64_t out_features, double threshold, double scaling, double dropout,
                           int64_t seed, int64_t offset) {
  Member m{{codes, absmax, nested_absmax, nested_offset, format, block, out_features, x.cols()}, y, b};
  const Group g = one(m.with(lora_a, lora_b, scaling, offset), dropout, seed);
  by_dtype(x.dtype, [&](auto t) { forward(s, g, x, u.as<decltype(t)>(), threshold); });
}

void linear_quantized_lora_backward(Stream& s, OutOpt dx, Acc da, Acc db, In dy, In x, In u, In codes, In absmax, InOpt nested_absmax,
                                    InOpt nested_offset, In lora_a, In lora_b, QuantFormat format, int64_t block, double scaling, double dropout,
                                    int64_t seed, int64_t offset) {
  Member m{{codes, absmax, nested_absmax, nested_offset, format, block, dy.cols(), x.cols()}, dy};
  m.with(lora_a, lora_b, scaling, offset).da = da;
  m.db = db;
  const Group g = one(m, dropout, seed);
  by_dtype(x.dtype, [&](auto t) { backward(s, g, dx, x, u.as<decltype(t)>()); });
}

void linear_quantized_group(Stream& s, OutList y, OutOpt u, In x, InList codes, InList absmax, InList nested_absmax, InList nested_offset,
                            InList biases, InList lora_a, InList lora_b, Numbers, Numbers of, Numbers scaling, Numbers offset, QuantFormat format,
                            int64_t block, double threshold, double dropout, int64_t seed) {
  Group g = group_of(y.items, y.count, codes, absmax, nested_absmax, nested_offset, lora_a, lora_b, of, scaling, offset, format, block, x.cols(),
                     dropout, seed);
  for (int64_t i = 0; i < biases.count; ++i) g.of[i].bias = biases.items[i];
  by_dtype(x.dtype, [&](auto t) { forward(s, g, x, u.as<decltype(t)>(), threshold); });
}

void linear_quantized_group_backward(Stream& s, OutOpt dx, AccList da, AccList db, InList dy, InOpt x, InOpt u, InList codes, InList absmax,
                                     InList nested_absmax, InList nested_offset, InList lora_a, InList lora_b, Numbers of, Numbers scaling,
                                     Numbers offset, QuantFormat format, int64_t block, int64_t in_features, double dropout, int64_t seed) {
  Group g = group_of(dy.items, dy.count, codes, absmax, nested_absmax, nested_offset, lora_a, lora_b, of, scaling, offset, format, block, in_features,
                     dropout, seed);
  for (int64_t j = 0; j < of.count; ++j) {
    Member& m = g.of[static_cast<int64_t>(of.items[j])];
    if (da.count) m.da = da.items[j];
    if (db.count) m.db = db.items[j];
  }
  by_dtype(dy.items[0].dtype, [&](auto t) { backward(s, g, dx, x, u.as<decltype(t)>()); });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
