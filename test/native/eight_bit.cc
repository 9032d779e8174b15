// Products whose inputs are rounded to 8 bit (Kernels::eight_bit) against double precision of the same integers, so that what is left are sums in
// f32: every level and layout, odd sizes, blocks that end within a row, double quantisation, numbers that are none; any number of rows and threads.
#define ANYMAL_AMX_TWIN
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/linear/eight_bit/amx.cc"  // amx_twin
#include "cpu/linear/kernels.h"
#include "cpu/stream.h"
#include "quant/tables.h"

using namespace anymal;
using cpu::Level;
using cpu::amx_twin::RowLayout;
using cpu::amx_twin::to_bf16;
using cpu::amx_twin::to_float;
using cpu::linear::EightBitPart;
using cpu::linear::EightBitProblem;
using cpu::linear::QuantizedWeight;
using Bf16 = cpu::amx_twin::bf16;

namespace {

std::mt19937 random_bits(20261130);

// What stands in eight_bit.h, written out.
constexpr int kNf4[16] = {-112, -78, -59, -44, -32, -21, -10, 0, 9, 18, 28, 38, 49, 63, 81, 112};
constexpr int kFp4[16] = {0, 1, 80, 120, 40, 60, 20, 30, 0, -1, -80, -120, -40, -60, -20, -30};

struct Case {
  int64_t M, O, I, block;  // block 0: int8
  bool fp4, nested, bias, f32;
  float odd_maximum = 0, odd_input = 0;  // one of them, where not 0
  std::string name() const {
    return std::to_string(M) + " rows, W " + std::to_string(O) + "x" + std::to_string(I) + (block ? " in blocks of " + std::to_string(block) : "") +
           (nested ? " nested" : "") +
           (!block ? " int8"
            : fp4  ? " fp4"
                   : " nf4") +
           (f32 ? " f32" : " bf16");
  }
};

struct Weight {
  std::vector<uint8_t> packed, absmax_codes;
  std::vector<float> absmax, nested;
  QuantizedWeight coded;
  std::vector<int> values;            // (O,I)
  std::vector<double> scales, sizes;  // (O,I): what an integer is times, and what that is the sum of

  Weight(const Case& c, bool by_rows) {
    const int64_t blocks = c.block ? (c.O * c.I + c.block - 1) / c.block : c.O, fours = (c.I + 3) / 4 * 4;
    const float* map = quant::dynamic_map(true);
    std::uniform_real_distribution<float> maximum(0.1f, 0.5f);
    for (int64_t b = 0; b < blocks; ++b) {
      absmax.push_back(maximum(random_bits));
      absmax_codes.push_back(static_cast<uint8_t>(random_bits()));
      if (b % quant::kNestedBlock == 0) nested.push_back(maximum(random_bits));
    }
    if (c.odd_maximum != 0) absmax[random_bits() % absmax.size()] = c.odd_maximum;
    packed.assign(static_cast<size_t>(by_rows   ? RowLayout::panels(c.O) * RowLayout::panel_bytes(c.I)
                                      : c.block ? (c.O + 31) / 32 * c.I * 16
                                                : (c.O + 31) / 32 * fours * 32),
                  0);
    for (int64_t o = 0; o < c.O; ++o)
      for (int64_t k = 0; k < c.I; ++k) {
        const int code = static_cast<int>(random_bits() % (c.block ? 16 : 256));
        const size_t b = static_cast<size_t>(c.block ? (o * c.I + k) / c.block : o);
        const double scale = c.nested ? static_cast<double>(map[absmax_codes[b]]) * nested[b / quant::kNestedBlock] + 0.25 : absmax[b];
        if (by_rows)
          packed[static_cast<size_t>(o / 16 * RowLayout::panel_bytes(c.I) + RowLayout::byte(c.I, o % 16, k))] |=
              static_cast<uint8_t>(code << RowLayout::shift(k));
        else if (c.block) packed[static_cast<size_t>((o / 32 * c.I + k) * 16 + o % 16)] |= static_cast<uint8_t>(code << (o % 32 < 16 ? 0 : 4));
        else packed[static_cast<size_t>((o / 32 * fours + k / 4 * 4) * 32 + o % 32 * 4 + k % 4)] = static_cast<uint8_t>(code);
        values.push_back(!c.block ? static_cast<int8_t>(code) : c.fp4 ? kFp4[code] : kNf4[code]);
        const double size = c.nested ? 0.5 + std::fabs(scale) : std::fabs(scale), unit = !c.block ? 127.0 : c.fp4 ? 120.0 : 112.05;
        scales.push_back(scale / unit);
        sizes.push_back(size / unit);
      }
    coded = {!c.block ? QuantFormat::int8 : c.fp4 ? QuantFormat::fp4 : QuantFormat::nf4, packed.data(), c.O, c.I, c.block};
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

// Rows of any dtype, as bytes.
struct Matrix {
  int64_t row;
  bool f32;
  std::vector<float> values;
  std::vector<uint8_t> bytes;
  size_t size() const { return f32 ? 4 : 2; }
  Matrix(int64_t rows, int64_t apart, bool is_f32) : row(apart), f32(is_f32) {
    std::normal_distribution<float> normal(0, 1);
    for (int64_t i = 0; i < rows * row + 1; ++i) {
      const float v = normal(random_bits) * (i % 97 == 5 ? 20.0f : 1.0f);
      values.push_back(v);
    }
    bytes.resize(values.size() * size());
    for (size_t i = 0; i < values.size(); ++i) set(static_cast<int64_t>(i), values[i]);
  }
  void set(int64_t i, float v) {
    const Bf16 b = to_bf16(v);
    values[static_cast<size_t>(i)] = f32 ? v : to_float(b);
    if (f32) std::memcpy(at(i), &v, 4);
    else std::memcpy(at(i), &b, 2);
  }
  uint8_t* at(int64_t i) { return bytes.data() + static_cast<size_t>(i) * size(); }
};
double number(const uint8_t* bytes, bool f32, int64_t i) {
  float v;
  Bf16 b;
  if (f32) return std::memcpy(&v, bytes + i * 4, 4), v;
  return std::memcpy(&b, bytes + i * 2, 2), to_float(b);
}

// A level, or what stands for one.
struct Product {
  const char* level;
  void (*run)(Stream&, const EightBitProblem&);
  Level of;
  bool by_rows;  // codes of 4 bit
};

void check_case(const Product& product, const Case& c) {
  const bool by_rows = product.by_rows && c.block;
  const char* level = product.level;
  const Weight w(c, by_rows);
  Case smaller = c;
  smaller.O = 5;
  const Weight beside(smaller, by_rows);
  const int64_t x_row = c.I + 3, row = c.O + 5;
  Matrix x(c.M, x_row, c.f32), bias(1, c.O, c.f32), old(c.M, row, c.f32);
  if (c.M > 2) {
    for (int64_t k = 0; k < c.I && k < 64; ++k) x.set(x_row + k, 0);
    if (c.odd_input != 0) x.set(2 * x_row + c.I / 2, c.odd_input);
  }
  // The outputs of w, which another stands before and behind.
  const auto run = [&](int64_t first, int64_t rows, int threads, bool alone = false) {
    std::vector<uint8_t> y(old.at(first * row), old.at((first + rows) * row));
    std::vector<uint8_t> others(static_cast<size_t>(2 * rows * smaller.O) * x.size() + 1);
    Stream stream(threads, product.of);
    const DType t = c.f32 ? DType::f32 : DType::bf16;
    const EightBitPart parts[] = {{beside.coded, {others.data(), t, smaller.O}, nullptr},
                                  {w.coded, {y.data(), t, row}, c.bias ? bias.bytes.data() : nullptr},
                                  {beside.coded, {others.data() + static_cast<size_t>(rows * smaller.O) * x.size(), t, smaller.O}, nullptr}};
    product.run(stream, {rows, parts + alone, alone ? 1 : 3, by_rows, x.at(first * x_row), t, x_row});
    return y;
  };
  const std::vector<uint8_t> y = run(0, c.M, 1);
  double worst = 0;
  bool untouched = true;
  for (int64_t m = 0; m < c.M; ++m) {
    std::vector<double> in(static_cast<size_t>(c.I));
    for (int64_t k0 = 0; k0 < c.I; k0 += 64) {
      const float* from = x.values.data() + m * x_row + k0;
      const int64_t count = std::min<int64_t>(64, c.I - k0);
      float most = 0;
      for (int64_t k = 0; k < count; ++k) most = std::isfinite(from[k]) ? std::max(most, std::fabs(from[k])) : NAN;
      for (int64_t k = 0; k < count; ++k)
        in[static_cast<size_t>(k0 + k)] = std::isnan(most) ? NAN : most < 1e-30f ? 0 : std::nearbyint(from[k] * (127.0f / most)) * (most / 127.0);
    }
    for (int64_t o = 0; o < c.O; ++o) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < c.I; ++k) {
        const size_t at = static_cast<size_t>(o * c.I + k);
        const double integers = in[static_cast<size_t>(k)] * w.values[at];
        sum += integers * w.scales[at];
        size += std::fabs(integers) * w.sizes[at];
      }
      const double added = c.bias ? bias.values[static_cast<size_t>(o)] : 0;
      const double want = sum + added, got = number(y.data(), c.f32, m * row + o);
      const double bound =
          (size + std::fabs(added)) * 6e-8 * (4 + std::sqrt(static_cast<double>(c.I) / 32)) + std::fabs(want) * (c.f32 ? 0 : 0.004) + 1e-30;
      if (!std::isfinite(want)) worst = std::max(worst, std::isfinite(got) ? INFINITY : 0.0);
      else worst = std::max(worst, std::isnan(got) ? INFINITY : std::fabs(got - want) / bound);
    }
    const size_t gap = static_cast<size_t>(row - c.O) * x.size();
    untouched &= std::memcmp(y.data() + static_cast<size_t>(m * row + c.O) * x.size(), old.at(m * row + c.O), gap) == 0;
  }
  CHECK_SAY(worst <= 1, std::string(level) + " " + c.name() + ": error over bound " + std::to_string(worst));
  CHECK_SAY(run(0, c.M, 1, true) == y, std::string(level) + " " + c.name() + ": depends on the weights beside");
  CHECK_SAY(untouched, std::string(level) + " " + c.name() + ": wrote outside");
  for (int threads : {2, 3}) CHECK_SAY(run(0, c.M, threads) == y, std::string(level) + " " + c.name() + ": depends on threads");
  for (int i = 0; i < 4 && c.M > 1; ++i) {
    const int64_t first = static_cast<int64_t>(random_bits() % static_cast<uint32_t>(c.M));
    const int64_t rows = 1 + static_cast<int64_t>(random_bits() % static_cast<uint32_t>(c.M - first));
    const std::vector<uint8_t> some = run(first, rows, 1);
    CHECK_SAY(
        std::equal(some.begin(), some.end(), y.begin() + static_cast<int64_t>(x.size()) * first * row),
        std::string(level) + " " + c.name() + ": rows " + std::to_string(first) + " to " + std::to_string(first + rows - 1) + " have other bits");
  }
}

void check_all(const Product& product) {
  const int64_t rows[] = {0, 1, 2, 3, 5, 7, 8, 9, 16, 17}, outs[] = {1, 7, 16, 33, 64, 80, 130},
                ins[] = {1, 31, 32, 64, 70, 96, 128, 192, 256, 320, 330, 515}, blocks[] = {0, 32, 64, 64, 128, 4096};
  const auto pick = [&](auto& from) { return from[random_bits() % std::size(from)]; };
  const auto bit = [&] { return (random_bits() & 1) != 0; };
  for (int i = 0; i < 120; ++i) {
    const int64_t block = pick(blocks);
    check_case(product, {pick(rows), pick(outs), pick(ins), block, bit(), block && bit(), bit(), bit()});
  }
  for (int64_t block : {0, 32, 64, 128})
    for (bool f32 : {false, true}) {
      check_case(product, {3, 70, 2048, block, false, block != 0, true, f32});
      for (float odd : {NAN, INFINITY, 1e-39f}) {
        check_case(product, {6, 40, 256, block, true, false, false, f32, odd});
        check_case(product, {6, 40, 256, block, false, false, true, f32, 0, odd});
      }
      check_case(product, {6, 40, 256, block, false, false, true, f32, 0, 3e38f});
    }
}

}  // namespace

int main() {
  check_all({"amx_twin", cpu::amx_twin::eight_bit::product, Level::generic, true});
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    const char* level = cpu::level_name(static_cast<Level>(l));
    if (check::wants_level(level))
      check_all({level, cpu::linear::eight_bit, static_cast<Level>(l), cpu::linear::kernels_of(static_cast<Level>(l)).coded != nullptr});
  }
  return check::finish();
}
