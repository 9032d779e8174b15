// sum, argmax, sample_categorical, increment, grad_norm, clip_scale.
#include "cpu/lanes.h"
#include "cpu/math.h"
#include "cpu/ops.h"
#include "cpu/random.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// Blocks of fixed size are summed by themselves, then their sums in order: the same bits on any number of threads, and an error that grows
// with the number of blocks only.
constexpr int64_t kBlock = 16384;

// term(how, i), as `along` walks
template <class Term>
double blocked_sum(Stream& s, int64_t n, const Term& term) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  double* part = static_cast<double*>(s.shared.get(static_cast<size_t>(blocks) * 8 + 8));
  parallel(s, blocks, [&](int64_t b, int) {
    const int64_t first = b * kBlock;
    LongSum sum;
    sum.add(n - first < kBlock ? n - first : kBlock, [&](auto as, int64_t j) { return term(as, first + j); });
    part[b] = sum.total();
  });
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += part[b];
  return total;
}

// The first of the greatest; of a row that begins with NaN the first.
template <class T>
int64_t first_greatest(const T* row, int64_t n) {
  if (to_float(row[0]) != to_float(row[0])) return 0;
  Two most{all(-INFINITY), all(-INFINITY)};
  Ints block[2] = {};  // where each lane's stands
  int64_t j = 0;
  for (; j + kTwo <= n; j += kTwo) {
    const Two v = load_two(row + j);
    const Ints above[2] = {v.a > most.a, v.b > most.b}, here = Ints{} + static_cast<int32_t>(j);
    most = {choose(above[0], v.a, most.a), choose(above[1], v.b, most.b)};
    for (int i = 0; i < 2; ++i) block[i] = above[i] ? here : block[i];
  }
  float lanes[kTwo], best = -INFINITY;
  int32_t at[kTwo];
  store_two(lanes, most);
  std::memcpy(at, block, sizeof at);
  int64_t found = 0;
  for (int i = 0; i < kTwo; ++i) {
    const int64_t place = at[i] + (sizeof(T) == 4 ? i : i % kLanes * 2 + i / kLanes);  // as load_two deals them out
    if (lanes[i] > best || (lanes[i] == best && lanes[i] > -INFINITY && place < found)) {
      best = lanes[i];
      found = place;
    }
  }
  for (; j < n; ++j)
    if (to_float(row[j]) > best) {
      best = to_float(row[j]);
      found = j;
    }
  return found;
}

}  // namespace

void sum(Stream& s, Out y, In x, double scale) {
  by_dtype(x.dtype, [&](auto t) {
    const auto* from = x.as<decltype(t)>();
    *y.as<float>() = static_cast<float>(scale * blocked_sum(s, x.size(), [=](auto as, int64_t i) { return as.read(from + i); }));
  });
}

void argmax(Stream& s, Out y, In x) {
  const int64_t cols = x.cols();
  by_dtype(x.dtype, [&](auto t) {
    const auto* from = x.as<decltype(t)>();
    parallel_range(s, x.rows(), cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) y.as<int32_t>()[r] = static_cast<int32_t>(first_greatest(from + r * cols, cols));
    });
  });
}

// Inverse of the cumulative sum of exp(logit - max), drawn with u(seed, counter, row). Removed tokens carry -inf and are never drawn.
void sample_categorical(Stream& s, Out y, In logits, In counter, int64_t seed) {
  const int64_t cols = logits.cols();
  const auto offset = static_cast<uint64_t>(static_cast<uint32_t>(*counter.as<int32_t>()));
  by_dtype(logits.dtype, [&](auto t) {
    const auto* from = logits.as<decltype(t)>();
    parallel_range(s, logits.rows(), 10 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const auto* row = from + r * cols;
        float most = -INFINITY;
        for (int64_t j = 0; j < cols; ++j) most = to_float(row[j]) > most ? to_float(row[j]) : most;
        double total = 0;
        for (int64_t j = 0; j < cols; ++j) total += exp_fast(to_float(row[j]) - most);
        const RandomBlock random = random_block(static_cast<uint64_t>(seed), offset, static_cast<uint64_t>(r));
        const double u = (static_cast<double>(random.v[0]) + static_cast<double>(random.v[1]) * 0x1p-32) * 0x1p-32 * total;
        double so_far = 0;
        int64_t drawn = 0;
        for (int64_t j = 0; j < cols; ++j) {
          const double p = exp_fast(to_float(row[j]) - most);
          if (p > 0) drawn = j;  // rounding may leave u beyond the last sum: then the last possible token
          so_far += p;
          if (so_far > u) break;
        }
        y.as<int32_t>()[r] = static_cast<int32_t>(drawn);
      }
    });
  });
}

void increment(Stream&, InOut x, int64_t by) {
  for (int64_t i = 0; i < x.size(); ++i) x.as<int32_t>()[i] += static_cast<int32_t>(by);
}

void grad_norm(Stream& s, Out norm, InList g) {
  double total = 0;
  for (int64_t i = 0; i < g.count; ++i) {
    const float* v = g.items[i].as<float>();
    total += blocked_sum(s, g.items[i].size(), [=](auto as, int64_t j) { return as.read(v + j) * as.read(v + j); });
  }
  *norm.as<float>() = static_cast<float>(std::sqrt(total));
}

void clip_scale(Stream&, Out scale, In norm, double max_norm) {
  const float c = static_cast<float>(max_norm) / (*norm.as<float>() + 1e-6f);
  *scale.as<float>() = c < 1.0f ? c : (c != c ? c : 1.0f);  // a NaN norm stays visible
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
