#include "queue.h"

#include <cstdio>
#include <future>
#include <stdexcept>
#include <utility>

namespace anymal {
namespace {

struct Drop final : Command {
  Drop() : Command("dispose") {}
  void run(Device&) override { refs.clear(); }
  bool recordable() const override { return false; }
};

// A command that carries a function; never recorded.
struct Call final : Command {
  Call(const char* n, std::function<void(Device&)> f) : Command(n), call(std::move(f)) {}
  void run(Device& d) override { call(d); }
  bool recordable() const override { return false; }
  std::function<void(Device&)> call;
};

std::string megabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

}  // namespace

Device::Device(const Backend& backend, const std::string& options) : backend_(backend) {
  std::promise<void> opened;
  thread_ = std::thread([this, &opened, options] {
    try {
      stream_ = backend_.stream_create(options.c_str());
      memory_ = std::make_unique<Memory>(backend_, *stream_);
      description_ = backend_.describe(*stream_);
      opened.set_value();
    } catch (...) {
      opened.set_exception(std::current_exception());
      return;
    }
    work();
    recording_.reset();
    memory_.reset();
    backend_.stream_destroy(stream_);
  });
  try {
    opened.get_future().get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

Device::~Device() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  room_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Device::push(CommandRef command) {
  bool wake;
  {
    std::unique_lock lock(mutex_);
    if (pending_.size() >= kMaxPending) room_.wait(lock, [&] { return pending_.size() < kMaxPending / 2 || stop_; });
    wake = pending_.empty();
    pending_.push_back(std::move(command));
  }
  if (wake) wake_.notify_one();
}

void Device::drop(std::vector<StorageRef> storages) {
  if (storages.empty()) return;
  auto command = std::make_unique<Drop>();
  command->refs = std::move(storages);
  push(std::move(command));
}

void Device::wait_idle() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return (pending_.empty() && !running_) || stop_; });
}

FailureRef Device::take_failure() {
  std::lock_guard lock(mutex_);
  return std::exchange(failure_, nullptr);
}

size_t Device::pending() {
  std::lock_guard lock(mutex_);
  return pending_.size();
}

// The whole backlog is taken at once: one lock for many commands when the caller runs ahead.
void Device::work() {
  std::vector<CommandRef> batch;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      running_ = false;
      if (pending_.empty()) idle_.notify_all();
      wake_.wait(lock, [&] { return stop_ || !pending_.empty(); });
      if (stop_) {
        batch = std::move(pending_);
        break;
      }
      batch.swap(pending_);
      running_ = true;
    }
    room_.notify_all();
    for (CommandRef& command : batch) {
      {
        std::lock_guard lock(mutex_);
        if (stop_) break;
      }
      execute(std::move(command));
    }
    batch.clear();
  }
  const FailureRef closed = std::make_shared<Failure>(Failure{"E_CLOSED", "the device was closed while this was waiting"});
  for (CommandRef& command : batch)
    if (command) command->settle(closed);
  idle_.notify_all();
}

void Device::ensure(Storage& storage) {
  if (storage.data) return;
  storage.data = memory_->take(storage.bytes);
  storage.home = memory_->current();
}

void Device::execute(CommandRef command) {
  FailureRef failure;
  {
    std::lock_guard lock(mutex_);
    failure = failure_;
  }
  // A failed input poisons what is computed from it, also after the first error was reported and cleared.
  for (size_t i = 0; i < command->refs.size() && !failure; ++i)
    if (i >= command->outputs && command->refs[i]->failure) failure = command->refs[i]->failure;
  if (failure) {
    if (command->settle(failure)) {
      std::lock_guard lock(mutex_);
      failure_.reset();  // reported: the queue works again
      return;
    }
    if (command->recordable()) {
      fail(*command, failure);
      if (recording_) recording_->failure = failure;
      return;
    }
    // Disposals, uploads and the edges of captures do not depend on what was computed: they run.
  }
  try {
    for (StorageRef& storage : command->refs) ensure(*storage);
    command->bind();
    if (recording_ && command->recordable()) {
      if (backend_.capture_begin) command->run(*this);
      // Buffers of the capture's arena live as long as the capture; not holding them lets later commands of it reuse them.
      std::erase_if(command->refs, [&](const StorageRef& s) { return s->home == recording_->arena; });
      command->outputs = 0;
      recording_->commands.push_back(std::move(command));
      return;
    }
    command->run(*this);
  } catch (...) {
    failure = describe_failure(*command);
    fail(*command, failure);
    if (recording_) recording_->failure = failure;
    if (command->settle(failure)) return;
    std::lock_guard lock(mutex_);
    if (!failure_) failure_ = failure;
  }
}

void Device::fail(Command& command, const FailureRef& failure) {
  for (size_t i = 0; i < command.outputs; ++i) command.refs[i]->failure = failure;
}

// Called inside a catch block.
FailureRef Device::describe_failure(const Command& command) const {
  std::string where = command.name;
  if (const std::string shapes = command.shapes(); !shapes.empty()) where += " on " + shapes;
  try {
    throw;
  } catch (const std::bad_alloc&) {
    const MemoryStats m = memory_->stats();
    int64_t needed = 0;
    for (const StorageRef& s : command.refs)
      if (!s->data) needed += static_cast<int64_t>(s->bytes);
    return std::make_shared<Failure>(
        Failure{"E_OUT_OF_MEMORY", where + ": out of memory on " + description_ + ": needed " + megabytes(needed) + " more, " + megabytes(m.in_use) +
                                       " in use, " + megabytes(m.reserved) +
                                       " held; use a smaller batch, gradient checkpointing, a 4-bit model, or dispose tensors earlier"});
  } catch (const std::out_of_range& e) {
    return std::make_shared<Failure>(Failure{"E_INDEX", where + ": " + e.what()});
  } catch (const std::exception& e) {
    return std::make_shared<Failure>(Failure{"E_DEVICE_FAILED", where + ": " + e.what() + " (" + description_ + ")"});
  }
}

void Device::capture_begin(std::shared_ptr<Recording> recording) {
  capturing_ = true;
  push(std::make_unique<Call>("capture_begin", [recording = std::move(recording)](Device& d) { d.begin_recording(recording); }));
}
void Device::capture_end() {
  capturing_ = false;
  push(std::make_unique<Call>("capture_end", [](Device& d) { d.end_recording(); }));
}

namespace {
// Replays are commands of their own, so that a failed queue skips them.
struct Replay final : Command {
  explicit Replay(std::shared_ptr<Recording> r) : Command("capture_replay"), recording(std::move(r)) {}
  void run(Device& d) override { d.replay(*recording); }
  std::shared_ptr<Recording> recording;
};
}  // namespace

void Device::capture_replay(std::shared_ptr<Recording> recording) { push(std::make_unique<Replay>(std::move(recording))); }

void Device::capture_close(std::shared_ptr<Recording> recording) {
  push(std::make_unique<Call>("capture_dispose", [recording = std::move(recording)](Device& d) {
    if (recording->graph) d.backend().capture_destroy(d.stream(), recording->graph);
    recording->graph = nullptr;
    recording->commands.clear();
    d.memory().close(recording->arena);
  }));
}

void Device::begin_recording(std::shared_ptr<Recording> recording) {
  recording_ = std::move(recording);
  memory_->enter(recording_->arena);
  if (backend_.capture_begin) backend_.capture_begin(*stream_);
}

void Device::end_recording() {
  if (backend_.capture_end) recording_->graph = backend_.capture_end(*stream_);
  memory_->leave();
  recording_.reset();
}

void Device::replay(Recording& recording) {
  if (recording.failure) throw std::runtime_error("the capture failed while it was recorded: " + recording.failure->message);
  if (recording.graph) {
    backend_.capture_replay(*stream_, recording.graph);
    return;
  }
  for (CommandRef& command : recording.commands) command->run(*this);
}

}  // namespace anymal
