#include "node/addon.h"

#include <cstdlib>
#include <cstring>

#include "loader.h"
#include "node/errors.h"

namespace anymal::node {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

Addon::Addon(Napi::Env env) : completions(env), synchronous_(environment("ANYMAL_SYNC") == "1") {}

Device& Addon::device(int64_t id, const char* op) {
  const auto it = devices_.find(id);
  if (it == devices_.end()) throw Error("E_DISPOSED", std::string(op) + ": this device was closed before this call");
  return *it->second;
}

std::string with_defaults(const std::string& name, const std::string& given) {
  std::string options = given;
  const auto add = [&](const char* key, const char* variable) {
    const std::string value = environment(variable);
    if (!value.empty() && option_value(options, key).empty()) options += (options.empty() ? "" : ";") + std::string(key) + "=" + value;
  };
  add("memoryLimit", "ANYMAL_MEMORY_LIMIT");
  if (name == "cpu") {
    add("level", "ANYMAL_CPU_LEVEL");
    add("threads", "ANYMAL_THREADS");
  }
  return options;
}

std::unique_ptr<Device> open_device(const std::string& name, const std::string& options) {
  try {
    return std::make_unique<Device>(backend_open(name, options), options);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    const char* remedy = name == "cuda" ? "; use device(\"cpu\"), or device(\"auto\") to fall back by itself" : "";
    throw Error("E_DEVICE", "device \"" + name + "\": " + e.what() + remedy);
  }
}

int64_t Addon::add(std::unique_ptr<Device> device) {
  const int64_t id = next_id++;
  devices_.emplace(id, std::move(device));
  return id;
}

void Addon::close(int64_t id) { closing_.insert(devices_.extract(id)); }
void Addon::closed(int64_t id) { closing_.erase(id); }

int64_t Addon::id_of(const Device& device) const {
  for (const auto& [id, d] : devices_)
    if (d.get() == &device) return id;
  return 0;
}

// Nothing is enqueued here: a full queue would block the thread that ends. What waits is settled with E_CLOSED, and every queue is joined, that of a
// device whose close() is still under way too, before anything goes that its thread could reach.
void Addon::shut_down() {
  for (auto& [id, device] : devices_) {
    std::vector<std::shared_ptr<Recording>> recordings;
    for (auto& [number, capture] : captures)
      if (capture.device == device.get()) recordings.push_back(std::move(capture.recording));
    device->stop(tensors.remove_all(device.get()), std::move(recordings));
  }
  for (auto& [id, device] : closing_) device->stop();
  captures.clear();
  devices_.clear();
  closing_.clear();
  completions.stop();
}

void Addon::enqueued(Napi::Env env, Device& device) {
  if (synchronous_ && !device.capturing()) {
    if (const FailureRef failure = device.run_to_idle()) throw_error(env, failure->code, failure->message);
  }
  // V8 takes external bytes as a reason to collect, and a training step's activations come and go by the hundred megabytes: told of each swing
  // it would run a full collection at every step. It hears of what stays: the least that was in use over some thousand ops.
  constexpr int64_t window = 4096, leap = int64_t{512} << 20;
  const int64_t bytes = device.memory().stats().in_use;
  least_bytes_ = std::min(least_bytes_, bytes);
  if (++enqueued_ < window && bytes - reported_bytes_ < leap) return;
  const int64_t report = enqueued_ < window ? bytes : least_bytes_;
  Napi::MemoryManagement::AdjustExternalMemory(env, report - reported_bytes_);
  reported_bytes_ = report;
  least_bytes_ = bytes;
  enqueued_ = 0;
}

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* addon = new Addon(env);
  env.SetInstanceData<Addon>(addon);
  // Runs before the environment's values go: queues stop first, so that no thread calls into an environment that is gone.
  napi_add_env_cleanup_hook(
      env, [](void* data) { static_cast<Addon*>(data)->shut_down(); }, addon);
  init_device(env, exports);
  init_tensor(env, exports);
  init_file(env, exports);
  init_media(env, exports);
  init_ops(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(anymal, init)

}  // namespace anymal::node
