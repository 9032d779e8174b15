#include <utility>

#include "shapes/check.h"
#include "shapes/rules.h"

namespace anymal::shapes {
namespace {

void expect_queries(const Rule& rule, const Spec& q) {
  rule("q", q).floating().rank(4, "(B,T,H,D)");
  rule.at_least("heads H", q.dim(2), 1);
  rule.at_least("head size D", q.dim(3), 1);
}

// k, v (B,S,K,D) with K that divides H.
void expect_keys(const Rule& rule, const Spec& q, const char* k_name, const Spec& k, const char* v_name, const Spec& v, const char* letters,
                 DType dtype) {
  rule(k_name, k).dtype(dtype).shape(letters, {q.dim(0), any, any, q.dim(3)});
  rule(v_name, v).like(k_name, k);
  rule.divides("key/value heads K", k.dim(2), "H", q.dim(2));
}

void expect_range(const Rule& rule, const Spec* range, int64_t batch) { rule("range", range).dtype(DType::i32).shape("(B,2)", {batch, 2}); }

void expect_window(const Rule& rule, int64_t window) { rule.between("window", window, 0, kMaxStep); }

void expect_attention(const Rule& rule, const Spec& q, const Spec& k, const Spec& v, const Spec* range, const Spec* bias, double scale,
                      int64_t window) {
  expect_queries(rule, q);
  expect_keys(rule, q, "k", k, "v", v, "(B,S,K,D)", q.dtype);
  expect_range(rule, range, q.dim(0));
  rule("bias", bias).dtype(DType::f32).shape("(Bb,Hb,T,S)", {any, any, q.dim(1), k.dim(1)});
  if (bias) {
    rule.divides("bias rows Bb", bias->dim(0), "B", q.dim(0));
    if (bias->dim(1) != 1 && bias->dim(1) != q.dim(2))
      rule.refuse("bias heads Hb of 1 or H = " + std::to_string(q.dim(2)), std::to_string(bias->dim(1)));
  }
  rule.finite("scale", scale);
  expect_window(rule, window);
}

void expect_two_sources(const Rule& rule, const Spec& q, const Spec& k1, const Spec& v1, const Spec& k2, const Spec& v2, const Spec* range,
                        double scale) {
  expect_queries(rule, q);
  expect_keys(rule, q, "k1", k1, "v1", v1, "(B,S1,K,D)", q.dtype);
  expect_keys(rule, q, "k2", k2, "v2", v2, "(B,S2,K,D)", q.dtype);
  rule("k2", k2).shape("(B,S2,K,D)", {any, any, k1.dim(2), any});
  expect_range(rule, range, q.dim(0));
  rule.finite("scale", scale);
}

// x (B,T,H,D), each row of which turns by its position.
void expect_turned(const Rule& rule, const char* name, const Spec& x, const Spec& table, const Spec& positions) {
  rule(name, x).floating().rank(4, "(B,T,H,D)");
  if (x.dim(3) % 2 != 0) rule.refuse("an even head size D", std::to_string(x.dim(3)));
  rule("table", table).dtype(DType::f32).shape("(P,D/2,2)", {any, x.dim(3) / 2, 2});
  rule("positions", positions).dtype(DType::i32).shape("(B,T)", {x.dim(0), x.dim(1)});
}
void expect_turned_keys(const Rule& rule, const Spec& q, const Spec& k) {
  rule("k", k).dtype(q.dtype).shape("(B,T,K,D)", {q.dim(0), q.dim(1), any, q.dim(3)});
}

// rows (B,T,K,D) that go into a cache (B,Smax,K,D) at slot (B).
void expect_room(const Rule& rule, const char* cache_name, const Spec& cache, const char* name, const Spec& rows, const char* slot_name,
                 const Spec& slot) {
  rule(cache_name, cache).rank(4, "(B,Smax,K,D)");
  rule(name, rows).dtype(cache.dtype).shape("(B,T,K,D)", {cache.dim(0), any, cache.dim(2), cache.dim(3)});
  if (rows.dim(1) > cache.dim(1)) rule.refuse("at most Smax = " + std::to_string(cache.dim(1)) + " rows at a time", std::to_string(rows.dim(1)));
  rule(slot_name, slot).dtype(DType::i32).shape("(B)", {cache.dim(0)});
}

Spec lse_of(const Spec& q) { return Spec(DType::f32, {q.dim(0), q.dim(2), q.dim(1)}); }

void expect_results(const Rule& rule, const Spec& dy, const Spec& q, const Spec& y, const Spec& lse) {
  rule("dy", dy).like("q", q);
  rule("y", y).like("q", q);
  rule("lse", lse).dtype(DType::f32).shape("(B,H,T)", {q.dim(0), q.dim(2), q.dim(1)});
}

}  // namespace

SpecList rope(const Spec& x, const Spec& table, const Spec& positions, bool) {
  const Rule rule("rope");
  expect_turned(rule, "x", x, table, positions);
  return {x};
}

SpecList rope_pair(const Spec& q, const Spec& k, const Spec& table, const Spec& positions, bool) {
  const Rule rule("rope_pair");
  expect_turned(rule, "q", q, table, positions);
  expect_turned_keys(rule, q, k);
  return {q, k};
}

SpecList rope_cached(const Spec& k_cache, const Spec& v_cache, const Spec& q, const Spec& k, const Spec& v, const Spec& table, const Spec& positions,
                     const Spec& slot) {
  const Rule rule("rope_cached");
  expect_turned(rule, "q", q, table, positions);
  expect_turned_keys(rule, q, k);
  rule("v", v).like("k", k);
  rule("k_cache", k_cache).dtype(q.dtype);
  expect_room(rule, "k_cache", k_cache, "k", k, "slot", slot);
  rule("v_cache", v_cache).like("k_cache", k_cache);
  return {q};
}

SpecList attention(const Spec& q, const Spec& k, const Spec& v, const Spec* range, const Spec* bias, double scale, bool, int64_t window) {
  const Rule rule("attention");
  expect_attention(rule, q, k, v, range, bias, scale, window);
  return rule.outputs({q, lse_of(q)});
}

SpecList attention_backward(const Spec* dbias, const Spec& dy, const Spec& q, const Spec& k, const Spec& v, const Spec& y, const Spec& lse,
                            const Spec* range, const Spec* bias, double scale, bool, int64_t window) {
  const Rule rule("attention_backward");
  expect_attention(rule, q, k, v, range, bias, scale, window);
  expect_results(rule, dy, q, y, lse);
  if (dbias) rule("bias", bias).given();
  if (dbias) rule("dbias", dbias).like("bias", *bias);
  return {q, k, v};
}

SpecList attention_two_source(const Spec& q, const Spec& k1, const Spec& v1, const Spec& k2, const Spec& v2, const Spec* range, double scale) {
  const Rule rule("attention_two_source");
  expect_two_sources(rule, q, k1, v1, k2, v2, range, scale);
  return rule.outputs({q, lse_of(q)});
}

SpecList attention_two_source_backward(const Spec& dy, const Spec& q, const Spec& k1, const Spec& v1, const Spec& k2, const Spec& v2, const Spec& y,
                                       const Spec& lse, const Spec* range, double scale) {
  const Rule rule("attention_two_source_backward");
  expect_two_sources(rule, q, k1, v1, k2, v2, range, scale);
  expect_results(rule, dy, q, y, lse);
  return {q, k1, v1, k2, v2};
}

SpecList attention_decode(const Spec& q, const Spec& k_cache, const Spec& v_cache, const Spec* k_scale, const Spec* v_scale, const Spec& range,
                          double scale, int64_t window) {
  const Rule rule("attention_decode");
  expect_queries(rule, q);
  rule("q", q).shape("(B,1,H,D)", {any, 1, any, any});
  expect_keys(rule, q, "k_cache", k_cache, "v_cache", v_cache, "(B,Smax,K,D)", k_scale || v_scale ? DType::u8 : q.dtype);
  for (const auto& [name, scales] : {std::pair{"k_scale", k_scale}, {"v_scale", v_scale}}) {
    if (k_scale || v_scale) rule(name, scales).given();
    rule(name, scales).dtype(DType::f32).elements("(B,Smax,K)", k_cache.dim(0) * k_cache.dim(1) * k_cache.dim(2));
  }
  expect_range(rule, &range, q.dim(0));
  rule.finite("scale", scale);
  expect_window(rule, window);
  return {q};
}

SpecList cache_write(const Spec& cache, const Spec& rows, const Spec& position) {
  const Rule rule("cache_write");
  expect_room(rule, "cache", cache, "rows", rows, "position", position);
  return {};
}

}  // namespace anymal::shapes
