// The CPU backend's tables, one per dispatch level, filled from native/ops.def; and its device entries.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "cpu/peak.h"
#include "cpu/stream.h"
#include "cpu/threads.h"
#include "loader.h"

#define ANYMAL_LEVEL generic
#include "cpu/level_table.inc"
#undef ANYMAL_LEVEL
#if defined(__x86_64__)
#define ANYMAL_LEVEL avx2
#include "cpu/level_table.inc"
#undef ANYMAL_LEVEL
#define ANYMAL_LEVEL avx512
#include "cpu/level_table.inc"
#undef ANYMAL_LEVEL
#endif

namespace anymal {
namespace cpu {
namespace {

constexpr int kLevels = 5;

std::string level_list() {
  std::string text;
  for (int l = 0; l <= static_cast<int>(level_detected()); ++l) text += (l ? ", " : "") + std::string(level_name(static_cast<Level>(l)));
  return text;
}

Level level_named(const std::string& name) {
  if (name.empty()) return level_detected();
  for (int l = 0; l <= static_cast<int>(level_detected()); ++l)
    if (name == level_name(static_cast<Level>(l))) return static_cast<Level>(l);
  throw std::runtime_error("device \"cpu\": expected a level this machine has (" + level_list() + "), got \"" + name +
                           "\"; leave it out for the highest");
}

int threads_named(const std::string& text) {
  char* end;
  const long n = std::strtol(text.c_str(), &end, 10);
  if (*end || n < 1 || n > 1024) throw std::runtime_error("device \"cpu\": expected threads between 1 and 1024, got \"" + text + "\"");
  return static_cast<int>(n);
}

Stream* stream_create(const char* options) {
  const std::string asked = option_value(options, "threads");
  const DefaultThreads usual = asked.empty() ? default_threads(allowed_cpus()) : DefaultThreads{threads_named(asked), ""};
  Stream* stream = new Stream(usual.count, level_named(option_value(options, "level")));
  if (!usual.why.empty()) stream->description += " (" + usual.why + ")";
  return stream;
}
void stream_destroy(Stream* s) { delete s; }
void account_scratch(Stream& s, ScratchAccount* account) { s.account_scratch(account); }
void synchronize(Stream&) {}  // ops are complete when they return
void region(Stream& s, bool more) { s.pool.region(more); }
const char* describe(Stream& s) { return s.description.c_str(); }
// What fills pages of 2 MiB lies on such pages where the system has them: weights that stream from memory come a quarter faster without a
// translation for each 4 KiB.
void* allocate(Stream&, size_t bytes) {
  constexpr size_t huge = size_t{2} << 20;
  const size_t alignment = bytes >= huge ? huge : 64;
  void* data = std::aligned_alloc(alignment, (bytes + 63) / 64 * 64);
  if (!data) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (bytes >= huge) madvise(data, bytes / huge * huge, MADV_HUGEPAGE);  // a wish: where it fails, all works as before
#endif
  return data;
}
void release(Stream&, void* data) { std::free(data); }
void copy_bytes(Stream&, void* to, const void* from, size_t bytes) {
  if (bytes) std::memcpy(to, from, bytes);
}

Backend make_table(Level level) {
  Backend b{};
  b.version = kBackendVersion;
  b.name = "cpu";
  b.stream_create = stream_create;
  b.stream_destroy = stream_destroy;
  b.account_scratch = account_scratch;
  b.synchronize = synchronize;
  b.region = region;
  b.describe = describe;
  b.allocate = allocate;
  b.release = release;
  b.copy_from_host = copy_bytes;
  b.copy_to_host = copy_bytes;
  b.measure_peak = measure_peak;
#if defined(__x86_64__)
  if (level >= Level::avx512)
    avx512::put_ops(b);  // avx512_bf16 and amx differ in matrix products only, and amx in their weights' layout (Stream::kernels)
  else if (level == Level::avx2) avx2::put_ops(b);
  else generic::put_ops(b);
  if (level == Level::amx) b.packed_bytes = avx512::packed_bytes_by_rows;  // Kernels::coded
#else
  (void)level;
  generic::put_ops(b);
#endif
  return b;
}

}  // namespace
}  // namespace cpu

const Backend* anymal_backend_cpu(const char* level_or_null) {
  const cpu::Level level = cpu::level_named(level_or_null ? level_or_null : "");
  static const Backend tables[cpu::kLevels] = {cpu::make_table(cpu::Level::generic), cpu::make_table(cpu::Level::avx2),
                                               cpu::make_table(cpu::Level::avx512), cpu::make_table(cpu::Level::avx512_bf16),
                                               cpu::make_table(cpu::Level::amx)};
  return &tables[static_cast<int>(level)];
}

}  // namespace anymal
