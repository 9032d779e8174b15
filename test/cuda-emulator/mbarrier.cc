// Barriers in shared memory, and the tiles that TMA brings. A tile lands when a thread waits for any barrier of the block, not before: until then
// its place holds poison. A wait that is not over puts the thread to sleep, as the instruction may.
#include "checker.h"
#include "device_memory.h"
#include "hopper.h"
#include "reports.h"
#include "scheduler.h"
#include "shared_memory.h"

namespace emu {

Hopper& hopper() {
  Block& b = *self->block;
  if (!b.hopper) b.hopper = std::make_shared<Hopper>();
  return *b.hopper;
}
void hopper_ends(Block& block) {
  if (!block.hopper) return;
  if (!block.hopper->tiles.empty()) fail("a block of %s ended before %zu tiles of TMA had landed", running_kernel(), block.hopper->tiles.size());
  for (const WarpProducts& w : block.hopper->products)
    if (!w.open.empty() || !w.groups.empty()) fail("a block of %s ended with wgmma under way", running_kernel());
  block.hopper.reset();
}

namespace {

Mbarrier& bar_at(uint32_t bar, const char* op) {
  shared_pointer(bar, 8, op);
  auto& bars = hopper().bars;
  const auto it = bars.find(bar);
  if (it == bars.end()) fail("%s: no mbarrier was initialised at shared address %u", op, bar);
  return it->second;
}

void wake(Mbarrier& b) {
  for (Thread* t : b.waiters) set_ready(t);
  b.waiters.clear();
}
void settle(Mbarrier& b) {
  if (b.arrived != b.count || b.bytes != 0) return;
  b.arrived = 0;
  ++b.phase;
  wake(b);
}

void land(const Tile& t) {
  const TensorMap& m = t.map;
  const uint32_t row_bytes = m.row_bytes(), each = m.number_bytes;
  for (uint32_t r = 0; r < m.box_rows; ++r)
    for (uint32_t c = 0; c < row_bytes; c += 16) {
      char* d = static_cast<char*>(shared_pointer(swizzled(t.dst + r * row_bytes + c, m.swizzle_bytes), 16, "TMA"));
      for (uint32_t i = 0; i < 16; i += each) {
        const int64_t x = t.x + static_cast<int64_t>((c + i) / each), y = t.y + static_cast<int64_t>(r);
        if (x < 0 || y < 0 || x >= static_cast<int64_t>(m.cols) || y >= static_cast<int64_t>(m.rows)) std::memset(d + i, 0, each);
        else std::memcpy(d + i, m.data + static_cast<uint64_t>(y) * m.pitch + static_cast<uint64_t>(x) * each, each);
      }
      if (checker) checker->initialise(d, 16);
    }
  Mbarrier& b = bar_at(t.bar, "TMA");
  b.bytes -= static_cast<int64_t>(row_bytes) * m.box_rows;
  settle(b);
}

// Tiles land in any order.
bool land_one() {
  auto& tiles = hopper().tiles;
  if (tiles.empty()) return false;
  size_t i = 0;
  while (i + 1 < tiles.size() && coin()) ++i;
  const Tile t = tiles[i];
  tiles.erase(tiles.begin() + static_cast<ptrdiff_t>(i));
  land(t);
  return true;
}

TensorMap decoded(const CUtensorMap& map) {
  TensorMap m;
  std::memcpy(static_cast<void*>(&m), &map, sizeof m);
  return m;
}
constexpr uint64_t kEncoded = 0x7e50a3a9;  // no map that nobody encoded holds it

}  // namespace

void mbarrier_init(uint32_t bar, uint32_t arrivals) {
  shared_pointer(bar, 8, "mbarrier.init");
  if (!arrivals) fail("mbarrier.init: of no arrivals");
  Mbarrier& b = hopper().bars[bar] = {};
  b.count = arrivals;
  b.by = self->linear;
}
void fence_mbarrier_init() {
  for (auto& [at, b] : hopper().bars) b.fenced |= b.by == self->linear;
}
void fence_proxy_async() {
  fence_mbarrier_init();
  if (checker) checker->proxy_fence();
}

void mbarrier_arrive(uint32_t bar, uint32_t expected_bytes) {
  progressed();
  Mbarrier& b = bar_at(bar, "mbarrier.arrive");
  if (b.arrived == b.count) fail("mbarrier at %u: more than %u arrivals in one phase", bar, b.count);
  if (checker) checker->sync_release(bar);
  b.bytes += expected_bytes;
  ++b.arrived;
  settle(b);
  maybe_yield();
}

bool mbarrier_try_wait(uint32_t bar, uint32_t parity, Loc loc) {
  for (;;) {
    Mbarrier& b = bar_at(bar, "mbarrier.try_wait");
    if ((b.phase & 1) != parity) break;
    if (land_one()) continue;
    if (coin()) {  // the instruction may give up early
      yield();
      return false;
    }
    b.waiters.push_back(self);
    block_self(State::mbarrier_wait, "mbarrier.try_wait", loc);
  }
  if (checker) checker->sync_acquire(bar);
  return true;
}

void tma_load_2d(uint32_t dst, const CUtensorMap& map, uint32_t bar, int x, int y, Loc loc) {
  const TensorMap m = decoded(map);
  if (map.opaque[15] != kEncoded) fail("TMA at %s: a tensor map that was not encoded", where(loc).c_str());
  const uint32_t bytes = m.box_rows * m.row_bytes(), alignment = std::max(128u, m.swizzle_bytes * 8);
  if (dst % alignment) fail("TMA at %s: shared address %u is not aligned to the %u bytes of its swizzle", where(loc).c_str(), dst, alignment);
  Mbarrier& b = bar_at(bar, "TMA");
  if (!b.fenced) fail("TMA at %s: the mbarrier at %u was initialised without fence.mbarrier_init or fence.proxy.async", where(loc).c_str(), bar);
  const void* pc = __builtin_return_address(0);
  const int64_t left = std::max(x, 0), right = std::min<int64_t>(static_cast<int64_t>(m.cols), int64_t{x} + m.box_cols);
  for (int64_t r = std::max(y, 0); r < std::min<int64_t>(static_cast<int64_t>(m.rows), int64_t{y} + m.box_rows) && right > left; ++r) {
    const char* row = m.data + static_cast<uint64_t>(r) * m.pitch + static_cast<uint64_t>(left) * m.number_bytes;
    const size_t row_bytes = static_cast<size_t>(right - left) * m.number_bytes;
    if (space_of(row, row_bytes) != Space::device)
      fail("TMA at %s: row %ld of the tensor is not within one allocation", where(loc).c_str(), static_cast<long>(r));
    if (checker) checker->access(row, row_bytes, false, pc);
  }
  for (uint32_t i = 0; i < bytes; i += 16) {
    void* p = shared_pointer(dst + i, 16, "TMA");
    if (checker) checker->async_write(p, 16, pc);
    std::memset(p, 0xFF, 16);
    if (checker) checker->forget(p, 16);
  }
  if (checker) checker->sync_release(bar);
  hopper().tiles.push_back({dst, bar, m, x, y});
  wake(b);  // who waits polls again, and lets it land
}

}  // namespace emu

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data, const cuuint64_t* dims,
                                const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps, CUtensorMapInterleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  static_assert(sizeof(emu::TensorMap) <= 15 * sizeof(uint64_t));
  const uint32_t number = type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 2, row = rank == 2 ? box[0] * number : 0;
  const uint32_t most = swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 128 : 512;
  if ((type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 && type != CU_TENSOR_MAP_DATA_TYPE_UINT8) || rank != 2 || reinterpret_cast<uintptr_t>(data) % 16 ||
      !dims[0] || !dims[1] || strides[0] % 16 || strides[0] < dims[0] * number || box[0] > 256 || !row || row % 16 || row > most || !box[1] ||
      box[1] > 256 || steps[0] != 1 || steps[1] != 1)
    return CUDA_ERROR_INVALID_VALUE;
  const emu::TensorMap m{
      static_cast<const char*>(data), dims[1], dims[0], strides[0], box[1], box[0], swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 128u : 0u, number};
  *map = {};
  std::memcpy(static_cast<void*>(map), &m, sizeof m);
  map->opaque[15] = emu::kEncoded;
  return CUDA_SUCCESS;
}
