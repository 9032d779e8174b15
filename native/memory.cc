#include "memory.h"

#include <algorithm>
#include <bit>
#include <new>

namespace anymal {

Memory::Memory(const Backend& backend, Stream& stream) : backend_(backend), stream_(stream) {}
Memory::~Memory() { trim(); }

// Eight classes to the octave: at most 12.5 % is wasted and sequences of nearby lengths share buffers.
size_t Memory::size_class(size_t bytes) {
  constexpr size_t smallest = 256;
  if (bytes <= smallest) return smallest;
  size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

void* Memory::take(size_t bytes) {
  const size_t size = size_class(bytes);
  void* data;
  auto cached = current_->free.find(size);
  if (cached != current_->free.end() && !cached->second.empty()) {
    data = cached->second.back();
    cached->second.pop_back();
  } else {
    try {
      data = backend_.allocate(stream_, size);
    } catch (const std::bad_alloc&) {
      trim();
      data = backend_.allocate(stream_, size);
    }
    reserved_ += static_cast<int64_t>(size);
  }
  in_use_ += static_cast<int64_t>(size);
  peak_.store(std::max(peak_.load(), in_use_.load()));
  return data;
}

void Memory::give_back(void* data, size_t bytes, const ArenaRef& home) {
  const size_t size = size_class(bytes);
  in_use_ -= static_cast<int64_t>(size);
  (home->closed ? common_ : home)->free[size].push_back(data);
}

void Memory::close(const ArenaRef& arena) {
  arena->closed = true;
  for (auto& [size, buffers] : arena->free) {
    auto& to = common_->free[size];
    to.insert(to.end(), buffers.begin(), buffers.end());
  }
  arena->free.clear();
}

void Memory::trim() {
  for (auto& [size, buffers] : common_->free) {
    for (void* data : buffers) backend_.release(stream_, data);
    reserved_ -= static_cast<int64_t>(size * buffers.size());
  }
  common_->free.clear();
}

}  // namespace anymal
