// The numbers of bitsandbytes.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void quantisation() {
  for (auto format : {QuantFormat::nf4, QuantFormat::fp4}) {
    add_case("quantize_4bit", CASE(b.quantize_4bit(s, _(t.out({115}, DType::u8)), _(t.out({4}, DType::f32)), _(t.in({229})), format, 64)), true, 0);
    add_case("dequantize_4bit", CASE(b.dequantize_4bit(s, _(t.out({229})), _(t.bytes(115)), _(t.floats({4})), format, 64)), true, 0);
  }
  // The smallest and the largest block, whole and cut short, one block, none; a block of zeros has codes but no scale.
  for (auto format : {QuantFormat::nf4, QuantFormat::fp4})
    for (auto [block, n] : {std::pair{32, 3000}, std::pair{256, 512}, std::pair{4096, 9001}, std::pair{64, 1}, std::pair{64, 0}}) {
      const int64_t blocks = (n + block - 1) / block, bytes = (n + 1) / 2;
      add_case("quantize_4bit",
               CASE(b.quantize_4bit(s, _(t.out({bytes}, DType::u8)), _(t.out({blocks}, DType::f32)), _(t.in({n}, 0.02)), format, block)), true, 0);
      add_case("dequantize_4bit", CASE(b.dequantize_4bit(s, _(t.out({n})), _(t.bytes(bytes)), _(t.floats({blocks})), format, block)), true, 0);
    }
  for (auto format : {QuantFormat::nf4, QuantFormat::fp4})
    add_case("quantize_4bit", CASE(b.quantize_4bit(s, _(t.out({50}, DType::u8)), _(t.out({2}, DType::f32)), _(t.in({100}, 0)), format, 64)), true, 0);
  for (int64_t C : {int64_t{8}, int64_t{2104}}) {
    add_case("quantize_rows_int8", CASE(b.quantize_rows_int8(s, _(t.out({3, C}, DType::u8)), _(t.out({3}, DType::f32)), _(t.in({3, C})))), true, 0);
    add_case("dequantize_rows_int8",
             CASE(View codes = t.bytes(3 * C); codes.rank = 2; codes.shape[0] = 3; codes.shape[1] = C;
                  b.dequantize_rows_int8(s, _(t.out({3, C})), _(codes), _(t.floats({3})))),
             true, 0);
  }
  add_case("quantize_rows_int8", CASE(b.quantize_rows_int8(s, _(t.out({2, 8}, DType::u8)), _(t.out({2}, DType::f32)), _(t.in({2, 8}, 0)))), true, 0);
  for (int64_t block : {int64_t{32}, int64_t{4096}})
    add_case(
        "quantize_dynamic",
        CASE(b.quantize_dynamic(s, _(t.out({4200}, DType::u8)), _(t.out({(4200 + block - 1) / block}, DType::f32)), _(t.in({4200})), block, true)),
        true, 0);
  add_case(
      "quantize_absmax",
      CASE(b.quantize_absmax(s, _(t.out({5000}, DType::u8)), _(t.out({20}, DType::f32)), _(t.out({1}, DType::f32)), _(t.floats({5000}, 0.1, 1)))),
      false, 0);
  // Another backend's layout is its own: what goes in comes out again.
  for (auto format : {QuantFormat::nf4, QuantFormat::fp4, QuantFormat::int8})
    for (int64_t I : {int64_t{7}, int64_t{64}}) {
      const int64_t n = format == QuantFormat::int8 ? 37 * I : (37 * I + 1) / 2;
      add_layout_case("pack_codes", CASE(b.pack_codes(s, _(t.out({b.packed_bytes(format, 37, I)}, DType::u8)), _(t.bytes(n)), format, 37, I)));
      add_layout_case("unpack_codes", CASE(b.unpack_codes(s, _(t.out({n}, DType::u8)), _(t.bytes(b.packed_bytes(format, 37, I))), format, 37, I)));
      for (const char* name : {"pack_codes", "unpack_codes"})
        add_case(name, CASE(b.unpack_codes(s, _(t.out({n}, DType::u8)), _(t.packed(format, 37, I)), format, 37, I)), false, 0);
    }
  add_case("quantize_rows_int8", CASE(b.quantize_rows_int8(s, _(t.out({5, 65}, DType::u8)), _(t.out({5}, DType::f32)), _(t.in({5, 65})))), true, 0);
  add_case("dequantize_rows_int8",
           CASE(View codes = t.bytes(325); codes.rank = 2; codes.shape[0] = 5; codes.shape[1] = 65;
                b.dequantize_rows_int8(s, _(t.out({5, 65})), _(codes), _(t.floats({5})))),
           true, 0);
  for (bool is_signed : {false, true}) {
    add_case("quantize_dynamic", CASE(b.quantize_dynamic(s, _(t.out({300}, DType::u8)), _(t.out({2}, DType::f32)), _(t.in({300})), 256, is_signed)),
             true, 0);
    add_case("dequantize_dynamic", CASE(b.dequantize_dynamic(s, _(t.out({300}, DType::f32)), _(t.bytes(300)), _(t.floats({2})), 256, is_signed)),
             false, 0);
  }
  add_case("quantize_absmax",
           CASE(b.quantize_absmax(s, _(t.out({300}, DType::u8)), _(t.out({2}, DType::f32)), _(t.out({1}, DType::f32)), _(t.floats({300}, 0.1, 1)))),
           false, 0);
  add_case("dequantize_absmax", CASE(b.dequantize_absmax(s, _(t.out({300}, DType::f32)), _(t.bytes(300)), _(t.floats({2})), _(t.floats({1})))),
           false);
}

}  // namespace anymal::op_cases
