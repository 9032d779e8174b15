// Captures: what is recorded, replayed and let go of.
#include <unordered_set>
#include <utility>

#include "queue.h"

namespace anymal {
namespace {

struct Replay final : Command {
  explicit Replay(std::shared_ptr<Recording> r) : Command("capture_replay"), recording(std::move(r)) {}
  void run(Device& d) override { d.replay(*recording); }
  bool recordable() const override { return false; }
  std::shared_ptr<const Recording> replayed() const override { return recording; }
  std::shared_ptr<Recording> recording;
};

}  // namespace

void Device::capture_begin(std::shared_ptr<Recording> recording) {
  captured_ = 0;
  capturing_ = true;
  push(std::make_unique<Call>("capture_begin", [recording = std::move(recording)](Device& d) { d.begin_recording(recording); }));
}
int64_t Device::capture_end() {
  capturing_ = false;
  push(std::make_unique<Call>("capture_end", [](Device& d) { d.end_recording(); }));
  return captured_;
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

// On a backend without graphs it is only kept.
void Device::record_into_graph(Recording& r, size_t index, Command& command) {
  if (!backend_.capture_begin) return;
  issues_ = r.first_issue + static_cast<int64_t>(index);
  if (backend_.issue) backend_.issue(*stream_, issues_);
  command.run(*this);
}

// After memory ran out. What is cached can only be given back when nothing is captured, since that waits for the stream: the graph so far is given
// up, and its commands go into a new one, on the buffers that they have. Throws std::bad_alloc where that finds nothing.
void Device::record_anew(Recording& r) {
  abandon_graph(r);
  memory_->leave();
  const bool found = memory_->trim();
  memory_->enter(r.arena);
  if (!found || !backend_.capture_begin) throw std::bad_alloc();
  backend_.capture_begin(*stream_);
  r.graph_begun = true;
  for (size_t i = 0; i < r.commands.size(); ++i) record_into_graph(r, i, *r.commands[i]);
}

void Device::abandon_graph(Recording& r) noexcept {
  if (!std::exchange(r.graph_begun, false)) return;
  try {
    backend_.capture_destroy(*stream_, backend_.capture_end(*stream_));
  } catch (...) {  // then there is none
  }
}

void Device::record(CommandRef command) {
  Recording& r = *recording_;
  if (!r.failure) {
    const auto attempt = [&] {
      for (StorageRef& storage : command->refs) ensure(*storage);
      command->bind();
      record_into_graph(r, r.commands.size(), *command);
    };
    try {
      try {
        attempt();
      } catch (const std::bad_alloc&) {
        record_anew(r);
        attempt();
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

// A graph takes memory of its own when it is made.
void Device::end_graph(Recording& r) {
  if (r.failure) abandon_graph(r);
  if (!r.graph_begun) return;
  const auto end = [&] {
    r.graph_begun = false;  // whether it throws or not
    r.graph = backend_.capture_end(*stream_);
  };
  try {
    try {
      end();
    } catch (const std::bad_alloc&) {
      record_anew(r);
      end();
    }
  } catch (...) {
    abandon_graph(r);
    note_untold(r.failure = describe_failure(Call("capture_end", nullptr), "more for its graph"));
  }
}

// Whatever happens here, the device leaves the recording: the next op runs.
void Device::end_recording() {
  const std::shared_ptr<Recording> r = recording_;
  end_graph(*r);
  recording_ = nullptr;
  memory_->leave();
  if (r->failure) {  // it will never run: what it took is everybody's
    r->commands.clear();
    memory_->close(r->arena);
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
    try {
      backend_.capture_replay(*stream_, recording.graph);
    } catch (const std::bad_alloc&) {  // a graph takes memory when it is first run, too
      if (!memory_->trim()) throw;
      backend_.capture_replay(*stream_, recording.graph);
    }
    return;
  }
  for (CommandRef& command : recording.commands) {
    try {
      command->run(*this);
    } catch (...) {
      throw Described{describe_failure(*command)};
    }
  }
}

}  // namespace anymal
