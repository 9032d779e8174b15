// Every op of the CPU backend on odd shapes: the same bits on 1, 2 and 3 threads, the same numbers at every dispatch level (generic, whose loops
// the compiler does not vectorise beyond the baseline, is the yardstick), outputs written whole, nothing written beside them. Under the
// sanitizers this is the run that touches every kernel. Numbers against PyTorch: test/ops.
#include <cmath>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/stream.h"

namespace anymal {
const Backend* anymal_backend_cpu(const char* level_or_null);
}
using namespace anymal;

namespace {

using Sizes = std::initializer_list<int64_t>;
constexpr size_t kGuard = 64;

uint32_t hash(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}
uint16_t to_bf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
float from_bf16(uint16_t h) {
  const uint32_t u = static_cast<uint32_t>(h) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// One run's tensors: inputs are functions of a counter, so every run of a case sees the same; outputs are poisoned and fenced.
class Bench {
 public:
  explicit Bench(DType x) : x_(x) {}

  View in(Sizes shape, double scale = 1) { return filled(shape, x_, scale, 0); }  // of the case's dtype
  View floats(Sizes shape, double scale = 1, double shift = 0) { return filled(shape, DType::f32, scale, shift); }
  View ints(Sizes shape, int32_t low, int32_t high) {
    View v = make(shape, DType::i32, false);
    for (int64_t i = 0; i < v.size(); ++i) v.as<int32_t>()[i] = low + static_cast<int32_t>(hash(++seed_) % static_cast<uint32_t>(high - low));
    return v;
  }
  View these(Sizes shape, std::initializer_list<int32_t> values) {
    View v = make(shape, DType::i32, false);
    std::copy(values.begin(), values.end(), v.as<int32_t>());
    return v;
  }
  View bytes(int64_t n, uint8_t mask = 255) {
    View v = make({n}, DType::u8, false);
    for (int64_t i = 0; i < n; ++i) v.as<uint8_t>()[i] = static_cast<uint8_t>(hash(++seed_)) & mask;
    return v;
  }
  View out(Sizes shape) { return make(shape, x_, true); }
  View out(Sizes shape, DType t) { return make(shape, t, true); }
  View acc(Sizes shape) {  // begins with numbers and is compared afterwards
    View v = floats(shape);
    outputs.push_back(v);
    return v;
  }
  View compared(View v) {
    outputs.push_back(v);
    return v;
  }

  std::vector<View> outputs;
  bool fences_hold() const {
    for (const auto& block : blocks_)
      for (size_t i = 0; i < kGuard; ++i)
        if (block[i] != 0xA5 || block[block.size() - 1 - i] != 0xA5) return false;
    return true;
  }

 private:
  View make(Sizes shape, DType t, bool is_output) {
    View v;
    v.dtype = t;
    v.rank = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), v.shape);
    const size_t bytes = static_cast<size_t>(v.size()) * dtype_bytes(t);
    blocks_.emplace_back(bytes + 2 * kGuard, 0xA5);
    v.data = blocks_.back().data() + kGuard;
    std::memset(v.data, 0xFF, bytes);
    if (is_output) outputs.push_back(v);
    return v;
  }
  View filled(Sizes shape, DType t, double scale, double shift) {
    View v = make(shape, t, false);
    for (int64_t i = 0; i < v.size(); ++i) {
      const double u = (hash(++seed_) + 0.5) / 4294967296.0 * 2 - 1;
      const float f = static_cast<float>(u * 1.7 * scale + shift);
      if (t == DType::f32) v.as<float>()[i] = f;
      else v.as<uint16_t>()[i] = to_bf16(f);
    }
    return v;
  }
  DType x_;
  uint32_t seed_ = 1;
  std::vector<std::vector<uint8_t>> blocks_;
};

struct Cast {  // a View becomes whatever role the entry asks for
  View v;
  template <class Role>
  operator Role() const {
    return Role{v};
  }
};
Cast _(const View& v) { return {v}; }
const Cast none{View{}};

struct Case {
  std::string name;
  std::function<void(const Backend&, Stream&, Bench&)> run;
  bool bf16 = true;      // also in bf16
  double tolerance = 1;  // factor on the usual one between levels; 0: bit-equal between levels too
};
std::vector<Case> cases;
void add_case(std::string name, std::function<void(const Backend&, Stream&, Bench&)> run, bool bf16 = true, double tolerance = 1) {
  cases.push_back({std::move(name), std::move(run), bf16, tolerance});
}
#define CASE(...) [=](const Backend& b, Stream& s, Bench& t) { __VA_ARGS__; }

void movement() {
  add_case("copy", CASE(b.copy(s, _(t.out({3, 65})), _(t.in({3, 65})))), true, 0);
  add_case("fill", CASE(b.fill(s, _(t.out({130})), 1.5)), true, 0);
  add_case("cast", CASE(View x = t.in({7, 63}); b.cast(s, _(t.out({7, 63}, x.dtype == DType::f32 ? DType::bf16 : DType::f32)), _(x))), true, 0);
  add_case("concat", CASE(View xs[] = {t.in({3, 1, 7}), t.in({3, 4, 7})}; b.concat(s, _(t.out({3, 5, 7})), InList{xs, 2}, 1)), true, 0);
  add_case("slice_copy", CASE(b.slice_copy(s, _(t.out({3, 2, 7})), _(t.in({3, 5, 7})), 1, 2, 2)), true, 0);
  add_case("slice_place", CASE(b.slice_place(s, _(t.out({3, 5, 7})), _(t.in({3, 2, 7})), 1, 2, 5)), true, 0);
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({2, 65, 33})), _(t.in({2, 33, 65})), 1, 2)), true, 0);
  add_case("transpose_copy", CASE(b.transpose_copy(s, _(t.out({4, 3, 2, 5})), _(t.in({2, 3, 4, 5})), 0, 2)), true, 0);
  add_case("gather_rows", CASE(b.gather_rows(s, _(t.out({9, 7})), _(t.in({5, 7})), _(t.ints({9}, -1, 5)))), true, 0);
  add_case("gather_rows_backward", CASE(b.gather_rows_backward(s, _(t.out({5, 70})), _(t.in({33, 70})), _(t.ints({33}, -1, 5)), 5)), true, 0);
  add_case("splice_rows", CASE(b.splice_rows(s, _(t.out({2, 6, 7})), _(t.in({5, 7})), _(t.in({4, 7})), _(t.ints({2, 6}, -1, 9)))), true, 0);
  add_case("splice_rows_backward",
           CASE(b.splice_rows_backward(s, _(t.out({5, 7})), _(t.out({4, 7})), _(t.in({2, 6, 7})), _(t.ints({2, 6}, -1, 9)), 5, 4)), true, 0);
  add_case("random_uniform", CASE(b.random_uniform(s, _(t.out({50001})), -1, 2, 7, 3)), true, 1);
  add_case("random_normal", CASE(b.random_normal(s, _(t.out({5001})), 1, 2, 7, 3)));
  add_case("dropout", CASE(b.dropout(s, _(t.out({40003})), _(t.in({40003})), 0.3, 5, 9)), true, 0);
  add_case("embedding", CASE(b.embedding(s, _(t.out({6, 7})), _(t.ints({6}, 0, 9)), _(t.in({9, 7})))), true, 0);
  add_case("embedding_backward", CASE(b.embedding_backward(s, _(t.acc({9, 70})), _(t.in({300, 70})), _(t.ints({300}, 0, 9)))), true, 0);
}

void arithmetic() {
  add_case("add", CASE(b.add(s, _(t.out({5, 3, 65})), _(t.in({5, 3, 65})), _(t.in({3, 65})))));
  add_case("mul", CASE(b.mul(s, _(t.out({5, 65})), _(t.in({5, 65})), _(t.in({65})))));
  add_case("mul_backward", CASE(b.mul_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.in({300, 65})), _(t.in({300, 65})), _(t.in({65})))));
  add_case("sum_leading", CASE(b.sum_leading(s, _(t.acc({65})), _(t.in({517, 65})))));
  add_case("scale_add", CASE(b.scale_add(s, _(t.out({7, 63})), _(t.in({7, 63})), _(t.in({7, 63})), 0.3, -2)));
  add_case("scale_by", CASE(b.scale_by(s, _(t.out({7, 63})), _(t.in({7, 63})), _(t.floats({1})))));
  add_case("accumulate", CASE(b.accumulate(s, _(t.acc({7, 63})), _(t.in({7, 63})), 0.7)));
  for (int k = 0; k <= 8; ++k) {
    const auto kind = static_cast<Activation>(k);
    add_case("activation", CASE(b.activation(s, _(t.out({7, 130})), _(t.in({7, 130}, 4)), kind)));
    add_case("activation_backward", CASE(b.activation_backward(s, _(t.out({7, 130})), _(t.in({7, 130})), _(t.in({7, 130}, 4)), kind)));
  }
  add_case("gated_activation", CASE(b.gated_activation(s, _(t.out({7, 65})), _(t.in({7, 65})), _(t.in({7, 65})), Activation::silu)));
  add_case("gated_activation_backward", CASE(b.gated_activation_backward(s, _(t.out({7, 65})), _(t.out({7, 65})), _(t.in({7, 65})), _(t.in({7, 65})),
                                                                         _(t.in({7, 65})), Activation::silu)));
  add_case("tanh_gate", CASE(b.tanh_gate(s, _(t.out({7, 3, 5})), _(t.in({7, 3, 5})), _(t.in({7, 3, 5})), _(t.floats({3})))));
  add_case("tanh_gate_backward",
           CASE(b.tanh_gate_backward(s, _(t.out({7, 3, 5})), _(t.acc({3})), _(t.in({7, 3, 5})), _(t.in({7, 3, 5})), _(t.floats({3})))));
  add_case("tanh_gate_backward",
           CASE(b.tanh_gate_backward(s, _(t.out({130, 65})), _(t.acc({1})), _(t.in({130, 65})), _(t.in({130, 65})), _(t.floats({1})))));
}

void norms() {
  add_case("rms_norm", CASE(b.rms_norm(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.in({7, 65})), _(t.in({65})), 1e-5)));
  add_case("rms_norm_backward", CASE(b.rms_norm_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.in({300, 65})), _(t.in({300, 65})),
                                                         _(t.floats({65})), _(t.floats({300}, 0.1, 1)))));
  add_case("layer_norm", CASE(b.layer_norm(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.out({7}, DType::f32)), _(t.in({7, 65})),
                                           _(t.in({65})), _(t.in({65})), 1e-5)));
  add_case("layer_norm_backward", CASE(b.layer_norm_backward(s, _(t.out({300, 65})), _(t.acc({65})), _(t.acc({65})), _(t.in({300, 65})),
                                                             _(t.in({300, 65})), _(t.floats({65})), _(t.floats({300})), _(t.floats({300}, 0.1, 1)))));
  add_case("group_norm", CASE(b.group_norm(s, _(t.out({3, 6, 63})), _(t.out({3, 2}, DType::f32)), _(t.out({3, 2}, DType::f32)), _(t.in({3, 6, 63})),
                                           _(t.floats({6})), _(t.floats({6})), 2, 1e-5)));
  add_case("group_norm_backward",
           CASE(b.group_norm_backward(s, _(t.out({3, 6, 63})), _(t.acc({6})), _(t.acc({6})), _(t.in({3, 6, 63})), _(t.in({3, 6, 63})),
                                      _(t.floats({6})), _(t.floats({3, 2})), _(t.floats({3, 2}, 0.1, 1)), 2)));
  add_case("batch_norm_inference", CASE(b.batch_norm_inference(s, _(t.out({3, 6, 7})), _(t.in({3, 6, 7})), _(t.floats({6})), _(t.floats({6}, 0.2, 1)),
                                                               _(t.floats({6})), _(t.floats({6})), 1e-5)));
  add_case("batch_norm_inference_backward",
           CASE(b.batch_norm_inference_backward(s, _(t.out({3, 6, 7})), _(t.acc({6})), _(t.acc({6})), _(t.in({3, 6, 7})), _(t.in({3, 6, 7})),
                                                _(t.floats({6})), _(t.floats({6}, 0.2, 1)), _(t.floats({6})), 1e-5)));
  add_case("l2_normalize", CASE(b.l2_normalize(s, _(t.out({7, 65})), _(t.out({7}, DType::f32)), _(t.in({7, 65})), 1e-12)));
  add_case("l2_normalize_backward",
           CASE(b.l2_normalize_backward(s, _(t.out({7, 65})), _(t.in({7, 65})), _(t.in({7, 65})), _(t.floats({7}, 0.1, 1)), 1e-12)));
}

void attentions() {
  for (bool causal : {false, true})
    for (int64_t window : {int64_t{0}, int64_t{9}}) {
      add_case("attention",
               CASE(b.attention(s, _(t.out({2, 70, 4, 9})), _(t.out({2, 4, 70}, DType::f32)), _(t.in({2, 70, 4, 9})), _(t.in({2, 83, 2, 9})),
                                _(t.in({2, 83, 2, 9})), _(t.these({2, 2}, {3, 80, 0, 83})), none, 0.4, causal, window)),
               true, 4);
      add_case(
          "attention_backward",
          [=](const Backend& b, Stream& s, Bench& t) {
            View q = t.in({2, 70, 4, 9}), k = t.in({2, 83, 2, 9}), v = t.in({2, 83, 2, 9}), range = t.these({2, 2}, {3, 80, 0, 83}),
                 bias = t.floats({2, 1, 70, 83});
            View y = t.out({2, 70, 4, 9}), lse = t.out({2, 4, 70}, DType::f32);
            b.attention(s, _(y), _(lse), _(q), _(k), _(v), _(range), _(bias), 0.4, causal, window);
            b.attention_backward(s, _(t.out({2, 70, 4, 9})), _(t.out({2, 83, 2, 9})), _(t.out({2, 83, 2, 9})), _(t.acc({2, 1, 70, 83})),
                                 _(t.in({2, 70, 4, 9})), _(q), _(k), _(v), _(y), _(lse), _(range), _(bias), 0.4, causal, window);
          },
          true, 6);
    }
  add_case(
      "attention_two_source",
      CASE(b.attention_two_source(s, _(t.out({2, 7, 3, 8})), _(t.out({2, 3, 7}, DType::f32)), _(t.in({2, 7, 3, 8})), _(t.in({2, 65, 3, 8})),
                                  _(t.in({2, 65, 3, 8})), _(t.in({2, 7, 3, 8})), _(t.in({2, 7, 3, 8})), _(t.these({2, 2}, {0, 65, 5, 5})), 0.35)),
      true, 4);
  add_case(
      "attention_two_source_backward",
      [](const Backend& b, Stream& s, Bench& t) {
        View q = t.in({2, 7, 3, 8}), k1 = t.in({2, 65, 3, 8}), v1 = t.in({2, 65, 3, 8}), k2 = t.in({2, 7, 3, 8}), v2 = t.in({2, 7, 3, 8}),
             range = t.these({2, 2}, {0, 65, 5, 5});
        View y = t.out({2, 7, 3, 8}), lse = t.out({2, 3, 7}, DType::f32);
        b.attention_two_source(s, _(y), _(lse), _(q), _(k1), _(v1), _(k2), _(v2), _(range), 0.35);
        b.attention_two_source_backward(s, _(t.out({2, 7, 3, 8})), _(t.out({2, 65, 3, 8})), _(t.out({2, 65, 3, 8})), _(t.out({2, 7, 3, 8})),
                                        _(t.out({2, 7, 3, 8})), _(t.in({2, 7, 3, 8})), _(q), _(k1), _(v1), _(k2), _(v2), _(y), _(lse), _(range),
                                        0.35);
      },
      true, 6);
  add_case("attention_decode",
           CASE(b.attention_decode(s, _(t.out({2, 1, 4, 9})), _(t.in({2, 1, 4, 9})), _(t.in({2, 33, 2, 9})), _(t.in({2, 33, 2, 9})),
                                   _(t.these({2, 2}, {3, 31, 0, 33})), 0.4, 20)),
           true, 4);
  add_case("cache_write",
           CASE(View cache = t.compared(t.in({2, 9, 2, 5})); b.cache_write(s, _(cache), _(t.in({2, 3, 2, 5})), _(t.these({2}, {6, 0})))), true, 0);
  add_case("rope", CASE(b.rope(s, _(t.out({2, 7, 3, 10})), _(t.in({2, 7, 3, 10})), _(t.floats({12, 5, 2})), _(t.ints({2, 7}, 0, 12)), true)));
}

void convolutions() {
  add_case("conv1d", CASE(b.conv1d(s, _(t.out({2, 5, 27})), _(t.in({2, 3, 63})), _(t.in({5, 3, 7})), _(t.in({5})), 2, 1, 2)));
  add_case("conv1d_backward",
           CASE(b.conv1d_backward(s, _(t.out({2, 3, 63})), _(t.acc({5, 3, 7})), _(t.acc({5})), _(t.in({2, 5, 27})), _(t.in({2, 3, 63})),
                                  _(t.in({5, 3, 7})), 2, 1, 2)),
           true, 4);
  add_case("conv2d", CASE(b.conv2d(s, _(t.out({2, 5, 6, 9})), _(t.in({2, 3, 13, 9})), _(t.in({5, 3, 3, 3})), _(t.in({5})), 2, 1, 0, 1)));
  add_case("conv2d_backward",
           CASE(b.conv2d_backward(s, _(t.out({2, 3, 13, 9})), _(t.acc({5, 3, 3, 3})), _(t.acc({5})), _(t.in({2, 5, 6, 9})), _(t.in({2, 3, 13, 9})),
                                  _(t.in({5, 3, 3, 3})), 2, 1, 0, 1)),
           true, 4);
  add_case("max_pool1d", CASE(b.max_pool1d(s, _(t.out({2, 3, 10})), _(t.out({2, 3, 10}, DType::i32)), _(t.in({2, 3, 31})), 4, 3)), true, 0);
  add_case("max_pool1d_backward", CASE(b.max_pool1d_backward(s, _(t.out({2, 3, 31})), _(t.in({2, 3, 10})), _(t.ints({2, 3, 10}, 0, 31)), 31)), true,
           0);
  add_case("mean_pool", CASE(b.mean_pool(s, _(t.out({3, 65})), _(t.in({3, 7, 65})), 1)));
  add_case("mean_pool_backward", CASE(b.mean_pool_backward(s, _(t.out({3, 7, 65})), _(t.in({3, 65})), 1, 7)));
  for (bool corners : {false, true})
    for (bool antialias : {false, true}) {
      if (corners && antialias) continue;
      add_case("interpolate_bicubic", CASE(b.interpolate_bicubic(s, _(t.out({1, 3, 5, 17})), _(t.in({1, 3, 13, 9})), 5, 17, corners, antialias)));
      add_case("interpolate_bicubic_backward",
               CASE(b.interpolate_bicubic_backward(s, _(t.out({1, 3, 13, 9})), _(t.in({1, 3, 5, 17})), 13, 9, corners, antialias)));
    }
  add_case(
      "gru",
      CASE(b.gru(s, _(t.out({2, 5, 7})), _(t.out({2, 5, 28})), _(t.in({2, 5, 3})), _(t.in({21, 3})), _(t.in({21, 7})), _(t.in({21})), _(t.in({21})))),
      false, 8);
  add_case("gru_backward",
           CASE(b.gru_backward(s, _(t.out({2, 5, 3})), _(t.acc({21, 3})), _(t.acc({21, 7})), _(t.acc({21})), _(t.acc({21})), _(t.in({2, 5, 7})),
                               _(t.in({2, 5, 7})), _(t.floats({2, 5, 28}, 0.2, 0.5)), _(t.in({2, 5, 3})), _(t.in({21, 3})), _(t.in({21, 7})))),
           false, 8);
}

void losses() {
  add_case("softmax_cross_entropy", CASE(b.softmax_cross_entropy(s, _(t.out({5}, DType::f32)), _(t.out({5}, DType::f32)), _(t.in({5, 130}, 3)),
                                                                 _(t.these({5}, {3, -100, 129, 0, 7})), -100)));
  add_case("softmax_cross_entropy_backward",
           CASE(b.softmax_cross_entropy_backward(s, _(t.out({5, 130})), _(t.floats({5})), _(t.in({5, 130}, 3)), _(t.floats({5}, 0.1, 6)),
                                                 _(t.these({5}, {3, -100, 129, 0, 7})), -100)));
  add_case("head_cross_entropy",
           CASE(b.head_cross_entropy(s, _(t.out({5}, DType::f32)), _(t.out({5, 33})), _(t.acc({130, 33})), _(t.in({5, 33})), _(t.in({130, 33}, 0.3)),
                                     _(t.these({5}, {3, -100, 129, 0, 7})), _(t.floats({5})), -100)),
           true, 6);
  for (auto form : {TemperatureForm::exp, TemperatureForm::reciprocal}) {
    add_case("contrastive_loss",
             CASE(b.contrastive_loss(s, _(t.out({1})), _(t.out({7, 7})), _(t.in({7, 9})), _(t.in({7, 9})), _(t.floats({1}, 0.1, 0.7)), form)), false);
    add_case("contrastive_loss_backward",
             CASE(b.contrastive_loss_backward(s, _(t.out({7, 9})), _(t.out({7, 9})), _(t.acc({1})), _(t.floats({1})), _(t.in({7, 9})),
                                              _(t.in({7, 9})), _(t.floats({1}, 0.1, 0.7)), _(t.in({7, 7})), form)),
             false, 4);
  }
  add_case("sum", CASE(b.sum(s, _(t.out({1}, DType::f32)), _(t.in({50001})), 0.5)));
  add_case("argmax", CASE(b.argmax(s, _(t.out({7}, DType::i32)), _(t.in({7, 65})))), true, 0);
  add_case("sample_categorical", CASE(b.sample_categorical(s, _(t.out({700}, DType::i32)), _(t.in({700, 13})), _(t.these({1}, {3})), 11)), true, 0);
  add_case("increment", CASE(View x = t.compared(t.ints({7}, 0, 9)); b.increment(s, _(x), 3)), false, 0);
}

void matmuls() {
  for (int64_t n : {int64_t{3}, int64_t{65}}) {
    add_case("linear", CASE(b.linear(s, _(t.out({n, 33})), _(t.in({n, 63})), _(t.in({33, 63})), _(t.in({33})))));
    add_case("linear_dx", CASE(b.linear_dx(s, _(t.out({n, 63})), _(t.in({n, 33})), _(t.in({33, 63})))));
    add_case("linear_dw", CASE(b.linear_dw(s, _(t.acc({33, 63})), _(t.acc({33})), _(t.in({n, 33})), _(t.in({n, 63})))));
    for (auto format : {QuantFormat::nf4, QuantFormat::fp4, QuantFormat::int8})
      for (int64_t I : {int64_t{64}, int64_t{70}}) {
        const bool eight = format == QuantFormat::int8;
        const int64_t O = 37, block = eight ? 0 : 64, blocks = eight ? O : (O * I + 63) / 64;
        const auto weight = [=](const Backend& b, Bench& t) {
          View packed = t.bytes(b.packed_bytes(format, O, I));
          return packed;
        };
        add_case("linear_quantized",
                 CASE(b.linear_quantized(s, _(t.out({n, O})), _(t.in({n, I}, 4)), _(weight(b, t)), _(t.floats({blocks}, 0.1, 0.3)), none, none,
                                         _(t.in({O})), format, block, O, eight ? 6.0 : 0.0)),
                 true, 4);
        add_case("linear_quantized_dx",
                 CASE(b.linear_quantized_dx(s, _(t.out({n, I})), _(t.in({n, O})), _(weight(b, t)), _(t.floats({blocks}, 0.1, 0.3)), none, none,
                                            format, block, I)),
                 true, 4);
        for (double p : {0.0, 0.25}) {
          add_case(
              "linear_quantized_lora",
              CASE(b.linear_quantized_lora(s, _(t.out({n, O})), _(t.out({n, 5})), _(t.in({n, I})), _(weight(b, t)), _(t.floats({blocks}, 0.1, 0.3)),
                                           none, none, none, _(t.in({5, I})), _(t.in({O, 5})), format, block, O, 0.0, 0.5, p, 3, 4)),
              true, 8);
          add_case("linear_quantized_lora_backward",
                   CASE(b.linear_quantized_lora_backward(s, _(t.out({n, I})), _(t.acc({5, I})), _(t.acc({O, 5})), _(t.in({n, O})), _(t.in({n, I})),
                                                         _(t.in({n, 5})), _(weight(b, t)), _(t.floats({blocks}, 0.1, 0.3)), none, none,
                                                         _(t.in({5, I})), _(t.in({O, 5})), format, block, 0.5, p, 3, 4)),
                   true, 8);
        }
      }
    add_case("linear_quantized",
             CASE(b.linear_quantized(s, _(t.out({n, 37})), _(t.in({n, 70})), _(t.bytes(b.packed_bytes(QuantFormat::nf4, 37, 70))), _(t.bytes(41)),
                                     _(t.floats({1}, 0.01, 0.1)), _(t.floats({1}, 0.01, 0.2)), none, QuantFormat::nf4, 64, 37, 0.0)),
             true, 4);
  }
}

void quantisation() {
  for (auto format : {QuantFormat::nf4, QuantFormat::fp4}) {
    add_case("quantize_4bit", CASE(b.quantize_4bit(s, _(t.out({115}, DType::u8)), _(t.out({4}, DType::f32)), _(t.in({229})), format, 64)), true, 0);
    add_case("dequantize_4bit", CASE(b.dequantize_4bit(s, _(t.out({229})), _(t.bytes(115)), _(t.floats({4})), format, 64)), true, 0);
    add_case("pack_codes", CASE(b.pack_codes(s, _(t.out({b.packed_bytes(format, 37, 7)}, DType::u8)), _(t.bytes(130)), format, 37, 7)), false, 0);
    add_case("unpack_codes", CASE(b.unpack_codes(s, _(t.out({130}, DType::u8)), _(t.bytes(b.packed_bytes(format, 37, 7))), format, 37, 7)), false, 0);
  }
  add_case("pack_codes",
           CASE(b.pack_codes(s, _(t.out({b.packed_bytes(QuantFormat::int8, 37, 7)}, DType::u8)), _(t.bytes(259)), QuantFormat::int8, 37, 7)), false,
           0);
  add_case("unpack_codes",
           CASE(b.unpack_codes(s, _(t.out({259}, DType::u8)), _(t.bytes(b.packed_bytes(QuantFormat::int8, 37, 7))), QuantFormat::int8, 37, 7)), false,
           0);
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

void optimisers() {
  add_case("adamw",
           CASE(View p[] = {t.acc({65}), t.acc({30001})}; View g[] = {t.floats({65}), t.floats({30001})}; View m[] = {t.acc({65}), t.acc({30001})};
                View v[] = {t.compared(t.floats({65}, 0.2, 0.5)), t.compared(t.floats({30001}, 0.2, 0.5))};
                b.adamw(s, InOutList{p, 2}, InList{g, 2}, InOutList{m, 2}, InOutList{v, 2}, _(t.floats({1})), 1e-2, 0.9, 0.99, 1e-8, 0.1, 3)),
           false);
  add_case("adamw_8bit",
           CASE(View p[] = {t.acc({5001})}; View g[] = {t.floats({5001})}; View m[] = {t.bytes(5001)};
                View am[] = {t.compared(t.floats({20}, 0.1, 0.5))}; View v[] = {t.bytes(5001)}; View av[] = {t.compared(t.floats({20}, 0.1, 0.5))};
                b.adamw_8bit(s, InOutList{p, 1}, InList{g, 1}, InOutList{m, 1}, InOutList{am, 1}, InOutList{v, 1}, InOutList{av, 1}, none, 1e-2, 0.9,
                             0.99, 1e-8, 0.1, 3)),
           false);
  add_case("grad_norm", CASE(View g[] = {t.floats({65}), t.floats({50001})}; b.grad_norm(s, _(t.out({1}, DType::f32)), InList{g, 2})), false);
  add_case("clip_scale", CASE(b.clip_scale(s, _(t.out({1}, DType::f32)), _(t.floats({1}, 0.1, 3)), 1.0)), false);
}

double number(const View& v, int64_t i) {
  switch (v.dtype) {
    case DType::f32:
      return v.as<float>()[i];
    case DType::bf16:
      return from_bf16(v.as<uint16_t>()[i]);
    case DType::i32:
      return v.as<int32_t>()[i];
    default:
      return v.as<uint8_t>()[i];
  }
}

void check_case(const Case& c, DType x) {
  std::unique_ptr<Bench> yardstick;
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    const char* level = cpu::level_name(static_cast<cpu::Level>(l));
    const Backend& backend = *anymal_backend_cpu(level);
    std::unique_ptr<Bench> first;
    for (int threads : {1, 2, 3}) {
      Stream s(threads, static_cast<cpu::Level>(l));
      auto t = std::make_unique<Bench>(x);
      const std::string name = c.name + (x == DType::f32 ? " f32 " : " bf16 ") + level;
      try {
        c.run(backend, s, *t);
      } catch (const std::exception& e) {
        CHECK_SAY(false, name + " threw " + e.what());
        return;
      }
      CHECK_SAY(t->fences_hold(), name + ": wrote outside of a tensor");
      for (size_t o = 0; o < t->outputs.size(); ++o) {
        const View& v = t->outputs[o];
        const size_t bytes = static_cast<size_t>(v.size()) * dtype_bytes(v.dtype);
        if (first) {
          CHECK_SAY(std::memcmp(v.data, first->outputs[o].data, bytes) == 0, name + ": output " + std::to_string(o) + " depends on threads");
          continue;
        }
        double most = 0, worst = 0;
        bool nan = false;
        for (int64_t i = 0; i < v.size(); ++i) {
          const double got = number(v, i), want = yardstick ? number(yardstick->outputs[o], i) : got;
          nan |= std::isnan(got);
          if (std::isinf(want) || std::isinf(got)) {
            worst = got == want ? worst : INFINITY;
            continue;
          }
          most = std::max(most, std::abs(want));
          worst = std::max(worst, std::abs(got - want));
        }
        CHECK_SAY(!nan, name + ": output " + std::to_string(o) + " is not written whole (or NaN)");
        const double unit = v.dtype == DType::bf16 ? 0.008 : 4e-6;  // bf16: one rounding may fall the other way
        CHECK_SAY(worst <= c.tolerance * unit * most,
                  name + ": output " + std::to_string(o) + " differs from generic by " + std::to_string(worst) + " of " + std::to_string(most));
      }
      if (!first) first = std::move(t);
    }
    if (!yardstick) yardstick = std::move(first);
  }
}

// An op of native/ops.def without a case fails here.
void every_op_has_a_case() {
  std::set<std::string> named;
  for (const Case& c : cases) named.insert(c.name);
#define OP(name) CHECK_SAY(named.count(#name) == 1, #name " has no case");
#include "ops.def"
}

}  // namespace

int main() {
  movement();
  arithmetic();
  norms();
  attentions();
  convolutions();
  losses();
  matmuls();
  quantisation();
  optimisers();
  every_op_has_a_case();
  for (const Case& c : cases) {
    check_case(c, DType::f32);
    if (c.bf16) check_case(c, DType::bf16);
  }
  return check::finish();
}
