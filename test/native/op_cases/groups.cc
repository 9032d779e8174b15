// Several quantised weights over one x. One to three of them, branches on all, on some, on none; few rows and many, outputs of less than a panel
// beside wider ones, depths that end within a block, sums that are cut, maxima in f32 and quantised themselves.
#include <vector>

#include "op_cases/cases.h"

namespace anymal::op_cases {
namespace {

struct Kind {
  QuantFormat format;
  int64_t block;
  bool nested;
};
struct Asked {
  int64_t n, in;
  std::vector<int64_t> out;
  std::vector<double> of;  // which have a branch
  int64_t rank;
  double dropout;
  Kind kind;
};

struct Lists {
  std::vector<View> codes, absmax, nested, offset, biases, a, b;
  std::vector<double> out, scaling, offsets;
  int64_t ranks = 0;

  Lists(Bench& t, const Asked& c) {
    for (const int64_t O : c.out) {
      const int64_t blocks = c.kind.block ? (O * c.in + c.kind.block - 1) / c.kind.block : O;
      codes.push_back(t.packed(c.kind.format, O, c.in));
      absmax.push_back(c.kind.nested ? t.bytes(blocks) : t.floats({blocks}, 0.1, 0.3));
      if (c.kind.nested) {
        nested.push_back(t.floats({(blocks + 255) / 256}, 0.01, 0.1));
        offset.push_back(t.floats({1}, 0.01, 0.2));
      }
      biases.push_back(t.in({O}));
      out.push_back(static_cast<double>(O));
    }
    for (size_t j = 0; j < c.of.size(); ++j) {
      const int64_t r = c.rank + static_cast<int64_t>(j);
      a.push_back(t.in({r, c.in}));
      b.push_back(t.in({c.out[static_cast<size_t>(c.of[j])], r}));
      scaling.push_back(0.5 + 0.25 * static_cast<double>(j));
      offsets.push_back(static_cast<double>(4 + 2 * j));
      ranks += r;
    }
  }
};
InList in(const std::vector<View>& v) { return {v.data(), static_cast<int64_t>(v.size())}; }
Numbers numbers(const std::vector<double>& v) { return {v.data(), static_cast<int64_t>(v.size())}; }

void add_group(const Asked& c) {
  const int64_t n = c.n, I = c.in;
  const double tolerance = c.of.empty() ? 4 : 8, threshold = c.kind.block ? 0 : 3;
  add_case(
      "linear_quantized_group",
      [=](const Backend& b, Stream& s, Bench& t) {
        const Lists all(t, c);
        std::vector<View> y;
        for (const int64_t O : c.out) y.push_back(t.out({n, O}));
        b.linear_quantized_group(s, {y.data(), static_cast<int64_t>(y.size())}, _(c.of.empty() ? View{} : t.out({n * all.ranks})), _(t.in({n, I}, 2)),
                                 in(all.codes), in(all.absmax), in(all.nested), in(all.offset), n % 2 ? in(all.biases) : InList{nullptr, 0},
                                 in(all.a), in(all.b), numbers(all.out), numbers(c.of), numbers(all.scaling), numbers(all.offsets), c.kind.format,
                                 c.kind.block, threshold, c.dropout, 3);
      },
      true, tolerance);
  for (const bool gradients : {true, false}) {
    if (!gradients && c.of.empty()) continue;
    add_case(
        "linear_quantized_group_backward",
        [=](const Backend& b, Stream& s, Bench& t) {
          const Lists all(t, c);
          std::vector<View> dy, da, db;
          for (const int64_t O : c.out) dy.push_back(t.in({n, O}));
          for (size_t j = 0; gradients && j < c.of.size(); ++j) {
            da.push_back(t.acc({all.a[j].dim(0), I}));
            db.push_back(t.acc({all.b[j].dim(0), all.b[j].dim(1)}));
          }
          const bool branched = !c.of.empty();
          b.linear_quantized_group_backward(s, _(t.out({n, I})), {da.data(), static_cast<int64_t>(da.size())},
                                            {db.data(), static_cast<int64_t>(db.size())}, in(dy), _(branched ? t.in({n, I}) : View{}),
                                            _(branched ? t.in({n * all.ranks}) : View{}), in(all.codes), in(all.absmax), in(all.nested),
                                            in(all.offset), in(all.a), in(all.b), numbers(c.of), numbers(all.scaling), numbers(all.offsets),
                                            c.kind.format, c.kind.block, I, c.dropout, 3);
        },
        true, tolerance);
  }
}

}  // namespace

void groups() {
  const Kind nf4{QuantFormat::nf4, 64, false}, nested{QuantFormat::nf4, 64, true}, fp4{QuantFormat::fp4, 32, false},
      int8{QuantFormat::int8, 0, false};
  for (const Asked& c : {Asked{1, 192, {70, 33, 16}, {}, 0, 0, nested},
                         {5, 1088, {40, 300}, {0, 1}, 8, 0, nf4},
                         {16, 640, {24, 137, 24}, {0, 2}, 5, 0.1, nested},
                         {17, 600, {40, 40}, {}, 0, 0, fp4},
                         {70, 320, {137, 24, 40}, {0, 1, 2}, 16, 0.1, nf4},
                         {130, 64, {136, 33, 70}, {1}, 33, 0, nested},
                         {40, 70, {37, 41}, {0, 1}, 3, 0.25, nf4},
                         {33, 128, {96}, {0}, 4, 0.1, nf4},
                         {7, 96, {40, 35}, {0}, 6, 0.1, int8},
                         {130, 72, {40, 35, 8}, {0, 1, 2}, 4, 0, int8},
                         {0, 64, {10, 8}, {0, 1}, 4, 0, nf4}})
    add_group(c);
}

}  // namespace anymal::op_cases
