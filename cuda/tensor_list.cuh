// Lists of any number of tensors, in device memory (Stream::table): a launch's arguments hold a few dozen. Kernels walk over tiles of the tensors, a
// block each; a list knows the first tile of each tensor for as many ways of walking as it was made with.
#pragma once
#include <cstring>
#include <vector>

#include "common.cuh"

namespace anymal::cuda {

template <class Item, int Walks>
struct TensorList {
  uint32_t* blocks_done;  // 0 between launches
  const Item* items;
  const uint32_t* first[Walks];
  uint32_t tiles[Walks];
  int count;
};

// The tensor that a tile belongs to, for all threads of the block; -1 where the tile is nobody's. Each thread looks at some: one wait for memory, and
// not one for each halving of the list.
template <class Item, int Walks>
__device__ __forceinline__ int tensor_of(const TensorList<Item, Walks>& list, int walk, uint32_t tile) {
  SHARED_ARRAY(int, found, [1]);
  const uint32_t* first = list.first[walk];
  __syncthreads();  // the last answer has been read
  if (threadIdx.x == 0 && tile >= list.tiles[walk]) found[0] = -1;
  for (int i = threadIdx.x; i < list.count; i += blockDim.x)
    if (first[i] <= tile && tile < first[i + 1]) found[0] = i;
  __syncthreads();
  return found[0];
}

// Item has `size()`; tile_of(item) is how many of its elements a tile has, for each walk.
template <class Item, class... Tile>
TensorList<Item, sizeof...(Tile)> to_device(Stream& s, const std::vector<Item>& items, const Tile&... tile_of) {
  constexpr int walks = sizeof...(Tile);
  constexpr size_t kHead = 256;  // the counter, and room that keeps the items aligned
  const size_t count = items.size(), firsts = kHead + count * sizeof(Item);
  std::vector<char> content(firsts + walks * (count + 1) * sizeof(uint32_t));
  if (count) std::memcpy(content.data() + kHead, items.data(), count * sizeof(Item));
  auto* first = reinterpret_cast<uint32_t*>(content.data() + firsts);
  TensorList<Item, walks> list{};
  int walk = 0;
  const auto lay = [&](const auto& tile) {
    int64_t at = 0;
    for (const Item& item : items) {
      *first++ = static_cast<uint32_t>(at);
      at += (item.size() + tile(item) - 1) / tile(item);
    }
    *first++ = list.tiles[walk++] = grid_of(at).x;
  };
  (lay(tile_of), ...);
  char* data = s.table(content);
  list.blocks_done = reinterpret_cast<uint32_t*>(data);
  list.items = reinterpret_cast<const Item*>(data + kHead);
  for (int w = 0; w < walks; ++w) list.first[w] = reinterpret_cast<const uint32_t*>(data + firsts) + static_cast<size_t>(w) * (count + 1);
  list.count = static_cast<int>(count);
  return list;
}

}  // namespace anymal::cuda
