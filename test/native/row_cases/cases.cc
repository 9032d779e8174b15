#include "row_cases/cases.h"

#include <algorithm>
#include <cstring>

namespace anymal::row_cases {
namespace {

uint16_t to_bf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

}  // namespace

View Maker::of(DType dtype, const Sizes& shape, void* data) {
  View v;
  v.data = data;
  v.dtype = dtype;
  v.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), v.shape);
  return v;
}

size_t row_bytes(const View& v) { return v.shape[0] ? static_cast<size_t>(v.size() / v.shape[0]) * dtype_bytes(v.dtype) : 0; }

View Memory::make(DType t, const Sizes& shape) {
  View v = Maker::of(t, shape);
  const size_t bytes = (static_cast<size_t>(v.size()) * dtype_bytes(t) + 64) / 64 * 64;
  v.data = std::aligned_alloc(64, bytes);
  blocks_.emplace_back(v.data);
  std::memset(v.data, 0xFF, bytes);
  return v;
}

View Memory::like_rows(const View& v, int64_t count) {
  View to = v;
  to.shape[0] = count;
  to.data = make(v.dtype, Sizes(to.shape, to.shape + to.rank)).data;
  return to;
}

View Memory::copy_of_rows(const View& v, int64_t first, int64_t count) {
  const View to = like_rows(v, count);
  std::memcpy(to.data, v.as<char>() + static_cast<size_t>(first) * row_bytes(v), static_cast<size_t>(count) * row_bytes(v));
  return to;
}

View Maker::normal(DType dtype, const Sizes& shape, float scale, float shift) {
  const View v = memory.make(dtype, shape);
  std::normal_distribution<float> draw(shift, scale);
  for (int64_t i = 0; i < v.size(); ++i) {
    const float f = draw(random);
    if (dtype == DType::f32) v.as<float>()[i] = f;
    else v.as<uint16_t>()[i] = to_bf16(f);
  }
  return v;
}

View Maker::ints(const Sizes& shape, int32_t low, int32_t high) {
  const View v = memory.make(DType::i32, shape);
  for (int64_t i = 0; i < v.size(); ++i) v.as<int32_t>()[i] = low + static_cast<int32_t>(random() % static_cast<uint32_t>(high - low));
  return v;
}

std::vector<Case> make_cases(const Backend& b, Stream& s, DType t, std::mt19937& random, Memory& memory, bool large) {
  std::vector<Case> list;
  Maker m{b, s, t, random, memory, list};
  products(m);
  attentions(m);
  others(m);
  if (large) head_in_chunks(m), every_count(m);
  return list;
}

}  // namespace anymal::row_cases
