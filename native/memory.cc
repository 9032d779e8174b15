#include "memory.h"

#include <algorithm>
#include <bit>
#include <new>

namespace anymal {
namespace {

// What may lie in the cache beside the most that was ever in use: a quarter of it, or this. Batches of changing sizes would otherwise leave one set
// of buffers behind for each size.
constexpr int64_t kSlack = int64_t{64} << 20;

// A buffer of the class, or one that is at most a quarter larger.
Memory::Buffer pick(Memory::Arena& arena, size_t size, uint64_t now) {
  for (auto at = arena.free.lower_bound(size); at != arena.free.end() && at->first <= size + size / 4; ++at) {
    auto& [bytes, of_class] = *at;
    if (of_class.buffers.empty()) continue;
    void* data = of_class.buffers.back();
    of_class.buffers.pop_back();
    of_class.used = now;
    return {data, bytes};
  }
  return {};
}

}  // namespace

Memory::Memory(const Backend& backend, Stream& stream, int64_t limit) : backend_(backend), stream_(stream), limit_(limit) {
  if (backend_.account_scratch) backend_.account_scratch(stream_, &account_);
}
Memory::~Memory() {
  leave();
  trim();
  if (backend_.account_scratch) backend_.account_scratch(stream_, nullptr);
}

// Eight classes to the octave: at most 12.5 % is wasted and sequences of nearby lengths share buffers.
size_t Memory::size_class(size_t bytes) {
  constexpr size_t smallest = 256;
  if (bytes <= smallest) return smallest;
  size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

Memory::Buffer Memory::take(size_t bytes) {
  const size_t size = size_class(bytes);
  ++clock_;
  Buffer buffer = pick(*current_, size, clock_);
  // A capture's buffers come out of the cache too: what is free there is free for good once it is taken away.
  if (!buffer.data && current_ != common_) buffer = pick(*common_, size, clock_);
  if (!buffer.data) buffer = {from_system(size), size};
  in_use_ += static_cast<int64_t>(size);
  highest_ = std::max(highest_, in_use_.load());
  note_peak();
  return buffer;
}

void* Memory::from_system(size_t size) {
  const int64_t more = static_cast<int64_t>(size), top = std::max(highest_, in_use_.load() + more);
  const int64_t excess = reserved_.load() - scratch_.load() + more - top - std::max(top / 4, kSlack);
  if (excess > 0) shrink(excess);
  if (!make_room(size)) throw std::bad_alloc();
  void* data = ask_system(size);
  // First as little of the cache as may do: the next step wants the rest again, and every buffer is two calls that wait for the device.
  if (!data && shrink(more)) data = ask_system(size);
  if (!data && trim()) data = ask_system(size);
  if (!data) throw std::bad_alloc();
  reserved_ += more;
  return data;
}

void* Memory::ask_system(size_t size) {
  try {
    return backend_.allocate(stream_, size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool Memory::make_room(size_t size) noexcept {
  const int64_t lacking = limit_ ? reserved_.load() + static_cast<int64_t>(size) - limit_ : 0;
  if (lacking <= 0) return true;
  int64_t cached = 0;
  for (const auto& [bytes, of_class] : common_->free) cached += static_cast<int64_t>(bytes * of_class.buffers.size());
  return cached >= lacking && shrink(lacking);  // where all of it would not do, it stays
}

void Memory::give_back(Buffer buffer, size_t asked, const ArenaRef& home) {
  in_use_ -= static_cast<int64_t>(size_class(asked));
  (home->closed ? common_ : home)->free[buffer.bytes].buffers.push_back(buffer.data);
}

void Memory::close(const ArenaRef& arena) {
  arena->closed = true;
  for (auto& [size, of_class] : arena->free) {
    auto& to = common_->free[size].buffers;
    to.insert(to.end(), of_class.buffers.begin(), of_class.buffers.end());
  }
  arena->free.clear();
}

// Waiting for a stream while a graph is captured from it would spoil the graph.
bool Memory::trim() noexcept {
  if (capturing_graph()) return false;
  bool any = false;
  for (auto& [size, of_class] : common_->free) {
    for (void* data : of_class.buffers) release(size, data);
    any = any || !of_class.buffers.empty();
  }
  common_->free.clear();
  return any;
}

bool Memory::shrink(int64_t bytes) noexcept {
  if (capturing_graph()) return false;
  bool any = false;
  auto& free = common_->free;
  while (bytes > 0 && !free.empty()) {
    const auto oldest = std::min_element(free.begin(), free.end(), [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    auto& buffers = oldest->second.buffers;
    while (bytes > 0 && !buffers.empty()) {
      release(oldest->first, buffers.back());
      buffers.pop_back();
      bytes -= static_cast<int64_t>(oldest->first);
      any = true;
    }
    if (buffers.empty()) free.erase(oldest);
  }
  return any;
}

// A device that failed for good refuses even this; its memory goes with the process.
void Memory::release(size_t size, void* data) noexcept {
  try {
    backend_.release(stream_, data);
  } catch (...) {
  }
  reserved_ -= static_cast<int64_t>(size);
}

void Memory::Account::take(size_t bytes) {
  std::lock_guard lock(mutex);
  if (!memory.make_room(bytes)) throw std::bad_alloc();
  memory.scratch_ += static_cast<int64_t>(bytes);
  memory.reserved_ += static_cast<int64_t>(bytes);
  memory.note_peak();
}
void Memory::Account::give_back(size_t bytes) noexcept {
  std::lock_guard lock(mutex);
  memory.scratch_ -= static_cast<int64_t>(bytes);
  memory.reserved_ -= static_cast<int64_t>(bytes);
}
bool Memory::Account::reclaim() noexcept {
  std::lock_guard lock(mutex);
  return memory.trim();
}

}  // namespace anymal
