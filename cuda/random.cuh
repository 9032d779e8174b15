// Random numbers as pure functions of (seed, offset, position): Philox 4x32-10 (Salmon et al., SC 2011), number for number those of the CPU's
// native/cpu/random.h.
#pragma once
#include "common.cuh"

namespace anymal::cuda {

struct RandomBlock {
  uint32_t v[4];
};

// Block b covers positions 4b to 4b + 3. Key: the seed; counter: block and offset.
__device__ __forceinline__ RandomBlock random_block(uint64_t seed, uint64_t offset, uint64_t block) {
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

__device__ __forceinline__ float unit_uniform(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }  // [0, 1)

// Does dropout keep element `position`? True with probability 1 - p.
__device__ __forceinline__ bool dropout_keeps(uint64_t seed, uint64_t offset, uint64_t position, float p) {
  const RandomBlock r = random_block(seed, offset, position / 4);
  const uint32_t lane = position % 4, bits = lane == 0 ? r.v[0] : lane == 1 ? r.v[1] : lane == 2 ? r.v[2] : r.v[3];
  return unit_uniform(bits) >= p;
}

}  // namespace anymal::cuda
