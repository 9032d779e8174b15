// Attention with keys in one or two buffers, and its gradient. The work on blocks is done by the level's kernels (flash/kernel.h); here keys are
// packed for them and queries shared out. The (T,S) matrix is never held.
#include "cpu/kernel.h"
#include "cpu/linear/kernels.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

using cpu::flash::Kernel;
using cpu::flash::Keys;
using cpu::flash::kMostQueries;
using cpu::flash::Queries;

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

  // Keys of the first source that a query of batch row b may see: [begin, end).
  void reach(int64_t b, int64_t& begin, int64_t& end) const {
    const int64_t S = source[0].S(), from = range ? range.as<int32_t>()[2 * b] : 0, to = range ? range.as<int32_t>()[2 * b + 1] : S;
    begin = from < 0 ? 0 : from < S ? from : S;
    end = to < begin ? begin : to < S ? to : S;
  }
  // Those that query t sees. Those of the second are all seen.
  void visible(int64_t b, int64_t t, int64_t& begin, int64_t& end) const {
    reach(b, begin, end);
    const int64_t position = t + source[0].S() - T();
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

// How the keys of a pair, (batch row, key/value head), are cut and packed.
struct Plan {
  const Kernel& kernel;
  bool backward;
  int64_t blocks[2], block, block_bytes;

  Plan(Stream& s, const Job& j, bool is_backward) : kernel(s.kernels->attention(j.q.dtype)), backward(is_backward) {
    int64_t most = 0;
    for (int i = 0; i < 2; ++i) {
      const int64_t S = i < j.sources ? j.source[i].S() : 0;
      blocks[i] = (S + kernel.block - 1) / kernel.block;
      most = S > most ? S : most;
    }
    block = most < kernel.block ? (most + kernel.step - 1) / kernel.step * kernel.step : kernel.block;
    block_bytes = kernel.block_bytes(j.D(), block, backward);
  }
  int64_t count() const { return blocks[0] + blocks[1]; }
  int64_t packed_bytes() const { return (count() * block_bytes + 63) / 64 * 64; }
  int64_t sums(const Job& j) const { return count() * block * kernel.width(j.D()); }  // of dk, or dv

  void keys_of(const Job& j, int64_t b, const char* packed, Keys (&keys)[2]) const {
    int64_t begin, end;
    j.reach(b, begin, end);
    keys[0] = {begin, end, packed, begin, nullptr, nullptr};
    if (j.sources == 2) keys[1] = {0, j.source[1].S(), packed ? packed + blocks[0] * block_bytes : nullptr, j.source[0].S(), nullptr, nullptr};
  }

  // Packs the keys of `pairs` pairs from pair `first` on.
  void pack(Stream& s, const Job& j, char* room, int64_t pair_bytes, int64_t first, int64_t pairs) const {
    const int64_t row = j.K() * j.D(), bytes = static_cast<int64_t>(dtype_bytes(j.q.dtype));
    parallel_range(s, pairs * count(), kernel.block * j.D(), [&](int64_t begin, int64_t end, int) {
      for (int64_t c = begin; c < end; ++c) {
        const int64_t pair = first + c / count(), b = pair / j.K(), kv = pair % j.K(), n = c % count();
        const int i = n >= blocks[0];
        char* packed = room + c / count() * pair_bytes;
        Keys keys[2];
        keys_of(j, b, packed, keys);
        const int64_t key = keys[i].first + (n - i * blocks[0]) * kernel.block, left = keys[i].end - key;
        if (left <= 0) continue;
        const Source& source = j.source[i];
        const int64_t at = ((b * source.S() + key) * row + kv * j.D()) * bytes;
        kernel.pack(packed + n * block_bytes, source.k.as<char>() + at, source.v.as<char>() + at, row, left < block ? left : block, j.D(), block,
                    backward);
      }
    });
  }
};

// Queries [t0, t0 + n) of (b, h), and what they see.
struct Part {
  Queries queries;
  int64_t begin[kMostQueries], end[kMostQueries];

  Part(const Job& j, const Plan& plan, int64_t b, int64_t h, int64_t t0, int64_t n, const char* packed) {
    const int64_t row = j.H() * j.D(), at = ((b * j.T() + t0) * row + h * j.D()) * static_cast<int64_t>(dtype_bytes(j.q.dtype));
    const auto of = [&](const View& v) { return v ? v.as<char>() + at : nullptr; };
    for (int64_t i = 0; i < n; ++i) j.visible(b, t0 + i, begin[i], end[i]);
    queries = {of(j.q),  row,        n,  j.D(),    j.scale, begin, end, j.bias_row(b, h, t0), j.dbias ? j.dbias_row(b, h, t0) : nullptr,
               j.keys(), plan.block, {}, j.sources};
    queries.y = of(j.y);
    queries.lse = j.lse.as<float>() + (b * j.H() + h) * j.T() + t0;
    queries.dy = of(j.dy);
    queries.dq = of(j.dq);
    plan.keys_of(j, b, packed, queries.keys);
  }
};

// f(first, count): all pairs in waves that need 16 MiB, or what it takes to give each thread one.
template <class F>
void in_waves(Stream& s, const Job& j, int64_t pair_bytes, const F& f) {
  constexpr int64_t bytes = 16 << 20;
  const int64_t pairs = j.B() * j.K(), threads = s.pool.threads(), fit = pair_bytes > 0 ? bytes / pair_bytes : pairs;
  const int64_t wave = fit < threads ? threads : fit / threads * threads;
  for (int64_t first = 0; first < pairs; first += wave) f(first, first + wave < pairs ? wave : pairs - first);
}

void forward(Stream& s, const Job& j) {
  const Plan plan(s, j, false);
  const Kernel& kernel = plan.kernel;
  const int64_t T = j.T(), group = j.H() / j.K(), lanes = kernel.lanes, fewest = (T + kernel.forward_queries - 1) / kernel.forward_queries;
  if (T == 0) return;
  // As even as lanes allow.
  const int64_t n = ((T + fewest - 1) / fewest + lanes - 1) / lanes * lanes, parts = (T + n - 1) / n;
  const int64_t pair_bytes = plan.packed_bytes(), room_bytes = kernel.forward_room(j.D(), plan.block, n < T ? n : T);
  in_waves(s, j, pair_bytes, [&](int64_t first, int64_t pairs) {
    char* packed = static_cast<char*>(s.shared.get(static_cast<size_t>(pairs * pair_bytes)));
    plan.pack(s, j, packed, pair_bytes, first, pairs);
    parallel_range(s, pairs * group * parts, n * j.keys() * j.D() / 8, [&](int64_t begin, int64_t end, int thread) {
      char* room = static_cast<char*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>(room_bytes)));
      for (int64_t c = begin; c < end; ++c) {
        // The last queries see the most keys under a causal mask: they go first, so that no thread ends on them.
        const int64_t t0 = (parts - 1 - c % parts) * n, head = c / parts % group, pair = c / parts / group;
        const int64_t b = (first + pair) / j.K(), h = (first + pair) % j.K() * group + head;
        kernel.forward(Part(j, plan, b, h, t0, T - t0 < n ? T - t0 : n, packed + pair * pair_bytes).queries, room);
      }
    });
  });
}

// The queries of a pair in units of one head's block, which splits take in turn: split s those whose number is s modulo splits. Each split has sums
// of dk and dv of its own, which are added up in order, so that one pair is work for many threads. All this depends on the pair's own sizes.
struct Splits {
  int64_t before, after, shift, block, count;
  bool heads_together;

  Splits(const Job& j, const Plan& plan, int64_t b) : block(plan.kernel.backward_queries) {
    constexpr int64_t enough = 16, units = 4, sums_bytes = 64 << 20;  // tasks in all; units and bytes of each split
    int64_t begin, end;
    j.reach(b, begin, end);
    // Where queries and keys are the same positions, blocks are counted from the first that is not hidden: padding before it moves no cut of a sum.
    shift = j.T() == j.source[0].S() ? begin : 0;
    before = (shift + block - 1) / block;
    after = (j.T() - shift + block - 1) / block;
    // No two splits add to one row of dbias.
    heads_together = j.dbias && j.dbias.dim(1) == 1;
    const bool one = j.dbias && j.dbias.dim(0) != j.B();
    const int64_t keys = end - begin + (j.sources == 2 ? j.source[1].S() : 0), bytes = keys * plan.kernel.width(j.D()) * 8 + 1;
    const int64_t all = (heads_together ? after : after * (j.H() / j.K())) / units, wanted = (enough + j.K() - 1) / j.K();
    count = all < wanted ? all : wanted;
    if (count > sums_bytes / bytes) count = sums_bytes / bytes;
    if (count < 1 || one) count = 1;
  }
};

// Rows of dk and dv from their sums; those of dv lie `sums` behind those of dk, and the next split's behind these. Null: nobody sees the key.
template <class E>
void put_gradients(const Source& source, int64_t b, int64_t key, int64_t kv, float* dk, int64_t sums, int64_t splits, float scale) {
  const int64_t D = source.k.dim(3);
  E *to_k = element<E>(source.dk, b, key, kv), *to_v = element<E>(source.dv, b, key, kv);
  if (!dk) {
    std::memset(static_cast<void*>(to_k), 0, static_cast<size_t>(D) * sizeof(E));
    std::memset(static_cast<void*>(to_v), 0, static_cast<size_t>(D) * sizeof(E));
    return;
  }
  float* dv = dk + sums;
  for (int64_t split = 1; split < splits; ++split)
    for (int64_t d = 0; d < D; ++d) {
      dk[d] += dk[split * 2 * sums + d];
      dv[d] += dv[split * 2 * sums + d];
    }
  for (int64_t d = 0; d < D; ++d) to_k[d] = from_float<E>(dk[d] * scale);
  for (int64_t d = 0; d < D; ++d) to_v[d] = from_float<E>(dv[d]);
}

void backward(Stream& s, const Job& j) {
  const Plan plan(s, j, true);
  const Kernel& kernel = plan.kernel;
  const int64_t T = j.T(), D = j.D(), K = j.K(), group = j.H() / K, width = kernel.width(D), sums = plan.sums(j);
  int64_t most = 1;
  for (int64_t b = 0; b < j.B(); ++b) {
    const int64_t count = Splits(j, plan, b).count;
    most = count > most ? count : most;
  }
  const int64_t pair_bytes = plan.packed_bytes() + most * 2 * sums * 4,
                room_bytes = kernel.backward_room(D, plan.block, T < kernel.backward_queries ? T : kernel.backward_queries, plan.count());
  in_waves(s, j, pair_bytes, [&](int64_t first, int64_t pairs) {
    char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(pairs * pair_bytes)));
    plan.pack(s, j, room, pair_bytes, first, pairs);
    const auto sums_of = [&](int64_t pair, int64_t split) {
      return reinterpret_cast<float*>(room + pair * pair_bytes + plan.packed_bytes()) + split * 2 * sums;
    };
    const auto run = [&](int64_t pair, int64_t split, char* scratch) {
      const int64_t b = (first + pair) / K, kv = (first + pair) % K;
      const Splits splits(j, plan, b);
      if (split >= splits.count) return;
      float* dk[2] = {sums_of(pair, split), sums_of(pair, split) + plan.blocks[0] * plan.block * width};
      Keys keys[2];
      plan.keys_of(j, b, nullptr, keys);
      for (int i = 0; i < j.sources; ++i) {
        const size_t bytes = static_cast<size_t>((keys[i].end - keys[i].first + kernel.step - 1) / kernel.step * kernel.step * width) * 4;
        std::memset(dk[i], 0, bytes);
        std::memset(dk[i] + sums, 0, bytes);
      }
      for (int64_t block = -splits.before; block < splits.after; ++block)
        for (int64_t head = 0; head < group; ++head) {
          const int64_t unit = splits.heads_together ? block : block * group + head;
          if (((unit % splits.count) + splits.count) % splits.count != split) continue;
          const int64_t from = splits.shift + block * splits.block, to = from + splits.block, t0 = from < 0 ? 0 : from, t1 = to < T ? to : T;
          Part part(j, plan, b, kv * group + head, t0, t1 - t0, room + pair * pair_bytes);
          for (int i = 0; i < j.sources; ++i) {
            part.queries.keys[i].dk = dk[i];
            part.queries.keys[i].dv = dk[i] + sums;
          }
          kernel.backward(part.queries, scratch);
        }
    };
    // A task is a split of a pair, or of all pairs of the wave that add to the same rows of dbias.
    const int64_t rows = j.dbias ? j.dbias.dim(0) : j.B(), heads = j.dbias && j.dbias.dim(1) == 1 ? 1 : K;
    const int64_t tasks = j.dbias ? rows * heads : pairs;
    parallel_range(s, tasks * most, T * group * j.keys() * D / most, [&](int64_t begin, int64_t end, int thread) {
      char* scratch = static_cast<char*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>(room_bytes)));
      for (int64_t c = begin; c < end; ++c)
        for (int64_t pair = j.dbias ? 0 : c / most; pair < (j.dbias ? pairs : c / most + 1); ++pair)
          if (!j.dbias || (first + pair) / K % rows * heads + (first + pair) % K % heads == c / most) run(pair, c % most, scratch);
    });
    constexpr int64_t piece = 32;  // keys of a task
    for (int i = 0; i < j.sources; ++i) {
      const Source& source = j.source[i];
      const int64_t pieces = (source.S() + piece - 1) / piece;
      parallel_range(s, pairs * pieces, piece * 2 * D * most, [&](int64_t begin, int64_t end, int) {
        for (int64_t c = begin; c < end; ++c) {
          const int64_t pair = c / pieces, b = (first + pair) / K, kv = (first + pair) % K, key = c % pieces * piece;
          Keys keys[2];
          plan.keys_of(j, b, room, keys);
          float* dk = sums_of(pair, 0) + i * plan.blocks[0] * plan.block * width;
          const int64_t last = key + piece < source.S() ? key + piece : source.S(), count = Splits(j, plan, b).count;
          by_dtype(j.q.dtype, [&](auto t) {
            using E = decltype(t);
            for (int64_t at = key; at < last; ++at)
              put_gradients<E>(source, b, at, kv, at < keys[i].first || at >= keys[i].end ? nullptr : dk + (at - keys[i].first) * width, sums, count,
                               j.scale);
          });
        }
      });
    }
  });
}

}  // namespace

void attention(Stream& s, Out y, Out lse, In q, In k, In v, InOpt range, InOpt bias, double scale, bool causal, int64_t window) {
  const Job j{q, y, lse, {}, {}, {}, {{k, v, {}, {}}, {}}, 1, range, bias, static_cast<float>(scale), causal, window};
  forward(s, j);
}

void attention_backward(Stream& s, Out dq, Out dk, Out dv, Acc dbias, In dy, In q, In k, In v, In y, In lse, InOpt range, InOpt bias, double scale,
                        bool causal, int64_t window) {
  const Job j{q, y, lse, dy, dq, dbias, {{k, v, dk, dv}, {}}, 1, range, bias, static_cast<float>(scale), causal, window};
  backward(s, j);
}

void attention_two_source(Stream& s, Out y, Out lse, In q, In k1, In v1, In k2, In v2, InOpt range, double scale) {
  const Job j{q, y, lse, {}, {}, {}, {{k1, v1, {}, {}}, {k2, v2, {}, {}}}, 2, range, {}, static_cast<float>(scale), false, 0};
  forward(s, j);
}

void attention_two_source_backward(Stream& s, Out dq, Out dk1, Out dv1, Out dk2, Out dv2, In dy, In q, In k1, In v1, In k2, In v2, In y, In lse,
                                   InOpt range, double scale) {
  const Job j{q, y, lse, dy, dq, {}, {{k1, v1, dk1, dv1}, {k2, v2, dk2, dv2}}, 2, range, {}, static_cast<float>(scale), false, 0};
  backward(s, j);
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
