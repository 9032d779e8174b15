// Every op of the CPU backend on odd shapes: the same bits on 1, 2 and 3 threads, at every dispatch level the numbers of plain loops (of generic,
// which the compiler does not vectorise beyond the baseline) within what their precision loses, outputs written whole, nothing written beside them.
// Under the sanitizers this is the run that touches every kernel. Numbers against PyTorch: test/ops.
#include <cmath>

#include "check.h"
#include "cpu/dynamic_code.h"
#include "cpu/linear/kernels.h"
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

// What is wrong with one run; empty when nothing is.
std::string complaint(const Run& run, const Run* first, const Expectation& want) {
  const Bench& t = run.bench;
  if (!t.fences_hold()) return "wrote outside of a tensor";
  for (size_t o = 0; o < t.outputs().size(); ++o) {
    const View& v = t.outputs()[o];
    const size_t bytes = static_cast<size_t>(v.size()) * dtype_bytes(v.dtype);
    if (first && std::memcmp(v.data, first->bench.outputs()[o].data, bytes) != 0) return "output " + std::to_string(o) + " depends on threads";
    const std::string wrong = first ? "" : want.complaint(o, v);
    if (!wrong.empty()) return "output " + std::to_string(o) + ": " + wrong;
  }
  return "";
}

// One case, dtype and level count once.
void check_case(const Case& c, DType x) {
  const Expectation want(c, x, 1);
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    const char* level = cpu::level_name(static_cast<cpu::Level>(l));
    if (!check::wants_level(level)) continue;
    if (c.layout_of_cpu && cpu::linear::kernels_of(static_cast<cpu::Level>(l)).coded) continue;  // codes by rows: coded.cc
    const Backend& backend = *anymal_backend_cpu(level);
    std::unique_ptr<Run> first;
    std::string wrong;
    for (int threads : {1, 2, 3}) {
      auto run = std::make_unique<Run>(backend, threads, static_cast<cpu::Level>(l), x);
      try {
        c.run(backend, run->stream, run->bench);
        run->bench.download();
        wrong = complaint(*run, first.get(), want);
      } catch (const std::exception& e) {
        wrong = std::string("threw ") + e.what();
      }
      if (!wrong.empty()) break;
      if (!first) first = std::move(run);
    }
    CHECK_SAY(wrong.empty(), c.name + (x == DType::f32 ? " f32 " : " bf16 ") + level + ": " + wrong);
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
    int strays = 0;
    for (float x : all) {
      const int code = cpu::generic::dynamic_code(x, codes);
      double nearest = INFINITY;
      for (int c = 0; c < 256; ++c) nearest = std::fmin(nearest, std::fabs(static_cast<double>(map[c]) - x));
      strays += !(std::fabs(static_cast<double>(map[code]) - x) <= nearest + 2e-7 * std::fabs(x));
    }
    CHECK_SAY(strays == 0,
              std::to_string(strays) + " of " + std::to_string(all.size()) + " numbers get the code of an entry that is not the nearest");
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
