// The Stream's tables: device memory that holds what an op says it must, found again by content.
#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "stream.h"

namespace anymal {
using cuda::check;

char* Stream::table(const std::vector<char>& content) {
  if (!graphs)
    for (Table& t : tables_) t.in_graph = false;
  const auto known = std::find_if(tables_.begin(), tables_.end(), [&](const Table& t) { return t.content == content; });
  Table& t = known == tables_.end() ? fill_table(content) : *known;
  t.used = ++table_uses_;
  t.in_graph |= capturing;
  return t.data;
}

// While a graph is being captured a copy would become part of it, and be made again at every replay from staging memory that holds something else by
// then: it goes by another stream, at once, into memory that nobody has used.
Stream::Table& Stream::fill_table(const std::vector<char>& content) {
  Table& t = capturing ? new_table(content.size()) : room_for(content.size());
  t.content.clear();  // of whoever fails below
  if (capturing) {
    if (!beside_) check(cudaStreamCreateWithFlags(&beside_, cudaStreamNonBlocking), "opening a stream");
    check(cudaMemcpyAsync(t.data, content.data(), content.size(), cudaMemcpyHostToDevice, beside_), "copying to the card");
    check(cudaStreamSynchronize(beside_), "copying to the card");
  } else {
    upload(t.data, content.data(), content.size());
  }
  t.content = content;
  return t;
}

// The one that was not used for longest makes room; those of graphs stay.
Stream::Table& Stream::room_for(size_t bytes) {
  if (tables_.size() < kTables) return new_table(bytes);
  const auto oldest = std::min_element(tables_.begin(), tables_.end(),
                                       [](const Table& a, const Table& b) { return std::pair(a.in_graph, a.used) < std::pair(b.in_graph, b.used); });
  if (oldest->in_graph) return new_table(bytes);
  if (oldest->bytes >= bytes) return *oldest;
  settle();
  free_table(*oldest);
  tables_.erase(oldest);
  return new_table(bytes);
}

Stream::Table& Stream::new_table(size_t bytes) {
  const size_t room = std::bit_ceil(std::max<size_t>(bytes, 4096));
  if (account_) account_->take(room);
  Table t{nullptr, room, {}, 0, false};
  cudaError_t e = cudaMalloc(&t.data, room);
  if (e == cudaErrorMemoryAllocation && account_ && account_->reclaim()) e = cudaMalloc(&t.data, room);
  if (e != cudaSuccess && account_) account_->give_back(room);
  check(e, "allocating a table");
  return tables_.emplace_back(std::move(t));
}

void Stream::free_table(Table& t) noexcept {
  warn(cudaFree(t.data), "freeing a table");
  if (account_) account_->give_back(t.bytes);
}

void Stream::free_tables() noexcept {
  for (Table& t : tables_) free_table(t);
  tables_.clear();
}

}  // namespace anymal
