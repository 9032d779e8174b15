#include "tensor.h"

#include <atomic>

#include "queue.h"

namespace anymal {

namespace {
std::atomic<uint64_t> storages{0};
}

Storage::Storage(Device& d, size_t n) : device(d), bytes(n), id(++storages) {}
Storage::~Storage() {
  if (data) device.memory().give_back({data, capacity}, bytes, home);
}

HandleTable::Handle HandleTable::add(Tensor t) {
  uint32_t index;
  if (free_.empty()) {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Slot& slot = slots_[index];
  slot.tensor = std::move(t);
  slot.used = true;
  ++alive_;
  return (slot.generation << 32) | index;
}

Tensor& HandleTable::at(Handle h, const char* op) {
  const uint64_t index = static_cast<uint64_t>(h) & 0xffffffffu;
  const int64_t generation = h >> 32;
  if (h <= 0 || index >= slots_.size() || generation > slots_[index].generation)
    throw Error("E_ARGUMENT", std::string(op) + ": expected a tensor handle, got " + std::to_string(h) + ", which was never given out");
  Slot& slot = slots_[index];
  if (!slot.used || generation != slot.generation)
    throw Error("E_DISPOSED", std::string(op) + ": the tensor was disposed before this call; keep it alive, or let a scope() around both dispose it");
  return slot.tensor;
}

Tensor HandleTable::release(uint32_t index) {
  Slot& slot = slots_[index];
  Tensor t = std::move(slot.tensor);
  slot.tensor = {};
  slot.used = false;
  --alive_;
  // A slot whose generations are used up is retired, so that an old handle can never come alive again.
  if (++slot.generation <= kMaxGeneration) free_.push_back(index);
  return t;
}

Tensor HandleTable::remove(Handle h, const char* op) {
  at(h, op);
  return release(static_cast<uint32_t>(h & 0xffffffff));
}

std::vector<StorageRef> HandleTable::remove_all(const Device* device) {
  std::vector<StorageRef> all;
  for (uint32_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].used && (!device || &slots_[i].tensor.storage->device == device)) all.push_back(release(i).storage);
  return all;
}

}  // namespace anymal
