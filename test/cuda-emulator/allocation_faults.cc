// Memory that runs out, at each allocation in turn, and a card that has failed:
//   an op that finds no scratch throws std::bad_alloc having changed nothing, so that called again (the queue has found memory meanwhile) it gives
//   the same numbers, gradients that it adds to among them;
//   a stream that cannot be opened leaves nothing behind;
//   what gives memory back never throws, and does not break a capture.
#include "allocation_faults.h"

#include <cstdio>
#include <new>

#include "check.h"
#include "op_cases/cases.h"

namespace anymal {
namespace {

using namespace op_cases;

Switches emulator;
const Backend* real;
long fails_at = 0;
int failures = 0;

// The op as the queue calls it: once more when memory ran out.
template <auto Entry>
struct Retried;
template <class... A, void (*Backend::*Entry)(Stream&, A...)>
struct Retried<Entry> {
  static void run(Stream& s, A... args) {
    emulator.fail_allocation(fails_at);
    try {
      (real->*Entry)(s, args...);
    } catch (const std::bad_alloc&) {
      ++failures;
      emulator.fail_allocation(0);
      (real->*Entry)(s, args...);
    }
    emulator.fail_allocation(0);
  }
};

Backend table_of_retried() {
  Backend b = *real;
#define OP(name) \
  if (b.name) b.name = Retried<&Backend::name>::run;
#define CPU_OP(name)
#include "ops.def"
  return b;
}

void check_case(const Case& c, DType x, const Backend& retried) {
  const std::string name = c.name + (x == DType::f32 ? " f32" : " bf16") + " with memory that runs out";
  const Expectation want(c, x, Bench::Layout().seed);
  for (fails_at = 1, failures = 1; failures > 0; ++fails_at) {
    Stream* s = real->stream_create("");  // without scratch
    failures = 0;
    try {
      Bench got(retried, *s, x);
      c.run(retried, *s, got);
      got.download();
      for (size_t o = 0; o < got.outputs().size(); ++o) {
        const std::string wrong = want.complaint(o, got.outputs()[o]);
        CHECK_SAY(wrong.empty(), name + ": output " + std::to_string(o) + ": " + wrong);
      }
    } catch (const std::exception& e) {
      CHECK_SAY(false, name + " threw " + e.what());
      failures = 0;
    }
    emulator.fail_allocation(0);
    real->stream_destroy(s);
  }
}

void streams_leave_nothing() {
  const size_t before = emulator.allocations();
  long n = 1;
  for (bool open = false; !open && n < 100; ++n) {
    emulator.fail_allocation(n);
    try {
      Stream* s = real->stream_create("");
      open = true;
      emulator.fail_allocation(0);
      real->stream_destroy(s);
    } catch (const std::bad_alloc&) {
    }
    CHECK_SAY(emulator.allocations() == before, "a stream whose allocation " + std::to_string(n) + " failed left memory behind");
  }
  emulator.fail_allocation(0);
  CHECK_SAY(n > 3, "a stream was opened with fewer than three allocations");
}

// Values of cuda's cudaError_t.
constexpr int kIllegalAddress = 700;

void a_failed_card_ends_nothing() {
  Stream* s = real->stream_create("");
  void* data = real->allocate(*s, 1000);
  emulator.break_card(kIllegalAddress);
  bool told = false;
  try {
    real->synchronize(*s);
  } catch (const std::runtime_error& e) {
    told = std::string(e.what()).find("illegal memory access") != std::string::npos;
  }
  CHECK_SAY(told, "a failed card was not told by synchronize");
  real->release(*s, data);  // neither throws, for both are called on the way out
  real->stream_destroy(s);
  emulator.break_card(0);
}

void memory_given_back_does_not_break_a_capture() {
  Stream* s = real->stream_create("");
  View x{real->allocate(*s, 4 * sizeof(float)), DType::f32, 1, {4}};
  void* other = real->allocate(*s, 1000);
  real->capture_begin(*s);
  void* graph = nullptr;
  try {
    real->fill(*s, InOut{x}, 3);
    real->release(*s, other);
    graph = real->capture_end(*s);
    real->capture_replay(*s, graph);
  } catch (const std::exception& e) {
    CHECK_SAY(false, std::string("memory given back during a capture: ") + e.what());
  }
  float host[4] = {};
  real->copy_to_host(*s, host, x.data, sizeof host);
  CHECK(host[0] == 3 && host[3] == 3);
  if (graph) real->capture_destroy(*s, graph);
  real->release(*s, x.data);
  real->stream_destroy(s);
}

}  // namespace

void check_allocation_faults(const Backend& backend, const Switches& switches) {
  real = &backend;
  emulator = switches;
  streams_leave_nothing();
  a_failed_card_ends_nothing();
  memory_given_back_does_not_break_a_capture();
  const Backend retried = table_of_retried();
  for (const Case& c : cases()) {
    if (c.layout_of_cpu || only_on_cpu(c.name)) continue;
    check_case(c, DType::f32, retried);
    if (c.bf16) check_case(c, DType::bf16, retried);
  }
}

}  // namespace anymal
