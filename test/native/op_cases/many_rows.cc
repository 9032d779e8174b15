// Products of more than 256 rows with a quantised weight: what a Hopper card makes by wgmma, where that is asked for. Tiles of both heights on a card
// of four multiprocessors, the last of them not full; sums that are cut; rows of the weight that end within a step; a run of 64 weights in two
// blocks.
#include "op_cases/cases.h"

namespace anymal::op_cases {

std::vector<Case> many_rows() {
  std::vector<Case> list;
  const auto add = [&](std::string name, double tolerance, std::function<void(const Backend&, Stream&, Bench&)> run) {
    list.push_back({std::move(name), std::move(run), true, tolerance});
  };
  struct Weight {
    View codes, absmax, nested, offset;
    QuantFormat format;
    int64_t block;
  };
  // Of O x I: int8, or 4 bit with one maximum in f32 per block, or with nested ones.
  const auto weight = [](Bench& t, QuantFormat format, int64_t block, bool nested, int64_t O, int64_t I) {
    const int64_t blocks = block ? (O * I + block - 1) / block : O;
    Weight w{t.packed(format, O, I), {}, {}, {}, format, block};
    if (!nested) {
      w.absmax = t.floats({blocks}, 0.1, 0.3);
      return w;
    }
    w.absmax = t.bytes(blocks);
    w.nested = t.floats({(blocks + 255) / 256}, 0.01, 0.1);
    w.offset = t.floats({1}, 0.01, 0.2);
    return w;
  };
  struct Kind {
    QuantFormat format;
    int64_t block;
    bool nested;
  };
  struct Size {
    int64_t n, in, out, rank;
  };
  for (const Kind& kind : {Kind{QuantFormat::nf4, 64, true}, {QuantFormat::fp4, 128, false}, {QuantFormat::int8, 0, false}}) {
    const double threshold = kind.block ? 0 : 3;
    for (const auto& [n, I, O, r] : {Size{500, 136, 136, 40}, {300, 600, 72, 136}}) {
      add("linear_quantized_lora", 8, [=, n = n, I = I, O = O, r = r](const Backend& b, Stream& s, Bench& t) {
        const Weight w = weight(t, kind.format, kind.block, kind.nested, O, I);
        b.linear_quantized_lora(s, _(t.out({n, O})), _(t.out({n, r})), _(t.in({n, I}, 2)), _(w.codes), _(w.absmax), _(w.nested), _(w.offset),
                                _(t.in({O})), _(t.in({r, I})), _(t.in({O, r})), w.format, w.block, O, threshold, 0.5, 0.1, 3, 4);
      });
      add("linear_quantized_lora_backward", 8, [=, n = n, I = I, O = O, r = r](const Backend& b, Stream& s, Bench& t) {
        const Weight w = weight(t, kind.format, kind.block, kind.nested, O, I);
        b.linear_quantized_lora_backward(s, _(t.out({n, I})), _(t.acc({r, I})), none, _(t.in({n, O})), _(t.in({n, I})), _(t.in({n, r})), _(w.codes),
                                         _(w.absmax), _(w.nested), _(w.offset), _(t.in({r, I})), _(t.in({O, r})), w.format, w.block, 0.5, 0.1, 3, 4);
      });
    }
    add("linear_quantized", 4, [=](const Backend& b, Stream& s, Bench& t) {
      const int64_t n = 257, I = 72, O = 45;
      const Weight w = weight(t, kind.format, kind.block, kind.nested, O, I);
      b.linear_quantized(s, _(t.out({n, O})), _(t.in({n, I}, 2)), _(w.codes), _(w.absmax), _(w.nested), _(w.offset), none, w.format, w.block, O, 0);
    });
    add("linear_quantized_dx", 4, [=](const Backend& b, Stream& s, Bench& t) {
      const int64_t n = 257, I = 64, O = 520;
      const Weight w = weight(t, kind.format, kind.block, kind.nested, O, I);
      b.linear_quantized_dx(s, _(t.out({n, I})), _(t.in({n, O})), _(w.codes), _(w.absmax), _(w.nested), _(w.offset), w.format, w.block, I);
    });
  }
  return list;
}

}  // namespace anymal::op_cases
