// media_*: pictures, samples and spectrograms, made on libuv's pool. Each returns a promise of an ArrayBuffer whose size is known at the call.
#include <functional>

#include "media/image.h"
#include "media/mel.h"
#include "media/pcm.h"
#include "media/resample.h"
#include "media/yuv.h"
#include "node/addon.h"
#include "node/bind.h"
#include "node/errors.h"

namespace anymal::node {
namespace {

constexpr int64_t kMaxSide = 1 << 30;

struct Bytes {
  const uint8_t* data;
  size_t size;
  Napi::Value owner;
};

// The result and what it is made from stay alive until `work` has run; `work` sees plain memory only.
class Job final : public Napi::AsyncWorker {
 public:
  static Napi::Value start(Napi::Env env, const Bytes& input, Napi::ArrayBuffer result, std::function<void()> work) {
    auto* job = new Job(env, input, result, std::move(work));
    const Napi::Promise promise = job->deferred_.Promise();
    job->Queue();
    return promise;
  }

 private:
  Job(Napi::Env env, const Bytes& input, Napi::ArrayBuffer result, std::function<void()> work)
      : AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)) {
    input_ = Napi::Persistent(input.owner.As<Napi::Object>());
    result_ = Napi::Persistent(result.As<Napi::Object>());
  }
  void Execute() override {
    try {
      work_();
    } catch (const std::bad_alloc&) {
      SetError("out of host memory");
    }
  }
  void OnOK() override { deferred_.Resolve(result_.Value()); }
  void OnError(const Napi::Error& e) override { deferred_.Reject(make_error(Env(), "E_OUT_OF_MEMORY", e.Message())); }

  Napi::Promise::Deferred deferred_;
  Napi::ObjectReference input_, result_;
  std::function<void()> work_;
};

Bytes bytes_of(Arguments& a) {
  const Napi::Value v = a.value();
  if (!v.IsTypedArray()) a.bad("a typed array", v);
  const auto array = v.As<Napi::TypedArray>();
  return {static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength(), v};
}
int64_t within(Arguments& a, const char* what, int64_t low, int64_t high) {
  const int64_t value = a.integer();
  if (value < low || value > high)
    throw Error("E_VALUE", std::string(a.op()) + ": expected " + what + " from " + std::to_string(low) + " to " + std::to_string(high) + ", got " +
                               std::to_string(value));
  return value;
}
void need_bytes(Arguments& a, const Bytes& bytes, int64_t wanted) {
  if (static_cast<int64_t>(bytes.size) != wanted)
    throw Error("E_SHAPE", std::string(a.op()) + ": expected " + std::to_string(wanted) + " bytes, got " + std::to_string(bytes.size));
}
void need_floats(Arguments& a, const Bytes& bytes) {
  if (bytes.owner.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array || !bytes.size)
    throw Error("E_ARGUMENT", std::string(a.op()) + ": expected a Float32Array with at least one sample");
}

Napi::ArrayBuffer result_of(const Napi::CallbackInfo& info, const Arguments& a, size_t bytes) {
  return array_buffer(info.Env(), bytes, std::string(a.op()) + ": no room for what it makes");
}

Napi::Value media_image(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "media_image");
    const Bytes x = bytes_of(a);
    media::ImagePlan p;
    for (int64_t* side : {&p.height, &p.width, &p.resized_height, &p.resized_width, &p.crop_height, &p.crop_width})
      *side = within(a, "a side", 1, kMaxSide);
    p.filter = static_cast<media::Filter>(within(a, "a filter", 0, 5));
    p.rescale = a.number();
    for (double* v : {p.mean, p.mean + 1, p.mean + 2, p.std, p.std + 1, p.std + 2}) *v = a.number();
    need_bytes(a, x, p.height * p.width * 3);
    Napi::ArrayBuffer result = result_of(info, a, static_cast<size_t>(p.crop_height * p.crop_width * 3) * sizeof(float));
    return Job::start(info.Env(), x, result, [p, from = x.data, to = static_cast<float*>(result.Data())] { media::image_tensor(p, from, to); });
  });
}

Napi::Value media_yuv(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "media_yuv");
    const Bytes x = bytes_of(a);
    media::YuvPlan p;
    p.width = within(a, "a width", 1, kMaxSide);
    p.height = within(a, "a height", 1, kMaxSide);
    p.chroma_width = within(a, "a chroma width", 0, p.width);
    p.chroma_height = within(a, "a chroma height", 0, p.height);
    p.step_x = within(a, "a chroma step", 1, 4);
    p.step_y = within(a, "a chroma step", 1, 4);
    p.offset_x = a.number();
    p.offset_y = a.number();
    p.full_range = a.boolean();
    need_bytes(a, x, p.width * p.height + 2 * p.chroma_width * p.chroma_height);
    Napi::ArrayBuffer result = result_of(info, a, static_cast<size_t>(p.width * p.height * 3));
    return Job::start(info.Env(), x, result, [p, from = x.data, to = static_cast<uint8_t*>(result.Data())] { media::yuv_to_rgb(p, from, to); });
  });
}

Napi::Value media_pcm(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "media_pcm");
    const Bytes x = bytes_of(a);
    const auto encoding = static_cast<media::Encoding>(within(a, "an encoding", 0, 7));
    const int64_t channels = within(a, "a channel count", 1, 65535);
    const int64_t frames = static_cast<int64_t>(x.size) / (media::sample_bytes(encoding) * channels);
    need_bytes(a, x, frames * media::sample_bytes(encoding) * channels);
    Napi::ArrayBuffer result = result_of(info, a, static_cast<size_t>(frames) * sizeof(float));
    return Job::start(info.Env(), x, result,
                      [=, from = x.data, to = static_cast<float*>(result.Data())] { media::pcm_mono(encoding, channels, frames, from, to); });
  });
}

Napi::Value media_resample(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "media_resample");
    const Bytes x = bytes_of(a);
    need_floats(a, x);
    const int64_t from = within(a, "a sample rate", 1, 10'000'000), to = within(a, "a sample rate", 1, 10'000'000);
    const int64_t frames = static_cast<int64_t>(x.size / sizeof(float));
    Napi::ArrayBuffer result = result_of(info, a, static_cast<size_t>(media::resampled_length(frames, from, to)) * sizeof(float));
    return Job::start(info.Env(), x, result, [=, in = reinterpret_cast<const float*>(x.data), out = static_cast<float*>(result.Data())] {
      media::resample(from, to, frames, in, out);
    });
  });
}

// Without `starts`: (frames, bins). With three: the fusion input (4, chunk, bins).
Napi::Value media_log_mel(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments a(info, "media_log_mel");
    const Bytes x = bytes_of(a);
    need_floats(a, x);
    media::MelPlan p;
    p.sampling_rate = within(a, "a sample rate", 1, 10'000'000);
    p.fft = within(a, "a window", 2, 1 << 20);
    p.hop = within(a, "a hop", 1, 1 << 20);
    p.bins = within(a, "a number of mel bins", 1, 1 << 14);
    p.frequency_min = a.number();
    p.frequency_max = a.number();
    p.scale = static_cast<media::MelScale>(within(a, "a mel scale", 0, 1));
    const int64_t chunk = a.integer();
    const Shape starts = a.shape();
    const int64_t samples = static_cast<int64_t>(x.size / sizeof(float)), frames = media::mel_frames(p, samples);
    const bool fused = !starts.empty();
    if (fused && (starts.size() != 3 || chunk < 1)) throw Error("E_SHAPE", "media_log_mel: expected three starts and a chunk of at least one frame");
    for (const int64_t start : starts)
      if (start + chunk > frames)
        throw Error("E_VALUE", "media_log_mel: expected chunks inside " + std::to_string(frames) + " frames, got one from " + std::to_string(start) +
                                   " to " + std::to_string(start + chunk));
    Napi::ArrayBuffer result = result_of(info, a, static_cast<size_t>((fused ? 4 * chunk : frames) * p.bins) * sizeof(float));
    return Job::start(info.Env(), x, result, [=, in = reinterpret_cast<const float*>(x.data), out = static_cast<float*>(result.Data())] {
      if (!fused) return media::log_mel(p, in, samples, out);
      std::vector<float> whole(frames * p.bins);
      media::log_mel(p, in, samples, whole.data());
      media::mel_fusion(whole.data(), frames, p.bins, chunk, starts.data(), out);
    });
  });
}

}  // namespace

void init_media(Napi::Env env, Napi::Object exports) {
  const auto set = [&](const char* name, Napi::Value (*f)(const Napi::CallbackInfo&)) { exports.Set(name, Napi::Function::New(env, f, name)); };
  set("media_image", media_image);
  set("media_yuv", media_yuv);
  set("media_pcm", media_pcm);
  set("media_resample", media_resample);
  set("media_log_mel", media_log_mel);
}

}  // namespace anymal::node
