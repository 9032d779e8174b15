#include <algorithm>

#include "cpu/stream.h"
#include "op_cases/cases.h"

namespace anymal {
const Backend* anymal_backend_cpu(const char* level_or_null);

namespace op_cases {
namespace {

constexpr double kFloat = 4e-6;          // of the output's largest: sums of f32 in another order
constexpr double kRounding = 1.0 / 256;  // of a number: half a step of bf16
constexpr double kFactor = 2;            // of what plain loops of the same precision lose

}  // namespace

struct Expectation::Run {
  Stream stream{1, cpu::Level::generic};
  Bench bench;
  Run(const Case& c, DType x, uint32_t seed, bool rounded) : bench(*anymal_backend_cpu("generic"), stream, x, {64, 0, seed, rounded}) {
    c.run(*anymal_backend_cpu("generic"), stream, bench);
    bench.download();
  }
  const View& output(size_t o) const { return bench.outputs()[o]; }
};

Expectation::Expectation(const Case& c, DType x, uint32_t seed) : tolerance_(c.tolerance), plain_(std::make_unique<Run>(c, x, seed, false)) {
  if (x == DType::bf16) exact_ = std::make_unique<Run>(c, DType::f32, seed, true);
}
Expectation::~Expectation() = default;

size_t Expectation::outputs() const { return plain_->bench.outputs().size(); }

std::string Expectation::complaint(size_t o, const View& got) const {
  const View& plain = plain_->output(o);
  if (got.size() != plain.size() || got.dtype != plain.dtype) return "another size or dtype than plain loops give";
  const bool codes = got.dtype != DType::f32 && got.dtype != DType::bf16;  // and indices: these are not rounded
  const View& want = exact_ && !codes && tolerance_ > 0 ? exact_->output(o) : plain;
  double most = 0, lost = 0;
  for (int64_t i = 0; i < want.size(); ++i) {
    const double w = number(want, i), p = number(plain, i);
    if (std::isnan(w) || std::isnan(p)) return "a NaN is expected at " + std::to_string(i) + ": the case shows nothing there";
    if (std::isinf(w) || std::isinf(p)) continue;
    most = std::max(most, std::abs(w));
    lost = std::max(lost, std::abs(p - w));
  }
  for (int64_t i = 0; i < want.size(); ++i) {
    const double g = number(got, i), w = number(want, i);
    if (std::isnan(g)) return "not written whole, or NaN, at " + std::to_string(i);
    if (std::isinf(g) || std::isinf(w)) {
      if (g != w) return std::to_string(g) + " at " + std::to_string(i) + " in place of " + std::to_string(w);
      continue;
    }
    const double allowed = tolerance_ == 0 || codes ? 0
                                                    : kFactor * lost + (exact_ ? kFloat : tolerance_ * kFloat) * most +
                                                          (got.dtype == DType::bf16 ? kRounding * std::abs(w) : 0);
    if (std::abs(g - w) > allowed)
      return std::to_string(g) + " at " + std::to_string(i) + " in place of " + std::to_string(w) + " +- " + std::to_string(allowed) + " (largest " +
             std::to_string(most) + ", plain loops lose " + std::to_string(lost) + ")";
  }
  return "";
}

}  // namespace op_cases
}  // namespace anymal
