// Cases of every op of native/ops.def on odd shapes, for whichever backend: test/native/ops.cc runs them on all dispatch levels of the CPU,
// test/native/backends.cc on a module against the CPU. An op without a case fails in both.
#pragma once
#include <cmath>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"

namespace anymal::op_cases {

using Sizes = std::vector<int64_t>;

// One run's tensors: inputs are functions of a counter, so every run of a case sees the same; outputs are poisoned and fenced.
class Bench {
 public:
  struct Layout {
    size_t guard = 64;  // fence bytes on both sides
    int64_t shift = 0;  // elements by which the data is off its block's alignment, as the rows of a slice may be
    uint32_t seed = 1;
    bool rounded = false;  // f32 of the values that bf16 would have
  };
  Bench(const Backend& backend, Stream& stream, DType x) : Bench(backend, stream, x, Layout()) {}
  Bench(const Backend& backend, Stream& stream, DType x, Layout layout);
  ~Bench();
  Bench(const Bench&) = delete;

  DType x() const { return x_; }
  View in(Sizes shape, double scale = 1) { return filled(shape, x_, scale, 0, layout_.rounded); }  // of the case's dtype
  View floats(Sizes shape, double scale = 1, double shift = 0) { return filled(shape, DType::f32, scale, shift, false); }
  View ints(Sizes shape, int32_t low, int32_t high);
  View these(Sizes shape, std::initializer_list<int32_t> values);
  View bytes(int64_t n, uint8_t mask = 255);
  View out(Sizes shape) { return make(shape, x_, true); }
  View out(Sizes shape, DType t) { return make(shape, t, true); }
  View hidden(Sizes shape, DType t) { return make(shape, t, false); }  // written by an op, not compared
  View acc(Sizes shape) { return compared(floats(shape)); }            // begins with numbers and is compared afterwards
  View compared(View v);
  View packed(QuantFormat format, int64_t out_features, int64_t in_features);  // random codes in this backend's layout

  void download();  // from then on outputs() are views of host memory
  const std::vector<View>& outputs() const { return outputs_; }
  bool fences_hold() const;

 private:
  struct Block {
    std::vector<uint8_t> host;
    char* device;
    size_t begin, bytes;
  };
  View make(const Sizes& shape, DType t, bool is_output);
  View filled(const Sizes& shape, DType t, double scale, double shift, bool rounded);
  Block& block_of(const View& v);
  void upload(const View& v);
  template <class T>
  T* host(const View& v) {
    Block& b = block_of(v);
    return reinterpret_cast<T*>(b.host.data() + b.begin);
  }

  const Backend& backend_;
  Stream& stream_;
  DType x_;
  Layout layout_;
  uint32_t seed_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<View> outputs_;
};

double number(const View& v, int64_t i);

struct Cast {  // a View becomes whatever role the entry asks for
  View v;
  template <class Role>
  operator Role() const {
    return Role{v};
  }
};
inline Cast _(const View& v) { return {v}; }
inline const Cast none{View{}};

struct Case {
  std::string name;
  std::function<void(const Backend&, Stream&, Bench&)> run;
  bool bf16 = true;            // also in bf16
  double tolerance = 1;        // factor on the usual one; 0: bit-equal
  bool layout_of_cpu = false;  // compares bytes of the CPU's packed layout
};
std::vector<Case>& cases();  // all of them, in order
void add_case(std::string name, std::function<void(const Backend&, Stream&, Bench&)> run, bool bf16 = true, double tolerance = 1);
void add_layout_case(std::string name, std::function<void(const Backend&, Stream&, Bench&)> run);  // of the CPU's packed layout
std::vector<std::string> ops_without_case();
bool only_on_cpu(const std::string& op);  // CPU_OP of native/ops.def
// Besides cases(), in bf16: products that a card with so many multiprocessors gives its largest tiles.
std::vector<Case> wide_products(int processors);
// In bf16 too, of more than 256 rows: what a Hopper card makes by wgmma.
std::vector<Case> many_rows();

// What a case's outputs should be, from plain loops: the CPU's generic level, on one thread. Outputs of f32 inputs are held to these numbers. For
// bf16 the same loops run in f32 on the same inputs as well; what they say is nearly exact, and the distance of the plain bf16 loops from it is what
// rounding at these points costs. A kernel may be off by three times that and one rounding of its own.
class Expectation {
 public:
  Expectation(const Case& c, DType x, uint32_t seed);
  ~Expectation();
  // What is wrong with output `o`, empty when nothing is. NaN is wrong in either.
  std::string complaint(size_t o, const View& got) const;
  size_t outputs() const;

 private:
  struct Run;
  double tolerance_;
  std::unique_ptr<Run> plain_, exact_;
};

#define CASE(...) [=](const Backend& b, Stream& s, Bench& t) { __VA_ARGS__; }

void movement();
void arithmetic();
void norms();
void attentions();
void convolutions();
void losses();
void matmuls();
void groups();
void few_rows();
void quantisation();
void optimisers();
void variants();

}  // namespace anymal::op_cases
