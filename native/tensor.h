// Storage, and the handle table through which JavaScript holds tensors.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "memory.h"
#include "shapes.h"

namespace anymal {

class Device;

// What went wrong on a device, kept with every buffer that was not written, or was written wrongly, because of it.
struct Failure {
  std::string code, message;
  mutable bool told = false;  // to somebody who awaited; on the queue's thread
};
using FailureRef = std::shared_ptr<const Failure>;

// One buffer, shared by a tensor and its views. Created empty on the caller's thread; gets its memory when the first command that needs it
// runs, and loses it when the last owner lets go - both on the queue's thread (Device::drop sees to the second).
struct Storage {
  Storage(Device& d, size_t n);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device& device;
  const size_t bytes;
  const uint64_t id;  // never given out again, unlike an address
  void* data = nullptr;
  size_t capacity = 0;  // of the buffer at `data`
  Memory::ArenaRef home;
  FailureRef failure;   // poisoned: a command that should have written it failed or was not run
  bool spoilt = false;  // beside `failure`: a command that failed had begun to write it. Else it holds what it held before
};
using StorageRef = std::shared_ptr<Storage>;

struct Tensor {
  StorageRef storage;
  Spec spec;
  size_t offset = 0;  // bytes
};

// A handle is generation * 2^32 + slot: a stale one is recognised, never followed.
class HandleTable {
 public:
  using Handle = int64_t;
  static constexpr int64_t kMaxGeneration = (1 << 20) - 1;  // keeps a handle an exact double

  Handle add(Tensor t);
  Tensor& at(Handle h, const char* op);  // throws Error E_DISPOSED or E_ARGUMENT
  Tensor remove(Handle h, const char* op);
  int64_t alive() const { return alive_; }
  // Removes every tensor of a device (all devices when null); its handles are stale from then on.
  std::vector<StorageRef> remove_all(const Device* device);

 private:
  struct Slot {
    Tensor tensor;
    int64_t generation = 1;
    bool used = false;
  };
  Tensor release(uint32_t index);
  std::deque<Slot> slots_;  // not a vector: a call holds references to its inputs while its outputs are added
  std::vector<uint32_t> free_;
  int64_t alive_ = 0;
};

}  // namespace anymal
