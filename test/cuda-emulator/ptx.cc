// PTX instructions of a whole warp. Which lane and register holds which element follows the figures of the PTX ISA.
// Hopper's are in mbarrier.cc and wgmma.cc.
#include "ptx_emu.h"
#include "reports.h"
#include "running.h"

namespace emu {
template <class A>
static A& arg(const Collective& c, int lane) {
  return *static_cast<A*>(c.lane_args[lane]);
}
static void need_full_warp(const Collective& c, const char* op) {
  if (c.mask != ~0u) fail("%s needs all 32 lanes, got %08x", op, c.mask);
}

uint32_t load_shared(uint32_t from) {
  const void* p = shared_pointer(from, 4, "ld.shared");
  check_read(p, 4);
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

struct Ldmatrix {
  uint32_t* r;
  int n;
  uint32_t row;
  bool trans;
};
void ldmatrix(uint32_t* r, int n, uint32_t row, bool trans, Loc loc) {
  Ldmatrix a{r, n, row, trans};
  if (self->lane < 8 * n) check_read(shared_pointer(row, 16, "ldmatrix"), 16);  // each lane vouches for the row it addresses
  warp_collective(
      ~0u, trans ? "ldmatrix.trans" : "ldmatrix", &a,
      [](const Collective& c) {
        need_full_warp(c, "ldmatrix");
        auto& a0 = arg<Ldmatrix>(c, 0);
        for (int i = 0; i < a0.n; ++i) {
          uint16_t m[8][8];
          for (int row = 0; row < 8; ++row) std::memcpy(m[row], shared_pointer(arg<Ldmatrix>(c, 8 * i + row).row, 16, "ldmatrix"), 16);
          for (int lane = 0; lane < 32; ++lane) {
            int p = lane / 4, q = lane % 4 * 2;
            arg<Ldmatrix>(c, lane).r[i] = a0.trans ? m[q][p] | uint32_t(m[q + 1][p]) << 16 : m[p][q] | uint32_t(m[p][q + 1]) << 16;
          }
        }
      },
      loc);
}

struct Mma {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Loc loc) {
  Mma x{d, a, b};
  warp_collective(
      ~0u, "mma.m16n8k16", &x,
      [](const Collective& c) {
        need_full_warp(c, "mma");
        float A[16][16], B[16][8], D[16][8];
        auto lo = [](uint32_t v) { return bf16_to_float(uint16_t(v)); };
        auto hi = [](uint32_t v) { return bf16_to_float(uint16_t(v >> 16)); };
        for (int lane = 0; lane < 32; ++lane) {
          auto& m = arg<Mma>(c, lane);
          int g = lane / 4, t = lane % 4 * 2;
          for (int r = 0; r < 4; ++r) {
            int row = g + r % 2 * 8, k = t + r / 2 * 8;
            A[row][k] = lo(m.a[r]);
            A[row][k + 1] = hi(m.a[r]);
          }
          for (int r = 0; r < 2; ++r) {
            int k = t + r * 8;
            B[k][g] = lo(m.b[r]);
            B[k + 1][g] = hi(m.b[r]);
          }
          for (int r = 0; r < 4; ++r) D[g + r / 2 * 8][t + r % 2] = m.d[r];
        }
        for (int i = 0; i < 16; ++i)
          for (int k = 0; k < 16; ++k)
            for (int j = 0; j < 8; ++j) D[i][j] += A[i][k] * B[k][j];
        for (int lane = 0; lane < 32; ++lane) {
          auto& m = arg<Mma>(c, lane);
          for (int r = 0; r < 4; ++r) m.d[r] = D[lane / 4 + r / 2 * 8][lane % 4 * 2 + r % 2];
        }
      },
      loc);
}

struct MmaCodes {
  int* d;
  const uint32_t* a;
  const uint32_t* b;
};
void mma_m16n8k32_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Loc loc) {
  MmaCodes x{d, a, b};
  warp_collective(
      ~0u, "mma.m16n8k32", &x,
      [](const Collective& c) {
        need_full_warp(c, "mma");
        int8_t A[16][32], B[32][8];
        for (int lane = 0; lane < 32; ++lane) {
          auto& m = arg<MmaCodes>(c, lane);
          int g = lane / 4, t = lane % 4 * 4;
          for (int i = 0; i < 4; ++i) {
            for (int r = 0; r < 4; ++r) A[g + r % 2 * 8][t + r / 2 * 16 + i] = int8_t(m.a[r] >> 8 * i);
            for (int r = 0; r < 2; ++r) B[t + r * 16 + i][g] = int8_t(m.b[r] >> 8 * i);
          }
        }
        for (int lane = 0; lane < 32; ++lane) {
          auto& m = arg<MmaCodes>(c, lane);
          for (int r = 0; r < 4; ++r)
            for (int k = 0; k < 32; ++k) m.d[r] += A[lane / 4 + r / 2 * 8][k] * B[k][lane % 4 * 2 + r % 2];
        }
      },
      loc);
}

uint32_t ld_acquire(const uint32_t* p) {
  yield();
  uint32_t v;
  atomic_load(p, &v, 4);
  fence();
  return v;
}
void st_release(uint32_t* p, uint32_t v) {
  uint32_t old;
  fence();
  atomic_load(p, &old, 4);
  atomic_store(p, &v, 4);
}
}  // namespace emu
