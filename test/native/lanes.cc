// Loops in lanes against the plainest loops there are, at every dispatch level and at lengths around the width of a block: what moves data is equal
// to the bit, sums are near f64.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/kernel.h"
#include "cpu/stream.h"

namespace anymal {
const Backend* anymal_backend_cpu(const char* level_or_null);
}
using namespace anymal;

namespace {

std::mt19937 random_bits(20261129);

// Numbers that bf16 holds, in either type.
struct Numbers {
  DType type;
  std::vector<float> values;
  std::vector<uint16_t> halves;
  Numbers(DType t, size_t n, float first = 0) : type(t), values(n, first), halves(n) {}
  void randomize() {
    for (float& v : values) v = static_cast<float>(static_cast<int>(random_bits() % 511) - 255) / 64;
  }
  View view(std::vector<int64_t> shape) {  // as it is now
    for (size_t i = 0; i < values.size(); ++i) halves[i] = cpu::generic::to_bf16(values[i]).bits;
    View v;
    v.data = type == DType::f32 ? static_cast<void*>(values.data()) : halves.data();
    v.dtype = type;
    v.rank = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) v.shape[i] = shape[i];
    return v;
  }
  float at(size_t i) const { return type == DType::f32 ? values[i] : cpu::generic::to_float(cpu::generic::bf16{halves[i]}); }
};

View of_ints(std::vector<int32_t>& v) {
  View w;
  w.data = v.data();
  w.dtype = DType::i32;
  w.rank = 1;
  w.shape[0] = static_cast<int64_t>(v.size());
  return w;
}

struct Cpu {
  const Backend& b;
  Stream s;
  std::string name;
  DType type;
  Cpu(cpu::Level l, DType t) : b(*anymal_backend_cpu(cpu::level_name(l))), s(2, l), name(cpu::level_name(l)), type(t) {
    name += t == DType::f32 ? " f32" : " bf16";
  }
};

void argmax_is_the_first_of_the_greatest(Cpu& on) {
  int strays = 0;
  for (size_t n : {1, 2, 15, 16, 17, 31, 32, 33, 64, 95, 130})
    for (size_t i = 0; i < n; ++i)
      for (size_t j = i; j < n; j += 1 + j % 7) {
        Numbers x(on.type, n, -3);
        x.values[i] = x.values[j] = 2;
        for (size_t k = 1; k < n; k += 5)
          if (k != i && k != j) x.values[k] = k % 2 ? NAN : -INFINITY;
        std::vector<int32_t> at(1);
        on.b.argmax(on.s, Out{of_ints(at)}, In{x.view({1, static_cast<int64_t>(n)})});
        strays += at[0] != static_cast<int32_t>(i);
      }
  CHECK_SAY(strays == 0, on.name + " argmax: " + std::to_string(strays) + " strays");
  for (float everywhere : {-INFINITY, 0.0f}) {
    Numbers x(on.type, 77, everywhere);
    std::vector<int32_t> at(1);
    on.b.argmax(on.s, Out{of_ints(at)}, In{x.view({1, 77})});
    CHECK_SAY(at[0] == 0, on.name + " argmax where all are " + std::to_string(everywhere));
  }
}

void transposes_move_every_element(Cpu& on) {
  for (int64_t n0 : {1, 15, 16, 31, 32, 33, 64, 70})
    for (int64_t n1 : {1, 7, 8, 16, 31, 48, 67})
      for (int64_t middle : {1, 3}) {
        const auto n = static_cast<size_t>(2 * n0 * middle * n1);
        Numbers x(on.type, n), y(on.type, n);
        x.randomize();
        const View from = x.view({2, n0, middle, n1}), to = y.view({2, n1, middle, n0});
        on.b.transpose_copy(on.s, Out{to}, In{from}, 1, 3);
        int strays = 0;
        for (int64_t o = 0; o < 2; ++o)
          for (int64_t i = 0; i < n0; ++i)
            for (int64_t m = 0; m < middle; ++m)
              for (int64_t j = 0; j < n1; ++j)
                strays += y.at(static_cast<size_t>(((o * n1 + j) * middle + m) * n0 + i)) !=
                          x.at(static_cast<size_t>(((o * n0 + i) * middle + m) * n1 + j));
        CHECK_SAY(strays == 0, on.name + " transpose of " + std::to_string(n0) + " x " + std::to_string(middle) + " x " + std::to_string(n1) + ": " +
                                   std::to_string(strays) + " strays");
      }
}

void rows_land_where_their_index_says(Cpu& on) {
  for (int64_t cols : {1, 30, 32, 64, 65, 200}) {
    Numbers dy(on.type, static_cast<size_t>(9 * cols)), dx(on.type, static_cast<size_t>(5 * cols), NAN);
    dy.randomize();
    std::vector<int32_t> index = {4, 0, -1, 4, 2, 0, 4, -1, 2};
    const View to = dx.view({5, cols});
    on.b.gather_rows_backward(on.s, Out{to}, In{dy.view({9, cols})}, In{of_ints(index)}, 5);
    int strays = 0;
    for (int64_t r = 0; r < 5; ++r)
      for (int64_t j = 0; j < cols; ++j) {
        float want = 0;
        for (int64_t i = 0; i < 9; ++i)
          if (index[static_cast<size_t>(i)] == r) want += dy.at(static_cast<size_t>(i * cols + j));
        if (on.type == DType::bf16) want = cpu::generic::to_float(cpu::generic::to_bf16(want));
        strays += dx.at(static_cast<size_t>(r * cols + j)) != want;
      }
    CHECK_SAY(strays == 0, on.name + " gather_rows_backward of " + std::to_string(cols) + " columns: " + std::to_string(strays) + " strays");
  }
}

void sums_are_near_f64(Cpu& on) {
  for (int64_t n : {1, 31, 32, 33, 255, 256, 300, 16384, 40001}) {
    Numbers x(on.type, static_cast<size_t>(n));
    x.randomize();
    double want = 0;
    for (size_t i = 0; i < x.values.size(); ++i) want += static_cast<double>(x.values[i]);
    Numbers y(DType::f32, 1);
    on.b.sum(on.s, Out{y.view({1})}, In{x.view({n})}, 1);
    CHECK_SAY(std::fabs(y.values[0] - want) < 1e-6 * std::sqrt(static_cast<double>(n)) + 1e-6 * std::fabs(want),
              on.name + " sum of " + std::to_string(n));
  }
  // Gradients of weights: parts of strips, added in order.
  for (int64_t rows : {1, 9, 150, 3000})
    for (int64_t cols : {1, 33, 64, 300}) {
      Numbers dy(on.type, static_cast<size_t>(rows * cols));
      dy.randomize();
      Numbers db(DType::f32, static_cast<size_t>(cols), 1);
      on.b.sum_leading(on.s, Acc{db.view({cols})}, In{dy.view({rows, cols})});
      int strays = 0;
      for (int64_t j = 0; j < cols; ++j) {
        double want = 1;
        for (int64_t r = 0; r < rows; ++r) want += static_cast<double>(dy.values[static_cast<size_t>(r * cols + j)]);
        strays += !(std::fabs(db.values[static_cast<size_t>(j)] - want) < 1e-4);
      }
      CHECK_SAY(strays == 0,
                on.name + " sum over " + std::to_string(rows) + " rows of " + std::to_string(cols) + ": " + std::to_string(strays) + " strays");
    }
}

}  // namespace

int main() {
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l)
    for (DType t : {DType::f32, DType::bf16}) {
      if (!check::wants_level(cpu::level_name(static_cast<cpu::Level>(l)))) continue;
      Cpu on(static_cast<cpu::Level>(l), t);
      argmax_is_the_first_of_the_greatest(on);
      transposes_move_every_element(on);
      rows_land_where_their_index_says(on);
      sums_are_near_f64(on);
    }
  return check::finish();
}
