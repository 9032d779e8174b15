// A level's attention around its micro-kernels, as the op calls it.
#pragma once
#include "cpu/flash/backward.h"
#include "cpu/flash/forward.h"

namespace anymal::cpu::ANYMAL_LEVEL::flash {

template <class Micro, class From>
struct Table {
  using P = Panels<Micro, From>;
  using E = typename P::E;

  static int64_t width(int64_t D) { return round_up(D, P::NR); }
  static int64_t block_bytes(int64_t D, int64_t block, bool backward) { return P::block_size(D, block, backward) * static_cast<int64_t>(sizeof(E)); }
  static void pack(char* to, const void* k, const void* v, int64_t row, int64_t count, int64_t D, int64_t block, bool backward) {
    P::pack(reinterpret_cast<E*>(to), static_cast<const From*>(k), static_cast<const From*>(v), row, count, D, block, backward);
  }
  static int64_t forward_room(int64_t D, int64_t block, int64_t queries) {
    return typename Forward<Micro, From>::Room(nullptr, D, block, round_up(queries, P::NR)).bytes;
  }
  static int64_t backward_room(int64_t D, int64_t block, int64_t queries, int64_t blocks) {
    return typename Backward<Micro, From>::Room(nullptr, D, block, round_up(queries, P::NR), blocks).bytes;
  }

  static constexpr cpu::flash::Kernel kernel = {P::kBlock,
                                                P::step,
                                                Forward<Micro, From>::kQueries,
                                                Backward<Micro, From>::kQueries,
                                                P::NR,
                                                width,
                                                block_bytes,
                                                pack,
                                                forward_room,
                                                Forward<Micro, From>::run,
                                                backward_room,
                                                Backward<Micro, From>::run};
};

template <class MicroF32, class MicroBf16>
const cpu::flash::Kernel& kernel_of(DType t) {
  return t == DType::f32 ? Table<MicroF32, float>::kernel : Table<MicroBf16, bf16>::kernel;
}

}  // namespace anymal::cpu::ANYMAL_LEVEL::flash
