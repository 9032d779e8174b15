// Blocks of scores: what the queries of a panel see of them, scale, bias, maxima; and what a call's room is made of.
#pragma once
#include "cpu/flash/panels.h"

namespace anymal::cpu::ANYMAL_LEVEL::flash {

// A block of keys as the NR queries of a panel see it.
template <int64_t NR>
struct Sight {
  int64_t rows = 0;    // keys up to the last that any of them sees; 0: none
  bool hides = false;  // some of those from some of them
  alignas(64) int32_t from[NR], to[NR];

  // The panel of queries from q0 on; those beyond the last see what it sees.
  Sight(const Queries& t, int64_t q0) : t_(t), q0_(q0) {
    const int64_t end = at_most(q0 + NR, t.n);
    for (int64_t q = q0; q < end; ++q) {
      const int64_t b = t.begin[q], e = t.end[q];
      if (q == q0 || b < first_begin_) first_begin_ = b;
      if (q == q0 || b > last_begin_) last_begin_ = b;
      if (q == q0 || e < first_end_) first_end_ = e;
      if (q == q0 || e > last_end_) last_end_ = e;
    }
  }

  // `count` keys of the first source, from `key` on.
  void look(int64_t key, int64_t count) {
    all(count);
    if (last_begin_ <= key && first_end_ >= key + count) return;
    rows = 0;
    hides = true;
    if (first_begin_ >= key + count || last_end_ <= key) return;
    for (int64_t i = 0; i < NR; ++i) {
      const int64_t q = q0_ + i < t_.n ? q0_ + i : t_.n - 1, a = t_.begin[q] - key, b = t_.end[q] - key;
      const int64_t begin = a < 0 ? 0 : at_most(a, count), end = b < begin ? begin : at_most(b, count);
      from[i] = static_cast<int32_t>(begin);
      to[i] = static_cast<int32_t>(end);
      if (end > begin && end > rows) rows = end;
    }
  }
  void all(int64_t count) {
    rows = count;
    hides = false;
  }

 private:
  const Queries& t_;
  int64_t q0_, first_begin_ = 0, last_begin_ = 0, first_end_ = 0, last_end_ = 0;
};

// Scores of a block become scale * them + bias, -inf where hidden. `most`: each lane's largest; `there`: what `beside` has in its place, if that is
// given.
template <int64_t NR, bool Hides, bool Biased, bool Beside>
inline void finish_scores(float* scores, const Sight<NR>& sight, float scale, const float* bias, const float* beside, Floats (&most)[NR / kLanes],
                          Floats (&there)[NR / kLanes]) {
  for (int v = 0; v < NR / kLanes; ++v) {
    Ints from, to;
    if constexpr (Hides) {
      std::memcpy(&from, sight.from + v * kLanes, sizeof from);
      std::memcpy(&to, sight.to + v * kLanes, sizeof to);
    }
    Floats largest = all(-INFINITY), at_largest = {};
    for (int64_t r = 0; r < sight.rows; ++r) {
      float* at = scores + r * NR + v * kLanes;
      Floats s = load(at) * scale;
      if constexpr (Biased) s += load(bias + r * NR + v * kLanes);
      if constexpr (Hides) {
        const Ints row = Ints{} + static_cast<int32_t>(r);
        s = ((row >= from) & (row < to)) ? s : all(-INFINITY);
      }
      store(at, s);
      if constexpr (Beside) at_largest = s > largest ? load(beside + r * NR + v * kLanes) : at_largest;
      largest = s > largest ? s : largest;
    }
    most[v] = largest;
    there[v] = at_largest;
  }
}

// `bias`: of the panel's first query and the block's first key, or null. `turned`: room for (kBlock, NR).
template <int64_t NR, bool Beside>
inline void finish_scores(float* scores, const Sight<NR>& sight, float scale, const float* bias, int64_t bias_row, int64_t queries, float* turned,
                          const float* beside, Floats (&most)[NR / kLanes], Floats (&there)[NR / kLanes]) {
  if (bias) Transpose::run(reinterpret_cast<uint32_t*>(turned), NR, bias, bias_row * 4, at_most(NR, queries), sight.rows);
  if (sight.hides && bias) finish_scores<NR, true, true, Beside>(scores, sight, scale, turned, beside, most, there);
  else if (sight.hides) finish_scores<NR, true, false, Beside>(scores, sight, scale, turned, beside, most, there);
  else if (bias) finish_scores<NR, false, true, Beside>(scores, sight, scale, turned, beside, most, there);
  else finish_scores<NR, false, false, Beside>(scores, sight, scale, turned, beside, most, there);
}

// Parts of a call's room, one after the other; with no room to begin from it counts the bytes.
class Parts {
 public:
  explicit Parts(char* at) : begin_(at) {}
  template <class T>
  T* take(int64_t n) {
    char* part = begin_ ? begin_ + bytes_ : nullptr;
    bytes_ += (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(part);
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* begin_;
  int64_t bytes_ = 0;
};

// Queries [0, n) of y (row elements apart) <- factor[q] * sums (D, NR). `turned`: room for (NR, D).
template <int64_t NR, class T>
inline void put_rows(T* y, int64_t row, int64_t n, int64_t D, const float* sums, const float* factor, float* turned) {
  Transpose::run(reinterpret_cast<uint32_t*>(turned), D, sums, NR * 4, D, NR);
  for (int64_t q = 0; q < n; ++q) {
    const float f = factor[q];
    for (int64_t d = 0; d < D; ++d) y[q * row + d] = from_float<T>(turned[q * D + d] * f);
  }
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::flash
