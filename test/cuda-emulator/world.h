// A device's queue over a backend, and steps of a few ops: for tests of what happens around ops.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "queue.h"

namespace anymal {

// One op of the table on whole buffers: `call` gets their addresses, in the order of `storages`.
struct Op final : Command {
  using Body = std::function<void(const Backend&, Stream&, void* const*)>;
  Op(const char* op, std::vector<StorageRef> storages, size_t outs, size_t writes, Body b) : Command(op), body(std::move(b)) {
    refs = std::move(storages);
    outputs = outs;
    written = writes;
  }
  void bind() override {
    at.clear();
    for (const StorageRef& s : refs) at.push_back(s->data);
  }
  void run(Device& d) override { body(d.backend(), d.stream(), at.data()); }
  std::vector<void*> at;
  Body body;
};

struct Read final : Command {
  Read(StorageRef s, float* v, std::string* e) : Command("read"), value(v), error(e) { refs.push_back(std::move(s)); }
  void run(Device& d) override { d.backend().copy_to_host(d.stream(), value, refs[0]->data, sizeof *value); }
  bool settle(const FailureRef& f) override {
    *error = f ? f->code + ": " + f->message : "";
    return true;
  }
  bool recordable() const override { return false; }
  bool waits() const override { return true; }
  float* value;
  std::string* error;
};

inline View floats(void* data, size_t n) {
  View v;
  v.data = data;
  v.rank = 1;
  v.shape[0] = static_cast<int64_t>(n);
  return v;
}

// A device with a number that each step adds to, by buffers of its own and an op that works in scratch.
class World {
 public:
  World(const Backend& backend, size_t most) : device_(backend, ""), x_(storage(4 * most)), total_(storage(4)) {
    push("fill", {x_}, 1, 1, [most](const Backend& b, Stream& s, void* const* at) { b.fill(s, InOut{floats(at[0], most)}, 0.1); });
    set(0);
  }
  ~World() {
    for (const std::shared_ptr<Recording>& r : captures_) device_.capture_close(r);
    drop(x_, total_);
    device_.wait_idle();
    CHECK(device_.memory().stats().in_use == 0);
  }

  // total += sum((x + x) + x) of the first n.
  void step(size_t n) {
    StorageRef twice = storage(4 * n), thrice = storage(4 * n), sum = storage(4);
    const auto add = [n](const Backend& b, Stream& s, void* const* at) {
      b.add(s, Out{floats(at[0], n)}, In{floats(at[1], n)}, In{floats(at[2], n)});
    };
    push("add", {twice, x_, x_}, 1, 1, add);
    push("add", {thrice, twice, x_}, 1, 1, add);
    push("sum", {sum, thrice}, 1, 1, [n](const Backend& b, Stream& s, void* const* at) { b.sum(s, Out{floats(at[0], 1)}, In{floats(at[1], n)}, 1); });
    push("accumulate", {total_, sum}, 0, 1,
         [](const Backend& b, Stream& s, void* const* at) { b.accumulate(s, InOut{floats(at[0], 1)}, In{floats(at[1], 1)}, 1); });
    drop(twice, thrice, sum);
  }
  void capture(size_t n) {
    captures_.push_back(std::make_shared<Recording>());
    device_.capture_begin(captures_.back());
    step(n);
    device_.capture_end();
  }
  void replay() {
    device_.capture_replay(captures_.back());
    device_.wait_idle();
  }

  // Buffers that are free by then.
  void fill_cache(size_t count, size_t bytes) {
    std::vector<StorageRef> all;
    for (size_t i = 0; i < count; ++i) all.push_back(keep(bytes));
    device_.drop(std::move(all));
    device_.wait_idle();
  }
  StorageRef keep(size_t bytes) {
    StorageRef kept = storage(bytes);
    push("fill", {kept}, 1, 1, [](const Backend& b, Stream& s, void* const* at) { b.fill(s, InOut{floats(at[0], 1)}, 0); });
    device_.wait_idle();
    return kept;
  }
  void let_go(StorageRef& kept) {
    drop(kept);
    device_.wait_idle();
  }
  void hold(size_t bytes) {
    StorageRef kept = keep(bytes);
    let_go(kept);
  }

  // What reads or writes so many bytes in one way or another, and lets go of them: an op that works in scratch, a copy from the host.
  void sum(size_t bytes, const std::function<void()>& before_sum) {
    StorageRef all = storage(bytes), sum = storage(4);
    const size_t n = bytes / 4;
    push("fill", {all}, 1, 1, [n](const Backend& b, Stream& s, void* const* at) { b.fill(s, InOut{floats(at[0], n)}, 1); });
    device_.wait_idle();
    before_sum();
    push("sum", {sum, all}, 1, 1, [n](const Backend& b, Stream& s, void* const* at) { b.sum(s, Out{floats(at[0], 1)}, In{floats(at[1], n)}, 1); });
    drop(all, sum);
    device_.wait_idle();
  }
  void write(size_t bytes) {
    StorageRef written = storage(bytes);
    push("write", {written}, 1, 1,
         [bytes](const Backend& b, Stream& s, void* const* at) { b.copy_from_host(s, at[0], std::string(bytes, 'x').data(), bytes); });
    drop(written);
    device_.wait_idle();
  }

  // Waits for all that was asked for. What went wrong; empty: nothing.
  std::string error() {
    float value = 0;
    std::string said;
    device_.push(std::make_unique<Read>(total_, &value, &said));
    device_.wait_idle();
    total = value;
    return said;
  }
  void heal() { device_.heal(total_); }
  void set(float value) {
    push("fill", {total_}, 1, 1, [value](const Backend& b, Stream& s, void* const* at) { b.fill(s, InOut{floats(at[0], 1)}, value); });
  }

  float total = 0;  // as of the last error()

 private:
  template <class... S>
  void drop(S&... storages) {
    std::vector<StorageRef> all;
    (all.push_back(std::move(storages)), ...);
    device_.drop(std::move(all));
  }
  StorageRef storage(size_t bytes) { return std::make_shared<Storage>(device_, bytes); }
  void push(const char* name, std::vector<StorageRef> storages, size_t outputs, size_t written, Op::Body body) {
    device_.push(std::make_unique<Op>(name, std::move(storages), outputs, written, std::move(body)));
  }

  Device device_;
  StorageRef x_, total_;
  std::vector<std::shared_ptr<Recording>> captures_;
};

}  // namespace anymal
