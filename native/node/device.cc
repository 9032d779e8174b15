// device_* and capture_*: opening, closing, waiting, memory figures, record and replay.
#include "node/addon.h"
#include "node/bind.h"
#include "node/errors.h"

namespace anymal::node {
namespace {

Napi::Value device_open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_open");
    const std::string name = a.string(), options = a.string();
    return Napi::Number::New(info.Env(), static_cast<double>(a.addon().add(open_device(name, with_defaults(name, options)))));
  });
}

// A driver takes hundreds of milliseconds to start a card, and the module is large: on libuv's pool nobody waits for them.
class Opening final : public Napi::AsyncWorker {
 public:
  Opening(Napi::Env env, std::string name, std::string options)
      : AsyncWorker(env), name_(std::move(name)), options_(std::move(options)), deferred_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 private:
  void Execute() override {
    try {
      device_ = open_device(name_, options_);
    } catch (const Error& e) {
      code_ = e.code;
      SetError(e.what());
    } catch (const std::bad_alloc&) {
      code_ = "E_OUT_OF_MEMORY";
      SetError("out of host memory");
    }
  }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(Addon::of(Env()).add(std::move(device_))))); }
  void OnError(const Napi::Error& e) override { deferred_.Reject(make_error(Env(), code_, e.Message())); }

  std::string name_, options_, code_;
  Napi::Promise::Deferred deferred_;
  std::unique_ptr<Device> device_;
};

Napi::Value device_open_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_open_async");
    const std::string name = a.string(), options = a.string();
    auto* opening = new Opening(info.Env(), name, with_defaults(name, options));
    const Napi::Promise promise = opening->promise();
    opening->Queue();
    return promise;
  });
}

Napi::Value device_describe(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_describe");
    return Napi::String::New(info.Env(), a.addon().device(a.integer(), a.op()).description());
  });
}

Napi::Value device_synchronize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_synchronize");
    Device& device = a.addon().device(a.integer(), a.op());
    auto pending = a.addon().completions.open(info.Env(), nullptr);
    const Napi::Promise promise = pending->deferred.Promise();
    device.push(promise_command(
        "synchronize", a.addon().completions, std::move(pending), [](Device& d) { d.backend().synchronize(d.stream()); }, Waits::fence));
    return promise;
  });
}

// Everything on the device goes with it. The promise resolves once the queue has finished what was enqueued before and nothing is left of the
// device but its thread, which is ending.
Napi::Value device_close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_close");
    Addon& addon = a.addon();
    const int64_t id = a.integer();
    Device& device = addon.device(id, a.op());
    if (device.capturing()) throw Error("E_CAPTURE", "device_close: end the capture first");
    for (auto it = addon.captures.begin(); it != addon.captures.end();) {
      const bool mine = it->second.device == &device;
      if (mine) device.capture_close(it->second.recording);
      it = mine ? addon.captures.erase(it) : std::next(it);
    }
    device.drop(addon.tensors.remove_all(&device));
    auto pending = addon.completions.open(info.Env(), [&addon, id](Napi::Env env) {
      addon.closed(id);
      return env.Undefined();
    });
    pending->always = true;
    const Napi::Promise promise = pending->deferred.Promise();
    device.push(promise_command(
        "device_close", addon.completions, std::move(pending), [](Device& d) { d.backend().synchronize(d.stream()); }, Waits::last));
    addon.close(id);
    return promise;
  });
}

Napi::Value device_memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_memory");
    const MemoryStats m = a.addon().device(a.integer(), a.op()).memory().stats();
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("bytesInUse", static_cast<double>(m.in_use));
    o.Set("bytesPeak", static_cast<double>(m.peak));
    o.Set("bytesReserved", static_cast<double>(m.reserved));
    o.Set("bytesScratch", static_cast<double>(m.scratch));
    if (m.limit) o.Set("memoryLimit", static_cast<double>(m.limit));
    o.Set("tensors", static_cast<double>(a.addon().tensors.alive()));
    return o;
  });
}

Napi::Value device_reset_peak(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_reset_peak");
    a.addon().device(a.integer(), a.op()).memory().reset_peak();
    return info.Env().Undefined();
  });
}

// What a benchmark calls 100 %: measured on the queue, after what was enqueued before.
Napi::Value device_peak(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "device_peak");
    Device& device = a.addon().device(a.integer(), a.op());
    const int64_t what = a.integer();
    if (what < 0 || what > 2) throw Error("E_ARGUMENT", "device_peak: expected 0 (f32), 1 (bf16) or 2 (bandwidth), got " + std::to_string(what));
    auto result = std::make_shared<double>(0);
    auto pending = a.addon().completions.open(info.Env(), [result](Napi::Env env) { return Napi::Number::New(env, *result); });
    const Napi::Promise promise = pending->deferred.Promise();
    device.push(promise_command(
        "device_peak", a.addon().completions, std::move(pending),
        [result, what](Device& d) { *result = d.backend().measure_peak(d.stream(), static_cast<Peak>(what)); }, Waits::no));
    return promise;
  });
}

Napi::Value capture_begin(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "capture_begin");
    const int64_t id = a.integer();
    Device& device = a.addon().device(id, a.op());
    if (device.capturing()) throw Error("E_CAPTURE", "capture_begin: this device is capturing already; captures do not nest");
    const int64_t capture = a.addon().next_id++;
    auto recording = std::make_shared<Recording>();
    a.addon().captures.emplace(capture, Addon::Capture{&device, recording});
    device.capture_begin(std::move(recording));
    return Napi::Number::New(info.Env(), static_cast<double>(capture));
  });
}

Addon::Capture& capture_of(Arguments& a, int64_t id) {
  const auto it = a.addon().captures.find(id);
  if (it == a.addon().captures.end()) throw Error("E_DISPOSED", std::string(a.op()) + ": this capture was disposed before this call");
  return it->second;
}

Napi::Value capture_end(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "capture_end");
    Device& device = *capture_of(a, a.integer()).device;
    if (!device.capturing()) throw Error("E_CAPTURE", "capture_end: this device is not capturing");
    return Napi::Number::New(info.Env(), static_cast<double>(device.capture_end()));
  });
}

Napi::Value capture_replay(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "capture_replay");
    Addon::Capture& capture = capture_of(a, a.integer());
    if (capture.device->capturing()) throw Error("E_CAPTURE", "capture_replay: end the capture first");
    capture.device->capture_replay(capture.recording);
    a.addon().enqueued(info.Env(), *capture.device);
    return info.Env().Undefined();
  });
}

Napi::Value capture_dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "capture_dispose");
    const int64_t id = a.integer();
    Addon::Capture capture = capture_of(a, id);
    if (capture.device->capturing()) throw Error("E_CAPTURE", "capture_dispose: end the capture first");
    a.addon().captures.erase(id);
    capture.device->capture_close(std::move(capture.recording));
    return info.Env().Undefined();
  });
}

}  // namespace

void init_device(Napi::Env env, Napi::Object exports) {
  const auto set = [&](const char* name, Napi::Value (*f)(const Napi::CallbackInfo&)) { exports.Set(name, Napi::Function::New(env, f, name)); };
  set("device_open", device_open);
  set("device_open_async", device_open_async);
  set("device_close", device_close);
  set("device_describe", device_describe);
  set("device_synchronize", device_synchronize);
  set("device_memory", device_memory);
  set("device_reset_peak", device_reset_peak);
  set("device_peak", device_peak);
  set("capture_begin", capture_begin);
  set("capture_end", capture_end);
  set("capture_replay", capture_replay);
  set("capture_dispose", capture_dispose);
}

}  // namespace anymal::node
