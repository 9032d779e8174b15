// Every op of a backend module (the CUDA sources, emulated or on a card) against plain loops on the same cases: numbers within what these lose,
// outputs written whole, nothing written beside them, the same bits when run again, data that is not aligned.
//   backend_ops MODULE [--op TEXT] [--ops NAME,NAME...] [--seed N] [--processors N] [--many-rows] [--list]
//   backend_ops MODULE --faults | --peaks
// --op takes every op whose name contains the text, --ops those of exactly these names. --processors: with the kernels that a card with so many
// multiprocessors would choose. --many-rows: products of many rows alone, which a Hopper card makes by wgmma where ANYMAL_CUDA_WGMMA=1 asks for it.
// --faults: with memory that runs out and a card that fails, in the emulator. --peaks: what is measured of the card, and no op.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "allocation_faults.h"
#include "check.h"
#include "op_cases/cases.h"

using namespace anymal;
using namespace anymal::op_cases;

namespace {

struct Options {
  const char* module = nullptr;
  std::string op, ops;
  uint32_t seed = 1;
  int processors = 0;  // 0: those of the card
  bool list = false, faults = false, many_rows = false, peaks = false;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--op" && i + 1 < argc) o.op = argv[++i];
    else if (arg == "--ops" && i + 1 < argc) o.ops = "," + std::string(argv[++i]) + ",";
    else if (arg == "--seed" && i + 1 < argc) o.seed = static_cast<uint32_t>(std::atoi(argv[++i]));
    else if (arg == "--processors" && i + 1 < argc) o.processors = std::atoi(argv[++i]);
    else if (arg == "--list") o.list = true;
    else if (arg == "--faults") o.faults = true;
    else if (arg == "--many-rows") o.many_rows = true;
    else if (arg == "--peaks") o.peaks = true;
    else o.module = argv[i];
  }
  return o;
}

bool chosen(const Options& o, const std::string& name) {
  return name.find(o.op) != std::string::npos && (o.ops.empty() || o.ops.find("," + name + ",") != std::string::npos);
}

void* open_module(const char* path) {
  void* module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (module) return module;
  std::printf("%s\n", dlerror());
  std::exit(2);
}
const Backend* backend_of(void* module) {
  using Entry = const Backend* (*)(uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(module, "anymal_backend_cuda"));
  return entry ? entry(kBackendVersion) : nullptr;
}

// "..., 132 multiprocessors, ..."
int processors_of(const std::string& description) {
  const size_t end = description.find(" multiprocessors"), begin = end == std::string::npos ? end : description.rfind(' ', end - 1);
  const int n = begin == std::string::npos ? 0 : std::atoi(description.c_str() + begin + 1);
  CHECK_SAY(n > 0, "a device that does not say how many multiprocessors it has: " + description);
  return n > 0 ? n : 1;
}

// What is wrong with one run; empty when nothing is.
std::string complaint(const Bench& got, const Bench* first, const Expectation& want) {
  if (!got.fences_hold()) return "wrote outside of a tensor";
  for (size_t o = 0; o < got.outputs().size(); ++o) {
    const View& v = got.outputs()[o];
    const std::string which = "output " + std::to_string(o), wrong = want.complaint(o, v);
    if (!wrong.empty()) return which + ": " + wrong;
    if (first && std::memcmp(v.data, first->outputs()[o].data, static_cast<size_t>(v.size()) * dtype_bytes(v.dtype)) != 0)
      return which + " has other bits when run again";
  }
  return "";
}

// Finite and above 0; that of wgmma, which a device with this path measures, on a Hopper card alone. A peak's work grows with the square of the
// card's size: an emulated card of 132 multiprocessors would be measured for hours.
void check_peaks(const Backend& b, Stream& s, std::initializer_list<Peak> peaks) {
  if (std::getenv("EMU_PROCESSORS") != nullptr) return;
  const auto check = [&](double peak, bool none) {
    CHECK_SAY(std::isfinite(peak) && (none ? peak == 0 : peak > 0), "a measured peak of " + std::to_string(peak));
  };
  for (const Peak what : peaks) check(b.measure_peak(s, what), false);
  Stream* hopper = b.stream_create("path=hopper");
  check(b.measure_peak(*hopper, Peak::bf16), std::strstr(b.describe(s), "compute capability 9.0,") == nullptr);
  b.stream_destroy(hopper);
}

// One case and dtype counts twice: as its data lies by itself, run twice, and off its alignment.
void check_case(const Case& c, DType x, const Backend& b, Stream& s, uint32_t seed) {
  const std::string name = c.name + (x == DType::f32 ? " f32" : " bf16");
  const Expectation want(c, x, seed);
  // Red zones of the emulator lie right beside an allocation; on a card the fences do the same for writes.
  const size_t guard = std::string(b.name) == "emulated" ? 0 : 256;
  const auto run = [&](int64_t shift, const Bench* first, std::string& wrong) {
    auto got = std::make_unique<Bench>(b, s, x, Bench::Layout{guard, shift, seed});
    try {
      c.run(b, s, *got);
      got->download();
      wrong = complaint(*got, first, want);
    } catch (const std::exception& e) {
      wrong = std::string("threw ") + e.what();
    }
    return got;
  };
  std::string wrong;
  const auto first = run(0, nullptr, wrong);
  if (wrong.empty()) run(0, first.get(), wrong);
  CHECK_SAY(wrong.empty(), name + ": " + wrong);
  run(1, nullptr, wrong);
  CHECK_SAY(wrong.empty(), name + ", unaligned data: " + wrong);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (!options.module) {
    std::printf("usage: backend_ops MODULE [--op TEXT] [--ops NAME,NAME...] [--seed N] [--processors N] [--many-rows] [--list] [--faults]\n");
    return 2;
  }
  void* module = open_module(options.module);
  const Backend* b = backend_of(module);
  if (!b || b->version != kBackendVersion) {
    std::printf("%s is no module of this version\n", options.module);
    return 2;
  }
  if (options.faults) {
    if (const auto emulator = Switches::of(module)) {
      check_capture_faults(*b, *emulator);
      check_allocation_faults(*b, *emulator);
    } else {
      std::printf("skipped: only the emulator can be told to fail\n");
    }
    return check::finish();
  }
  std::set<std::string> missing;
#define OP(name) \
  if (!b->name) missing.insert(#name);
#define CPU_OP(name)
#include "ops.def"
  for (const std::string& name : missing)
    if (chosen(options, name)) CHECK_SAY(false, "the table has no " + name);
  for (const std::string& op : ops_without_case()) CHECK_SAY(false, op + " has no case");
  Stream* s = nullptr;
  try {
    s = b->stream_create(options.processors ? ("processors=" + std::to_string(options.processors)).c_str() : "");
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
    return 2;
  }
  std::printf("%s\n", b->describe(*s));
  const auto check = [&](const Case& c, DType x) {
    if (c.layout_of_cpu || only_on_cpu(c.name) || !chosen(options, c.name) || missing.count(c.name)) return;
    if (options.list) std::printf("%s\n", c.name.c_str());
    try {
      check_case(c, x, *b, *s, options.seed);
    } catch (const std::exception& e) {
      CHECK_SAY(false, c.name + " threw " + e.what());
    }
  };
  if (options.many_rows) {
    for (const Case& c : many_rows()) check(c, DType::bf16);
    if (options.op.empty() && options.ops.empty()) check_peaks(*b, *s, {});
  }
  const std::initializer_list<Peak> peaks = {Peak::f32, Peak::bf16, Peak::bandwidth};
  if (options.peaks) check_peaks(*b, *s, peaks);
  if (options.many_rows || options.peaks) {
    b->stream_destroy(s);
    return check::finish();
  }
  for (const Case& c : cases()) {
    check(c, DType::f32);
    if (c.bf16) check(c, DType::bf16);
  }
  for (const Case& c : wide_products(options.processors ? options.processors : processors_of(b->describe(*s)))) check(c, DType::bf16);
  if (options.op.empty() && options.ops.empty()) check_peaks(*b, *s, peaks);
  b->stream_destroy(s);
  return check::finish();
}
