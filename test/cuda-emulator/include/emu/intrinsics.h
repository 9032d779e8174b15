// Intrinsics that threads meet in, and atomics. Each names its caller's line, for reports.
#pragma once
#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "runtime.h"

inline void __syncthreads(emu::Loc l = emu::Loc::current()) { emu::barrier(0, -1, true, l); }
inline void __syncwarp(unsigned m = ~0u, emu::Loc l = emu::Loc::current()) { emu::warp_collective(m, "__syncwarp", nullptr, nullptr, l, true); }
inline void __threadfence() { emu::fence(); }
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) { emu::yield(); }

namespace emu {
template <class T>
struct Shfl {
  T value;
  int src;
  T result;
};
template <class T>
T shfl(unsigned mask, T v, int src, const char* op, Loc loc) {
  Shfl<T> a{v, src, v};
  warp_collective(
      mask, op, &a,
      [](const Collective& c) {
        for (unsigned m = c.mask; m; m &= m - 1) {
          auto* me = static_cast<Shfl<T>*>(c.lane_args[std::countr_zero(m)]);
          // a source lane outside the mask is undefined on hardware: return poison, not a convenient value
          if (c.mask >> me->src & 1) me->result = static_cast<Shfl<T>*>(c.lane_args[me->src])->value;
          else std::memset(&me->result, 0xFF, sizeof(T));
        }
      },
      loc);
  return a.result;
}
inline unsigned reduce(unsigned mask, unsigned v, const char* op, unsigned (*f)(unsigned, unsigned), Loc loc) {
  struct A {
    unsigned v;
    unsigned (*f)(unsigned, unsigned);
  } a{v, f};
  warp_collective(
      mask, op, &a,
      [](const Collective& c) {
        auto at = [&](unsigned m) { return static_cast<A*>(c.lane_args[std::countr_zero(m)]); };
        unsigned r = at(c.mask)->v;
        for (unsigned m = c.mask & (c.mask - 1); m; m &= m - 1) r = at(m)->f(r, at(m)->v);
        for (unsigned m = c.mask; m; m &= m - 1) at(m)->v = r;
      },
      loc);
  return a.v;
}
}  // namespace emu
#define EMU_LOC emu::Loc l = emu::Loc::current()
template <class T>
T __shfl_sync(unsigned m, T v, int src, int w = 32, EMU_LOC) {
  int n = emu::lane_id();
  return emu::shfl(m, v, (n & ~(w - 1)) | (src & (w - 1)), "__shfl_sync", l);
}
template <class T>
T __shfl_xor_sync(unsigned m, T v, int x, int w = 32, EMU_LOC) {
  int n = emu::lane_id(), s = n ^ x;
  return emu::shfl(m, v, s < (n & ~(w - 1)) + w ? s : n, "__shfl_xor_sync", l);
}
template <class T>
T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32, EMU_LOC) {
  int n = emu::lane_id();
  return emu::shfl(m, v, int(n % w + d) < w ? int(n + d) : n, "__shfl_down_sync", l);
}
template <class T>
T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32, EMU_LOC) {
  int n = emu::lane_id();
  return emu::shfl(m, v, n % w >= int(d) ? int(n - d) : n, "__shfl_up_sync", l);
}
inline unsigned __ballot_sync(unsigned m, int p, EMU_LOC) {
  return emu::reduce(
      m, p ? 1u << emu::lane_id() : 0, "__ballot_sync", [](unsigned a, unsigned b) { return a | b; }, l);
}
inline int __any_sync(unsigned m, int p, EMU_LOC) {
  return emu::reduce(
      m, p != 0, "__any_sync", [](unsigned a, unsigned b) { return a | b; }, l);
}
inline int __all_sync(unsigned m, int p, EMU_LOC) {
  return emu::reduce(
      m, p != 0, "__all_sync", [](unsigned a, unsigned b) { return a & b; }, l);
}
inline unsigned __reduce_add_sync(unsigned m, unsigned v, EMU_LOC) {
  return emu::reduce(
      m, v, "__reduce_add_sync", [](unsigned a, unsigned b) { return a + b; }, l);
}
inline unsigned __reduce_max_sync(unsigned m, unsigned v, EMU_LOC) {
  return emu::reduce(
      m, v, "__reduce_max_sync", [](unsigned a, unsigned b) { return std::max(a, b); }, l);
}

// Atomics: one host thread runs all fibers, so plain updates are atomic. Inlined, so that a report names the kernel's line.
namespace emu {
template <class T, class F>
__forceinline__ T rmw(T* p, F f) {
  T old;
  atomic_load(p, &old, sizeof old);
  T now = f(old);
  atomic_store(p, &now, sizeof now);
  return old;
}
}  // namespace emu
template <class T>
__forceinline__ T atomicAdd(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return T(o + v); });
}
template <class T>
__forceinline__ T atomicMax(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return std::max(o, v); });
}
template <class T>
__forceinline__ T atomicMin(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return std::min(o, v); });
}
template <class T>
__forceinline__ T atomicExch(T* p, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T) { return v; });
}
template <class T>
__forceinline__ T atomicCAS(T* p, std::type_identity_t<T> c, std::type_identity_t<T> v) {
  return emu::rmw(p, [=](T o) { return o == c ? v : o; });
}
__forceinline__ unsigned atomicInc(unsigned* p, unsigned lim) {
  return emu::rmw(p, [=](unsigned o) { return o >= lim ? 0 : o + 1; });
}
