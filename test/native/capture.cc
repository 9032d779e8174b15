// Captures: replays, failures in them, and what fails while one is recorded.
#include "counting_backend.h"

using namespace counting;

namespace {

void a_capture_replays_with_buffers_of_its_own() {
  Device d(backend, "");
  StorageRef x = storage(d), y = storage(d);
  add(d, x, nullptr, 10);
  auto recording = std::make_shared<Recording>();
  d.capture_begin(recording);
  StorageRef t = storage(d), u = storage(d);
  add(d, t, x, 1);
  add(d, u, t, 1);
  drop(d, t);  // inside the capture its buffer may serve again
  StorageRef v = storage(d);
  add(d, v, u, 1);
  drop(d, u);
  add(d, y, v, 1);
  drop(d, v);
  d.capture_end();
  // What is made after the capture must not land in its buffers.
  StorageRef w = storage(d);
  add(d, w, nullptr, 99);
  d.capture_replay(recording);
  CHECK(read(d, y).value == 14);
  CHECK(read(d, w).value == 99);
  add(d, x, nullptr, 20);
  d.capture_replay(recording);
  CHECK(read(d, y).value == 24);
  const int before = d.stream().system_allocations;
  for (int i = 0; i < 100; ++i) d.capture_replay(recording);
  d.wait_idle();
  CHECK(d.stream().system_allocations == before);
  d.capture_close(recording);
  recording.reset();
  for (StorageRef* s : {&x, &y, &w}) drop(d, *s);
  d.wait_idle();
  CHECK(d.memory().stats().in_use == 0);
}

// A fault in a graph is that of the recorded op; all that the replay writes is poisoned, and nothing else.
void a_failed_replay_poisons_what_it_writes() {
  for (const Backend* which : {&backend, &late}) {
    Device d(*which, "");
    StorageRef x = storage(d), counter = storage(d), other = storage(d);
    add(d, x, nullptr, 1);
    add(d, counter, nullptr, 0);
    add(d, other, nullptr, 5);
    auto recording = std::make_shared<Recording>();
    d.capture_begin(recording);
    StorageRef y = storage(d);
    increment(d, counter);
    add(d, y, x, -1);
    d.capture_end();
    d.capture_replay(recording);
    const std::string want = which == &late ? "E_INDEX: add_one: by -1 is outside [0, inf)" : kNegative;
    CHECK_SAY(read(d, y).error == want, read(d, y).error);
    CHECK_SAY(read(d, counter).error == want, read(d, counter).error);
    CHECK(read(d, other).value == 5 && read(d, other).error.empty());
    CHECK(told(d.run_to_idle()).empty());
    d.heal(counter);
    CHECK(!read(d, counter).error.empty());  // it may have been counted up
    d.capture_replay(recording);             // reads what is poisoned: not run
    CHECK(read(d, y).error == want);
    d.capture_close(recording);
    recording.reset();
    drop_all(d, {&x, &y, &counter, &other});
  }
}

// The device leaves a capture whose beginning, middle or end fails, and the next op runs.
void a_capture_that_fails_is_left() {
  for (const std::string what : {"begin", "end", "memory"}) {
    Device d(late, "");
    StorageRef x = storage(d), counter = storage(d);
    add(d, x, nullptr, 1);
    add(d, counter, nullptr, 0);
    d.wait_idle();
    d.stream().begin_fails = what == "begin";
    d.stream().end_fails = what == "end";
    if (what == "memory") d.stream().limit = size_t{1} << 20;
    auto recording = std::make_shared<Recording>();
    d.capture_begin(recording);
    StorageRef y = storage(d, what == "memory" ? size_t{2} << 20 : 4);
    add(d, y, x, 1);
    increment(d, counter);
    d.capture_end();
    d.wait_idle();
    const size_t held = recording->commands.size();
    for (int i = 0; i < 1000; ++i) {
      StorageRef t = storage(d, 4096);
      add(d, t, nullptr, static_cast<float>(i));
      drop(d, t);
    }
    increment(d, counter);
    CHECK_SAY(read(d, counter).value == 1, what + ": " + std::to_string(read(d, counter).value));  // not by the capture
    CHECK_SAY(recording->commands.size() == held, what);
    CHECK_SAY(!read(d, y).error.empty(), what);
    d.capture_replay(recording);
    CHECK_SAY(!read(d, counter).error.empty(), what);  // a replay would have written it
    d.capture_close(recording);
    recording.reset();
    drop_all(d, {&x, &y, &counter});
  }
}

// What is cached cannot be given back while a graph is captured: the capture begins anew, and its replays are those of an undisturbed one.
void a_capture_begins_anew_where_memory_is_cached() {
  for (const std::string what : {"found", "begin"}) {
    Device d(late, "");
    StorageRef x = storage(d), counter = storage(d);
    add(d, x, nullptr, 1);
    add(d, counter, nullptr, 0);
    std::vector<StorageRef> cached;
    for (int i = 0; i < 4; ++i) add(d, cached.emplace_back(storage(d, 100 << 10)), nullptr, 1);
    d.drop(std::move(cached));
    d.wait_idle();
    d.stream().limit = d.stream().held + (200 << 10);
    auto recording = std::make_shared<Recording>();
    d.capture_begin(recording);
    StorageRef y = storage(d), z = storage(d, 300 << 10);
    increment(d, counter);
    add(d, y, x, 1);
    d.wait_idle();
    d.stream().begin_fails = what == "begin";
    add(d, z, y, 1);
    d.capture_end();
    for (int i = 0; i < 2; ++i) d.capture_replay(recording);
    const Got got = read(d, z);
    if (what == "begin") {
      CHECK_SAY(got.error.find("no capture today") != std::string::npos, got.error);
      CHECK(!read(d, counter).error.empty());
    } else {
      CHECK_SAY(got.error.empty() && got.value == 3 && read(d, counter).value == 2, got.error);
      CHECK(recording->commands.size() == 3);
    }
    d.stream().begin_fails = false;
    StorageRef after = storage(d);
    add(d, after, x, 4);
    CHECK(read(d, after).value == 5);
    d.capture_close(recording);
    recording.reset();
    drop_all(d, {&x, &counter, &y, &z, &after});
  }
}

// It will never run: what it took is there for others, though nobody has closed it.
void a_failed_capture_keeps_no_memory() {
  Device d(late, "");
  StorageRef x = storage(d);
  add(d, x, nullptr, 1);
  d.wait_idle();
  d.stream().limit = d.stream().held + (250 << 10);
  auto recording = std::make_shared<Recording>();
  d.capture_begin(recording);
  StorageRef inside[3];
  for (StorageRef& s : inside) {
    s = storage(d, 100 << 10);
    add(d, s, x, 1);
  }
  d.capture_end();
  for (StorageRef& s : inside) drop(d, s);
  StorageRef large = storage(d, 200 << 10);
  add(d, large, x, 2);
  CHECK_SAY(read(d, large).value == 3, read(d, large).error);
  d.capture_close(recording);
  recording.reset();
  drop_all(d, {&x, &large});
}

}  // namespace

int main() {
  a_capture_replays_with_buffers_of_its_own();
  a_failed_replay_poisons_what_it_writes();
  a_capture_that_fails_is_left();
  a_capture_begins_anew_where_memory_is_cached();
  a_failed_capture_keeps_no_memory();
  return check::finish();
}
