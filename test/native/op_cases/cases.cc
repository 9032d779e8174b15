#include "op_cases/cases.h"

#include <algorithm>
#include <set>

namespace anymal::op_cases {
namespace {

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

}  // namespace

Bench::Bench(const Backend& backend, Stream& stream, DType x, Layout layout)
    : backend_(backend), stream_(stream), x_(x), layout_(layout), seed_(layout.seed) {}

Bench::~Bench() {
  for (const auto& b : blocks_)
    if (b->device) backend_.release(stream_, b->device);
}

View Bench::make(const Sizes& shape, DType t, bool is_output) {
  View v;
  v.dtype = t;
  v.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), v.shape);
  auto b = std::make_unique<Block>();
  b->bytes = static_cast<size_t>(v.size()) * dtype_bytes(t);
  b->begin = layout_.guard + static_cast<size_t>(layout_.shift) * dtype_bytes(t);
  b->host.assign(b->begin + b->bytes + layout_.guard, 0xA5);
  std::memset(b->host.data() + b->begin, 0xFF, b->bytes);
  b->device = static_cast<char*>(backend_.allocate(stream_, b->host.size()));
  v.data = b->device + b->begin;
  blocks_.push_back(std::move(b));
  upload(v);
  if (is_output) outputs_.push_back(v);
  return v;
}

Bench::Block& Bench::block_of(const View& v) {
  for (auto it = blocks_.rbegin(); it != blocks_.rend(); ++it)
    if ((*it)->device + (*it)->begin == v.data) return **it;
  throw std::logic_error("a view of no block");
}

void Bench::upload(const View& v) {
  Block& b = block_of(v);
  backend_.copy_from_host(stream_, b.device, b.host.data(), b.host.size());
}

View Bench::filled(const Sizes& shape, DType t, double scale, double shift, bool rounded) {
  View v = make(shape, t, false);
  for (int64_t i = 0; i < v.size(); ++i) {
    const double u = (hash(++seed_) + 0.5) / 4294967296.0 * 2 - 1;
    float f = static_cast<float>(u * 1.7 * scale + shift);
    if (rounded) f = from_bf16(to_bf16(f));
    if (t == DType::f32) host<float>(v)[i] = f;
    else host<uint16_t>(v)[i] = to_bf16(f);
  }
  upload(v);
  return v;
}

View Bench::ints(Sizes shape, int32_t low, int32_t high) {
  View v = make(shape, DType::i32, false);
  for (int64_t i = 0; i < v.size(); ++i) host<int32_t>(v)[i] = low + static_cast<int32_t>(hash(++seed_) % static_cast<uint32_t>(high - low));
  upload(v);
  return v;
}

View Bench::these(Sizes shape, std::initializer_list<int32_t> values) {
  View v = make(shape, DType::i32, false);
  std::copy(values.begin(), values.end(), host<int32_t>(v));
  upload(v);
  return v;
}

View Bench::bytes(int64_t n, uint8_t mask) {
  View v = make({n}, DType::u8, false);
  for (int64_t i = 0; i < n; ++i) host<uint8_t>(v)[i] = static_cast<uint8_t>(hash(++seed_)) & mask;
  upload(v);
  return v;
}

View Bench::compared(View v) {
  outputs_.push_back(v);
  return v;
}

View Bench::packed(QuantFormat format, int64_t out_features, int64_t in_features) {
  const int64_t n = out_features * in_features;
  View codes = bytes(format == QuantFormat::int8 ? n : (n + 1) / 2);
  View to = make({backend_.packed_bytes(format, out_features, in_features)}, DType::u8, false);
  backend_.pack_codes(stream_, Out{to}, In{codes}, format, out_features, in_features);
  return to;
}

void Bench::download() {
  for (const auto& b : blocks_) backend_.copy_to_host(stream_, b->host.data(), b->device, b->host.size());
  for (View& v : outputs_) v.data = host<uint8_t>(v);
}

bool Bench::fences_hold() const {
  for (const auto& b : blocks_)
    for (size_t i = 0; i < b->host.size(); ++i)
      if ((i < b->begin || i >= b->begin + b->bytes) && b->host[i] != 0xA5) return false;
  return true;
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

namespace {
std::vector<Case>* collecting = nullptr;
}  // namespace

void add_case(std::string name, std::function<void(const Backend&, Stream&, Bench&)> run, bool bf16, double tolerance) {
  collecting->push_back({std::move(name), std::move(run), bf16, tolerance});
}

void add_layout_case(std::string name, std::function<void(const Backend&, Stream&, Bench&)> run) {
  collecting->push_back({std::move(name), std::move(run), false, 0, true});
}

std::vector<Case>& cases() {
  static std::vector<Case> all = [] {
    std::vector<Case> list;
    collecting = &list;
    movement();
    arithmetic();
    norms();
    attentions();
    convolutions();
    losses();
    matmuls();
    groups();
    few_rows();
    quantisation();
    optimisers();
    variants();
    return list;
  }();
  return all;
}

std::vector<std::string> ops_without_case() {
  std::set<std::string> named;
  for (const Case& c : cases()) named.insert(c.name);
  std::vector<std::string> missing;
#define OP(name) \
  if (!named.count(#name)) missing.push_back(#name);
#include "ops.def"
  return missing;
}

bool only_on_cpu(const std::string& op) {
  std::set<std::string> named;
#define OP(name)
#define CPU_OP(name) named.insert(#name);
#include "ops.def"
  return named.count(op) > 0;
}

}  // namespace anymal::op_cases
