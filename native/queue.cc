#include "queue.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <map>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "loader.h"

namespace anymal {
namespace {

// How many commands may be issued before somebody waits for them, on a device that finds bad values late.
constexpr size_t kMostIssued = 4096;

// A command that carries a function; never recorded.
struct Call final : Command {
  Call(const char* n, std::function<void(Device&)> f) : Command(n), call(std::move(f)) {}
  void run(Device& d) override { call(d); }
  bool recordable() const override { return false; }
  std::function<void(Device&)> call;
};

// Its storages are not `refs`: those would be given memory before it ran.
struct Drop final : Command {
  explicit Drop(std::vector<StorageRef> s) : Command("dispose"), storages(std::move(s)) {}
  void run(Device&) override { storages.clear(); }
  bool recordable() const override { return false; }
  std::vector<StorageRef> storages;
};

struct Replay final : Command {
  explicit Replay(std::shared_ptr<Recording> r) : Command("capture_replay"), recording(std::move(r)) {}
  void run(Device& d) override { d.replay(*recording); }
  bool recordable() const override { return false; }
  const Recording* replayed() const override { return recording.get(); }
  std::shared_ptr<Recording> recording;
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

// What a recorded command threw, described where it was known which.
struct InReplay {
  FailureRef failure;
};

std::string megabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

int64_t memory_limit(const std::string& options) {
  const std::string text = option_value(options, "memoryLimit");
  if (text.empty()) return 0;
  char* end;
  const long long bytes = std::strtoll(text.c_str(), &end, 10);
  if (*end || bytes <= 0) throw std::runtime_error("expected memoryLimit in bytes, a whole number above 0, got \"" + text + "\"");
  return bytes;
}

// f(storage, is it written whole?) for each that the command writes.
template <class F>
void each_written(const Command& command, const F& f) {
  for (size_t i = 0; i < command.written; ++i) f(*command.refs[i], i < command.outputs);
  const Recording* r = command.replayed();
  if (!r) return;
  for (const StorageRef& s : r->updates) f(*s, false);
  for (const std::weak_ptr<Storage>& weak : r->results)
    if (const StorageRef s = weak.lock()) f(*s, true);
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
  while (!last) {
    {
      std::unique_lock lock(mutex_);
      running_ = false;
      if (pending_.empty()) idle_.notify_all();
      wake_.wait(lock, [&] { return stop_ || !pending_.empty(); });
      if (stop_) break;
      batch.swap(pending_);
      running_ = true;
    }
    room_.notify_all();
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

FailureRef Device::poison_of(const Command& command) const {
  for (size_t i = command.outputs; i < command.refs.size(); ++i)
    if (command.refs[i]->failure) return command.refs[i]->failure;
  const Recording* r = command.replayed();
  if (!r) return nullptr;
  if (r->failure) return r->failure;
  for (const auto* list : {&r->inputs, &r->updates})
    for (const StorageRef& s : *list)
      if (s->failure) return s->failure;
  return nullptr;
}

FailureRef Device::attempt(Command& command) {
  if (FailureRef poison = poison_of(command)) return poison;
  try {
    for (StorageRef& storage : command.refs) ensure(*storage);
    command.bind();
    if (backend_.issue && !recording_) backend_.issue(*stream_, ++issues_);
    command.run(*this);
  } catch (...) {
    FailureRef failure = describe_failure(command);
    each_written(command, [](Storage& s, bool) { s.spoilt = true; });
    return failure;
  }
  if (!backend_.faults || recording_) return nullptr;
  note_issued(command);
  if (!command.waits() && issued_.size() < kMostIssued) return nullptr;
  if (!command.waits()) {
    try {
      backend_.synchronize(*stream_);
    } catch (...) {
      return describe_failure(command);
    }
  }
  collect_faults();
  return poison_of(command);
}

void Device::finish(Command& command, FailureRef failure) {
  if (command.fence() && !failure) failure = take_untold();
  each_written(command, [&](Storage& s, bool whole) {
    if (failure) {
      s.failure = failure;
      s.spoilt = s.spoilt || whole;
    } else if (whole) {
      s.failure = nullptr;
      s.spoilt = false;
    }
  });
  const bool awaited = command.settle(failure);
  if (!failure) return;
  if (awaited) failure->told = true;
  else note_untold(failure);
}

void Device::note_untold(const FailureRef& failure) {
  constexpr size_t most = 64;  // the first ones tell the story
  if (untold_.size() < most && std::find(untold_.begin(), untold_.end(), failure) == untold_.end()) untold_.push_back(failure);
}

FailureRef Device::take_untold() {
  const auto first = std::find_if(untold_.begin(), untold_.end(), [](const FailureRef& f) { return !f->told; });
  FailureRef failure = first == untold_.end() ? nullptr : *first;
  if (failure) failure->told = true;
  untold_.clear();
  return failure;
}

void Device::note_issued(const Command& command) {
  Issued entry{command.name, issues_, nullptr, {}, {}, command.outputs};
  for (size_t i = 0; i < command.refs.size(); ++i) {
    if (i < command.written) entry.writes.emplace_back(command.refs[i]->id, command.refs[i]);
    if (i >= command.outputs) entry.reads.push_back(command.refs[i]->id);
  }
  if (const Recording* r = command.replayed()) {
    entry.recording = static_cast<const Replay&>(command).recording;
    for (const StorageRef& s : r->inputs) entry.reads.push_back(s->id);
    for (const StorageRef& s : r->updates) {
      entry.reads.push_back(s->id);
      entry.writes.emplace_back(s->id, s);
    }
    for (const std::weak_ptr<Storage>& weak : r->results)
      if (const StorageRef s = weak.lock()) entry.writes.emplace_back(s->id, s);
  }
  if (!entry.writes.empty()) issued_.push_back(std::move(entry));
}

// What was computed from a bad value is followed through everything issued since the last wait, so that a late fault ends up where an early one does.
void Device::collect_faults() {
  constexpr size_t at_once = 64;
  std::vector<DeferredFault> found;
  for (size_t got = at_once; got == at_once;) {
    found.resize(found.size() + at_once);
    got = static_cast<size_t>(backend_.faults(*stream_, found.data() + found.size() - at_once, at_once));
    found.resize(found.size() - at_once + got);
  }
  std::vector<Issued> issued;
  issued.swap(issued_);
  if (found.empty()) return;

  std::vector<FailureRef> failures(found.size());
  const auto fault_of = [&](const Issued& entry) -> FailureRef {
    for (size_t i = 0; i < found.size(); ++i) {
      const int64_t command = found[i].command;
      const char* name = entry.name;
      if (entry.recording) {
        const int64_t at = command - entry.recording->first_issue;
        if (command != 0 && (at < 0 || at >= static_cast<int64_t>(entry.recording->commands.size()))) continue;
        if (command != 0) name = entry.recording->commands[static_cast<size_t>(at)]->name;
      } else if (command != 0 && command != entry.number) {
        continue;
      }
      FailureRef& failure = failures[i];
      if (!failure) failure = std::make_shared<Failure>(Failure{"E_INDEX", std::string(name) + ": " + found[i].message});
      return failure;
    }
    return nullptr;
  };

  std::map<uint64_t, std::pair<FailureRef, std::weak_ptr<Storage>>> bad;
  for (const Issued& entry : issued) {
    FailureRef failure = fault_of(entry);
    for (size_t i = 0; i < entry.reads.size() && !failure; ++i)
      if (const auto at = bad.find(entry.reads[i]); at != bad.end()) failure = at->second.first;
    for (size_t i = 0; i < entry.writes.size(); ++i) {
      const auto& [id, storage] = entry.writes[i];
      if (failure) bad.insert_or_assign(id, std::pair{failure, storage});
      else if (i < entry.whole) bad.erase(id);
    }
  }
  for (auto& [id, entry] : bad)
    if (const StorageRef s = entry.second.lock()) {
      s->failure = entry.first;
      s->spoilt = true;
    }
  for (const FailureRef& failure : failures)
    if (failure) note_untold(failure);
}

// Called inside a catch block.
FailureRef Device::describe_failure(const Command& command) const {
  std::string where = command.name;
  if (const std::string shapes = command.shapes(); !shapes.empty()) where += " on " + shapes;
  const auto failure = [](const std::string& code, const std::string& message) { return std::make_shared<Failure>(Failure{code, message}); };
  try {
    throw;
  } catch (const InReplay& inner) {
    return inner.failure;
  } catch (const std::bad_alloc&) {
    const MemoryStats m = memory_->stats();
    int64_t needed = 0;
    for (const StorageRef& s : command.refs)
      if (!s->data) needed += static_cast<int64_t>(s->bytes);
    return failure("E_OUT_OF_MEMORY", where + ": out of memory on " + description_ + ": needed " +
                                          (needed ? megabytes(needed) + " more" : "more to compute in") + ", " + megabytes(m.in_use) + " in use, " +
                                          megabytes(m.scratch) + " to compute in, " + megabytes(m.reserved) + " held in all" +
                                          (m.limit ? " of a memoryLimit of " + megabytes(m.limit) : "") +
                                          "; use a smaller batch, gradient checkpointing, a 4-bit model, or dispose tensors earlier");
  } catch (const Error& e) {
    return failure(e.code, where + ": " + e.what());
  } catch (const std::out_of_range& e) {
    return failure("E_INDEX", where + ": " + e.what());
  } catch (const std::exception& e) {
    return failure("E_DEVICE_FAILED", where + ": " + e.what() + " (" + description_ + ")");
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
void Device::capture_replay(std::shared_ptr<Recording> recording) { push(std::make_unique<Replay>(std::move(recording))); }
void Device::capture_close(std::shared_ptr<Recording> recording) {
  push(std::make_unique<Call>("capture_dispose", [recording = std::move(recording)](Device& d) { d.close_recording(*recording); }));
}

// A recording that fails goes on swallowing what is meant for it: run now, those commands would change what only a replay may change.
void Device::begin_recording(std::shared_ptr<Recording> recording) {
  recording_ = std::move(recording);
  memory_->enter(recording_->arena);
  recording_->first_issue = issues_ + 1;
  if (!backend_.capture_begin) return;
  try {
    backend_.capture_begin(*stream_);
    recording_->graph_begun = true;
  } catch (...) {
    recording_->failure = describe_failure(Call("capture_begin", nullptr));
    note_untold(recording_->failure);
  }
}

void Device::record(CommandRef command) {
  Recording& r = *recording_;
  const bool was_whole = !r.failure;
  if (was_whole) {
    try {
      for (StorageRef& storage : command->refs) ensure(*storage);
      command->bind();
      if (backend_.capture_begin) {
        if (backend_.issue) backend_.issue(*stream_, ++issues_);
        command->run(*this);
      }
    } catch (...) {
      r.failure = describe_failure(*command);
      note_untold(r.failure);
    }
  }
  for (size_t i = 0; i < command->refs.size(); ++i) {
    const StorageRef& s = command->refs[i];
    const bool own = i < command->outputs || s->home == r.arena;
    if (own && i < command->written) r.results.push_back(s);
    if (!own) (i < command->written ? r.updates : r.inputs).push_back(s);
  }
  if (r.failure) {  // the outputs have nobody who will ever write them
    for (size_t i = 0; i < command->outputs; ++i) {
      command->refs[i]->failure = r.failure;
      command->refs[i]->spoilt = true;
    }
    return;
  }
  // Buffers of the capture's arena live as long as the capture; not holding them lets later commands of it reuse them.
  std::erase_if(command->refs, [&](const StorageRef& s) { return s->home == r.arena; });
  command->outputs = command->written = 0;
  r.commands.push_back(std::move(command));
}

// Whatever happens here, the device leaves the recording: the next op runs.
void Device::end_recording() {
  const std::shared_ptr<Recording> r = std::exchange(recording_, nullptr);
  memory_->leave();
  if (r->graph_begun) {
    try {
      r->graph = backend_.capture_end(*stream_);
    } catch (...) {
      const FailureRef failure = describe_failure(Call("capture_end", nullptr));
      if (!r->failure) note_untold(r->failure = failure);
    }
  }
  const auto unique = [](std::vector<StorageRef>& storages) {
    std::unordered_set<const Storage*> seen;
    std::erase_if(storages, [&](const StorageRef& s) { return !seen.insert(s.get()).second; });
  };
  unique(r->inputs);
  unique(r->updates);
  std::unordered_set<const Storage*> seen;
  std::erase_if(r->results, [&](const std::weak_ptr<Storage>& weak) {
    const StorageRef s = weak.lock();
    if (s && r->failure) s->failure = r->failure;
    return !s || !seen.insert(s.get()).second;
  });
}

void Device::close_recording(Recording& recording) {
  if (recording.graph) {
    try {
      backend_.capture_destroy(*stream_, recording.graph);
    } catch (...) {  // a device that failed for good
    }
  }
  recording.graph = nullptr;
  recording.commands.clear();
  recording.inputs.clear();
  recording.updates.clear();
  recording.results.clear();
  memory_->close(recording.arena);
}

void Device::replay(Recording& recording) {
  if (recording.graph) {
    backend_.capture_replay(*stream_, recording.graph);
    return;
  }
  for (CommandRef& command : recording.commands) {
    try {
      command->run(*this);
    } catch (...) {
      throw InReplay{describe_failure(*command)};
    }
  }
}

}  // namespace anymal
