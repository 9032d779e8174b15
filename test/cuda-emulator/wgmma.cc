// wgmma: products of four warps that read both operands from shared memory, and setmaxnreg. Results are withheld: accumulators hold NaN until the
// wait, and operands are read there, so that a tile which is written too early makes wrong numbers. Layouts of operands and accumulators follow the
// PTX ISA, "Asynchronous warpgroup level matrix shared memory layout".
#include "checker.h"
#include "hopper.h"
#include "reports.h"
#include "shared_memory.h"

namespace emu {
namespace {

constexpr int kDepth = 16;

// Where eight neighbours of an operand lie: k .. k + 7 of row `row` of m or n, or, transposed, rows row .. row + 7 of one k.
uint32_t chunk(uint64_t descriptor, int row, int k, bool transposed) {
  const auto field = [&](int at) { return static_cast<uint32_t>(descriptor >> at & 0x3FFF) << 4; };
  const uint32_t start = field(0), leading = field(16), stride = field(32);
  static constexpr uint32_t kWidths[4] = {16, 128, 64, 32};
  const uint32_t width = kWidths[descriptor >> 62], r = static_cast<uint32_t>(row), c = static_cast<uint32_t>(k);
  if (transposed) {
    if (width == 16) return start + r / 8 * stride + c / 8 * leading + c % 8 * 16;
    const uint32_t across = width / 2;
    return swizzled(start + r / across * leading + r % across * 2 + c % 8 * width + c / 8 * stride, width);
  }
  if (width == 16) return start + r / 8 * stride + c / 8 * leading + r % 8 * 16;
  return swizzled(start + r / 8 * stride + r % 8 * width + c * 2, width);
}

// f(row, k, place) for each chunk of `rows` rows from `first` on.
template <class F>
void each_chunk(uint64_t descriptor, int first, int rows, bool transposed, const F& f) {
  for (int r = 0; r < rows; r += transposed ? 8 : 1)
    for (int k = 0; k < kDepth; k += transposed ? 1 : 8) f(r, k, shared_pointer(chunk(descriptor, first + r, k, transposed), 16, "wgmma"));
}
int first_row() { return self->warp->index % 4 * 16; }

// One lane vouches for what its warp's part reads.
void check_operands(const Product& p, const void* pc) {
  if (!checker || self->lane) return;
  const auto read = [&](int, int, void* place) { checker->async_read(place, 16, pc); };
  each_chunk(p.a, first_row(), 16, p.a_transposed, read);
  each_chunk(p.b, 0, p.n, false, read);
}

void execute(const Product& p, WarpProducts& w) {
  static float a[16][kDepth], b[kDepth][256], d[16][256];  // one thread runs at a time
  const auto numbers = [](const void* place) {
    std::array<uint16_t, 8> v;
    std::memcpy(v.data(), place, 16);
    return v;
  };
  each_chunk(p.a, first_row(), 16, p.a_transposed, [&](int r, int k, void* place) {
    const auto v = numbers(place);
    for (int i = 0; i < 8; ++i) (p.a_transposed ? a[r + i][k] : a[r][k + i]) = bf16_to_float(v[static_cast<size_t>(i)]);
  });
  each_chunk(p.b, 0, p.n, false, [&](int r, int k, void* place) {
    const auto v = numbers(place);
    for (int i = 0; i < 8; ++i) b[k + i][r] = bf16_to_float(v[static_cast<size_t>(i)]);
  });
  const auto each_sum = [&](const auto& f) {
    for (int lane = 0; lane < 32; ++lane) {
      float* sums = w.sums.at(p.d[static_cast<size_t>(lane)]).data();
      for (int r = 0; r < p.n / 2; ++r) f(sums[r], d[lane / 4 + r / 2 % 2 * 8][r / 4 * 8 + lane % 4 * 2 + r % 2]);
    }
  };
  each_sum([](float from, float& to) { to = from; });
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < kDepth; ++k)
      for (int j = 0; j < p.n; ++j) d[i][j] += a[i][k] * b[k][j];
  each_sum([](float& to, float from) { to = from; });
}

// The four warps of a group must issue the same instructions in the same order.
void announce(const Product& p, WarpProducts& w) {
  auto& order = hopper().announced[static_cast<size_t>(self->warp->index / 4)];
  const size_t place = w.issued++;
  const auto [it, first] = order.try_emplace(place, Announced{p.a, p.b, p.n, p.a_transposed});
  const Announced& other = it->second;
  if (other.a != p.a || other.b != p.b || other.n != p.n || other.a_transposed != p.a_transposed)
    fail("wgmma: the warps of a group disagree on their %zu-th instruction", place + 1);
  if (++it->second.warps == 4) order.erase(it);
}

struct Issue {
  float* d;
  uint64_t a, b;
  int n;
  bool a_transposed;
};
WarpProducts& mine() { return hopper().products[static_cast<size_t>(self->warp->index)]; }
void need_full_warp(const Collective& c, const char* op) {
  if (c.mask != ~0u) fail("%s needs all 32 lanes, got %08x", op, c.mask);
}

}  // namespace

void wgmma_fence(Loc loc) {
  warp_collective(
      ~0u, "wgmma.fence", nullptr, [](const Collective&) { mine().fenced = true; }, loc);
}

void wgmma(float* d, int n, uint64_t a, uint64_t b, bool a_transposed, Loc loc) {
  Issue issue{d, a, b, n, a_transposed};
  check_operands({a, b, n, a_transposed, {}}, __builtin_return_address(0));
  warp_collective(
      ~0u, "wgmma", &issue,
      [](const Collective& c) {
        need_full_warp(c, "wgmma");
        const Issue& first = *static_cast<Issue*>(c.lane_args[0]);
        WarpProducts& w = mine();
        if (!w.fenced) fail("wgmma without wgmma.fence since the last commit");
        Product p{first.a, first.b, first.n, first.a_transposed, {}};
        for (size_t lane = 0; lane < 32; ++lane) {
          const Issue& i = *static_cast<Issue*>(c.lane_args[lane]);
          if (i.a != p.a || i.b != p.b) fail("wgmma: lanes disagree on the descriptors");
          p.d[lane] = i.d;
          const auto [sums, fresh] = w.sums.try_emplace(i.d);
          if (!fresh) continue;
          sums->second.assign(i.d, i.d + i.n / 2);
          std::memset(i.d, 0xFF, static_cast<size_t>(i.n / 2) * sizeof(float));
        }
        announce(p, w);
        w.open.push_back(p);
      },
      loc);
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
    for (const Product& p : groups[g]) check_operands(p, __builtin_return_address(0));
  warp_collective(
      ~0u, "wgmma.wait_group", &pending_groups,
      [](const Collective& c) {
        const int pending = *static_cast<int*>(c.lane_args[0]);
        WarpProducts& w = mine();
        for (; w.groups.size() > static_cast<size_t>(pending); w.groups.pop_front())
          for (const Product& p : w.groups.front()) execute(p, w);
        if (pending || !w.open.empty()) return;
        for (auto& [d, sums] : w.sums) std::memcpy(d, sums.data(), sums.size() * sizeof(float));
        w.sums.clear();
      },
      loc);
}

void set_registers(int count, Loc loc) {
  if (count < 24 || count > 256 || count % 8) fail("setmaxnreg at %s: %d registers", where(loc).c_str(), count);
  warp_collective(~0u, "setmaxnreg", nullptr, nullptr, loc);
}

}  // namespace emu
