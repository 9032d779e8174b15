// file_*: memory-mapped files, and small reads of their headers.
#include "node/addon.h"
#include "node/bind.h"
#include "node/errors.h"

namespace anymal::node {
namespace {

std::shared_ptr<MappedFile>& file_of(Arguments& a, int64_t id) {
  const auto it = a.addon().files.find(id);
  if (it == a.addon().files.end()) throw Error("E_DISPOSED", std::string(a.op()) + ": this file was unmapped before this call");
  return it->second;
}

Napi::Value file_map(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "file_map");
    auto file = std::make_shared<MappedFile>(a.string());
    const int64_t id = a.addon().next_id++;
    a.addon().files.emplace(id, std::move(file));
    return Napi::Number::New(info.Env(), static_cast<double>(id));
  });
}

Napi::Value file_size(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "file_size");
    return Napi::Number::New(info.Env(), static_cast<double>(file_of(a, a.integer())->size()));
  });
}

Napi::Value file_read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "file_read");
    const auto file = file_of(a, a.integer());
    const int64_t offset = a.integer(), length = a.integer();
    if (offset < 0 || length < 0)
      throw Error("E_VALUE", "file_read: expected offset and length >= 0, got " + std::to_string(offset) + ", " + std::to_string(length));
    file->at(static_cast<uint64_t>(offset), static_cast<uint64_t>(length));  // before memory is asked for
    Napi::ArrayBuffer buffer = array_buffer(info.Env(), static_cast<size_t>(length), "file_read: no room for a part of a file");
    file->read(static_cast<uint64_t>(offset), static_cast<uint64_t>(length), buffer.Data());
    return buffer;
  });
}

Napi::Value file_unmap(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "file_unmap");
    const int64_t id = a.integer();
    file_of(a, id);
    a.addon().files.erase(id);  // reads already enqueued keep the map alive
    return info.Env().Undefined();
  });
}

}  // namespace

void init_file(Napi::Env env, Napi::Object exports) {
  const auto set = [&](const char* name, Napi::Value (*f)(const Napi::CallbackInfo&)) { exports.Set(name, Napi::Function::New(env, f, name)); };
  set("file_map", file_map);
  set("file_size", file_size);
  set("file_read", file_read);
  set("file_unmap", file_unmap);
}

}  // namespace anymal::node
