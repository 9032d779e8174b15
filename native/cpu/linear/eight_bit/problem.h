// Products with a quantised weight whose inputs are rounded to 8 bit, as llama.cpp computes them: an option of answering, not exact.
//   x: each 64 inputs of a row share a scale, their largest over 127: codes -127 .. 127 (llama.cpp's Q8_0, which has blocks of 32).
//   W: the 16 values of a code book rounded to integers (EightBitBook), codes of int8 as they are.
// Sums of one scale are integers and exact; each is scaled in f32 and added to the next.
#pragma once
#include <cstdint>

#include "cpu/linear/gemm.h"
#include "quant/tables.h"

namespace anymal::cpu::linear {

// One of the weights that a row of x meets.
struct EightBitPart {
  QuantizedWeight w;
  Destination y;  // (M,O)
  const void* bias;
};
struct EightBitProblem {
  int64_t M;
  const EightBitPart* parts;  // of one format, block and number of inputs: worked off as one
  int64_t count;
  bool by_rows;   // where the codes lie: row_layout.h, or panels (packed_weight.h)
  const void* x;  // (M,I), rows x_row apart
  DType dtype;    // f32 or bf16, of y and of the bias too
  int64_t x_row;
};

constexpr int64_t kEightBitBlock = 64;  // inputs that share a scale

// value(c) is about value of code c times `scale`. The scale is the one below 127 with the least error, all codes being as frequent: a third of a
// percent of what NF4 varies by (127 itself: 0.42 %), a quarter for FP4.
struct EightBitBook {
  float scale;
  int8_t values[16];
};
constexpr EightBitBook eight_bit_book(QuantFormat format) {
  EightBitBook book{format == QuantFormat::int8 ? 127.0f : format == QuantFormat::fp4 ? 120.0f : 112.05f, {}};
  for (int i = 0; format != QuantFormat::int8 && i < 16; ++i) {
    const float v = quant::code_book(format)[i] * book.scale;
    book.values[i] = static_cast<int8_t>(v < 0 ? v - 0.5f : v + 0.5f);
  }
  return book;
}

// With the kernels of the stream's level (a file of its name beside this one).
void eight_bit(Stream&, const EightBitProblem&);

}  // namespace anymal::cpu::linear
