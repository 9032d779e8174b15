// The queue: order, what failures poison, late faults, and how a device ends.
#include <future>
#include <thread>

#include "counting_backend.h"

using namespace counting;

namespace {

void runs_in_order_and_gives_memory_back() {
  Device d(backend, "");
  const int steps = 20000;  // more than kMaxPending: back-pressure blocks the caller and lets it go on
  StorageRef x = storage(d);
  size_t most = 0;
  add(d, x, nullptr, 0);
  for (int i = 0; i < steps; ++i) {
    StorageRef y = storage(d);
    add(d, y, x, 1);
    drop(d, x);
    x = std::move(y);
    most = std::max(most, d.pending());
  }
  CHECK(most <= Device::kMaxPending + 1);
  CHECK(read(d, x).value == static_cast<float>(steps));
  CHECK(d.stream().system_allocations <= 3);  // the steady state allocates nothing
  drop(d, x);
  d.wait_idle();
  CHECK(d.memory().stats().in_use == 0);
  CHECK(d.memory().stats().peak > 0);
}

void a_failure_poisons_what_depends_on_it_and_nothing_else() {
  Device d(backend, "");
  StorageRef a = storage(d), b = storage(d), c = storage(d), other = storage(d);
  add(d, other, nullptr, 7);
  add(d, a, nullptr, -1);  // throws
  add(d, b, a, 1);         // not run
  increment(d, other);     // of somebody else: runs, before anybody heard of the failure and after
  const Got first = read(d, b);
  CHECK_SAY(first.error == kNegative, first.error);
  CHECK(read(d, b).error == first.error);  // b was never computed, and says why
  add(d, c, b, 1);                         // computed from it: the same
  CHECK(read(d, c).error == first.error);
  increment(d, other);
  CHECK_SAY(read(d, other).value == 9, std::to_string(read(d, other).value));
  add(d, a, nullptr, 3);  // a fresh command may write the same buffer
  CHECK(read(d, a).error.empty() && read(d, a).value == 3);
  drop_all(d, {&a, &b, &c, &other});
}

// An optimiser's step, a cache's row: who awaits what was not updated is told, and may go on with what it held when the update never began.
void an_update_that_is_not_run_is_told() {
  Device d(backend, "");
  StorageRef w = storage(d), bad = storage(d);
  add(d, w, nullptr, 10);
  add(d, bad, nullptr, -1);
  increment(d, w, bad);
  increment(d, w);
  CHECK_SAY(read(d, w).error == kNegative, read(d, w).error);
  d.heal(w);
  CHECK(read(d, w).value == 10 && read(d, w).error.empty());
  d.heal(bad);  // garbage: nobody may have it
  CHECK(read(d, bad).error == kNegative);
  drop_all(d, {&w, &bad});
}

void a_fence_is_told_what_nobody_was_told() {
  Device d(backend, "");
  StorageRef a = storage(d), b = storage(d);
  add(d, a, nullptr, -1);
  add(d, b, nullptr, -1);
  CHECK(read(d, a).error == kNegative);
  CHECK(told(d.run_to_idle()) == kNegative);  // b's
  CHECK(told(d.run_to_idle()).empty());
  add(d, a, nullptr, -1);
  CHECK(read(d, a).error == kNegative);
  CHECK(told(d.run_to_idle()).empty());  // told already
  drop_all(d, {&a, &b});
}

// The same story on a backend that finds bad values when it is waited for: what was computed from them since is followed.
void late_faults_end_up_where_early_ones_do() {
  Device d(late, "");
  StorageRef a = storage(d), b = storage(d), w = storage(d), other = storage(d), again = storage(d);
  add(d, w, nullptr, 10);
  add(d, other, nullptr, 7);
  add(d, a, nullptr, -1);
  add(d, b, a, 1);
  increment(d, w, b);
  increment(d, other);
  add(d, again, b, 1);
  add(d, again, nullptr, 5);  // overwritten since
  {
    StorageRef gone = storage(d), from_gone = storage(d);
    add(d, gone, a, 1);
    add(d, from_gone, gone, 1);
    drop(d, gone);
    CHECK(read(d, from_gone).error == "E_INDEX: add_one: by -1 is outside [0, inf)");  // through a buffer that is gone
    drop(d, from_gone);
  }
  CHECK(read(d, other).value == 8 && read(d, other).error.empty());
  CHECK(read(d, b).error == "E_INDEX: add_one: by -1 is outside [0, inf)");
  CHECK(read(d, w).error == read(d, b).error);
  CHECK(read(d, again).error.empty() && read(d, again).value == 5);
  d.heal(w);  // it was updated, wrongly
  CHECK(!read(d, w).error.empty());
  add(d, w, nullptr, 1);
  for (int i = 0; i < 10000; ++i) increment(d, w);  // nobody waits: the queue does
  CHECK(read(d, w).value == 10001);
  add(d, a, nullptr, -1);
  CHECK(told(d.run_to_idle()) == "E_INDEX: add_one: by -1 is outside [0, inf)");
  CHECK(!read(d, a).error.empty());
  drop_all(d, {&a, &b, &w, &other, &again});
}

// Says that it runs, and goes on when it is told to.
struct Block final : Command {
  Block(std::promise<void>* r, std::future<void> g) : Command("block"), running(r), go_on(std::move(g)) {}
  void run(Device&) override {
    running->set_value();
    go_on.wait();
  }
  bool recordable() const override { return false; }
  std::promise<void>* running;
  std::future<void> go_on;
};

// The queue waits by itself now and then. The op that it waits behind may be the bad one.
void a_late_fault_is_found_wherever_the_queue_waits() {
  for (int before = 4090; before < 4100; ++before) {
    Device d(late, "");
    StorageRef w = storage(d), bad = storage(d), after = storage(d);
    add(d, w, nullptr, 0);
    for (int i = 1; i < before; ++i) increment(d, w);
    add(d, bad, nullptr, -1);
    add(d, after, bad, 1);
    for (int i = 0; i < 20; ++i) increment(d, w);
    CHECK_SAY(!read(d, bad).error.empty() && !read(d, after).error.empty(), "behind " + std::to_string(before) + " commands");
    CHECK(read(d, w).error.empty());
    drop_all(d, {&w, &bad, &after});
  }
}

// A device is closed while it works: behind the command that runs there is one in its batch and one that came later, and both are settled.
void closing_settles_what_waits() {
  std::string in_batch, later;
  std::atomic<float> value{0};
  {
    Device d(backend, "");
    StorageRef x = storage(d), y = storage(d);
    std::promise<void> running, go_on;
    // One batch holds what was pushed while another ran.
    std::promise<void> first_running, first_go_on;
    d.push(std::make_unique<Block>(&first_running, first_go_on.get_future()));
    first_running.get_future().wait();
    d.push(std::make_unique<Block>(&running, go_on.get_future()));
    d.push(std::make_unique<Read>(std::move(x), &value, &in_batch));
    first_go_on.set_value();
    running.get_future().wait();
    d.push(std::make_unique<Read>(std::move(y), &value, &later));
    d.stop();
    go_on.set_value();
  }
  CHECK_SAY(in_batch.starts_with("E_CLOSED"), in_batch);
  CHECK_SAY(later.starts_with("E_CLOSED"), later);
  bool refused = false;
  try {
    Device d(backend, "refuse");
  } catch (const std::runtime_error& e) {
    refused = std::string(e.what()) == "no such device";
  }
  CHECK(refused);
}

// Without room in the queue, and without anybody who lets go of the tensors first.
void stopping_never_waits_for_the_queue() {
  std::vector<StorageRef> held;
  std::shared_ptr<Recording> recording = std::make_shared<Recording>();
  Device d(backend, "");
  std::promise<void> running, go_on;
  StorageRef x = storage(d);
  d.capture_begin(recording);
  StorageRef y = storage(d);
  add(d, y, x, 1);
  d.capture_end();
  d.push(std::make_unique<Block>(&running, go_on.get_future()));
  running.get_future().wait();
  for (size_t i = 0; i < Device::kMaxPending; ++i) add(d, x, nullptr, 1);
  for (StorageRef* s : {&x, &y}) held.push_back(std::move(*s));
  std::vector<std::shared_ptr<Recording>> recordings;
  recordings.push_back(std::move(recording));
  d.stop(std::move(held), std::move(recordings));  // a push would block here for ever
  go_on.set_value();
  d.wait_idle();
}

struct Last final : Command {
  explicit Last(std::promise<std::string>* e) : Command("close"), ended(e) {}
  void run(Device&) override {}
  bool settle(const FailureRef& f) override {
    ended->set_value(f ? f->code : "");
    return true;
  }
  bool recordable() const override { return false; }
  bool waits() const override { return true; }
  bool fence() const override { return true; }
  bool last() const override { return true; }
  std::promise<std::string>* ended;
};

// The stream is gone before close() resolves; what nobody was told of is told there.
void close_ends_with_the_stream_gone() {
  static std::atomic<int> streams{0};
  static Backend counted = counting_backend();
  counted.stream_create = [](const char*) -> Stream* {
    ++streams;
    return new Stream;
  };
  counted.stream_destroy = [](Stream* s) {
    delete s;
    --streams;
  };
  std::promise<std::string> ended;
  Device d(counted, "");
  StorageRef a = storage(d);
  add(d, a, nullptr, -1);
  drop(d, a);
  d.push(std::make_unique<Last>(&ended));
  CHECK(ended.get_future().get() == "E_DEVICE_FAILED");
  CHECK(streams == 0);
}

void two_threads_with_a_device_each() {
  const auto body = [] {
    Device d(backend, "");
    StorageRef x = storage(d);
    add(d, x, nullptr, 0);
    for (int i = 0; i < 2000; ++i) {
      StorageRef y = storage(d);
      add(d, y, x, 1);
      drop(d, x);
      x = std::move(y);
    }
    const bool ok = read(d, x).value == 2000;
    drop(d, x);
    return ok;
  };
  std::atomic<bool> ok[2];
  std::thread a([&] { ok[0] = body(); }), b([&] { ok[1] = body(); });
  a.join();
  b.join();
  CHECK(ok[0] && ok[1]);
}

}  // namespace

int main() {
  runs_in_order_and_gives_memory_back();
  a_failure_poisons_what_depends_on_it_and_nothing_else();
  an_update_that_is_not_run_is_told();
  a_fence_is_told_what_nobody_was_told();
  late_faults_end_up_where_early_ones_do();
  a_late_fault_is_found_wherever_the_queue_waits();
  closing_settles_what_waits();
  stopping_never_waits_for_the_queue();
  close_ends_with_the_stream_gone();
  two_threads_with_a_device_each();
  return check::finish();
}
