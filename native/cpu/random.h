// Random numbers as pure functions of (seed, offset, position): Philox 4x32-10 (Salmon et al., SC 2011). No state, so that a replayed or
// recomputed op draws the same numbers, on any number of threads and on every backend.
#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

#include "cpu/lanes.h"

namespace anymal::cpu::ANYMAL_LEVEL {

struct RandomBlock {
  uint32_t v[4];
};

// Block b covers positions 4b to 4b + 3. Key: the seed; counter: block and offset.
inline RandomBlock random_block(uint64_t seed, uint64_t offset, uint64_t block) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = static_cast<uint32_t>(offset), c3 = static_cast<uint32_t>(offset >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// As many blocks side by side as a register has lanes of 64 bits. A lane's upper half may hold anything between rounds: a product takes the lower.
struct RandomLanes {
#if defined(__AVX512F__)
  static constexpr int kBlocks = 8;
#elif defined(__AVX2__)
  static constexpr int kBlocks = 4;
#else
  static constexpr int kBlocks = 2;
#endif
  static constexpr int kGroup = 4;  // registers of blocks at a time: a round waits for the one before it, four of them fill the wait
  static constexpr int64_t kDraws = 4 * kBlocks * kGroup;
  typedef uint64_t Vector __attribute__((vector_size(8 * kBlocks)));

  // to[i] <- the bits of position 4 block + i, for i < kDraws; Apart: as neighbours in a row of bf16 stand in a Two, those of even positions before
  // those of odd ones, a register of each in turns.
  template <bool Apart>
  static void draw(uint64_t seed, uint64_t offset, uint64_t block, uint32_t* to) {
    Vector c0[kGroup], c1[kGroup], c2[kGroup], c3[kGroup];
#pragma GCC unroll 4
    for (int g = 0; g < kGroup; ++g) {
      c0[g] = place<Apart>() + (block + static_cast<uint64_t>(g * kBlocks));
      c1[g] = c0[g] >> 32;
      c2[g] = Vector{} + offset;
      c3[g] = Vector{} + (offset >> 32);
    }
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroup; ++g) {
        const Vector p0 = product(c0[g], 0xD2511F53u), p1 = product(c2[g], 0xCD9E8D57u);
        c0[g] = (p1 >> 32) ^ c1[g] ^ (Vector{} + k0);
        c2[g] = (p0 >> 32) ^ c3[g] ^ (Vector{} + k1);
        c1[g] = p1;
        c3[g] = p0;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    constexpr uint64_t low = 0xffffffffu;
#pragma GCC unroll 4
    for (int g = 0; g < kGroup; ++g, to += 4 * kBlocks) {
      Vector x, y;
      if constexpr (Apart) {
        x = (c0[g] & low) | (c2[g] << 32);
        y = (c1[g] & low) | (c3[g] << 32);
      } else {
        const Vector first = (c0[g] & low) | (c1[g] << 32), second = (c2[g] & low) | (c3[g] << 32);
        x = pairs<0>(first, second);
        y = pairs<1>(first, second);
      }
      std::memcpy(to, &x, sizeof x);
      std::memcpy(to + 2 * kBlocks, &y, sizeof y);
    }
  }

 private:
  // Which block a lane holds: where lanes are paired, the even ones the first half and the odd ones the second, so that the blocks come out in order.
  template <bool Apart>
  static Vector place() {
    Vector v;
    for (int i = 0; i < kBlocks; ++i) v[i] = static_cast<uint64_t>(Apart ? i : i / 2 + i % 2 * (kBlocks / 2));
    return v;
  }
  // The lower half of each lane times m.
  static Vector product(Vector a, uint32_t m) {
#if defined(__AVX512F__)
    return reinterpret_cast<Vector>(_mm512_mul_epu32(reinterpret_cast<__m512i>(a), _mm512_set1_epi64(m)));
#elif defined(__AVX2__)
    return reinterpret_cast<Vector>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(m)));
#elif defined(__x86_64__)
    return reinterpret_cast<Vector>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), _mm_set1_epi64x(m)));
#else
    return (a & 0xffffffffu) * m;
#endif
  }
  // Lanes Odd, 2 + Odd, 4 + Odd ... of a, each with that of b behind it.
  template <int Odd>
  static Vector pairs(Vector a, Vector b) {
#if defined(__AVX512F__)
    const auto x = reinterpret_cast<__m512i>(a), y = reinterpret_cast<__m512i>(b);
    return reinterpret_cast<Vector>(Odd ? _mm512_unpackhi_epi64(x, y) : _mm512_unpacklo_epi64(x, y));
#elif defined(__AVX2__)
    const auto x = reinterpret_cast<__m256i>(a), y = reinterpret_cast<__m256i>(b);
    return reinterpret_cast<Vector>(Odd ? _mm256_unpackhi_epi64(x, y) : _mm256_unpacklo_epi64(x, y));
#else
    return Vector{a[Odd], b[Odd]};
#endif
  }
};

inline float unit_uniform(uint32_t bits) { return static_cast<float>(static_cast<int32_t>(bits >> 8)) * 0x1p-24f; }  // [0, 1)

// f(position, bits) for positions [begin, end); begin is a multiple of 4. f is called in loops that vectorise where it has no branches.
template <class F>
inline void each_random(uint64_t seed, uint64_t offset, int64_t begin, int64_t end, const F& f) {
  alignas(64) uint32_t bits[RandomLanes::kDraws];
  for (int64_t i = begin; i < end; i += RandomLanes::kDraws) {
    RandomLanes::draw<false>(seed, offset, static_cast<uint64_t>(i) / 4, bits);
    if (end - i >= RandomLanes::kDraws) {
#pragma omp simd
      for (int64_t j = 0; j < RandomLanes::kDraws; ++j) f(i + j, bits[j]);
    } else {
      for (int64_t j = 0; j < end - i; ++j) f(i + j, bits[j]);
    }
  }
}

// The same over positions [0, n), on all threads.
template <class F>
inline void for_each_random(Stream& s, int64_t n, int64_t seed, int64_t offset, const F& f) {
  constexpr int64_t draws = RandomLanes::kDraws;
  parallel_range(s, (n + draws - 1) / draws, 3 * draws, [&](int64_t begin, int64_t end, int) {
    each_random(static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), begin * draws, end * draws < n ? end * draws : n, f);
  });
}

// Which draws dropout keeps: those whose unit_uniform is p or more, told by whole numbers alone.
struct Kept {
  int32_t least;
  explicit Kept(double p) : least(static_cast<int32_t>(std::ceil(static_cast<double>(static_cast<float>(p)) * 0x1p24))) {}
  bool operator()(uint32_t bits) const { return static_cast<int32_t>(bits >> 8) >= least; }
  // x where the draw keeps, else `otherwise`. Draws come as the bits of numbers.
  float of(float draw, float x, float otherwise) const { return (*this)(std::bit_cast<uint32_t>(draw)) ? x : otherwise; }
  Floats of(Floats draw, Floats x, Floats otherwise) const {
    return choose(reinterpret_cast<Ints>(reinterpret_cast<Units>(draw) >> 8) >= least, x, otherwise);
  }
  Two of(Two draw, Two x, Two otherwise) const { return {of(draw.a, x.a, otherwise.a), of(draw.b, x.b, otherwise.b)}; }
};

// f(how, i, draws) for the elements of a tensor of T, as `along` walks, on all threads.
template <class T, class F>
inline void along_draws(Stream& s, int64_t n, int64_t seed, int64_t offset, const F& f) {
  constexpr int64_t count = RandomLanes::kDraws;
  parallel_range(s, (n + count - 1) / count, 3 * count, [&](int64_t begin, int64_t end, int) {
    alignas(64) uint32_t bits[count];
    for (int64_t i = begin * count; i < end * count; i += count) {
      const auto* draws = reinterpret_cast<const float*>(bits);
      const uint64_t block = static_cast<uint64_t>(i) / 4;
      if (sizeof(T) == 2 && n - i >= count) {
        RandomLanes::draw<true>(static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), block, bits);
        along(count, [&](auto as, int64_t j) { f(as, i + j, as.read(draws + j)); });
      } else {
        RandomLanes::draw<false>(static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), block, bits);
        along(n - i < count ? n - i : count, [&](auto as, int64_t j) { f(as, i + j, as.template read_beside<T>(draws + j)); });
      }
    }
  });
}

// to = dropout(from): what is kept, divided by its probability.
template <class T>
inline void drop_all(Stream& s, T* to, const T* from, int64_t n, double p, int64_t seed, int64_t offset) {
  const Kept kept(p);
  const float scale = static_cast<float>(1.0 / (1.0 - p));
  along_draws<T>(s, n, seed, offset, [=](auto as, int64_t i, auto draws) {
    const auto x = as.read(from + i) * scale;
    as.write(to + i, kept.of(draws, x, std::remove_const_t<decltype(x)>{}));
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
