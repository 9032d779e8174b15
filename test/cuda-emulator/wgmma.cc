// wgmma: products of four warps that read both operands from shared memory, and setmaxnreg. Results are withheld: accumulators hold NaN until the
// wait, and operands are read there, so that a tile which is written too early makes wrong numbers. Layouts of operands and accumulators follow the
// PTX ISA, "Asynchronous warpgroup level matrix shared memory layout".
#include <bit>

#include "checker.h"
#include "hopper.h"
#include "reports.h"
#include "shared_memory.h"

namespace emu {
namespace {

// Of an instruction: k, which are 32 bytes of a row, and numbers in a chunk of 16 bytes.
int depth_of(const Instruction& i) { return i.bytes ? 32 : 16; }
int chunk_of(const Instruction& i) { return i.bytes ? 16 : 8; }

// Where a chunk of an operand lies: that of row `row` of m or n which begins at k, or, transposed, rows row .. row + 7 of one k.
uint32_t chunk(uint64_t descriptor, int row, int k, bool transposed, bool bytes) {
  const auto field = [&](int at) { return static_cast<uint32_t>(descriptor >> at & 0x3FFF) << 4; };
  const uint32_t start = field(0), leading = field(16), stride = field(32);
  static constexpr uint32_t kWidths[4] = {16, 128, 64, 32};
  const uint32_t width = kWidths[descriptor >> 62], r = static_cast<uint32_t>(row), c = static_cast<uint32_t>(k);
  if (transposed) {
    if (width == 16) return start + r / 8 * stride + c / 8 * leading + c % 8 * 16;
    const uint32_t across = width / 2;
    return swizzled(start + r / across * leading + r % across * 2 + c % 8 * width + c / 8 * stride, width);
  }
  const uint32_t byte = bytes ? c : 2 * c;
  if (width == 16) return start + r / 8 * stride + byte / 16 * leading + r % 8 * 16;
  return swizzled(start + r / 8 * stride + r % 8 * width + byte, width);
}

// f(row, k, place) for each chunk of `rows` rows from `first` on.
template <class F>
void each_chunk(const Instruction& i, uint64_t descriptor, int first, int rows, bool transposed, const F& f) {
  for (int r = 0; r < rows; r += transposed ? 8 : 1)
    for (int k = 0; k < depth_of(i); k += transposed ? 1 : chunk_of(i))
      f(r, k, shared_pointer(chunk(descriptor, first + r, k, transposed, i.bytes), 16, "wgmma"));
}
int first_row() { return self->warp->index % 4 * 16; }

// One lane vouches for what its warp's part reads.
void check_operands(const Instruction& i, const void* pc) {
  if (!checker || self->lane) return;
  const auto read = [&](int, int, void* place) { checker->async_read(place, 16, pc); };
  each_chunk(i, i.a, first_row(), 16, i.a_transposed, read);
  each_chunk(i, i.b, 0, i.n, false, read);
}

float number(uint16_t v) { return bf16_to_float(v); }
int32_t number(int8_t v) { return v; }

template <class Number, class Sum>
void execute(const Product& p, WarpProducts& w) {
  static Sum a[16][32], b[32][256], d[16][256];  // one thread runs at a time
  const Instruction& of = p.of;
  const auto numbers = [](const void* place) {
    std::array<Number, 16 / sizeof(Number)> v;
    std::memcpy(v.data(), place, 16);
    return v;
  };
  each_chunk(of, of.a, first_row(), 16, of.a_transposed, [&](int r, int k, void* place) {
    int i = 0;
    for (const Number v : numbers(place)) {
      (of.a_transposed ? a[r + i][k] : a[r][k + i]) = number(v);
      ++i;
    }
  });
  each_chunk(of, of.b, 0, of.n, false, [&](int r, int k, void* place) {
    for (const Number v : numbers(place)) b[k++][r] = number(v);
  });
  const auto each_sum = [&](const auto& f) {
    for (int lane = 0; lane < 32; ++lane) {
      uint32_t* sums = w.sums.at(p.d[static_cast<size_t>(lane)]).data();
      for (int r = 0; r < of.n / 2; ++r) f(sums[r], d[lane / 4 + r / 2 % 2 * 8][r / 4 * 8 + lane % 4 * 2 + r % 2]);
    }
  };
  each_sum([](uint32_t from, Sum& to) { to = std::bit_cast<Sum>(from); });
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < depth_of(of); ++k)
      for (int j = 0; j < of.n; ++j) d[i][j] += a[i][k] * b[k][j];
  each_sum([](uint32_t& to, Sum from) { to = std::bit_cast<uint32_t>(from); });
}

// The four warps of a group must issue the same instructions in the same order.
void announce(const Instruction& i, WarpProducts& w) {
  auto& order = hopper().announced[static_cast<size_t>(self->warp->index / 4)];
  const size_t place = w.issued++;
  const auto [it, first] = order.try_emplace(place, Announced{i});
  if (it->second.of != i) fail("wgmma: the warps of a group disagree on their %zu-th instruction", place + 1);
  if (++it->second.warps == 4) order.erase(it);
}

struct Issue {
  Instruction of;
  uint32_t* d;
};
WarpProducts& mine() { return hopper().products[static_cast<size_t>(self->warp->index)]; }
void need_full_warp(const Collective& c, const char* op) {
  if (c.mask != ~0u) fail("%s needs all 32 lanes, got %08x", op, c.mask);
}

void issue(Issue asked, const void* pc, Loc loc) {
  check_operands(asked.of, pc);
  warp_collective(
      ~0u, "wgmma", &asked,
      [](const Collective& c) {
        need_full_warp(c, "wgmma");
        WarpProducts& w = mine();
        if (!w.fenced) fail("wgmma without wgmma.fence since the last commit");
        Product p{static_cast<Issue*>(c.lane_args[0])->of, {}};
        for (size_t lane = 0; lane < 32; ++lane) {
          const Issue& i = *static_cast<Issue*>(c.lane_args[lane]);
          if (i.of != p.of) fail("wgmma: lanes disagree on the descriptors");
          p.d[lane] = i.d;
          const auto [sums, fresh] = w.sums.try_emplace(i.d);
          if (!fresh) continue;
          const size_t count = static_cast<size_t>(p.of.n / 2);
          sums->second.assign(i.d, i.d + count);
          std::memset(i.d, p.of.bytes ? 0x80 : 0xFF, count * sizeof *i.d);  // far below any sum; NaN
        }
        announce(p.of, w);
        w.open.push_back(p);
      },
      loc);
}

}  // namespace

void wgmma_fence(Loc loc) {
  warp_collective(
      ~0u, "wgmma.fence", nullptr, [](const Collective&) { mine().fenced = true; }, loc);
}

void wgmma(float* d, int n, uint64_t a, uint64_t b, bool a_transposed, Loc loc) {
  issue({{a, b, n, a_transposed, false}, reinterpret_cast<uint32_t*>(d)}, __builtin_return_address(0), loc);
}
void wgmma_s8(int32_t* d, int n, uint64_t a, uint64_t b, Loc loc) {
  issue({{a, b, n, false, true}, reinterpret_cast<uint32_t*>(d)}, __builtin_return_address(0), loc);
}

void wgmma_commit(Loc loc) {
  warp_collective(
      ~0u, "wgmma.commit_group", nullptr,
      [](const Collective&) {
        WarpProducts& w = mine();
        w.groups.push_back(std::move(w.open));
        w.open.clear();
        w.fenced = false;
      },
      loc);
}

void wgmma_wait(int pending_groups, Loc loc) {
  const auto& groups = mine().groups;
  for (size_t g = 0; g + static_cast<size_t>(pending_groups) < groups.size(); ++g)
    for (const Product& p : groups[g]) check_operands(p.of, __builtin_return_address(0));
  warp_collective(
      ~0u, "wgmma.wait_group", &pending_groups,
      [](const Collective& c) {
        const int pending = *static_cast<int*>(c.lane_args[0]);
        WarpProducts& w = mine();
        for (; w.groups.size() > static_cast<size_t>(pending); w.groups.pop_front())
          for (const Product& p : w.groups.front()) p.of.bytes ? execute<int8_t, int32_t>(p, w) : execute<uint16_t, float>(p, w);
        if (pending || !w.open.empty()) return;
        for (auto& [d, sums] : w.sums) std::memcpy(d, sums.data(), sums.size() * sizeof *d);
        w.sums.clear();
      },
      loc);
}

void set_registers(int count, Loc loc) {
  if (count < 24 || count > 256 || count % 8) fail("setmaxnreg at %s: %d registers", where(loc).c_str(), count);
  warp_collective(~0u, "setmaxnreg", nullptr, nullptr, loc);
}

}  // namespace emu
