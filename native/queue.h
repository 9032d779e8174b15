// A Device: one backend stream, its memory, and one FIFO queue that a thread of its own works off. Callers check, enqueue and return;
// everything heavy - kernels, allocation, file reads - happens on the queue's thread. How failures spread: the contract in backend.h.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend.h"
#include "memory.h"
#include "tensor.h"

namespace anymal {

struct Recording;

// One piece of work. `refs` keeps its buffers alive: first the `outputs` that it writes whole, then those that it reads and writes, up to `written`,
// then those that it only reads.
struct Command {
  explicit Command(const char* n) : name(n) {}
  virtual ~Command() = default;
  virtual void bind() {}                             // resolves views to pointers, after the buffers exist
  virtual void run(Device& device) = 0;              // may run again when it was captured
  virtual std::string shapes() const { return {}; }  // for error messages
  // Told once how it ended, unless it was recorded: null when it ran. True when somebody awaits it, who knows of the failure now.
  virtual bool settle(const FailureRef&) { return false; }
  virtual bool recordable() const { return true; }
  virtual bool waits() const { return false; }  // for the stream: late faults are known when it has run
  virtual bool fence() const { return false; }  // waits, and is told what nobody was told of
  virtual bool last() const { return false; }   // the queue ends with it, and settles it when nothing of the device is left
  virtual std::shared_ptr<const Recording> replayed() const { return nullptr; }  // what it reads and writes is this recording's, beside `refs`

  const char* name;
  std::vector<StorageRef> refs;
  size_t outputs = 0, written = 0;
};
using CommandRef = std::unique_ptr<Command>;

// A command that carries a function; never recorded.
struct Call final : Command {
  Call(const char* n, std::function<void(Device&)> f) : Command(n), call(std::move(f)) {}
  void run(Device& d) override { call(d); }
  bool recordable() const override { return false; }
  std::function<void(Device&)> call;
};

// Thrown by a command that knows better than its own name what failed: an op inside of a replay.
struct Described {
  FailureRef failure;
};

// The op stream of one capture: a list that replays on a backend without graphs, and a graph where there is one.
struct Recording {
  std::vector<CommandRef> commands;
  Memory::ArenaRef arena = std::make_shared<Memory::Arena>();
  void* graph = nullptr;
  bool graph_begun = false;
  FailureRef failure;       // it cannot be replayed
  int64_t first_issue = 0;  // commands[i] issued its kernels as first_issue + i (Backend::issue)
  // What a replay reads and what it updates of what others made, and what it writes of its own that may still be looked at.
  std::vector<StorageRef> inputs, updates;
  std::vector<std::weak_ptr<Storage>> results;
};

class Device {
 public:
  // Opens the backend's stream on the queue's thread. Throws std::exception with the backend's reason.
  // Of the options, "memoryLimit=BYTES" is the device's own: what is held from the system in all never exceeds it.
  Device(const Backend& backend, const std::string& options);
  ~Device();  // stops where it is not stopped yet, and joins
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
  void heal(StorageRef storage);                // ends its poison in queue order, where it still holds what it held before
  // Ends the queue after the running command: what waits is settled with E_CLOSED. Never blocks. The storages and recordings are let go of on the
  // queue's thread; nothing of this device may be pushed any more.
  void stop(std::vector<StorageRef> storages = {}, std::vector<std::shared_ptr<Recording>> recordings = {});
  void wait_idle();          // blocks the calling thread; for ANYMAL_SYNC and tests
  FailureRef run_to_idle();  // likewise; what went wrong and was told to nobody
  size_t pending();

  // Capture: between begin and end commands are recorded, not run. Recording state changes in queue order, like everything else.
  void capture_begin(std::shared_ptr<Recording> recording);
  int64_t capture_end();  // how many commands were recorded
  void capture_replay(std::shared_ptr<Recording> recording);
  void capture_close(std::shared_ptr<Recording> recording);
  bool capturing() const { return capturing_; }  // as the caller's thread sees it

  // For commands, on the queue's thread.
  void begin_recording(std::shared_ptr<Recording> recording);
  void end_recording();
  void close_recording(Recording& recording);
  void replay(Recording& recording);

 private:
  // A command whose late faults are not known yet.
  struct Issued {
    const char* name;
    int64_t number;
    std::shared_ptr<const Recording> recording;  // of a replay
    std::vector<uint64_t> reads;                 // ids of storages
    std::vector<std::pair<uint64_t, std::weak_ptr<Storage>>> writes;
    size_t whole;  // writes[0, whole) were overwritten
  };

  void work();
  void tear_down(std::vector<CommandRef> batch);
  FailureRef attempt(Command& command);  // runs it; null, or why it failed or was not run
  void finish(Command& command, FailureRef failure);
  void record(CommandRef command);
  void record_into_graph(Recording& recording, size_t index, Command& command);
  void record_anew(Recording& recording);
  void end_graph(Recording& recording);
  void abandon_graph(Recording& recording) noexcept;
  void ensure(Storage& storage);
  FailureRef poison_of(const Command& command) const;
  void note_untold(const FailureRef& failure);
  FailureRef take_untold();
  void note_issued(const Command& command);
  void collect_faults();
  FailureRef describe_failure(const Command& command, const char* lacking = "more to compute in") const;  // within a catch block

  const Backend& backend_;
  Stream* stream_ = nullptr;
  std::unique_ptr<Memory> memory_;
  std::string description_;
  bool capturing_ = false;  // as the caller sees it
  int64_t captured_ = 0;    // commands since capture_begin, likewise

  // On the queue's thread.
  std::shared_ptr<Recording> recording_;
  std::vector<FailureRef> untold_;
  std::vector<Issued> issued_;
  int64_t issues_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_, room_, idle_;
  std::vector<CommandRef> pending_;
  std::vector<StorageRef> abandoned_;
  std::vector<std::shared_ptr<Recording>> abandoned_recordings_;
  bool running_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace anymal
