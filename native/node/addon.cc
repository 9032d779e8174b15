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

// Environment variables give the defaults that options leave open.
int64_t Addon::open(const std::string& name, const std::string& given) {
  std::string options = given;
  const auto add = [&](const char* key, const char* variable) {
    const std::string value = environment(variable);
    if (!value.empty() && option_value(options, key).empty()) options += (options.empty() ? "" : ";") + std::string(key) + "=" + value;
  };
  if (name == "cpu") {
    add("level", "ANYMAL_CPU_LEVEL");
    add("threads", "ANYMAL_THREADS");
  }
  const Backend& backend = backend_open(name, options);
  try {
    auto device = std::make_unique<Device>(backend, options);
    const int64_t id = next_id++;
    devices_.emplace(id, std::move(device));
    return id;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    const char* remedy = name == "cuda" ? "; use device(\"cpu\"), or device(\"auto\") to fall back by itself" : "";
    throw Error("E_DEVICE", "device \"" + name + "\": " + e.what() + remedy);
  }
}

std::unique_ptr<Device> Addon::close(int64_t id, const char* op) {
  device(id, op);
  std::unique_ptr<Device> d = std::move(devices_.at(id));
  devices_.erase(id);
  return d;
}

int64_t Addon::id_of(const Device& device) const {
  for (const auto& [id, d] : devices_)
    if (d.get() == &device) return id;
  return 0;
}

void Addon::shut_down() {
  for (auto& [id, capture] : captures) capture.device->capture_close(std::move(capture.recording));
  captures.clear();
  for (StorageRef& storage : tensors.remove_all(nullptr)) {
    Device& device = storage->device;
    device.drop({std::move(storage)});
  }
  devices_.clear();
  completions.stop();
}

void Addon::enqueued(Napi::Env env, Device& device) {
  if (synchronous_ && !device.capturing()) {
    device.wait_idle();
    if (const FailureRef failure = device.take_failure()) throw_error(env, failure->code, failure->message);
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
