// Memory that runs out while a graph is captured, when it is made and when it is first run; and what giving memory back costs. A device's queue over
// the emulated backend: whatever fails, the capture ends, the error says what held the memory, the next step has the right bits, and nothing is lost.
#include <functional>
#include <string>
#include <vector>

#include "allocation_faults.h"
#include "world.h"

namespace anymal {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kSmall = 75'000, kLarge = 300'000, kTiny = 16;  // floats of a step

Switches emulator;
const Backend* real;

// The total after each of these steps, with all the memory there is.
std::vector<float> totals(const std::vector<size_t>& steps) {
  World w(*real, kLarge);
  std::vector<float> all;
  for (const size_t n : steps) {
    w.step(n);
    CHECK(w.error().empty());
    all.push_back(w.total);
  }
  return all;
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

struct Seen {
  bool buffers = false, scratch = false, graph = false, run = false;
};

// The n-th allocation of a capture and its first run fails, and all that follow. False: there were not so many.
bool fails_at(long n, bool warm, float want, Seen& seen) {
  const std::string at = "allocation " + std::to_string(n) + " of a capture: ";
  World w(*real, kLarge);
  if (warm) w.step(kSmall);  // it leaves scratch, and a buffer for the sum
  CHECK(w.error().empty());
  const float begin = w.total;
  emulator.fail_allocation(n);
  w.capture(kLarge);
  w.replay();
  const std::string error = w.error();
  emulator.fail_allocation(0);
  if (!error.empty()) {
    CHECK_SAY(error.starts_with("E_OUT_OF_MEMORY: ") && contains(error, " in use, ") && contains(error, " held in all"), at + error);
    const bool first_run = contains(error, "capture_replay: ");
    CHECK_SAY(contains(error, "run it without a capture") != first_run, at + error);
    seen.buffers |= contains(error, " MB more, ");
    seen.scratch |= contains(error, "sum: ") && contains(error, "needed more to compute in, ");
    seen.graph |= contains(error, "capture_end: ") && contains(error, "needed more for its graph, ");
    seen.run |= first_run && contains(error, "needed more for its graph, ");
    if (first_run) w.set(begin);  // nobody knows how far a run has come that failed
    else w.heal();
    CHECK_SAY(w.error().empty() && w.total == begin, at + w.error());
    w.step(kLarge);
  }
  CHECK_SAY(w.error().empty(), at + w.error());
  w.capture(kLarge);
  w.replay();
  w.replay();
  CHECK_SAY(w.error().empty() && w.total == want, at + w.error() + ", " + std::to_string(w.total) + " for " + std::to_string(want));
  return !error.empty();
}

// The buffers', the scratch's, the graph's when it is made and when it is first run. The next step runs without a capture, the two behind it in
// another.
void whatever_fails_the_next_steps_are_right() {
  const size_t before = emulator.allocations();
  Seen seen;
  for (const bool warm : {true, false}) {
    const float want = (warm ? totals({kSmall, kLarge, kLarge, kLarge}) : totals({kLarge, kLarge, kLarge})).back();
    long n = 1;
    while (n < 100 && fails_at(n, warm, want, seen)) {
      CHECK_SAY(emulator.allocations() == before, std::to_string(emulator.allocations() - before) + " allocations were not given back");
      ++n;
    }
    CHECK_SAY(n > 4, std::to_string(n - 1) + " allocations");
  }
  CHECK(seen.buffers && seen.scratch && seen.graph && seen.run);
  CHECK(emulator.allocations() == before);
}

// What is cached makes room, wherever in a capture it is found that there is none.
void cached_memory_makes_room() {
  const std::vector<float> large = totals({kLarge, kLarge, kLarge}), tiny = totals({kTiny, kTiny});
  const auto twice = [&](World& w, const std::string& of, float total) {
    w.replay();
    w.replay();
    const std::string error = w.error();
    emulator.leave_memory(0);
    CHECK_SAY(error.empty() && w.total == total, of + error + ", " + std::to_string(w.total) + " for " + std::to_string(total));
  };
  {
    World w(*real, kLarge);
    w.fill_cache(8, kMiB / 2);
    emulator.leave_memory(3 * kMiB / 2);  // for one of the two
    w.capture(kLarge);
    twice(w, "buffers: ", large[1]);
  }
  {
    World w(*real, kLarge);
    w.fill_cache(8, kMiB / 2);
    emulator.leave_memory(3 * 256);  // for the three buffers, none for scratch
    w.capture(kTiny);
    twice(w, "scratch: ", tiny[1]);
  }
  {
    World w(*real, kLarge);
    w.step(kLarge);  // the capture's buffers lie in the cache
    w.fill_cache(2, kMiB / 2);
    emulator.leave_memory(1);
    w.capture(kLarge);
    twice(w, "the graph: ", large[2]);
  }
  {
    World w(*real, kLarge);
    w.capture(kLarge);
    w.fill_cache(2, kMiB / 2);
    CHECK(w.error().empty());
    emulator.leave_memory(1);
    twice(w, "the graph's first run: ", large[1]);
  }
}

// Of a full cache no more is given back than is asked for, and one wait is enough.
void little_is_given_back() {
  World w(*real, kLarge);
  w.fill_cache(40, kMiB);
  const auto given_back = [&](size_t bytes) {
    size_t waits[2], frees[2];
    emulator.leave_memory(1);
    emulator.counts(&waits[0], &frees[0]);
    w.hold(bytes);
    emulator.counts(&waits[1], &frees[1]);
    emulator.leave_memory(0);
    CHECK_SAY(waits[1] - waits[0] == 1, std::to_string(waits[1] - waits[0]) + " waits");
    CHECK(w.error().empty());
    return frees[1] - frees[0];
  };
  const size_t few = given_back(5 * kMiB / 2), many = given_back(20 * kMiB);
  CHECK_SAY(few == 3, std::to_string(few) + " buffers were given back for two and a half");
  CHECK_SAY(many == 20, std::to_string(many) + " buffers were given back for twenty");
}

// Whatever found memory by giving buffers back, and waited for that, is itself waited for before the next are given back.
void what_was_asked_for_since_is_waited_for() {
  const auto check = [](World& w, const std::string& what, size_t by_it, const std::function<void()>& work) {
    size_t waits[3], frees[3];
    emulator.counts(&waits[0], &frees[0]);
    work();
    emulator.counts(&waits[1], &frees[1]);
    w.hold(kMiB);
    emulator.counts(&waits[2], &frees[2]);
    emulator.leave_memory(0);
    CHECK_SAY(w.error().empty(), what);
    CHECK_SAY(frees[1] - frees[0] == by_it && waits[1] > waits[0], what + ": " + std::to_string(frees[1] - frees[0]) + " buffers");
    CHECK_SAY(frees[2] > frees[1] && waits[2] - waits[1] == 1, what + ": " + std::to_string(waits[2] - waits[1]) + " waits behind it");
  };
  {
    World w(*real, kLarge);
    w.fill_cache(2, kMiB / 2);
    check(w, "an op", 2, [&] { w.sum(kMiB / 4, [] { emulator.leave_memory(256); }); });  // for the sum, none for scratch
  }
  {
    World w(*real, kLarge);
    w.fill_cache(2, kMiB / 2);
    emulator.leave_memory(1);
    check(w, "a copy", 2, [&] { w.write(7 * kMiB / 8); });
  }
  {
    World w(*real, kLarge);
    w.capture(kLarge);
    w.fill_cache(2, kMiB / 2);
    StorageRef kept = w.keep(3 * kMiB / 4);
    emulator.leave_memory(1);
    check(w, "a replay", 2, [&] {
      w.replay();
      w.let_go(kept);
    });
  }
}

}  // namespace

void check_capture_faults(const Backend& backend, const Switches& switches) {
  real = &backend;
  emulator = switches;
  whatever_fails_the_next_steps_are_right();
  cached_memory_makes_room();
  little_is_given_back();
  what_was_asked_for_since_is_waited_for();
}

}  // namespace anymal
