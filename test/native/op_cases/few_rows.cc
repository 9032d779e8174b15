// Products of few rows, and of some hundreds, with a quantised weight: shapes for the kernels that CUDA has for them.
#include "op_cases/cases.h"

namespace anymal::op_cases {

namespace {

// Codes in 4 bit before a few rows, and before some more: every count of few, a tile of 128 inputs and a half, depths that are cut into parts,
// outputs that a block makes one after the other, maxima of longer blocks, and nested.
void products() {
  struct Few {
    int64_t n, in, out, block;
    bool nested;
  };
  std::vector<Few> list = {{5, 2112, 600, 64, true},   {13, 1088, 300, 128, false}, {2, 2112, 40, 4096, true},
                           {16, 640, 24, 64, false},   {31, 1088, 150, 64, true},   {32, 128, 16, 64, false},
                           {70, 1216, 137, 128, true}, {256, 320, 40, 64, false},   {257, 64, 40, 64, true}};
  for (int64_t n = 1; n <= 17; ++n) list.push_back({n, 192, 37, 64, n % 3 == 0});
  for (const auto [n, I, O, block, nested] : list) {
    const auto format = n % 2 ? QuantFormat::nf4 : QuantFormat::fp4;
    add_case(
        "linear_quantized",
        [=](const Backend& b, Stream& s, Bench& t) {
          const int64_t blocks = (O * I + block - 1) / block;
          const View absmax = nested ? t.bytes(blocks) : t.floats({blocks}, 0.1, 0.3);
          const View second = nested ? t.floats({(blocks + 255) / 256}, 0.01, 0.1) : View{}, offset = nested ? t.floats({1}, 0.01, 0.2) : View{};
          b.linear_quantized(s, _(t.out({n, O})), _(t.in({n, I}, 2)), _(t.packed(format, O, I)), _(absmax), _(second), _(offset),
                             _(n % 4 ? t.in({O}) : View{}), format, block, O, 0);
        },
        true, 4);
  }
}

// Their gradients: every count of few, columns of 128 inputs of which one ends at its half and one is not there, outputs that are cut into parts and
// end within a step, maxima of longer blocks, and nested.
void gradients() {
  struct Few {
    int64_t n, in, out, block;
    bool nested;
  };
  std::vector<Few> list = {{5, 576, 1100, 64, true},  {13, 448, 300, 128, false}, {2, 64, 2115, 4096, true}, {16, 640, 24, 64, false},
                           {8, 128, 0, 64, false},    {31, 192, 1096, 64, true},  {32, 128, 16, 64, false},  {70, 576, 1096, 128, true},
                           {256, 320, 40, 64, false}, {257, 64, 40, 64, true},    {40, 192, 68, 64, false},  {17, 320, 8, 64, true}};
  for (int64_t n = 1; n <= 17; ++n) list.push_back({n, 192, 37, 64, n % 3 == 0});
  for (const auto [n, I, O, block, nested] : list) {
    const auto format = n % 2 ? QuantFormat::nf4 : QuantFormat::fp4;
    add_case(
        "linear_quantized_dx",
        [=](const Backend& b, Stream& s, Bench& t) {
          const int64_t blocks = (O * I + block - 1) / block;
          const View absmax = nested ? t.bytes(blocks) : t.floats({blocks}, 0.1, 0.3);
          const View second = nested ? t.floats({(blocks + 255) / 256}, 0.01, 0.1) : View{}, offset = nested ? t.floats({1}, 0.01, 0.2) : View{};
          b.linear_quantized_dx(s, _(t.out({n, I})), _(t.in({n, O})), _(t.packed(format, O, I)), _(absmax), _(second), _(offset), format, block, I);
        },
        true, 4);
  }
}

// Codes in 8 bit before a few rows: every count of them, inputs that end anywhere within a chunk, parts, outputs that a block makes one after the
// other, outliers in many columns, in some, or none; and their gradients.
void eight_bit() {
  struct Few {
    int64_t n, in, out;
    double threshold;
  };
  constexpr auto int8 = QuantFormat::int8;
  std::vector<Few> list = {{5, 2112, 600, 3.2}, {13, 1089, 300, 0}, {2, 300, 1100, 2}, {16, 640, 24, 3.3}, {7, 129, 0, 2}};
  for (int64_t n = 1; n <= 16; ++n) list.push_back({n, 200 + n % 3, 37, n % 2 ? 3.0 : 0.0});
  for (const auto [n, I, O, threshold] : list) {
    add_case("linear_quantized",
             CASE(b.linear_quantized(s, _(t.out({n, O})), _(t.in({n, I}, 2)), _(t.packed(int8, O, I)), _(t.floats({O}, 0.1, 0.3)), none, none,
                                     _(n % 4 ? t.in({O}) : View{}), int8, 0, O, threshold)),
             true, 4);
    add_case("linear_quantized_dx",
             CASE(b.linear_quantized_dx(s, _(t.out({n, I})), _(t.in({n, O})), _(t.packed(int8, O, I)), _(t.floats({O}, 0.1, 0.3)), none, none, int8,
                                        0, I)),
             true, 4);
  }
  for (const auto [n, I, O, threshold] : {Few{3, 200, 37, 3}, {11, 1089, 300, 0}, {16, 130, 600, 3}}) {
    const int64_t r = n + 5;
    add_case(
        "linear_quantized_lora",
        CASE(b.linear_quantized_lora(s, _(t.out({n, O})), _(t.out({n, r})), _(t.in({n, I}, 2)), _(t.packed(int8, O, I)), _(t.floats({O}, 0.1, 0.3)),
                                     none, none, _(t.in({O})), _(t.in({r, I})), _(t.in({O, r})), int8, 0, O, threshold, 0.5, 0.1, 3, 4)),
        true, 8);
    add_case("linear_quantized_lora_backward",
             CASE(b.linear_quantized_lora_backward(s, _(t.out({n, I})), _(t.acc({r, I})), _(t.acc({O, r})), _(t.in({n, O})), _(t.in({n, I})),
                                                   _(t.in({n, r})), _(t.packed(int8, O, I)), _(t.floats({O}, 0.1, 0.3)), none, none, _(t.in({r, I})),
                                                   _(t.in({O, r})), int8, 0, 0.5, 0.1, 3, 4)),
             true, 8);
  }
}

// LoRA on the paths of few rows and of some more: ranks of one tile and of several, sums of u that are cut and others, rows of u that are no whole
// chunks. And its gradients, each sum of which is cut once.
void low_rank() {
  struct Branched {
    int64_t n, in, out, r;
    double dropout;
  };
  for (const auto [n, I, O, r, dropout] : {Branched{1, 192, 37, 8, 0.1},
                                           {5, 1088, 300, 70, 0.1},
                                           {16, 640, 24, 130, 0},
                                           {11, 128, 150, 3, 0.3},
                                           {30, 1216, 137, 16, 0.1},
                                           {256, 320, 40, 33, 0.1},
                                           {3, 64, 0, 5, 0.1}})
    for (const auto format : {QuantFormat::nf4, QuantFormat::fp4})
      add_case("linear_quantized_lora",
               CASE(b.linear_quantized_lora(s, _(t.out({n, O})), _(t.out({n, r})), _(t.in({n, I}, 2)), _(t.packed(format, O, I)),
                                            _(t.floats({O * I / 64}, 0.1, 0.3)), none, none, _(t.in({O})), _(t.in({r, I})), _(t.in({O, r})), format,
                                            64, O, 0.0, 0.5, dropout, 3, 4)),
               true, 8);
  for (const auto [n, I, O, r, dropout] : {Branched{600, 64, 40, 20, 0.1},
                                           {20, 64, 700, 9, 0.1},
                                           {0, 64, 10, 4, 0},
                                           {5, 320, 300, 70, 0.1},
                                           {16, 192, 37, 3, 0},
                                           {30, 448, 1096, 16, 0.3},
                                           {120, 128, 64, 33, 0.1}})
    add_case("linear_quantized_lora_backward",
             CASE(b.linear_quantized_lora_backward(s, _(t.out({n, I})), _(t.acc({r, I})), _(t.acc({O, r})), _(t.in({n, O})), _(t.in({n, I})),
                                                   _(t.in({n, r})), _(t.packed(QuantFormat::nf4, O, I)), _(t.floats({O * I / 64}, 0.1, 0.3)), none,
                                                   none, _(t.in({r, I})), _(t.in({O, r})), QuantFormat::nf4, 64, 0.5, dropout, 3, 4)),
             true, 8);
}

}  // namespace

void few_rows() {
  products();
  gradients();
  eight_bit();
  low_rank();
}

}  // namespace anymal::op_cases
