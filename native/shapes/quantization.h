// What the quantised products and the quantisation ops ask alike.
#pragma once
#include "shapes/check.h"

namespace anymal::shapes {

inline bool is_4bit(QuantFormat f) { return f != QuantFormat::int8; }
inline int64_t blocks_of(int64_t n, int64_t block) { return n / block + (n % block != 0); }
// Bytes of the row-major codes. No packed layout is smaller.
inline int64_t code_bytes(QuantFormat f, int64_t elements) { return is_4bit(f) ? elements / 2 + elements % 2 : elements; }

void expect_4bit(const Rule& rule, QuantFormat format);
void expect_block(const Rule& rule, int64_t block);  // a size that bitsandbytes knows
// A packed weight (O,I) with its block scales.
void expect_weight(const Rule& rule, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset, QuantFormat format,
                   int64_t block, int64_t out_features, int64_t in_features);
void expect_threshold(const Rule& rule, QuantFormat format, double threshold);
// A (r,I), B (O,r)
void expect_lora(const Rule& rule, DType t, const Spec& a, const Spec& b, int64_t in_features, int64_t out_features, double scaling, double dropout,
                 int64_t offset);

}  // namespace anymal::shapes
