#include "shapes/quantization.h"

#include "shapes/rules.h"

namespace anymal::shapes {

constexpr int64_t kNestedBlock = 256;  // of double quantisation and of the 8-bit optimiser states

void expect_4bit(const Rule& rule, QuantFormat format) {
  if (format != QuantFormat::nf4 && format != QuantFormat::fp4) rule.refuse("format 0 (nf4) or 1 (fp4)", std::to_string(static_cast<int>(format)));
}

void expect_block(const Rule& rule, int64_t block) {
  const bool ok = block >= 32 && block <= 4096 && (block & (block - 1)) == 0;
  if (!ok) rule.refuse("block 32, 64, 128, 256, 512, 1024, 2048 or 4096", std::to_string(block));
}

void expect_weight(const Rule& rule, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset, QuantFormat format,
                   int64_t block, int64_t out_features, int64_t in_features) {
  rule.kind("format", format, QuantFormat::int8);
  rule.at_least("out_features", out_features, 1);
  rule.at_least("in_features", in_features, 1);
  const int64_t n = rule.product("out_features * in_features", out_features, in_features);
  rule("codes", codes).dtype(DType::u8);
  const int64_t least = code_bytes(format, n);
  if (codes.size() < least)
    rule.refuse_shape("codes made by pack_codes for (O,I) = (" + std::to_string(out_features) + "," + std::to_string(in_features) + "), at least " +
                          std::to_string(least) + " bytes",
                      codes.text());
  if (!is_4bit(format)) {
    if (block != 0) rule.refuse("block 0 for int8, whose scales are per row", std::to_string(block));
    rule("absmax", absmax).dtype(DType::f32).elements("(O)", out_features);
    if (nested_absmax || nested_offset) rule.refuse("no nested scales for int8", "nested_absmax or nested_offset");
    return;
  }
  expect_block(rule, block);
  const int64_t nb = blocks_of(n, block);
  rule("absmax", absmax).elements("(nb)", nb);
  if (absmax.dtype == DType::u8) {  // double quantisation
    rule("nested_absmax", nested_absmax).given().dtype(DType::f32).elements("(ceil(nb/256))", blocks_of(nb, kNestedBlock));
    rule("nested_offset", nested_offset).given().dtype(DType::f32).elements("(1)", 1);
  } else {
    rule("absmax", absmax).dtype(DType::f32);
    if (nested_absmax || nested_offset) rule.refuse("nested scales only with absmax as u8 codes", "absmax " + absmax.text() + " with nested scales");
  }
}

void expect_threshold(const Rule& rule, QuantFormat format, double threshold) {
  rule.not_negative("threshold", threshold);
  if (is_4bit(format) && threshold != 0) rule.refuse("threshold 0: only int8 splits off outlier columns", std::to_string(threshold));
}

void expect_lora(const Rule& rule, DType t, const Spec& a, const Spec& b, int64_t in_features, int64_t out_features, double scaling, double dropout,
                 int64_t offset) {
  rule("lora_a", a).dtype(t).shape("(r,I)", {any, in_features});
  rule("lora_b", b).dtype(t).shape("(O,r)", {out_features, a.dim(0)});
  rule.at_least("LoRA rank r", a.dim(0), 1);
  rule.finite("scaling", scaling);
  rule.fraction("dropout", dropout);
  rule.at_least("offset", offset, 0);
}

SpecList quantize_4bit(const Spec& w, QuantFormat format, int64_t block) {
  const Rule rule("quantize_4bit");
  rule("w", w).floating();
  expect_4bit(rule, format);
  expect_block(rule, block);
  return {Spec(DType::u8, {code_bytes(format, w.size())}), Spec(DType::f32, {blocks_of(w.size(), block)})};
}

SpecList dequantize_4bit(const Spec& codes, const Spec& absmax, QuantFormat format, int64_t block, DType dtype, const Shape& shape) {
  const Rule rule("dequantize_4bit");
  expect_4bit(rule, format);
  expect_block(rule, block);
  const SpecList out = rule.outputs({rule.make(dtype, shape)});
  if (dtype != DType::f32 && dtype != DType::bf16) rule.refuse_dtype("dtype f32 or bf16", name_of(dtype));
  const int64_t n = out[0].size();
  rule("codes", codes).dtype(DType::u8).elements("((n+1)/2)", code_bytes(format, n));
  rule("absmax", absmax).dtype(DType::f32).elements("(ceil(n/E))", blocks_of(n, block));
  return out;
}

SpecList quantize_rows_int8(const Spec& w) {
  const Rule rule("quantize_rows_int8");
  rule("w", w).floating().rank(2, "(O,I)");
  return {w.with_dtype(DType::u8), Spec(DType::f32, {w.dim(0)})};
}

SpecList dequantize_rows_int8(const Spec& codes, const Spec& scale, DType dtype) {
  const Rule rule("dequantize_rows_int8");
  rule("codes", codes).dtype(DType::u8).rank(2, "(O,I)");
  rule("scale", scale).dtype(DType::f32).elements("(O)", codes.dim(0));
  if (dtype != DType::f32 && dtype != DType::bf16) rule.refuse_dtype("dtype f32 or bf16", name_of(dtype));
  return rule.outputs({codes.with_dtype(dtype)});
}

SpecList quantize_dynamic(const Spec& x, int64_t block, bool) {
  const Rule rule("quantize_dynamic");
  rule("x", x).floating();
  expect_block(rule, block);
  return {x.with_dtype(DType::u8), Spec(DType::f32, {blocks_of(x.size(), block)})};
}

SpecList dequantize_dynamic(const Spec& codes, const Spec& absmax, int64_t block, bool) {
  const Rule rule("dequantize_dynamic");
  expect_block(rule, block);
  rule("codes", codes).dtype(DType::u8);
  rule("absmax", absmax).dtype(DType::f32).elements("(ceil(n/E))", blocks_of(codes.size(), block));
  return {codes.with_dtype(DType::f32)};
}

SpecList quantize_absmax(const Spec& absmax) {
  const Rule rule("quantize_absmax");
  rule("absmax", absmax).dtype(DType::f32);
  rule.at_least("size of absmax", absmax.size(), 1);
  return {absmax.with_dtype(DType::u8), Spec(DType::f32, {blocks_of(absmax.size(), kNestedBlock)}), Spec(DType::f32, {1})};
}

SpecList dequantize_absmax(const Spec& codes, const Spec& nested_absmax, const Spec& offset) {
  const Rule rule("dequantize_absmax");
  rule("codes", codes).dtype(DType::u8);
  rule("nested_absmax", nested_absmax).dtype(DType::f32).elements("(ceil(nb/256))", blocks_of(codes.size(), kNestedBlock));
  rule("offset", offset).dtype(DType::f32).elements("(1)", 1);
  return {codes.with_dtype(DType::f32)};
}

namespace {

int64_t weight_bytes(const Rule& rule, QuantFormat format, int64_t out_features, int64_t in_features) {
  rule.kind("format", format, QuantFormat::int8);
  rule.at_least("out_features", out_features, 1);
  rule.at_least("in_features", in_features, 1);
  return code_bytes(format, rule.product("out_features * in_features", out_features, in_features));
}
const char* code_letters(QuantFormat format) { return is_4bit(format) ? "((O*I+1)/2)" : "(O,I)"; }

}  // namespace

SpecList pack_codes(const Spec& codes, QuantFormat format, int64_t out_features, int64_t in_features, int64_t packed_bytes) {
  const Rule rule("pack_codes");
  const int64_t n = weight_bytes(rule, format, out_features, in_features);
  rule("codes", codes).dtype(DType::u8).elements(code_letters(format), n);
  rule.at_least("packed_bytes", packed_bytes, n);
  return rule.outputs({Spec(DType::u8, {packed_bytes})});
}

SpecList unpack_codes(const Spec& packed, QuantFormat format, int64_t out_features, int64_t in_features) {
  const Rule rule("unpack_codes");
  const int64_t n = weight_bytes(rule, format, out_features, in_features);
  rule("packed", packed).dtype(DType::u8);
  if (packed.size() < n) rule.refuse_shape("packed codes of at least " + std::to_string(n) + " bytes", packed.text());
  return {is_4bit(format) ? Spec(DType::u8, {n}) : Spec(DType::u8, {out_features, in_features})};
}

}  // namespace anymal::shapes
