// Ops that work row by row, as test/native/rows.cc runs them on any number of rows.
#pragma once
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend.h"

namespace anymal::row_cases {

using Sizes = std::vector<int64_t>;

// Host memory that lives as long as this does, every tensor at the start of a block of its own.
class Memory {
 public:
  View make(DType t, const Sizes& shape);
  View copy_of_rows(const View& v, int64_t first, int64_t count);  // along the first size
  View like_rows(const View& v, int64_t count);

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::vector<std::unique_ptr<void, Free>> blocks_;
};
size_t row_bytes(const View& v);

// Rows [first, first + count) of `of`.
struct Window {
  int64_t first, count, of;
};

struct Case {
  std::string name;
  int64_t rows;
  std::vector<View> cut;  // inputs whose first size is the rows
  std::vector<View> out;  // outputs likewise: shapes only
  std::function<void(const Backend&, Stream&, const Window&, Memory&, const View* cut, const View* out)> run;
  bool every_count = false;  // of rows is run, up to all of them
};

// One of each op, of random sizes; `memory` holds what all rows share. `large`: also what needs many elements.
std::vector<Case> make_cases(const Backend& b, Stream& s, DType t, std::mt19937& random, Memory& memory, bool large);

// What the files of cases have in common.
struct Maker {
  const Backend& b;
  Stream& s;
  DType t;
  std::mt19937& random;
  Memory& memory;
  std::vector<Case>& list;

  int64_t pick(int64_t low, int64_t high) { return low + static_cast<int64_t>(random() % static_cast<uint32_t>(high - low + 1)); }
  View normal(DType dtype, const Sizes& shape, float scale = 1, float shift = 0);
  View in(const Sizes& shape, float scale = 1) { return normal(t, shape, scale); }
  View floats(const Sizes& shape, float scale = 1, float shift = 0) { return normal(DType::f32, shape, scale, shift); }
  View ints(const Sizes& shape, int32_t low, int32_t high);  // in [low, high)
  View shape(const Sizes& shape) { return of(t, shape); }
  static View of(DType dtype, const Sizes& shape, void* data = nullptr);
  template <class F>
  void add(std::string name, int64_t rows, std::vector<View> cut, std::vector<View> out, F run) {
    list.push_back({std::move(name) + (t == DType::f32 ? " f32" : " bf16"), rows, std::move(cut), std::move(out), std::move(run), false});
  }
};

// The body of a case that needs no more than its tensors.
#define RUN [=](const Backend& b, Stream& s, const Window&, Memory&, const View* cut, const View* out)

void products(Maker&);
void every_count(Maker&);
void attentions(Maker&);
void others(Maker&);
void head_in_chunks(Maker&);

}  // namespace anymal::row_cases
