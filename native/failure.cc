// How commands run, and how failures spread from them: the contract in backend.h.
#include <algorithm>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <utility>

#include "queue.h"

namespace anymal {
namespace {

// How many commands may be issued before somebody waits for them, on a device that finds bad values late.
constexpr size_t kMostIssued = 4096;

std::string megabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

// f(storage, is it written whole?) for each that the command writes.
template <class F>
void each_written(const Command& command, const F& f) {
  for (size_t i = 0; i < command.written; ++i) f(*command.refs[i], i < command.outputs);
  const std::shared_ptr<const Recording> r = command.replayed();
  if (!r) return;
  for (const StorageRef& s : r->updates) f(*s, false);
  for (const std::weak_ptr<Storage>& weak : r->results)
    if (const StorageRef s = weak.lock()) f(*s, true);
}

}  // namespace

FailureRef Device::poison_of(const Command& command) const {
  for (size_t i = command.outputs; i < command.refs.size(); ++i)
    if (command.refs[i]->failure) return command.refs[i]->failure;
  const std::shared_ptr<const Recording> r = command.replayed();
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
  // What it wrote whole is healthy, unless a late fault says otherwise.
  each_written(command, [](Storage& s, bool whole) {
    if (whole) s.failure = nullptr, s.spoilt = false;
  });
  collect_faults();
  FailureRef failure = poison_of(command);
  each_written(command, [&](Storage& s, bool) { failure = failure ? failure : s.failure; });
  return failure;
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
  if (const std::shared_ptr<const Recording> r = command.replayed()) {
    entry.recording = r;
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

FailureRef Device::describe_failure(const Command& command, const char* lacking) const {
  std::string where = command.name;
  if (const std::string shapes = command.shapes(); !shapes.empty()) where += " on " + shapes;
  const auto failure = [](const std::string& code, const std::string& message) { return std::make_shared<Failure>(Failure{code, message}); };
  try {
    throw;
  } catch (const Described& inner) {
    return inner.failure;
  } catch (const std::bad_alloc&) {
    const MemoryStats m = memory_->stats();
    int64_t needed = 0;
    for (const StorageRef& s : command.refs)
      if (!s->data) needed += static_cast<int64_t>(s->bytes);
    const std::string more = needed ? megabytes(needed) + " more" : command.replayed() ? "more for its graph" : lacking;
    const std::string next = recording_ ? "; run it without a capture, which keeps buffers of its own, or " : "; ";
    return failure("E_OUT_OF_MEMORY", where + ": out of memory on " + description_ + ": needed " + more + ", " + megabytes(m.in_use) + " in use, " +
                                          megabytes(m.scratch) + " to compute in, " + megabytes(m.reserved) + " held in all" +
                                          (m.limit ? " of a memoryLimit of " + megabytes(m.limit) : "") + next +
                                          "use a smaller batch, gradient checkpointing, a 4-bit model, or dispose tensors earlier");
  } catch (const Error& e) {
    return failure(e.code, where + ": " + e.what());
  } catch (const std::out_of_range& e) {
    return failure("E_INDEX", where + ": " + e.what());
  } catch (const std::exception& e) {
    return failure("E_DEVICE_FAILED", where + ": " + e.what() + " (" + description_ + ")");
  }
}

}  // namespace anymal
