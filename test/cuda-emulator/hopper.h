// What a block has under way on Hopper's asynchronous units: barriers in shared memory, tiles that TMA brings, products of warp groups.
#pragma once
#include <deque>
#include <memory>

#include "hopper_emu.h"
#include "running.h"

namespace emu {

struct Mbarrier {
  unsigned count = 0, arrived = 0, phase = 0;
  int64_t bytes = 0;    // that TMA still owes to this phase
  int by = 0;           // the thread that initialised it
  bool fenced = false;  // which TMA sees
  std::vector<Thread*> waiters;
};

// What an emulated CUtensorMap holds: a matrix of numbers of one or two bytes, rows `pitch` bytes apart, and the box that one instruction brings.
struct TensorMap {
  const char* data;
  uint64_t rows, cols, pitch;
  uint32_t box_rows, box_cols, swizzle_bytes, number_bytes;

  uint32_t row_bytes() const { return box_cols * number_bytes; }
};
struct Tile {
  uint32_t dst, bar;
  TensorMap map;
  int x, y;
};

// What an instruction says: 16-bit numbers with sums in f32, or bytes with integers.
struct Instruction {
  uint64_t a, b;
  int n;
  bool a_transposed, bytes;

  bool operator==(const Instruction&) const = default;
};
struct Product {
  Instruction of;
  std::array<uint32_t*, 32> d;  // each lane's accumulators
};
// A warp's part of its group's products.
struct WarpProducts {
  std::vector<Product> open;
  std::deque<std::vector<Product>> groups;
  std::map<uint32_t*, std::vector<uint32_t>> sums;  // what the accumulators will hold; they themselves are poison until the wait
  bool fenced = false;
  size_t issued = 0;
};
// Four warps issue one instruction: what the first of them said, until the last has.
struct Announced {
  Instruction of;
  unsigned warps = 0;
};

struct Hopper {
  std::map<uint32_t, Mbarrier> bars;
  std::vector<Tile> tiles;
  std::array<WarpProducts, 32> products;
  std::array<std::map<size_t, Announced>, 8> announced;  // by warp group and place in its order
};

Hopper& hopper();                // of the running thread's block
void hopper_ends(Block& block);  // nothing may be under way any more

// The byte that 16-byte chunks of a swizzled tile move to: their number is XORed with that of the row of 128 bytes.
inline uint32_t swizzled(uint32_t address, uint32_t bytes) { return bytes < 32 ? address : address ^ ((address >> 7 & (bytes / 16 - 1)) << 4); }

}  // namespace emu
