// Every op of the CPU backend on odd shapes: the same bits on 1, 2 and 3 threads, the same numbers at every dispatch level (generic, whose loops
// the compiler does not vectorise beyond the baseline, is the yardstick), outputs written whole, nothing written beside them. Under the
// sanitizers this is the run that touches every kernel. Numbers against PyTorch: test/ops.
#include "check.h"
#include "cpu/stream.h"
#include "op_cases/cases.h"

namespace anymal {
const Backend* anymal_backend_cpu(const char* level_or_null);
}
using namespace anymal;
using namespace anymal::op_cases;

namespace {

// A run keeps its stream: its tensors are given back to it.
struct Run {
  Stream stream;
  Bench bench;
  Run(const Backend& b, int threads, cpu::Level level, DType x) : stream(threads, level), bench(b, stream, x) {}
};

void check_case(const Case& c, DType x) {
  std::unique_ptr<Run> yardstick;
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    const char* level = cpu::level_name(static_cast<cpu::Level>(l));
    const Backend& backend = *anymal_backend_cpu(level);
    std::unique_ptr<Run> first;
    for (int threads : {1, 2, 3}) {
      auto run = std::make_unique<Run>(backend, threads, static_cast<cpu::Level>(l), x);
      Bench& t = run->bench;
      const std::string name = c.name + (x == DType::f32 ? " f32 " : " bf16 ") + level;
      try {
        c.run(backend, run->stream, t);
      } catch (const std::exception& e) {
        CHECK_SAY(false, name + " threw " + e.what());
        return;
      }
      t.download();
      CHECK_SAY(t.fences_hold(), name + ": wrote outside of a tensor");
      for (size_t o = 0; o < t.outputs().size(); ++o) {
        const View& v = t.outputs()[o];
        if (first) {
          const size_t bytes = static_cast<size_t>(v.size()) * dtype_bytes(v.dtype);
          CHECK_SAY(std::memcmp(v.data, first->bench.outputs()[o].data, bytes) == 0, name + ": output " + std::to_string(o) + " depends on threads");
          continue;
        }
        const Difference d = compare(v, yardstick ? yardstick->bench.outputs()[o] : v);
        CHECK_SAY(!d.nan, name + ": output " + std::to_string(o) + " is not written whole (or NaN)");
        CHECK_SAY(d.worst <= c.tolerance * unit_of(v.dtype) * d.most,
                  name + ": output " + std::to_string(o) + " differs from generic by " + std::to_string(d.worst) + " of " + std::to_string(d.most));
      }
      if (!first) first = std::move(run);
    }
    if (!yardstick) yardstick = std::move(first);
  }
}

}  // namespace

int main() {
  for (const std::string& op : ops_without_case()) CHECK_SAY(false, op + " has no case");
  for (const Case& c : cases()) {
    check_case(c, DType::f32);
    if (c.bf16) check_case(c, DType::bf16);
  }
  return check::finish();
}
