// Products with a weight of 4-bit codes by rows (Kernels::coded) against double precision, on the machine's tiles where it has them and on emulated
// ones anywhere: odd sizes, blocks that end within a row, double quantisation, maxima that are not finite, further steps; any number of rows and
// threads.
#define ANYMAL_AMX_TWIN
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/linear/kernels/amx.cc"  // kernels_amx_twin
#include "quant/tables.h"

using namespace anymal;
using cpu::Level;
using cpu::amx_twin::RowLayout;
using cpu::amx_twin::to_bf16;
using cpu::amx_twin::to_float;
using cpu::linear::CodedProblem;
using cpu::linear::Kernels;
using cpu::linear::QuantizedWeight;
using Bf16 = cpu::amx_twin::bf16;

namespace {

std::mt19937 random_bits(20261129);

std::vector<Bf16> make(int64_t n, float size = 1) {
  std::normal_distribution<float> normal(0, size);
  std::vector<Bf16> v(static_cast<size_t>(n) + 1);
  for (Bf16& x : v) x = to_bf16(normal(random_bits));
  return v;
}

struct Case {
  int64_t M, O, I, block, steps;
  bool backward, nested, fp4, bias, accumulate;
  float alpha, odd = 0;  // the maximum of one block, where not 0
  std::string name() const {
    return std::to_string(M) + " rows, W " + std::to_string(O) + "x" + std::to_string(I) + " in blocks of " + std::to_string(block) +
           (backward ? " backward" : "") + (nested ? " nested" : "") + (fp4 ? " fp4" : " nf4") + (steps ? " +" + std::to_string(steps) : "");
  }
};

// A weight of random codes, and what it means.
struct Weight {
  std::vector<uint8_t> packed, absmax_codes;
  std::vector<float> absmax, nested;
  QuantizedWeight coded;
  std::vector<Bf16> values;  // (O,I)

  explicit Weight(const Case& c) {
    const int64_t blocks = (c.O * c.I + c.block - 1) / c.block;
    const float *book = c.fp4 ? quant::kFp4 : quant::kNf4, *map = quant::dynamic_map(true);
    std::uniform_real_distribution<float> maximum(0.1f, 0.5f);
    for (int64_t b = 0; b < blocks; ++b) {
      absmax.push_back(maximum(random_bits));
      absmax_codes.push_back(static_cast<uint8_t>(random_bits()));
      if (b % quant::kNestedBlock == 0) nested.push_back(maximum(random_bits));
    }
    if (c.odd != 0) absmax[random_bits() % absmax.size()] = c.odd;
    packed.assign(static_cast<size_t>(RowLayout::panels(c.O) * RowLayout::panel_bytes(c.I)), 0);
    for (int64_t o = 0; o < c.O; ++o)
      for (int64_t k = 0; k < c.I; ++k) {
        const int code = static_cast<int>(random_bits() % 16);
        const size_t b = static_cast<size_t>((o * c.I + k) / c.block);
        const float scale = c.nested ? cpu::amx_twin::fused(map[absmax_codes[b]], nested[b / quant::kNestedBlock], 0.25f) : absmax[b];
        uint8_t* panel = packed.data() + o / RowLayout::kPanel * RowLayout::panel_bytes(c.I);
        panel[RowLayout::byte(c.I, o % RowLayout::kPanel, k)] |= static_cast<uint8_t>(code << RowLayout::shift(k));
        values.push_back(to_bf16(book[code] * scale));
      }
    coded = {c.fp4 ? QuantFormat::fp4 : QuantFormat::nf4, packed.data(), c.O, c.I, c.block};
    if (c.nested) {
      coded.absmax_codes = absmax_codes.data();
      coded.nested_absmax = nested.data();
      coded.map = map;
      coded.offset = 0.25f;
    } else {
      coded.absmax = absmax.data();
    }
  }
};

void check_case(const char* level, const Kernels& kernels, const Case& c) {
  const Weight w(c);
  const int64_t K = c.backward ? c.O : c.I, N = c.backward ? c.I : c.O, x_row = K + 3, s_row = c.steps + 1, row = N + 5;
  const std::vector<Bf16> x = make(c.M * x_row), s = make(c.M * s_row), b = make(c.steps * N), bias = make(N), old = make(c.M * row);
  const auto run = [&](int64_t first, int64_t rows, int threads) {
    std::vector<Bf16> y(old.begin() + first * row, old.begin() + (first + rows) * row + 1);
    Stream stream(threads, Level::generic);
    stream.kernels = &kernels;
    kernels.coded(stream, {c.backward,
                           rows,
                           &w.coded,
                           x.data() + first * x_row,
                           x_row,
                           c.steps,
                           s.data() + first * s_row,
                           s_row,
                           b.data(),
                           {y.data(), DType::bf16, row},
                           {c.accumulate, c.bias ? bias.data() : nullptr, c.alpha}});
    return y;
  };
  const auto same = [](const Bf16* a, const Bf16* other, int64_t n) { return std::memcmp(a, other, static_cast<size_t>(n) * 2) == 0; };
  const std::vector<Bf16> y = run(0, c.M, 1);
  double worst = 0;
  bool untouched = true;
  for (int64_t m = 0; m < c.M; ++m) {
    for (int64_t n = 0; n < N; ++n) {
      double sum = 0, size = 0;
      const auto add = [&](Bf16 p, Bf16 q) {
        sum += static_cast<double>(to_float(p)) * to_float(q);
        size += std::fabs(static_cast<double>(to_float(p)) * to_float(q));
      };
      for (int64_t k = 0; k < K; ++k) add(x[m * x_row + k], w.values[c.backward ? k * c.I + n : n * c.I + k]);
      for (int64_t k = 0; k < c.steps; ++k) add(s[m * s_row + k], b[c.backward ? k * N + n : n * c.steps + k]);
      const double added = c.bias ? to_float(bias[n]) : 0, before = c.accumulate ? to_float(old[m * row + n]) : 0;
      const double want = c.alpha * sum + added + before, got = to_float(y[m * row + n]);
      const double bound = (c.alpha * size + std::fabs(added) + std::fabs(before)) * 6e-8 * (2 + std::sqrt(static_cast<double>(K + c.steps))) +
                           std::fabs(want) * 0.004 + 1e-30;
      if (!std::isfinite(want)) worst = std::max(worst, std::isfinite(got) ? INFINITY : 0.0);
      else worst = std::max(worst, std::isnan(got) ? INFINITY : std::fabs(got - want) / bound);
    }
    untouched &= same(y.data() + m * row + N, old.data() + m * row + N, row - N);
  }
  CHECK_SAY(worst <= 1, std::string(level) + " " + c.name() + ": error over bound " + std::to_string(worst));
  CHECK_SAY(untouched, std::string(level) + " " + c.name() + ": wrote outside");
  for (int threads : {2, 3})
    CHECK_SAY(same(run(0, c.M, threads).data(), y.data(), c.M * row), std::string(level) + " " + c.name() + ": depends on threads");
  for (int i = 0; i < 3 && c.M > 1; ++i) {
    const int64_t first = static_cast<int64_t>(random_bits() % static_cast<uint32_t>(c.M));
    const int64_t rows = 1 + static_cast<int64_t>(random_bits() % static_cast<uint32_t>(c.M - first));
    CHECK_SAY(
        same(run(first, rows, 1).data(), y.data() + first * row, rows * row),
        std::string(level) + " " + c.name() + ": rows " + std::to_string(first) + " to " + std::to_string(first + rows - 1) + " have other bits");
  }
}

// Every input of a weight finds its code, and no two the same place.
void layout_is_one_to_one() {
  for (int64_t I : {1, 31, 64, 65, 70, 96, 128, 129, 192, 200, 256, 300}) {
    std::vector<int> taken(static_cast<size_t>(RowLayout::panel_bytes(I) * 2), 0);
    bool inside = true;
    for (int64_t r = 0; r < RowLayout::kPanel; ++r)
      for (int64_t k = 0; k < I; ++k) {
        const int64_t at = RowLayout::byte(I, r, k) * 2 + RowLayout::shift(k) / 4;
        inside &= at < static_cast<int64_t>(taken.size());
        if (inside) ++taken[static_cast<size_t>(at)];
      }
    CHECK_SAY(inside && *std::max_element(taken.begin(), taken.end()) == 1, "the layout by rows of " + std::to_string(I) + " inputs");
  }
}

void check_all(const char* level, const Kernels& kernels) {
  const int64_t rows[] = {0, 1, 2, 5, 8, 15, 16, 17, 31, 32, 33, 40}, outs[] = {1, 7, 16, 33, 64, 80, 130},
                ins[] = {1, 32, 64, 70, 96, 128, 192, 200, 330}, blocks[] = {32, 64, 64, 128, 4096}, steps[] = {0, 0, 1, 40, 64};
  const auto pick = [&](auto& from) { return from[random_bits() % std::size(from)]; };
  const auto bit = [&] { return (random_bits() & 1) != 0; };
  for (int i = 0; i < 80; ++i)
    check_case(level, kernels,
               {pick(rows), pick(outs), pick(ins), pick(blocks), pick(steps), bit(), bit(), bit(), bit(), bit(), bit() ? 1.0f : 0.37f});
  for (bool backward : {false, true}) {
    check_case(level, kernels, {210, 70, 256, 64, 8, backward, true, false, true, false, 1});  // several slabs
    for (float odd : {NAN, INFINITY}) check_case(level, kernels, {20, 40, 70, 64, 0, backward, false, false, false, false, 1, odd});
  }
}

}  // namespace

int main() {
  layout_is_one_to_one();
  check_all("amx_twin", cpu::linear::kernels_amx_twin);
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    const Kernels& kernels = cpu::linear::kernels_of(static_cast<Level>(l));
    if (kernels.coded && check::wants_level(cpu::level_name(static_cast<Level>(l)))) check_all(cpu::level_name(static_cast<Level>(l)), kernels);
  }
  return check::finish();
}
