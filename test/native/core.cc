// The allocator and its limit, the handle table, files.
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "counting_backend.h"
#include "mapped_file.h"

using namespace counting;

namespace {

std::string code_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code;
  }
  return "";
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
  CHECK(told(d.run_to_idle()).empty());
  drop(d, small);
  add(d, fits, nullptr, 5);  // fits only when the cache of freed buffers is given back first
  CHECK(read(d, fits).value == 5);
  drop(d, big);
  drop(d, fits);
}

// Where the system refuses, and at a limit: two of twenty cached buffers go for one that is nearly twice as large, not all of them.
void little_of_the_cache_is_given_back() {
  for (const std::string options : {"", "memoryLimit=2200000"}) {
    Device d(backend, options);
    std::vector<StorageRef> cached;
    for (int i = 0; i < 20; ++i) add(d, cached.emplace_back(storage(d, 100 << 10)), nullptr, 1);
    d.drop(std::move(cached));
    d.wait_idle();
    CHECK(d.stream().live == 20);
    if (options.empty()) d.stream().limit = d.stream().held + 1000;
    StorageRef large = storage(d, 190 << 10);
    add(d, large, nullptr, 3);
    CHECK(read(d, large).value == 3);
    CHECK_SAY(d.stream().live == 19, options + ": " + std::to_string(d.stream().live) + " buffers are held");
    StorageRef vast = storage(d, 3 << 20);
    add(d, vast, nullptr, 3);
    CHECK(read(d, vast).error.starts_with("E_OUT_OF_MEMORY"));
    if (!options.empty()) CHECK_SAY(d.stream().live == 19, "below a limit that leaves no room " + std::to_string(d.stream().live) + " are held");
    drop(d, vast);
    drop(d, large);
  }
}

// Answers of changing sizes: what a capture took is used by the next, and one size's buffers do not stay behind for ever.
void reserved_memory_is_flat() {
  Device d(backend, "");
  const auto answer = [&](size_t bytes) {
    StorageRef x = storage(d, bytes);
    add(d, x, nullptr, 1);
    auto recording = std::make_shared<Recording>();
    d.capture_begin(recording);
    std::vector<StorageRef> inside;
    for (int i = 0; i < 8; ++i) {
      inside.push_back(storage(d, bytes + bytes / 8 * static_cast<size_t>(i)));
      add(d, inside.back(), x, 1);
    }
    d.capture_end();
    d.capture_replay(recording);
    CHECK(read(d, inside.back()).value == 2);
    d.capture_close(recording);
    for (StorageRef& s : inside) drop(d, s);
    drop(d, x);
    d.wait_idle();
  };
  for (int i = 0; i < 20; ++i) answer(50000);
  const int64_t same = d.memory().stats().reserved;
  for (int i = 0; i < 200; ++i) answer(50000);
  CHECK(d.memory().stats().reserved == same);
  // 16 MB to 160 MB at a time, in all sizes between: never more than a quarter beside the most that was in use.
  uint64_t draw = 1;
  for (int i = 0; i < 200; ++i) {
    draw = draw * 6364136223846793005u + 1442695040888963407u;
    answer((size_t{1} << 20) * (1 + (draw >> 33) % 10) + (draw >> 40) % 4096);
    const MemoryStats m = d.memory().stats();
    CHECK_SAY(m.reserved <= m.peak + std::max<int64_t>(m.peak / 4, int64_t{64} << 20), std::to_string(m.reserved) + " for " + std::to_string(m.peak));
  }
  CHECK(d.memory().stats().in_use == 0);
}

// Scratch counts, and a limit holds for all together.
void a_memory_limit_is_held() {
  Device d(backend, "memoryLimit=1000000");
  StorageRef a = storage(d, 600000), b = storage(d, 600000);
  add(d, a, nullptr, 1);
  add(d, b, nullptr, 1);
  CHECK_SAY(read(d, b).error.starts_with("E_OUT_OF_MEMORY: add_one on f32 (1): out of memory on counting device: needed 0.6 MB more, 0.7 MB in use, "
                                         "0.0 MB to compute in, 0.7 MB held in all of a memoryLimit of 1.0 MB"),
            read(d, b).error);
  CHECK(read(d, a).value == 1);
  struct Scratchy final : Command {
    explicit Scratchy(size_t n) : Command("scratchy"), bytes(n) {}
    void run(Device& d) override { d.stream().account->take(bytes); }
    size_t bytes;
  };
  d.push(std::make_unique<Scratchy>(500000));
  const std::string error = told(d.run_to_idle());
  CHECK_SAY(error.starts_with("E_OUT_OF_MEMORY: scratchy: out of memory on counting device: needed more to compute in, 0.7 MB in use"), error);
  drop(d, a);                                  // cached now
  d.push(std::make_unique<Scratchy>(900000));  // and given back for this
  CHECK(told(d.run_to_idle()).empty());
  const MemoryStats m = d.memory().stats();
  CHECK(m.scratch == 900000 && m.reserved == 900000 && m.peak >= 900000 && m.limit == 1000000);
  bool refused = false;
  try {
    Device wrong(backend, "memoryLimit=12x");
  } catch (const std::runtime_error& e) {
    refused = std::string(e.what()).find("memoryLimit in bytes") != std::string::npos;
  }
  CHECK(refused);
  drop(d, b);
}

// After an illegal access every call of the device fails, giving memory back too; that must not end the process.
void a_device_that_failed_for_good_is_closed() {
  Backend b = counting_backend();
  b.release = [](Stream& s, void* p) {
    counting_backend().release(s, p);
    throw std::runtime_error("waiting for the card: an illegal memory access was encountered");
  };
  Device d(b, "");
  StorageRef a = storage(d);
  add(d, a, nullptr, 1);
  drop(d, a);
  d.wait_idle();
}

void size_classes_waste_little() {
  for (size_t n :
       {size_t{1}, size_t{256}, size_t{257}, size_t{1000}, size_t{4096}, size_t{5000}, size_t{1} << 20, (size_t{1} << 20) + 1, size_t{123456789}}) {
    const size_t c = Memory::size_class(n);
    CHECK(c >= n && (c <= 256 || c <= n + n / 8 + 64));
    CHECK(Memory::size_class(c) == c);
  }
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
  int wrong = 0;
  for (uint32_t i = 0; i < all.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    float want = exponent ? std::ldexp(static_cast<float>(1024 + fraction), exponent - 25) : std::ldexp(static_cast<float>(fraction), -24);
    if (exponent == 31) want = fraction ? NAN : INFINITY;
    if (i >> 15) want = -want;
    wrong += !(std::isnan(want) ? std::isnan(wide[i]) : std::memcmp(&wide[i], &want, 4) == 0);
    uint32_t back = static_cast<uint32_t>(narrow[i]) << 16;
    float rounded;
    std::memcpy(&rounded, &back, 4);
    wrong += !(std::isnan(want) ? std::isnan(rounded) : rounded == want || std::fabs(rounded - want) <= std::ldexp(std::fabs(want), -8));
  }
  CHECK_SAY(wrong == 0, std::to_string(wrong) + " of 65536");
  CHECK(code_of([&] { file.read_half(2, all.size(), DType::f32, wide.data()); }) == "E_FILE");
  CHECK(code_of([&] { file.read_half(0, UINT64_MAX / 2 + 2, DType::f32, wide.data()); }) == "E_FILE");
  std::remove(path);
}

}  // namespace

int main() {
  out_of_memory_is_an_error_with_figures();
  little_of_the_cache_is_given_back();
  reserved_memory_is_flat();
  a_memory_limit_is_held();
  a_device_that_failed_for_good_is_closed();
  size_classes_waste_little();
  handles_know_when_they_are_stale();
  files_are_read_within_bounds();
  half_precision_is_widened_exactly();
  return check::finish();
}
