// A backend made here that counts, fails and runs out on demand, and commands of one number each.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "queue.h"
#include "tensor.h"

namespace anymal {
struct Stream {
  std::atomic<int> system_allocations{0}, live{0};
  std::atomic<size_t> limit{SIZE_MAX}, held{0};
  ScratchAccount* account = nullptr;
  // The backend with graphs, which finds bad values late.
  bool begin_fails = false, end_fails = false;
  int64_t issued = 0;
  DeferredFault faults[64];
  int64_t fault_count = 0;
  std::vector<std::function<void()>>* graph = nullptr;
};  // nothing that needs a destructor: the CPU backend's Stream, linked in here too, has the same name
}  // namespace anymal

namespace counting {
using namespace anymal;

inline Backend counting_backend() {
  Backend b{};
  b.version = kBackendVersion;
  b.name = "counting";
  b.stream_create = [](const char* options) -> Stream* {
    if (std::string(options) == "refuse") throw std::runtime_error("no such device");
    return new Stream;
  };
  b.stream_destroy = [](Stream* s) {
    CHECK(s->live == 0);  // every buffer came back before the stream goes
    delete s;
  };
  b.account_scratch = [](Stream& s, ScratchAccount* account) { s.account = account; };
  b.synchronize = [](Stream&) {};
  b.describe = [](Stream&) { return "counting device"; };
  b.allocate = [](Stream& s, size_t n) -> void* {
    if (s.held + n > s.limit) throw std::bad_alloc();
    s.held += n;
    ++s.system_allocations;
    ++s.live;
    auto* p = static_cast<size_t*>(std::malloc(n + 64));
    *p = n;
    return p + 8;
  };
  b.release = [](Stream& s, void* p) {
    size_t* base = static_cast<size_t*>(p) - 8;
    s.held -= *base;
    --s.live;
    std::free(base);
  };
  b.copy_from_host = [](Stream&, void* d, const void* s, size_t n) { std::memcpy(d, s, n); };
  b.copy_to_host = [](Stream&, void* d, const void* s, size_t n) { std::memcpy(d, s, n); };
  return b;
}
inline const Backend backend = counting_backend();

using Graph = std::vector<std::function<void()>>;
// Graphs of its own, and values below zero are found only when somebody waits.
inline Backend late_backend() {
  Backend b = counting_backend();
  b.issue = [](Stream& s, int64_t command) { s.issued = command; };
  b.faults = [](Stream& s, DeferredFault* to, int64_t most) {
    const int64_t n = std::min(most, std::exchange(s.fault_count, 0));
    std::copy(s.faults, s.faults + n, to);
    return n;
  };
  b.capture_begin = [](Stream& s) {
    if (s.begin_fails) throw std::runtime_error("no capture today");
    s.graph = new Graph;
  };
  b.capture_end = [](Stream& s) -> void* {
    Graph* graph = std::exchange(s.graph, nullptr);
    if (!s.end_fails) return graph;
    delete graph;
    throw std::runtime_error("operation failed due to a previous error during capture");
  };
  b.capture_replay = [](Stream&, void* graph) {
    for (auto& f : *static_cast<Graph*>(graph)) f();
  };
  b.capture_destroy = [](Stream&, void* graph) { delete static_cast<Graph*>(graph); };
  return b;
}
inline const Backend late = late_backend();

// out = in + by (one float each); `in` may be null, then out = by.
struct AddOne final : Command {
  AddOne(StorageRef out_, StorageRef in_, float by_) : Command("add_one"), out(out_.get()), in(in_.get()), by(by_) {
    refs.push_back(std::move(out_));
    if (in_) refs.push_back(std::move(in_));
    outputs = written = 1;
  }
  void bind() override {
    to = static_cast<float*>(out->data);
    from = in ? static_cast<const float*>(in->data) : nullptr;
  }
  void run(Device& d) override {
    if (by < 0 && !d.backend().faults) throw std::runtime_error("negative");
    const auto work = [to = to, from = from, by = by, s = &d.stream(), command = d.stream().issued] {
      if (by < 0) s->faults[s->fault_count++] = {command, "by -1 is outside [0, inf)"};
      *to = (from ? *from : 0.0f) + by;
    };
    if (d.stream().graph) d.stream().graph->push_back(work);
    else work();
  }
  std::string shapes() const override { return "f32 (1)"; }
  Storage *out, *in;
  float* to = nullptr;
  const float* from = nullptr;
  float by;
};

// y += 1, in place.
struct Increment final : Command {
  explicit Increment(StorageRef y, StorageRef in = nullptr) : Command("increment") {
    refs.push_back(std::move(y));
    if (in) refs.push_back(std::move(in));
    written = 1;
    where = refs[0].get();
  }
  void bind() override { to = static_cast<float*>(where->data); }
  void run(Device& d) override {
    const auto work = [to = to] { *to += 1; };
    if (d.stream().graph) d.stream().graph->push_back(work);
    else work();
  }
  Storage* where;
  float* to = nullptr;
};

struct Read final : Command {
  Read(StorageRef s, std::atomic<float>* v, std::string* e) : Command("read"), value(v), error(e) { refs.push_back(std::move(s)); }
  void run(Device&) override { value->store(*static_cast<float*>(refs[0]->data)); }
  bool settle(const FailureRef& f) override {
    *error = f ? f->code + ": " + f->message : "";
    return true;
  }
  bool recordable() const override { return false; }
  bool waits() const override { return true; }
  std::atomic<float>* value;
  std::string* error;
};

inline StorageRef storage(Device& d, size_t bytes = 4) { return std::make_shared<Storage>(d, bytes); }
inline void add(Device& d, const StorageRef& out, const StorageRef& in, float by) { d.push(std::make_unique<AddOne>(out, in, by)); }

struct Got {
  float value;
  std::string error;
};
inline Got read(Device& d, const StorageRef& s) {
  std::atomic<float> value{-1};
  std::string error;
  d.push(std::make_unique<Read>(s, &value, &error));
  d.wait_idle();
  return {value.load(), error};
}
inline void drop(Device& d, StorageRef& s) {
  std::vector<StorageRef> one;
  one.push_back(std::move(s));
  d.drop(std::move(one));
}

inline void increment(Device& d, const StorageRef& y, const StorageRef& in = nullptr) { d.push(std::make_unique<Increment>(y, in)); }
inline std::string told(const FailureRef& failure) { return failure ? failure->code + ": " + failure->message : ""; }
inline void drop_all(Device& d, std::initializer_list<StorageRef*> all) {
  for (StorageRef* s : all) drop(d, *s);
  d.wait_idle();
  CHECK(d.memory().stats().in_use == 0);
}

inline const std::string kNegative = "E_DEVICE_FAILED: add_one on f32 (1): negative (counting device)";

}  // namespace counting
