#include "queue.h"

#include <cstdlib>
#include <future>
#include <stdexcept>
#include <utility>

#include "loader.h"

namespace anymal {
namespace {

// Its storages are not `refs`: those would be given memory before it ran.
struct Drop final : Command {
  explicit Drop(std::vector<StorageRef> s) : Command("dispose"), storages(std::move(s)) {}
  void run(Device&) override { storages.clear(); }
  bool recordable() const override { return false; }
  std::vector<StorageRef> storages;
};

struct Fence final : Command {
  Fence() : Command("synchronize") {}
  void run(Device& d) override { d.backend().synchronize(d.stream()); }
  bool settle(const FailureRef& failure) override {
    ended.set_value(failure);
    return true;
  }
  bool recordable() const override { return false; }
  bool waits() const override { return true; }
  bool fence() const override { return true; }
  std::promise<FailureRef> ended;
};

int64_t memory_limit(const std::string& options) {
  const std::string text = option_value(options, "memoryLimit");
  if (text.empty()) return 0;
  char* end;
  const long long bytes = std::strtoll(text.c_str(), &end, 10);
  if (*end || bytes <= 0) throw std::runtime_error("expected memoryLimit in bytes, a whole number above 0, got \"" + text + "\"");
  return bytes;
}

}  // namespace

Device::Device(const Backend& backend, const std::string& options) : backend_(backend) {
  std::promise<void> opened;
  const int64_t limit = memory_limit(options);
  thread_ = std::thread([this, &opened, options, limit] {
    try {
      stream_ = backend_.stream_create(options.c_str());
      memory_ = std::make_unique<Memory>(backend_, *stream_, limit);
      description_ = backend_.describe(*stream_);
    } catch (...) {
      memory_.reset();
      if (stream_) backend_.stream_destroy(stream_);
      opened.set_exception(std::current_exception());
      return;
    }
    opened.set_value();
    work();
  });
  try {
    opened.get_future().get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

Device::~Device() {
  stop();
  if (thread_.joinable()) thread_.join();
}

void Device::stop(std::vector<StorageRef> storages, std::vector<std::shared_ptr<Recording>> recordings) {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    abandoned_.insert(abandoned_.end(), std::make_move_iterator(storages.begin()), std::make_move_iterator(storages.end()));
    abandoned_recordings_.insert(abandoned_recordings_.end(), std::make_move_iterator(recordings.begin()), std::make_move_iterator(recordings.end()));
  }
  wake_.notify_all();
  room_.notify_all();
}

void Device::push(CommandRef command) {
  if (capturing_ && command->recordable()) ++captured_;
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
  if (!storages.empty()) push(std::make_unique<Drop>(std::move(storages)));
}

void Device::heal(StorageRef storage) {
  push(std::make_unique<Call>("heal", [storage = std::move(storage)](Device&) mutable {
    if (!storage->spoilt) storage->failure = nullptr;
    storage.reset();
  }));
}

void Device::wait_idle() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return (pending_.empty() && !running_) || stop_; });
}

FailureRef Device::run_to_idle() {
  auto fence = std::make_unique<Fence>();
  std::future<FailureRef> ended = fence->ended.get_future();
  push(std::move(fence));
  return ended.get();
}

size_t Device::pending() {
  std::lock_guard lock(mutex_);
  return pending_.size();
}

// The whole backlog is taken at once: one lock for many commands when the caller runs ahead.
void Device::work() {
  std::vector<CommandRef> batch;
  CommandRef last;
  FailureRef last_failure;
  const auto region = [&](bool more) {
    if (backend_.region) backend_.region(*stream_, more);
  };
  while (!last) {
    {
      std::unique_lock lock(mutex_);
      running_ = false;
      if (pending_.empty()) {
        region(false);
        idle_.notify_all();
      }
      wake_.wait(lock, [&] { return stop_ || !pending_.empty(); });
      if (stop_) break;
      batch.swap(pending_);
      running_ = true;
    }
    room_.notify_all();
    region(true);
    for (CommandRef& command : batch) {
      {
        std::lock_guard lock(mutex_);
        if (stop_) break;
      }
      if (command->last()) {
        last_failure = attempt(*command);
        if (!last_failure) last_failure = take_untold();
        last = std::move(command);
        break;
      }
      if (recording_ && command->recordable()) {
        record(std::move(command));
      } else {
        finish(*command, attempt(*command));
        command.reset();
      }
    }
    if (!last) {
      std::lock_guard lock(mutex_);
      if (stop_) break;
      batch.clear();
    }
  }
  tear_down(std::move(batch));
  if (last) last->settle(last_failure);
}

// Whoever still waits is told, in order; then everything goes that lives on this thread.
void Device::tear_down(std::vector<CommandRef> batch) {
  std::vector<CommandRef> rest;
  std::vector<StorageRef> storages;
  std::vector<std::shared_ptr<Recording>> recordings;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    rest.swap(pending_);
    storages.swap(abandoned_);
    recordings.swap(abandoned_recordings_);
  }
  room_.notify_all();
  const FailureRef closed = std::make_shared<Failure>(Failure{"E_CLOSED", "the device was closed while this was waiting"});
  for (auto* commands : {&batch, &rest})
    for (CommandRef& command : *commands)
      if (command) command->settle(closed);
  batch.clear();
  rest.clear();
  if (recording_) {
    const std::shared_ptr<Recording> open = recording_;
    end_recording();
    close_recording(*open);
  }
  for (const std::shared_ptr<Recording>& recording : recordings) close_recording(*recording);
  storages.clear();
  issued_.clear();
  untold_.clear();
  memory_.reset();
  try {
    backend_.stream_destroy(stream_);
  } catch (...) {  // a device that failed for good; what it held goes with the process
  }
  std::lock_guard lock(mutex_);
  running_ = false;
  idle_.notify_all();
}

void Device::ensure(Storage& storage) {
  if (storage.data) return;
  const Memory::Buffer buffer = memory_->take(storage.bytes);
  storage.data = buffer.data;
  storage.capacity = buffer.bytes;
  storage.home = memory_->current();
}

}  // namespace anymal
