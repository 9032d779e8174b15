// tensor_*: making, viewing, reading, writing and disposing tensors; packed_bytes.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "node/addon.h"
#include "node/bind.h"
#include "node/errors.h"

namespace anymal::node {
namespace {

// The binder's counterpart for commands that move bytes between host and device.
struct Transfer final : Command {
  Transfer(const char* n, std::function<void(Device&, void*)> m, size_t o) : Command(n), move(std::move(m)), offset(o) {}
  void run(Device& d) override { move(d, static_cast<char*>(refs[0]->data) + offset); }
  bool recordable() const override { return false; }
  std::function<void(Device&, void*)> move;
  size_t offset;
};

Spec spec_of(Arguments& a) {
  const DType dtype = a.dtype();
  const Shape shape = a.shape();
  if (shape.size() > kMaxRank)
    throw Error("E_SHAPE",
                std::string(a.op()) + ": expected at most " + std::to_string(kMaxRank) + " dimensions, got " + std::to_string(shape.size()));
  Spec spec;
  spec.dtype = dtype;
  spec.rank = static_cast<int32_t>(shape.size());
  int64_t size = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    spec.shape[i] = shape[i];
    // A size of zero hides no other: products of some of the sizes must hold too.
    if (__builtin_mul_overflow(size, std::max<int64_t>(shape[i], 1), &size) || size > (int64_t{1} << 46))
      throw Error("E_SHAPE", std::string(a.op()) + ": expected fewer than 2^46 elements, got a shape that has more");
  }
  return spec;
}

Napi::Value number(Napi::Env env, int64_t v) { return Napi::Number::New(env, static_cast<double>(v)); }

void no_capture(Device& device, const char* op) {
  if (device.capturing())
    throw Error("E_CAPTURE", std::string(op) + ": host data cannot move inside capture(); make inputs before it and read results after replay()");
}

Tensor make(Device& device, const Spec& spec) { return {std::make_shared<Storage>(device, spec.bytes()), spec, 0}; }

struct Bytes {
  const uint8_t* data;
  size_t size;
};
Bytes bytes_of(Arguments& a) {
  const Napi::Value v = a.value();
  if (v.IsTypedArray()) {
    const auto t = v.As<Napi::TypedArray>();
    return {static_cast<const uint8_t*>(t.ArrayBuffer().Data()) + t.ByteOffset(), t.ByteLength()};
  }
  if (v.IsArrayBuffer()) {
    auto b = v.As<Napi::ArrayBuffer>();
    return {static_cast<const uint8_t*>(b.Data()), b.ByteLength()};
  }
  a.bad("a typed array or ArrayBuffer", v);
}
void expect_bytes(Arguments& a, const Spec& spec, size_t got) {
  if (got != spec.bytes())
    throw Error("E_SHAPE",
                std::string(a.op()) + ": expected " + std::to_string(spec.bytes()) + " bytes for " + spec.text() + ", got " + std::to_string(got));
}

void upload(Addon& addon, Napi::Env env, const char* op, const Tensor& t, Bytes bytes) {
  Device& device = t.storage->device;
  // The array may change or move after this call: the queue gets a copy.
  auto copy = std::make_shared<std::vector<uint8_t>>(bytes.data, bytes.data + bytes.size);
  auto command = std::make_unique<Transfer>(
      op, [copy](Device& d, void* to) { d.backend().copy_from_host(d.stream(), to, copy->data(), copy->size()); }, t.offset);
  command->refs = {t.storage};
  command->outputs = bytes.size == t.storage->bytes ? 1 : 0;
  command->written = 1;
  device.push(std::move(command));
  addon.enqueued(env, device);
}

Napi::Value tensor_create(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_create");
    Device& device = a.addon().device(a.integer(), a.op());
    return number(info.Env(), a.addon().tensors.add(make(device, spec_of(a))));
  });
}

Napi::Value tensor_from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_from");
    Device& device = a.addon().device(a.integer(), a.op());
    no_capture(device, a.op());
    const Spec spec = spec_of(a);
    const Bytes bytes = bytes_of(a);
    expect_bytes(a, spec, bytes.size);
    Tensor t = make(device, spec);
    upload(a.addon(), info.Env(), a.op(), t, bytes);
    return number(info.Env(), a.addon().tensors.add(std::move(t)));
  });
}

// The file is read on the queue's thread, straight into the device's memory. `half`: it holds numbers in half precision there, which no device has.
Napi::Value from_file(const Napi::CallbackInfo& info, const char* op, bool half) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, op);
    Device& device = a.addon().device(a.integer(), a.op());
    no_capture(device, a.op());
    const Spec spec = spec_of(a);
    const int64_t id = a.integer(), offset = a.integer();
    const auto file = a.addon().files.find(id);
    if (file == a.addon().files.end()) throw Error("E_DISPOSED", std::string(op) + ": this file was unmapped before this call");
    if (offset < 0) throw Error("E_VALUE", std::string(op) + ": expected an offset >= 0, got " + std::to_string(offset));
    if (half && spec.dtype != DType::f32 && spec.dtype != DType::bf16)
      throw Error("E_DTYPE", std::string(op) + ": expected f32 or bf16, got " + spec.text());
    const auto count = static_cast<uint64_t>(spec.size());
    file->second->at(static_cast<uint64_t>(offset), half ? 2 * count : spec.bytes());
    Tensor t = make(device, spec);
    auto command = std::make_unique<Transfer>(
        a.op(),
        [f = file->second, from = static_cast<uint64_t>(offset), half, count, dtype = spec.dtype](Device& d, void* to) {
          const auto read = [&](uint64_t first, uint64_t n, void* into) {
            half ? f->read_half(from + 2 * first, n, dtype, into) : f->read(from + first * dtype_bytes(dtype), n * dtype_bytes(dtype), into);
          };
          if (std::strcmp(d.backend().name, "cpu") == 0) return read(0, count, to);
          // In pieces, not through the map: a file that is cut meanwhile would kill the process there.
          constexpr uint64_t kPiece = uint64_t{4} << 20;
          std::vector<uint8_t> host(std::min(count, kPiece) * dtype_bytes(dtype));
          for (uint64_t first = 0; first < count; first += kPiece) {
            const uint64_t n = std::min(kPiece, count - first);
            read(first, n, host.data());
            d.backend().copy_from_host(d.stream(), static_cast<char*>(to) + first * dtype_bytes(dtype), host.data(), n * dtype_bytes(dtype));
          }
        },
        0);
    command->refs = {t.storage};
    command->outputs = command->written = 1;
    device.push(std::move(command));
    a.addon().enqueued(info.Env(), device);
    return number(info.Env(), a.addon().tensors.add(std::move(t)));
  });
}
Napi::Value tensor_from_file(const Napi::CallbackInfo& info) { return from_file(info, "tensor_from_file", false); }
Napi::Value tensor_from_half(const Napi::CallbackInfo& info) { return from_file(info, "tensor_from_half", true); }

Napi::Value tensor_spec(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_spec");
    const Tensor& t = a.tensor();
    Napi::Array shape = Napi::Array::New(info.Env(), static_cast<size_t>(t.spec.rank));
    for (int i = 0; i < t.spec.rank; ++i) shape.Set(static_cast<uint32_t>(i), static_cast<double>(t.spec.shape[i]));
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("dtype", static_cast<double>(t.spec.dtype));
    o.Set("shape", shape);
    o.Set("device", static_cast<double>(a.addon().id_of(t.storage->device)));
    return o;
  });
}

Napi::Value tensor_alias(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_alias");
    Tensor t = a.tensor();
    return number(info.Env(), a.addon().tensors.add(std::move(t)));
  });
}

Napi::Value tensor_reshape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_reshape");
    Tensor t = a.tensor();
    const Shape shape = a.shape();
    int64_t size = 1;
    bool fits = shape.size() <= kMaxRank;
    std::string text;
    for (int64_t n : shape) {
      fits = fits && !__builtin_mul_overflow(size, n, &size);
      text += (text.empty() ? "(" : ",") + std::to_string(n);
    }
    if (!fits || size != t.spec.size())
      throw Error("E_SHAPE", "tensor_reshape: expected a shape of " + std::to_string(t.spec.size()) + " elements for " + t.spec.text() + ", got " +
                                 (text.empty() ? "(" : text) + ")");
    t.spec.rank = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) t.spec.shape[i] = shape[i];
    return number(info.Env(), a.addon().tensors.add(std::move(t)));
  });
}

Napi::Value tensor_slice(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_slice");
    Tensor t = a.tensor();
    const int64_t start = a.integer(), length = a.integer();
    if (t.spec.rank < 1 || start < 0 || length < 0 || start > t.spec.shape[0] || length > t.spec.shape[0] - start)
      throw Error("E_SHAPE", "tensor_slice: expected start and length inside the leading size of " + t.spec.text() + ", got start " +
                                 std::to_string(start) + ", length " + std::to_string(length));
    const size_t row = t.spec.shape[0] ? t.spec.bytes() / static_cast<size_t>(t.spec.shape[0]) : 0;
    t.offset += static_cast<size_t>(start) * row;
    t.spec.shape[0] = length;
    return number(info.Env(), a.addon().tensors.add(std::move(t)));
  });
}

Napi::Value tensor_dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_dispose");
    Addon& addon = a.addon();
    std::vector<StorageRef> released;
    const auto remove = [&](Napi::Value v) {
      if (!v.IsNumber()) a.bad("a tensor or an array of tensors", v);
      released.push_back(addon.tensors.remove(v.As<Napi::Number>().Int64Value(), a.op()).storage);
    };
    // What was removed before a bad handle is met is still let go of, in queue order.
    const auto let_go = [&] {
      while (!released.empty()) {
        Device& device = released.back()->device;
        std::vector<StorageRef> of_device;
        std::erase_if(released, [&](StorageRef& s) {
          if (&s->device != &device) return false;
          of_device.push_back(std::move(s));
          return true;
        });
        device.drop(std::move(of_device));
      }
    };
    const Napi::Value which = a.value();
    try {
      if (which.IsArray()) {
        const auto array = which.As<Napi::Array>();
        for (uint32_t i = 0; i < array.Length(); ++i) remove(array.Get(i));
      } else {
        remove(which);
      }
    } catch (...) {
      let_go();
      throw;
    }
    let_go();
    return info.Env().Undefined();
  });
}

Napi::Value tensor_read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_read");
    const Tensor& t = a.tensor();
    Device& device = t.storage->device;
    no_capture(device, a.op());
    const size_t bytes = t.spec.bytes(), offset = t.offset;
    Napi::ArrayBuffer buffer = array_buffer(info.Env(), bytes, "tensor_read: no room on the host for " + t.spec.text(), "read it in slices");
    void* to = buffer.Data();
    auto pending = a.addon().completions.open(info.Env(), nullptr);
    pending->keep = Napi::Persistent(buffer.As<Napi::Object>());
    auto* raw = pending.get();
    pending->value = [raw](Napi::Env) -> Napi::Value { return raw->keep.Value(); };
    const Napi::Promise promise = pending->deferred.Promise();
    Storage* storage = t.storage.get();
    auto command = promise_command(
        a.op(), a.addon().completions, std::move(pending),
        [=](Device& d) {
          if (bytes) d.backend().copy_to_host(d.stream(), to, static_cast<char*>(storage->data) + offset, bytes);
        },
        Waits::stream);
    command->refs = {t.storage};
    device.push(std::move(command));
    return promise;
  });
}

// Resolves when all of them have been computed, and rejects with what kept one of them from that. Nothing is copied.
Napi::Value tensors_computed(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensors_computed");
    const std::vector<Tensor*> tensors = a.tensors();
    if (tensors.empty()) throw Error("E_ARGUMENT", "tensors_computed: expected at least one tensor, got none");
    Device& device = tensors[0]->storage->device;
    no_capture(device, a.op());
    std::vector<StorageRef> storages;
    for (const Tensor* t : tensors) {
      if (&t->storage->device != &device) throw Error("E_DEVICE", "tensors_computed: expected all tensors on one device, got two devices");
      storages.push_back(t->storage);
    }
    auto pending = a.addon().completions.open(info.Env(), nullptr);
    const Napi::Promise promise = pending->deferred.Promise();
    auto command = promise_command(
        a.op(), a.addon().completions, std::move(pending), [](Device& d) { d.backend().synchronize(d.stream()); }, Waits::stream);
    command->refs = std::move(storages);
    device.push(std::move(command));
    return promise;
  });
}

Napi::Value tensor_write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_write");
    const Tensor& t = a.tensor();
    no_capture(t.storage->device, a.op());
    const Bytes bytes = bytes_of(a);
    expect_bytes(a, t.spec, bytes.size);
    upload(a.addon(), info.Env(), a.op(), t, bytes);
    return info.Env().Undefined();
  });
}

// Ends the poison of a tensor whose updates were not run because of a failure elsewhere: it holds what it held before. What a failed command had
// begun to write stays poisoned.
Napi::Value tensor_heal(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "tensor_heal");
    const Tensor& t = a.tensor();
    t.storage->device.heal(t.storage);
    return info.Env().Undefined();
  });
}

Napi::Value packed_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "packed_bytes");
    Device& device = a.addon().device(a.integer(), a.op());
    const int64_t format = a.integer(), rows = a.integer(), cols = a.integer();
    if (format < 0 || format > 2 || rows < 0 || cols < 0 || (cols > 0 && rows > (int64_t{1} << 46) / cols))
      throw Error("E_VALUE", "packed_bytes: expected a format of 0 (nf4), 1 (fp4) or 2 (int8) and sizes >= 0 of fewer than 2^46 weights, got " +
                                 std::to_string(format) + ", " + std::to_string(rows) + ", " + std::to_string(cols));
    return number(info.Env(), device.backend().packed_bytes(static_cast<QuantFormat>(format), rows, cols));
  });
}

}  // namespace

void init_tensor(Napi::Env env, Napi::Object exports) {
  const auto set = [&](const char* name, Napi::Value (*f)(const Napi::CallbackInfo&)) { exports.Set(name, Napi::Function::New(env, f, name)); };
  set("tensor_create", tensor_create);
  set("tensor_from", tensor_from);
  set("tensor_from_file", tensor_from_file);
  set("tensor_from_half", tensor_from_half);
  set("tensor_spec", tensor_spec);
  set("tensor_alias", tensor_alias);
  set("tensor_reshape", tensor_reshape);
  set("tensor_slice", tensor_slice);
  set("tensor_dispose", tensor_dispose);
  set("tensor_read", tensor_read);
  set("tensors_computed", tensors_computed);
  set("tensor_write", tensor_write);
  set("tensor_heal", tensor_heal);
  set("packed_bytes", packed_bytes);
}

}  // namespace anymal::node
