// What exp, tanh, the logistic function and the normal distribution lose at every dispatch level, against double precision, from denormals to
// infinities; and an element's bits are the same wherever it lies and however many lie beside it.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/math.h"
#include "cpu/stream.h"

namespace anymal {
const Backend* anymal_backend_cpu(const char* level_or_null);
}
using namespace anymal;

namespace {

struct Function {
  const char* name;
  Activation kind;
  std::function<double(double)> value, slope;
  // How much of the value, and of a slope beside 1, may be lost in units of the last place: 1 - sigmoid has lost its digits where x multiplies it,
  // and rounding an exponent y is an error of as much in e^y.
  std::function<double(double x)> growth;
};

double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double below(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * 3.14159265358979323846); }

std::vector<Function> functions() {
  const auto steady = [](double) { return 1.0; };
  const auto linear = [](double x) { return 1 + std::fabs(x) / 2; };
  const double k = std::sqrt(2 / 3.14159265358979323846), c = 0.044715;
  return {
      {"sigmoid", Activation::sigmoid, logistic, [](double x) { return logistic(x) * logistic(-x); }, steady},
      {"silu", Activation::silu, [](double x) { return x * logistic(x); }, [](double x) { return logistic(x) * (1 + x * logistic(-x)); }, linear},
      {"tanh", Activation::tanh, [](double x) { return std::tanh(x); }, [](double x) { return 1 - std::tanh(x) * std::tanh(x); }, steady},
      {"gelu", Activation::gelu, [](double x) { return x * below(x); }, [](double x) { return below(x) + x * density(x); },
       [](double x) { return 1 + x * x / 8; }},
      {"gelu_tanh", Activation::gelu_tanh, [=](double x) { return x * logistic(2 * k * (x + c * x * x * x)); },
       [=](double x) {
         const double g = logistic(2 * k * (x + c * x * x * x));
         return g + x * g * logistic(-2 * k * (x + c * x * x * x)) * 2 * k * (1 + 3 * c * x * x);
       },
       [](double x) { return 1 + std::fabs(x * x * x) / 4; }},
      {"quick_gelu", Activation::quick_gelu, [](double x) { return x * logistic(1.702 * x); },
       [](double x) { return logistic(1.702 * x) * (1 + 1.702 * x * logistic(-1.702 * x)); }, linear},
  };
}

View view(std::vector<float>& of, int64_t first, int64_t n) {
  View v;
  v.data = of.data() + first;
  v.rank = 1;
  v.shape[0] = n;
  return v;
}

struct Cpu {
  const Backend& b;
  Stream s;
  std::string level;
  explicit Cpu(int l) : b(*anymal_backend_cpu(cpu::level_name(static_cast<cpu::Level>(l)))), s(1, static_cast<cpu::Level>(l)) {
    level = cpu::level_name(static_cast<cpu::Level>(l));
  }
};

void are_near_what_double_says(Cpu& on) {
  std::vector<float> x;
  for (double v = -14; v <= 14; v += 1.0 / 3000) x.push_back(static_cast<float>(v));
  for (float tiny : {0.0f, 1e-40f, 1e-30f, 1e-10f, 1e-4f}) x.insert(x.end(), {tiny, -tiny});
  std::vector<float> y(x.size()), slope(x.size()), one(x.size(), 1.0f);
  const auto n = static_cast<int64_t>(x.size());
  for (const Function& f : functions()) {
    on.b.activation(on.s, Out{view(y, 0, n)}, In{view(x, 0, n)}, f.kind);
    on.b.activation_backward(on.s, Out{view(slope, 0, n)}, In{view(one, 0, n)}, In{view(x, 0, n)}, f.kind);
    double worst = 0, worst_slope = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double value = f.value(x[i]);
      worst = std::fmax(worst, std::fabs(y[i] - value) / (std::fabs(value) * f.growth(x[i]) + 1e-30));
      worst_slope = std::fmax(worst_slope, std::fabs(slope[i] - f.slope(x[i])) / f.growth(x[i]));
    }
    CHECK_SAY(worst < 6e-7, on.level + " " + f.name + ": off by " + std::to_string(worst * 1e7) + "e-7");
    CHECK_SAY(worst_slope < 6e-7, on.level + " slope of " + f.name + ": off by " + std::to_string(worst_slope * 1e7) + "e-7");
  }
}

void end_well_at_the_ends(Cpu& on) {
  for (const Function& f : functions()) {
    std::vector<float> x = {NAN, 100, -100, 3e4f, -3e4f, INFINITY};
    std::vector<float> y(x.size());
    on.b.activation(on.s, Out{view(y, 0, 6)}, In{view(x, 0, 6)}, f.kind);
    const bool bounded = f.kind == Activation::tanh || f.kind == Activation::sigmoid;
    const float least = f.kind == Activation::tanh ? -1.0f : 0.0f;
    CHECK_SAY(y[0] != y[0], on.level + " " + f.name + " of NaN");
    for (int i : {1, 3, 5}) CHECK_SAY(y[i] == (bounded ? 1 : x[i]), on.level + " " + f.name + " of " + std::to_string(x[i]));
    for (int i : {2, 4}) CHECK_SAY(std::fabs(y[i] - least) < 1e-35f, on.level + " " + f.name + " of " + std::to_string(x[i]));
  }
}

// Any stretch of a tensor alone, from any place on.
void bits_do_not_depend_on_place(Cpu& on) {
  std::vector<float> x(300), whole(300), some(300);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i)) * 5;
  for (const Function& f : functions()) {
    on.b.activation(on.s, Out{view(whole, 0, 300)}, In{view(x, 0, 300)}, f.kind);
    int strays = 0;
    for (int64_t first : {0, 1, 5, 31, 64})
      for (int64_t n = 1; n < 140; ++n) {
        on.b.activation(on.s, Out{view(some, 0, n)}, In{view(x, first, n)}, f.kind);
        strays += std::memcmp(&some[0], &whole[static_cast<size_t>(first)], static_cast<size_t>(n) * 4) != 0;
      }
    CHECK_SAY(strays == 0, on.level + " " + f.name + ": " + std::to_string(strays) + " stretches have other bits alone");
  }
}

// The functions for one number, as recurrences call them.
void of_one_number() {
  using namespace cpu::generic;
  double exp_off = 0, tanh_off = 0;
  for (double v = -87; v < 88; v += 1.0 / 512) {
    const auto x = static_cast<float>(v);
    exp_off = std::fmax(exp_off, std::fabs(exp_fast(x) / std::exp(static_cast<double>(x)) - 1));
    tanh_off = std::fmax(tanh_off, std::fabs(tanh_fast(x) - std::tanh(static_cast<double>(x))));
  }
  CHECK_SAY(exp_off < 2.4e-7, "exp: " + std::to_string(exp_off * 1e7) + "e-7");
  CHECK_SAY(tanh_off < 2e-7, "tanh: " + std::to_string(tanh_off * 1e7) + "e-7");
  CHECK(exp_fast(200.0f) == INFINITY && exp_fast(-200.0f) == 0 && exp_fast(-100.0f) > 0);
}

}  // namespace

int main() {
  of_one_number();
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    if (!check::wants_level(cpu::level_name(static_cast<cpu::Level>(l)))) continue;
    Cpu on(l);
    are_near_what_double_says(on);
    end_well_at_the_ends(on);
    bits_do_not_depend_on_place(on);
  }
  return check::finish();
}
