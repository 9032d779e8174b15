// Queue, allocator, handle table, capture and error slot, on a backend made here that counts, fails and runs out on demand.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "mapped_file.h"
#include "queue.h"
#include "tensor.h"

namespace anymal {
struct Stream {
  std::atomic<int> system_allocations{0}, live{0};
  std::atomic<size_t> limit{SIZE_MAX}, held{0};
};
}  // namespace anymal

using namespace anymal;

namespace {

Backend counting_backend() {
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
const Backend backend = counting_backend();

// out = in + by (one float each); `in` may be null, then out = by.
struct AddOne final : Command {
  AddOne(StorageRef out_, StorageRef in_, float by_) : Command("add_one"), out(out_.get()), in(in_.get()), by(by_) {
    refs.push_back(std::move(out_));
    if (in_) refs.push_back(std::move(in_));
    outputs = 1;
  }
  void bind() override {
    to = static_cast<float*>(out->data);
    from = in ? static_cast<const float*>(in->data) : nullptr;
  }
  void run(Device&) override {
    if (by < 0) throw std::runtime_error("negative");
    *to = (from ? *from : 0.0f) + by;
  }
  std::string shapes() const override { return "f32 (1)"; }
  Storage *out, *in;
  float* to = nullptr;
  const float* from = nullptr;
  float by;
};

struct Read final : Command {
  Read(StorageRef s, std::atomic<float>* v, std::string* e) : Command("read"), value(v), error(e) { refs.push_back(std::move(s)); }
  void run(Device&) override { value->store(*static_cast<float*>(refs[0]->data)); }
  bool settle(const FailureRef& f) override {
    *error = f->code + ": " + f->message;
    return true;
  }
  bool recordable() const override { return false; }
  std::atomic<float>* value;
  std::string* error;
};

StorageRef storage(Device& d, size_t bytes = 4) { return std::make_shared<Storage>(d, bytes); }
void add(Device& d, const StorageRef& out, const StorageRef& in, float by) { d.push(std::make_unique<AddOne>(out, in, by)); }

struct Got {
  float value;
  std::string error;
};
Got read(Device& d, const StorageRef& s) {
  std::atomic<float> value{-1};
  std::string error;
  d.push(std::make_unique<Read>(s, &value, &error));
  d.wait_idle();
  return {value.load(), error};
}
void drop(Device& d, StorageRef& s) {
  std::vector<StorageRef> one;
  one.push_back(std::move(s));
  d.drop(std::move(one));
}

void runs_in_order_and_gives_memory_back() {
  Device d(backend, "");
  const int steps = 20000;  // more than kMaxPending: back-pressure blocks the caller and lets it go on
  StorageRef x = storage(d);
  add(d, x, nullptr, 0);
  for (int i = 0; i < steps; ++i) {
    StorageRef y = storage(d);
    add(d, y, x, 1);
    drop(d, x);
    x = std::move(y);
    CHECK(d.pending() <= Device::kMaxPending + 1);
  }
  CHECK(read(d, x).value == static_cast<float>(steps));
  CHECK(d.stream().system_allocations <= 3);  // the steady state allocates nothing
  drop(d, x);
  d.wait_idle();
  CHECK(d.memory().stats().in_use == 0);
  CHECK(d.memory().stats().peak > 0);
}

void an_error_skips_what_follows_and_is_told_once() {
  Device d(backend, "");
  StorageRef a = storage(d), b = storage(d), c = storage(d), other = storage(d);
  add(d, other, nullptr, 7);
  add(d, a, nullptr, -1);  // throws
  add(d, b, a, 1);         // skipped
  const Got first = read(d, b);
  CHECK_SAY(first.error == "E_DEVICE_FAILED: add_one on f32 (1): negative (counting device)", first.error);
  const Got again = read(d, b);
  CHECK(again.error == first.error);  // b was never computed, and says why
  add(d, c, b, 1);                    // computed from it: the same
  CHECK(read(d, c).error == first.error);
  CHECK(read(d, other).value == 7);  // the queue works again
  add(d, a, nullptr, 3);             // a fresh command may write the same buffer
  for (StorageRef* s : {&a, &b, &c, &other}) drop(d, *s);
  d.wait_idle();
  CHECK(d.memory().stats().in_use == 0);
}

void out_of_memory_is_an_error_with_figures() {
  Device d(backend, "");
  d.stream().limit = 1 << 20;
  StorageRef small = storage(d, 300 << 10), big = storage(d, 2 << 20), fits = storage(d, 900 << 10);
  add(d, small, nullptr, 1);
  add(d, big, nullptr, 1);
  const Got got = read(d, big);
  CHECK_SAY(got.error.starts_with("E_OUT_OF_MEMORY: add_one on f32 (1): out of memory on counting device: needed 2.1 MB more, 0.3 MB in use"),
            got.error);
  drop(d, small);
  add(d, fits, nullptr, 5);  // fits only when the cache of freed buffers is given back first
  CHECK(read(d, fits).value == 5);
  drop(d, big);
  drop(d, fits);
}

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

void closing_settles_what_waits() {
  std::string error;
  std::atomic<float> value{0};
  {
    Device d(backend, "");
    StorageRef x = storage(d);
    struct Slow final : Command {
      Slow() : Command("slow") {}
      void run(Device&) override { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }
    };
    d.push(std::make_unique<Slow>());
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    d.push(std::make_unique<Read>(std::move(x), &value, &error));
  }
  CHECK_SAY(error.starts_with("E_CLOSED"), error);
  bool refused = false;
  try {
    Device d(backend, "refuse");
  } catch (const std::runtime_error& e) {
    refused = std::string(e.what()) == "no such device";
  }
  CHECK(refused);
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

std::string code_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code;
  }
  return "";
}

void handles_know_when_they_are_stale() {
  HandleTable table;
  Device d(backend, "");
  const auto make = [&] { return table.add({storage(d), Spec(DType::f32, {1}), 0}); };
  const auto a = make();
  table.remove(a, "test");
  const auto b = make();  // the same slot, another generation
  CHECK((a & 0xffffffff) == (b & 0xffffffff) && a != b);
  CHECK(code_of([&] { table.at(a, "test"); }) == "E_DISPOSED");
  CHECK(code_of([&] { table.remove(a, "test"); }) == "E_DISPOSED");
  CHECK(code_of([&] { table.at(b, "test"); }) == "");
  for (int64_t wrong : {int64_t{0}, int64_t{-1}, int64_t{12345} << 32, b + 1, int64_t{1} << 52})
    CHECK(code_of([&] { table.at(wrong, "test"); }) == "E_ARGUMENT");
  CHECK(table.alive() == 1);
  CHECK(table.remove_all(&d).size() == 1 && table.alive() == 0);
}

void size_classes_waste_little() {
  for (size_t n :
       {size_t{1}, size_t{256}, size_t{257}, size_t{1000}, size_t{4096}, size_t{5000}, size_t{1} << 20, (size_t{1} << 20) + 1, size_t{123456789}}) {
    const size_t c = Memory::size_class(n);
    CHECK(c >= n && (c <= 256 || c <= n + n / 8 + 64));
    CHECK(Memory::size_class(c) == c);
  }
}

void files_are_read_within_bounds() {
  char path[] = "anymal_mapped_XXXXXX";
  const int descriptor = mkstemp(path);
  CHECK(descriptor >= 0);
  FILE* f = fdopen(descriptor, "wb");
  std::fputs("0123456789", f);
  std::fclose(f);
  {
    MappedFile file(path);
    char got[4] = {};
    file.read(3, 3, got);
    CHECK(std::string(got) == "345");
    CHECK(file.size() == 10);
    CHECK(code_of([&] { file.at(8, 3); }) == "E_FILE");
    CHECK(code_of([&] { file.at(UINT64_MAX, 2); }) == "E_FILE");
    CHECK(truncate(path, 4) == 0);
    CHECK(code_of([&] { file.read(3, 3, got); }) == "E_FILE");  // cut behind our back: an error, not SIGBUS
  }
  std::remove(path);
  CHECK(code_of([&] { MappedFile gone(path); }) == "E_FILE");
  CHECK(code_of([&] { MappedFile folder("."); }) == "E_FILE");
}

// Every one of the 65536, against scalbn of its parts.
void half_precision_is_widened_exactly() {
  char path[] = "anymal_half_XXXXXX";
  const int descriptor = mkstemp(path);
  CHECK(descriptor >= 0);
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  FILE* f = fdopen(descriptor, "wb");
  std::fwrite(all.data(), 2, all.size(), f);
  std::fclose(f);
  MappedFile file(path);
  std::vector<float> wide(all.size());
  std::vector<uint16_t> narrow(all.size());
  file.read_half(0, all.size(), DType::f32, wide.data());
  file.read_half(0, all.size(), DType::bf16, narrow.data());
  for (uint32_t i = 0; i < all.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    float want = exponent ? std::ldexp(static_cast<float>(1024 + fraction), exponent - 25) : std::ldexp(static_cast<float>(fraction), -24);
    if (exponent == 31) want = fraction ? NAN : INFINITY;
    if (i >> 15) want = -want;
    CHECK(std::isnan(want) ? std::isnan(wide[i]) : std::memcmp(&wide[i], &want, 4) == 0);
    uint32_t back = static_cast<uint32_t>(narrow[i]) << 16;
    float rounded;
    std::memcpy(&rounded, &back, 4);
    CHECK(std::isnan(want) ? std::isnan(rounded) : rounded == want || std::fabs(rounded - want) <= std::ldexp(std::fabs(want), -8));
  }
  CHECK(code_of([&] { file.read_half(2, all.size(), DType::f32, wide.data()); }) == "E_FILE");
  CHECK(code_of([&] { file.read_half(0, UINT64_MAX / 2 + 2, DType::f32, wide.data()); }) == "E_FILE");
  std::remove(path);
}

}  // namespace

int main() {
  runs_in_order_and_gives_memory_back();
  an_error_skips_what_follows_and_is_told_once();
  out_of_memory_is_an_error_with_figures();
  a_capture_replays_with_buffers_of_its_own();
  closing_settles_what_waits();
  two_threads_with_a_device_each();
  handles_know_when_they_are_stale();
  size_classes_waste_little();
  files_are_read_within_bounds();
  half_precision_is_widened_exactly();
  return check::finish();
}
