// Products with so many tiles of 128 by 128 that a card of `processors` multiprocessors chooses them: what real training runs, and what the small
// shapes of matmuls.cc reach on small cards only. A few steps of k, so that they are cheap.
#include "op_cases/cases.h"

namespace anymal::op_cases {

std::vector<Case> wide_products(int processors) {
  int64_t down = 1;
  while (down * down < processors) ++down;
  const int64_t across = (processors + down - 1) / down;
  // Two tiles each way at least, the last of them not full.
  const int64_t N = 128 * (down < 2 ? 2 : down) - 6, O = 128 * (across < 2 ? 2 : across) - 40, K = 104, r = 8;
  std::vector<Case> list;
  const auto add = [&](std::string name, double tolerance, std::function<void(const Backend&, Stream&, Bench&)> run) {
    list.push_back({std::move(name), std::move(run), true, tolerance});
  };
  add("linear", 1, CASE(b.linear(s, _(t.out({N, O})), _(t.in({N, K})), _(t.in({O, K})), _(t.in({O})))));
  add("linear_dx", 1, CASE(b.linear_dx(s, _(t.out({N, O})), _(t.in({N, K})), _(t.in({K, O})))));
  add("linear_dw", 1, CASE(b.linear_dw(s, _(t.acc({N, O})), none, _(t.in({K, N})), _(t.in({K, O})))));

  struct Maxima {
    View absmax, nested, offset;
  };
  // One maximum in f32 per block of 64, or nested: in 8 bit, with one in f32 per 256 of them.
  const auto maxima = [](Bench& t, int64_t weights, bool nested) {
    const int64_t blocks = (weights + 63) / 64;
    if (!nested) return Maxima{t.floats({blocks}, 0.1, 0.3), {}, {}};
    const View codes = t.bytes(blocks), factors = t.floats({(blocks + 255) / 256}, 0.01, 0.1);
    return Maxima{codes, factors, t.floats({1}, 0.01, 0.2)};
  };
  constexpr auto nf4 = QuantFormat::nf4;
  for (const bool nested : {false, true}) {
    add("linear_quantized", 4, [=](const Backend& b, Stream& s, Bench& t) {
      const Maxima m = maxima(t, O * K, nested);
      b.linear_quantized(s, _(t.out({N, O})), _(t.in({N, K}, 2)), _(t.packed(nf4, O, K)), _(m.absmax), _(m.nested), _(m.offset), none, nf4, 64, O, 0);
    });
    add("linear_quantized_dx", 4, [=](const Backend& b, Stream& s, Bench& t) {
      const Maxima m = maxima(t, K * O, nested);
      b.linear_quantized_dx(s, _(t.out({N, O})), _(t.in({N, K})), _(t.packed(nf4, K, O)), _(m.absmax), _(m.nested), _(m.offset), nf4, 64, O);
    });
  }
  add("linear_quantized_dx", 4,
      CASE(b.linear_quantized_dx(s, _(t.out({N, O})), _(t.in({N, K})), _(t.packed(QuantFormat::int8, K, O)), _(t.floats({K}, 0.1, 0.3)), none, none,
                                 QuantFormat::int8, 0, O)));
  add("linear_quantized_lora", 8, [=](const Backend& b, Stream& s, Bench& t) {
    const Maxima m = maxima(t, O * K, true);
    b.linear_quantized_lora(s, _(t.out({N, O})), _(t.out({N, r})), _(t.in({N, K})), _(t.packed(nf4, O, K)), _(m.absmax), _(m.nested), _(m.offset),
                            none, _(t.in({r, K})), _(t.in({O, r})), nf4, 64, O, 0, 0.5, 0.1, 3, 4);
  });
  add("linear_quantized_lora_backward", 8, [=](const Backend& b, Stream& s, Bench& t) {
    const Maxima m = maxima(t, K * O, true);
    b.linear_quantized_lora_backward(s, _(t.out({N, O})), _(t.acc({r, O})), _(t.acc({K, r})), _(t.in({N, K})), _(t.in({N, O})), _(t.in({N, r})),
                                     _(t.packed(nf4, K, O)), _(m.absmax), _(m.nested), _(m.offset), _(t.in({r, O})), _(t.in({K, r})), nf4, 64, 0.5,
                                     0.1, 3, 4);
  });
  // Two weights of outputs of their own, with a branch on each, and without.
  for (const auto format : {nf4, QuantFormat::int8})
    add("linear_quantized_group_backward", 8, [=](const Backend& b, Stream& s, Bench& t) {
      const int64_t outputs[] = {K, 40}, branches = format == nf4 ? 2 : 0;
      View codes[2], absmax[2], dy[2], lora_a[2], lora_b[2], da[2], db[2];
      for (int i = 0; i < 2; ++i) {
        const int64_t o = outputs[i];
        codes[i] = t.packed(format, o, O);
        absmax[i] = t.floats({format == nf4 ? (o * O + 63) / 64 : o}, 0.1, 0.3);
        dy[i] = t.in({N, o});
        lora_a[i] = t.in({r, O});
        lora_b[i] = t.in({o, r});
        if (branches == 0) continue;
        da[i] = t.acc({r, O});
        db[i] = t.acc({o, r});
      }
      const double of[] = {0, 1}, scaling[] = {0.5, 0.25}, offset[] = {4, 5};
      b.linear_quantized_group_backward(s, _(t.out({N, O})), {da, branches}, {db, branches}, {dy, 2}, _(t.in({N, O})), _(t.in({N * r * 2})),
                                        {codes, 2}, {absmax, 2}, {nullptr, 0}, {nullptr, 0}, {lora_a, branches}, {lora_b, branches}, {of, branches},
                                        {scaling, branches}, {offset, branches}, format, format == nf4 ? 64 : 0, O, 0.1, 3);
    });
  return list;
}

}  // namespace anymal::op_cases
