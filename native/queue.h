// A Device: one backend stream, its memory, and one FIFO queue that a thread of its own works off. Callers check, enqueue and return;
// everything heavy - kernels, allocation, file reads - happens on the queue's thread.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"
#include "memory.h"
#include "tensor.h"

namespace anymal {

// One piece of work. `refs` keeps its buffers alive; the first `outputs` of them are written whole by it.
struct Command {
  explicit Command(const char* n) : name(n) {}
  virtual ~Command() = default;
  virtual void bind() {}                             // resolves views to pointers, after the buffers exist
  virtual void run(Device& device) = 0;              // may run again when it was captured
  virtual std::string shapes() const { return {}; }  // for error messages
  // What a fence or a read does about a failure instead of running; the others are skipped.
  virtual bool settle(const FailureRef&) { return false; }
  virtual bool recordable() const { return true; }

  const char* name;
  std::vector<StorageRef> refs;
  size_t outputs = 0;
};
using CommandRef = std::unique_ptr<Command>;

// The op stream of one capture: a list that replays on a backend without graphs, and a graph where there is one.
struct Recording {
  std::vector<CommandRef> commands;
  Memory::ArenaRef arena = std::make_shared<Memory::Arena>();
  void* graph = nullptr;
  FailureRef failure;
};

class Device {
 public:
  // Opens the backend's stream on the queue's thread. Throws std::exception with the backend's reason.
  Device(const Backend& backend, const std::string& options);
  ~Device();  // finishes the running command, drops the others, joins
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Backend& backend() const { return backend_; }
  Stream& stream() { return *stream_; }
  Memory& memory() { return *memory_; }
  const std::string& description() const { return description_; }

  // Blocks while more than kMaxPending commands wait (back-pressure); a caller that awaits once per step never meets it.
  static constexpr size_t kMaxPending = 16384;
  void push(CommandRef command);
  void drop(std::vector<StorageRef> storages);  // lets go of them in queue order
  void wait_idle();                             // blocks the calling thread; for ANYMAL_SYNC and tests
  FailureRef take_failure();                    // the error slot, emptied
  size_t pending();

  // Capture: between begin and end commands are recorded, not run. Recording state changes in queue order, like everything else.
  void capture_begin(std::shared_ptr<Recording> recording);
  void capture_end();
  void capture_replay(std::shared_ptr<Recording> recording);
  void capture_close(std::shared_ptr<Recording> recording);
  bool capturing() const { return capturing_; }  // as the caller's thread sees it

  // For commands, on the queue's thread.
  void ensure(Storage& storage);
  void fail(Command& command, const FailureRef& failure);
  void begin_recording(std::shared_ptr<Recording> recording);
  void end_recording();
  void replay(Recording& recording);

 private:
  void work();
  void execute(CommandRef command);
  FailureRef describe_failure(const Command& command) const;

  const Backend& backend_;
  Stream* stream_ = nullptr;
  std::unique_ptr<Memory> memory_;
  std::string description_;
  std::shared_ptr<Recording> recording_;
  bool capturing_ = false;

  std::mutex mutex_;
  std::condition_variable wake_, room_, idle_;
  std::vector<CommandRef> pending_;
  bool running_ = false, stop_ = false;
  FailureRef failure_;
  std::thread thread_;
};

}  // namespace anymal
