// Every op of the CPU backend on odd shapes: the same bits on 1, 2 and 3 threads, the same numbers at every dispatch level (generic, whose loops
// the compiler does not vectorise beyond the baseline, is the yardstick), outputs written whole, nothing written beside them. Under the
// sanitizers this is the run that touches every kernel. Numbers against PyTorch: test/ops.
#include <cmath>

#include "check.h"
#include "cpu/dynamic_code.h"
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

// But for rounding, no entry of the map lies nearer than the one that the table names: between entries, halfway, next to halfway, and far outside.
void dynamic_codes_name_the_nearest_entry() {
  for (bool is_signed : {true, false}) {
    const float* map = quant::dynamic_map(is_signed);
    const quant::DynamicCodes& codes = quant::dynamic_codes(is_signed);
    std::vector<float> all = {-1e30f, -1.5f, -1e-30f, -0.0f, 0.0f, 1e-30f, 1.0000001f, 3e38f, INFINITY};
    for (int c = 0; c < 255; ++c) {
      const float halfway = (map[c] + map[c + 1]) / 2;
      for (float x : {map[c], halfway, std::nextafter(halfway, -2.0f), std::nextafter(halfway, 2.0f), map[c] + (map[c + 1] - map[c]) * 0.3f})
        all.push_back(x);
    }
    for (float x : all) {
      const int code = cpu::generic::dynamic_code(x, codes);
      const double distance = std::fabs(static_cast<double>(map[code]) - x);
      for (int c = 0; c < 256; ++c) CHECK(distance <= std::fabs(static_cast<double>(map[c]) - x) + 2e-7 * std::fabs(x));
    }
    CHECK(cpu::generic::dynamic_code(NAN, codes) == 0);
  }
}

}  // namespace

int main() {
  dynamic_codes_name_the_nearest_entry();
  for (const std::string& op : ops_without_case()) CHECK_SAY(false, op + " has no case");
  for (const Case& c : cases()) {
    check_case(c, DType::f32);
    if (c.bf16) check_case(c, DType::bf16);
  }
  return check::finish();
}
