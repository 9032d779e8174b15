// Matrix products, dense and quantised.
#include <utility>

#include "op_cases/cases.h"

namespace anymal::op_cases {

namespace {

// Several tiles each way, one row, sums so long that they are cut, nothing to sum, nothing to do; rows whose 16-byte packs hold and others.
void dense() {
  struct Size {
    int64_t n, in, out;
  };
  for (const auto [n, I, O] :
       {Size{1, 520, 70}, Size{5, 8, 3}, Size{129, 40, 136}, Size{17, 600, 64}, Size{70, 33, 65}, Size{3, 0, 5}, Size{0, 9, 5}}) {
    add_case("linear", CASE(b.linear(s, _(t.out({n, O})), _(t.in({n, I})), _(t.in({O, I})), none)));
    add_case("linear_dx", CASE(b.linear_dx(s, _(t.out({n, O})), _(t.in({n, I})), _(t.in({I, O})))));
    add_case("linear_dw", CASE(b.linear_dw(s, _(t.acc({n, O})), none, _(t.in({I, n})), _(t.in({I, O})))));
  }
  add_case("linear_dw", CASE(b.linear_dw(s, none, _(t.acc({33})), _(t.in({70, 33})), _(t.in({70, 5})))));
}

// A layer with what follows it. Tiles of both sizes each way, sums that are cut, edges that are no whole packs, f32 masters and weights of x's dtype,
// nothing to sum, nothing to do.
void fused() {
  struct Size {
    int64_t n, in, out;
  };
  int at = 0;
  for (const auto [n, I, O] : {Size{17, 600, 136}, Size{40, 30, 600}, Size{600, 70, 30}, Size{129, 40, 136}, Size{70, 33, 65}, Size{530, 24, 264},
                               Size{3, 0, 5}, Size{0, 9, 5}}) {
    const auto kind = static_cast<Activation>(at++ % 8);
    add_case("linear_fused",
             CASE(b.linear_fused(s, _(t.out({n, O})), _(t.out({n, O})), _(t.in({n, I})), _(t.floats({O, I}, 0.2)), _(t.in({O})), none, kind)));
    add_case("linear_fused",
             CASE(b.linear_fused(s, _(t.out({n, O})), none, _(t.in({n, I})), _(t.in({O, I}, 0.2)), none, none, Activation::squared_relu)));
    add_case("linear_fused",
             CASE(b.linear_fused(s, _(t.out({n, O})), none, _(t.in({n, I})), _(t.floats({O, I}, 0.2)), none, _(t.in({n, O})), Activation::identity)));
    add_case("linear_fused_backward", CASE(b.linear_fused_backward(s, _(t.out({n, I})), _(t.acc({O, I})), _(t.acc({O})), _(t.in({n, O})),
                                                                   _(t.in({n, I})), _(t.floats({O, I}, 0.2)), _(t.in({n, I})), kind)));
    add_case("linear_fused_backward",
             CASE(b.linear_fused_backward(s, _(t.out({n, I})), none, none, _(t.in({n, O})), none, _(t.in({O, I}, 0.2)), none, Activation::identity)));
    add_case("linear_fused_backward",
             CASE(b.linear_fused_backward(s, none, _(t.acc({O, I})), none, _(t.in({n, O})), _(t.in({n, I})), none, none, Activation::identity)));
  }
}

void projections() {
  struct Size {
    int64_t n1, n2, in, out;
  };
  for (const auto [n1, n2, I, O] :
       {Size{17, 17, 520, 24}, Size{513, 20, 40, 136}, Size{300, 70, 35, 17}, Size{0, 5, 8, 3}, Size{5, 0, 8, 3}, Size{3, 4, 0, 8}})
    for (const bool both : {true, false}) {
      add_case("project_two_source", CASE(b.project_two_source(s, _(t.out({n2, O})), _(t.out({n1, 8})), _(t.out({n1, O})), _(t.out({n2, 8})),
                                                               _(t.out({n2, O})), _(t.in({n1, I})), _(t.in({n2, I})), _(t.floats({O, I}, 0.2)),
                                                               _(both ? t.floats({8, I}, 0.2) : t.in({8, I}, 0.2)), _(t.floats({O, I}, 0.2)))));
      add_case("project_two_source_backward",
               CASE(const View dx1 = t.out({n1, I}), dx2 = both ? t.out({n2, I}) : View{}; const View dwk = both ? t.acc({8, I}) : View{};
                    b.project_two_source_backward(s, _(dx1), _(dx2), _(t.acc({O, I})), _(dwk), _(t.acc({O, I})), _(t.in({n2, O})), _(t.in({n1, 8})),
                                                  _(t.in({n1, O})), _(t.in({n2, 8})), _(t.in({n2, O})), _(t.in({n1, I})), _(t.in({n2, I})),
                                                  _(t.floats({O, I}, 0.2)), _(both ? t.floats({8, I}, 0.2) : t.in({8, I}, 0.2)),
                                                  _(t.floats({O, I}, 0.2)))));
    }
}

// Other blocks than 64, sums that are cut, several tiles, one row, double quantisation, outliers in many columns or none.
void quantised() {
  struct Size {
    int64_t n, in, out;
  };
  for (const auto [n, I, O] : {Size{1, 520, 70}, Size{130, 64, 136}, Size{17, 600, 40}, Size{0, 64, 5}})
    for (const int64_t block : {0, 32, 128}) {
      const auto format = block == 0 ? QuantFormat::int8 : block == 32 ? QuantFormat::fp4 : QuantFormat::nf4;
      const int64_t blocks = block ? (O * I + block - 1) / block : O;
      const double threshold = block ? 0 : 3;
      add_case("linear_quantized",
               CASE(b.linear_quantized(s, _(t.out({n, O})), _(t.in({n, I}, 2)), _(t.packed(format, O, I)), _(t.floats({blocks}, 0.1, 0.3)), none,
                                       none, _(t.in({O})), format, block, O, threshold)),
               true, 4);
      add_case("linear_quantized_dx",
               CASE(b.linear_quantized_dx(s, _(t.out({n, I})), _(t.in({n, O})), _(t.packed(format, O, I)), _(t.floats({blocks}, 0.1, 0.3)), none,
                                          none, format, block, I)),
               true, 4);
      add_case("linear_quantized_lora",
               CASE(b.linear_quantized_lora(s, _(t.out({n, O})), _(t.out({n, 40})), _(t.in({n, I}, 2)), _(t.packed(format, O, I)),
                                            _(t.floats({blocks}, 0.1, 0.3)), none, none, _(t.in({O})), _(t.in({40, I})), _(t.in({O, 40})), format,
                                            block, O, threshold, 0.5, 0.1, 3, 4)),
               true, 8);
      add_case("linear_quantized_lora_backward",
               CASE(b.linear_quantized_lora_backward(s, _(t.out({n, I})), _(t.acc({40, I})), none, _(t.in({n, O})), _(t.in({n, I})), _(t.in({n, 40})),
                                                     _(t.packed(format, O, I)), _(t.floats({blocks}, 0.1, 0.3)), none, none, _(t.in({40, I})),
                                                     _(t.in({O, 40})), format, block, 0.5, 0.1, 3, 4)),
               true, 8);
    }
  // More columns than threads of a block.
  add_case("linear_quantized",
           CASE(b.linear_quantized(s, _(t.out({2, 8})), _(t.in({2, 2100}, 2)), _(t.packed(QuantFormat::int8, 8, 2100)), _(t.floats({8}, 0.1, 0.3)),
                                   none, none, none, QuantFormat::int8, 0, 8, 5.0)),
           true, 4);
  for (const auto& [format, block] : {std::pair{QuantFormat::nf4, int64_t{64}}, {QuantFormat::fp4, int64_t{32}}, {QuantFormat::int8, int64_t{0}}})
    for (const int64_t n : {1, 11})
      add_case("linear_eight_bit", [=](const Backend& b, Stream& s, Bench& t) {
        const int64_t I = 192, O[] = {70, 33, 16};
        View codes[3], absmax[3], biases[3];
        for (int i = 0; i < 3; ++i) {
          codes[i] = t.packed(format, O[i], I);
          absmax[i] = t.floats({block ? O[i] * I / block : O[i]}, 0.1, 0.3);
          biases[i] = t.in({O[i]});
        }
        const InList no{nullptr, 0};
        const View x = t.in({n, I}, 2);
        b.linear_eight_bit(s, _(t.out({n, O[0]})), _(t.out({n, O[1]})), _(t.out({n, O[2]})), _(x), {codes, 3}, {absmax, 3}, no, no, {biases, 3},
                           format, block, O[0], O[1], O[2]);
        b.linear_eight_bit(s, _(t.out({n, O[0]})), none, none, _(x), {codes, 1}, {absmax, 1}, no, no, no, format, block, O[0], 0, 0);
      });
  // Gradients of the branch alone.
  add_case("linear_quantized_lora_backward",
           CASE(b.linear_quantized_lora_backward(s, none, none, _(t.acc({33, 5})), _(t.in({300, 33})), _(t.in({300, 64})), _(t.in({300, 5})),
                                                 _(t.packed(QuantFormat::nf4, 33, 64)), _(t.floats({33}, 0.1, 0.3)), none, none, _(t.in({5, 64})),
                                                 _(t.in({33, 5})), QuantFormat::nf4, 64, 0.5, 0.0, 3, 4)),
           true, 8);
  // 300 blocks: two of the nested quantisation.
  add_case("linear_quantized_dx",
           CASE(b.linear_quantized_dx(s, _(t.out({20, 240})), _(t.in({20, 80})), _(t.packed(QuantFormat::nf4, 80, 240)), _(t.bytes(300)),
                                      _(t.floats({2}, 0.01, 0.1)), _(t.floats({1}, 0.01, 0.2)), QuantFormat::nf4, 64, 240)),
           true, 4);
}

}  // namespace

void matmuls() {
  dense();
  fused();
  projections();
  quantised();
  for (int64_t n : {int64_t{3}, int64_t{65}}) {
    add_case("linear", CASE(b.linear(s, _(t.out({n, 33})), _(t.in({n, 63})), _(t.in({33, 63})), _(t.in({33})))));
    add_case("linear_dx", CASE(b.linear_dx(s, _(t.out({n, 63})), _(t.in({n, 33})), _(t.in({33, 63})))));
    add_case("linear_dw", CASE(b.linear_dw(s, _(t.acc({33, 63})), _(t.acc({33})), _(t.in({n, 33})), _(t.in({n, 63})))));
    for (auto format : {QuantFormat::nf4, QuantFormat::fp4, QuantFormat::int8})
      for (int64_t I : {int64_t{64}, int64_t{70}}) {
        const bool eight = format == QuantFormat::int8;
        const int64_t O = 37, block = eight ? 0 : 64, blocks = eight ? O : (O * I + 63) / 64;
        add_case("linear_quantized",
                 CASE(b.linear_quantized(s, _(t.out({n, O})), _(t.in({n, I}, 4)), _(t.packed(format, O, I)), _(t.floats({blocks}, 0.1, 0.3)), none,
                                         none, _(t.in({O})), format, block, O, eight ? 6.0 : 0.0)),
                 true, 4);
        add_case("linear_quantized_dx",
                 CASE(b.linear_quantized_dx(s, _(t.out({n, I})), _(t.in({n, O})), _(t.packed(format, O, I)), _(t.floats({blocks}, 0.1, 0.3)), none,
                                            none, format, block, I)),
                 true, 4);
        for (double p : {0.0, 0.25}) {
          add_case("linear_quantized_lora",
                   CASE(b.linear_quantized_lora(s, _(t.out({n, O})), _(t.out({n, 5})), _(t.in({n, I})), _(t.packed(format, O, I)),
                                                _(t.floats({blocks}, 0.1, 0.3)), none, none, none, _(t.in({5, I})), _(t.in({O, 5})), format, block, O,
                                                0.0, 0.5, p, 3, 4)),
                   true, 8);
          add_case("linear_quantized_lora_backward",
                   CASE(b.linear_quantized_lora_backward(s, _(t.out({n, I})), _(t.acc({5, I})), _(t.acc({O, 5})), _(t.in({n, O})), _(t.in({n, I})),
                                                         _(t.in({n, 5})), _(t.packed(format, O, I)), _(t.floats({blocks}, 0.1, 0.3)), none, none,
                                                         _(t.in({5, I})), _(t.in({O, 5})), format, block, 0.5, p, 3, 4)),
                   true, 8);
        }
      }
    add_case("linear_quantized",
             CASE(b.linear_quantized(s, _(t.out({n, 37})), _(t.in({n, 70})), _(t.packed(QuantFormat::nf4, 37, 70)), _(t.bytes(41)),
                                     _(t.floats({1}, 0.01, 0.1)), _(t.floats({1}, 0.01, 0.2)), none, QuantFormat::nf4, 64, 37, 0.0)),
             true, 4);
  }
}

}  // namespace anymal::op_cases
