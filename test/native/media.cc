// Signal code against what can be written down: sums of sines, naive transforms, single pixels. The golden numbers are TypeScript's tests.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "media/fft.h"
#include "media/image.h"
#include "media/mel.h"
#include "media/pcm.h"
#include "media/resample.h"
#include "media/yuv.h"

using namespace anymal::media;

namespace {

constexpr double kPi = 3.14159265358979323846;

bool close(double got, double want, double tolerance, const std::string& what) {
  return CHECK_SAY(std::abs(got - want) <= tolerance, what + ": got " + std::to_string(got) + ", want " + std::to_string(want));
}

// ------------------------------------------------------------------------------------------------------------------ samples
template <class T>
std::vector<uint8_t> bytes_of(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
void check_pcm(Encoding encoding, int64_t channels, const std::vector<uint8_t>& x, const std::vector<float>& want, const char* what) {
  std::vector<float> y(want.size(), -7.0f);
  pcm_mono(encoding, channels, static_cast<int64_t>(want.size()), x.data(), y.data());
  CHECK(x.size() == want.size() * static_cast<size_t>(channels * sample_bytes(encoding)));
  for (size_t i = 0; i < want.size(); ++i) close(y[i], want[i], 0.0, std::string(what) + " sample " + std::to_string(i));
}
void pcm() {
  check_pcm(Encoding::u8, 1, {0, 128, 255}, {-1.0f, 0.0f, 127.0f / 128}, "u8");
  check_pcm(Encoding::s16, 1, bytes_of<int16_t>({-32768, 0, 1, 32767}), {-1.0f, 0.0f, 1.0f / 32768, 32767.0f / 32768}, "s16");
  check_pcm(Encoding::s24, 1, {0x00, 0x00, 0x80, 0xff, 0xff, 0x7f, 0x01, 0x00, 0x00, 0xff, 0xff, 0xff},
            {-1.0f, 8388607.0f / 8388608, 1.0f / 8388608, -1.0f / 8388608}, "s24");
  check_pcm(Encoding::s32, 1, bytes_of<int32_t>({INT32_MIN, 1 << 30, 0}), {-1.0f, 0.5f, 0.0f}, "s32");
  check_pcm(Encoding::f32, 1, bytes_of<float>({-1.5f, 0.1f}), {-1.5f, 0.1f}, "f32");
  check_pcm(Encoding::f64, 1, bytes_of<double>({-1.5, 0.25}), {-1.5f, 0.25f}, "f64");
  // G.711: smallest and largest steps of both signs.
  check_pcm(Encoding::mulaw, 1, {0xff, 0x7f, 0x80, 0x00, 0xfe}, {0.0f, 0.0f, 32124.0f / 32768, -32124.0f / 32768, 8.0f / 32768}, "mu-law");
  check_pcm(Encoding::alaw, 1, {0xd5, 0x55, 0xaa, 0x2a}, {8.0f / 32768, -8.0f / 32768, 32256.0f / 32768, -32256.0f / 32768}, "A-law");
  check_pcm(Encoding::s16, 2, bytes_of<int16_t>({16384, -16384, 32767, 32767, 3, 0}), {0.0f, 32767.0f / 32768, 1.5f / 32768}, "stereo");
  check_pcm(Encoding::u8, 3, {128, 192, 64, 255, 255, 255}, {0.0f, 127.0f / 128}, "three channels");
  // Unaligned samples.
  std::vector<uint8_t> shifted = bytes_of<double>({0.5, -0.25});
  shifted.insert(shifted.begin(), 9);
  std::vector<float> y(2);
  pcm_mono(Encoding::f64, 1, 2, shifted.data() + 1, y.data());
  CHECK(y[0] == 0.5f && y[1] == -0.25f);
}

// ---------------------------------------------------------------------------------------------------------------- resampling
// A sine far from the ends keeps amplitude and phase when it is in the pass band, and is gone when it is above the new Nyquist rate.
double worst_against_sines(int64_t from, int64_t to, const std::vector<double>& hertz, double kept) {
  const int64_t frames = from / 5, n = resampled_length(frames, from, to);
  const auto at = [&](double t) {
    double sum = 0.0;
    for (size_t i = 0; i < hertz.size(); ++i) sum += std::sin(2 * kPi * hertz[i] * t + static_cast<double>(i)) / static_cast<double>(hertz.size());
    return sum;
  };
  std::vector<float> x(frames), y(n);
  for (int64_t i = 0; i < frames; ++i) x[i] = static_cast<float>(at(static_cast<double>(i) / static_cast<double>(from)));
  resample(from, to, frames, x.data(), y.data());
  double worst = 0.0;
  for (int64_t i = n / 4; i < n - n / 4; ++i) worst = std::max(worst, std::abs(y[i] - kept * at(static_cast<double>(i) / static_cast<double>(to))));
  return worst;
}
void resampling() {
  const int64_t rates[][2] = {{44100, 48000}, {48000, 44100}, {48000, 16000}, {16000, 48000}, {8000, 44100},
                              {44100, 16000}, {22050, 16000}, {48000, 47999}, {11025, 48000}};
  for (const auto& [from, to] : rates) {
    const double nyquist = static_cast<double>(std::min(from, to)) / 2;
    const std::string what = std::to_string(from) + " to " + std::to_string(to);
    close(worst_against_sines(from, to, {0.05 * nyquist, 0.31 * nyquist, 0.5 * nyquist, 0.9 * nyquist}, 1.0), 0.0, 3e-6, what + ", kept");
    if (to < from - 1000)
      close(worst_against_sines(from, to, {1.001 * nyquist, 0.5 * (nyquist + static_cast<double>(from) / 2)}, 0.0), 0.0, 3e-6, what + ", removed");
    CHECK(resampled_length(from, from, to) == to);
    CHECK(resampled_length(1, from, to) >= 1);
  }
  const std::vector<float> x = {0.25f, -1.0f, 0.5f};
  std::vector<float> same(3);
  resample(44100, 44100, 3, x.data(), same.data());
  CHECK(same == x);
  // A constant stays that constant, up to the ends' silence.
  std::vector<float> flat(4000, 0.75f), out(resampled_length(4000, 44100, 32000));
  resample(44100, 32000, 4000, flat.data(), out.data());
  for (size_t i = out.size() / 4; i < out.size() * 3 / 4; ++i) close(out[i], 0.75, 1e-6, "constant");
  // Lengths shorter than the filter.
  for (const int64_t frames : {1, 2, 3, 17})
    for (const auto& [from, to] : rates) {
      std::vector<float> few(frames, 1.0f), made(resampled_length(frames, from, to), 99.0f);
      resample(from, to, frames, few.data(), made.data());
      CHECK(std::all_of(made.begin(), made.end(), [](float v) { return std::abs(v) < 1.5f; }));
    }
}

// -------------------------------------------------------------------------------------------------------- transform, spectrogram
void fft() {
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 12, 30, 49, 64, 97, 100, 128, 231, 256}) {
    std::vector<Complex> x(n), y(n);
    for (int64_t i = 0; i < n; ++i) x[i] = {std::sin(1.7 * static_cast<double>(i * i)), std::cos(0.3 + 2.9 * static_cast<double>(i))};
    Fft(n).forward(x.data(), y.data());
    double worst = 0.0;
    for (int64_t k = 0; k < n; ++k) {
      Complex want{0, 0};
      for (int64_t i = 0; i < n; ++i) {
        const double angle = -2 * kPi * static_cast<double>(i * k % n) / static_cast<double>(n);
        want.re += x[i].re * std::cos(angle) - x[i].im * std::sin(angle);
        want.im += x[i].re * std::sin(angle) + x[i].im * std::cos(angle);
      }
      worst = std::max({worst, std::abs(y[k].re - want.re), std::abs(y[k].im - want.im)});
    }
    close(worst, 0.0, 1e-12 * static_cast<double>(n), "transform of " + std::to_string(n));
  }
}
void mel() {
  const MelPlan plan{16000, 512, 160, 40, 50, 8000, MelScale::slaney};
  CHECK(mel_frames(plan, 1600) == 11);
  std::vector<float> silence(1600), y(11 * 40);
  log_mel(plan, silence.data(), 1600, y.data());
  for (const float v : y) close(v, -100.0, 0.0, "silence");
  // A sine is loudest in the filter around it, equally in every frame that sees no end, and 20 dB louder at ten times its height.
  for (const double hz : {440.0, 1000.0, 3000.0}) {
    std::vector<float> tone(1600), loud(1600), a(11 * 40), b(11 * 40);
    for (int i = 0; i < 1600; ++i) tone[i] = static_cast<float>(0.05 * std::sin(2 * kPi * hz * i / 16000)), loud[i] = 10 * tone[i];
    log_mel(plan, tone.data(), 1600, a.data());
    log_mel(plan, loud.data(), 1600, b.data());
    const std::vector<double> filters = mel_filters(plan);
    const auto bin = static_cast<int64_t>(std::lrint(hz / 16000 * 512));
    int64_t loudest = 0, wanted = 0;
    for (int64_t f = 1; f < 40; ++f) {
      if (a[5 * 40 + f] > a[5 * 40 + loudest]) loudest = f;
      if (filters[f * 257 + bin] > filters[wanted * 257 + bin]) wanted = f;
    }
    CHECK_SAY(std::abs(loudest - wanted) <= 1, std::to_string(hz) + " Hz in filter " + std::to_string(loudest) + ", not " + std::to_string(wanted));
    close(a[5 * 40 + loudest], a[6 * 40 + loudest], 0.05, "steady tone");
    close(b[5 * 40 + loudest] - a[5 * 40 + loudest], 20.0, 1e-3, "ten times as high");
  }
  for (const int64_t samples : {1, 2, 100, 159, 160, 161}) {  // shorter than the window: mirrored again and again
    std::vector<float> few(samples, 0.5f), made(mel_frames(plan, samples) * 40, 1e9f);
    log_mel(plan, few.data(), samples, made.data());
    for (const float v : made) CHECK(v >= -100.0f && v < 100.0f);
  }
  // Each frequency between the first and the last filter's peak belongs to two neighbours whose heights add up to one.
  const MelPlan htk{48000, 1024, 480, 64, 50, 14000, MelScale::htk};
  const std::vector<double> filters = mel_filters(htk);
  for (int64_t k = 8; k < 280; ++k) {
    double sum = 0.0;
    for (int64_t f = 0; f < 64; ++f) sum += filters[f * 513 + k];
    close(sum, 1.0, 1e-9, "filters at bin " + std::to_string(k));
  }
  // The shrunk view of a ramp is a ramp; the chunks are copies.
  std::vector<float> ramp(100 * 2), fused(4 * 10 * 2);
  for (int i = 0; i < 200; ++i) ramp[i] = static_cast<float>(i / 2);
  const int64_t starts[3] = {0, 45, 90};
  mel_fusion(ramp.data(), 100, 2, 10, starts, fused.data());
  for (int t = 0; t < 10; ++t) {
    close(fused[2 * t], 10.0 * t + 4.5, 1e-5, "shrunk");
    for (int c = 0; c < 3; ++c) close(fused[(c + 1) * 20 + 2 * t + 1], static_cast<double>(starts[c] + t), 0.0, "chunk");
  }
}

// ------------------------------------------------------------------------------------------------------------------- pictures
void yuv() {
  // Bars of BT.601: black, white, red, green, blue.
  const uint8_t bars[5][3] = {{16, 128, 128}, {235, 128, 128}, {81, 90, 240}, {145, 54, 34}, {41, 240, 110}};
  const int rgb[5][3] = {{0, 0, 0}, {255, 255, 255}, {255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
  for (int k = 0; k < 5; ++k) {
    // 5 × 3 with chroma for every second sample: sizes round up.
    std::vector<uint8_t> x(15 + 2 * 6), y(45, 7);
    std::fill_n(x.begin(), 15, bars[k][0]);
    std::fill_n(x.begin() + 15, 6, bars[k][1]);
    std::fill_n(x.begin() + 21, 6, bars[k][2]);
    yuv_to_rgb({5, 3, 3, 2, 2, 2, 0.5, 0.5, false}, x.data(), y.data());
    for (int i = 0; i < 45; ++i) close(y[i], rgb[k][i % 3], 2, "bar " + std::to_string(k));
  }
  const std::vector<uint8_t> grey = {0, 16, 128, 235, 255, 100};
  std::vector<uint8_t> y(18);
  yuv_to_rgb({3, 2, 0, 0, 1, 1, 0, 0, true}, grey.data(), y.data());
  for (int i = 0; i < 18; ++i) CHECK(y[i] == grey[i / 3]);
  yuv_to_rgb({3, 2, 0, 0, 1, 1, 0, 0, false}, grey.data(), y.data());
  CHECK(y[0] == 0 && y[3] == 0 && y[9] == 255 && y[12] == 255);
  // Chroma that changes from one sample to the next is mixed in between: 4:2:2, sample 1 lies half-way.
  const std::vector<uint8_t> wide = {128, 128, 128, 128, 100, 140, 128, 128};
  std::vector<uint8_t> z(12);
  yuv_to_rgb({4, 1, 2, 1, 2, 1, 0, 0, true}, wide.data(), z.data());
  for (const auto& [place, cb] : {std::pair{0, -28.0}, {1, -8.0}, {2, 12.0}, {3, 12.0}}) close(z[3 * place + 2], 128 + 1.772 * cb, 0.51, "between");
}
ImagePlan plan_of(int64_t h, int64_t w, int64_t rh, int64_t rw, int64_t ch, int64_t cw, Filter filter) {
  return {h, w, rh, rw, filter, ch, cw, 1.0, {0, 0, 0}, {1, 1, 1}};
}
void image() {
  std::vector<uint8_t> x(4 * 6 * 3);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(i * 3);
  std::vector<float> y(x.size());
  image_tensor(plan_of(4, 6, 4, 6, 4, 6, Filter::bicubic), x.data(), y.data());
  for (int c = 0; c < 3; ++c)
    for (int i = 0; i < 24; ++i) CHECK(y[c * 24 + i] == x[3 * i + c]);
  for (const Filter filter : {Filter::nearest, Filter::lanczos, Filter::bilinear, Filter::bicubic, Filter::box, Filter::hamming})
    for (const auto& [h, w] : {std::pair{1, 1}, {2, 9}, {7, 3}, {40, 50}}) {
      const std::vector<uint8_t> flat(4 * 6 * 3, 201);
      std::vector<float> made(static_cast<size_t>(3 * h * w), -1.0f);
      image_tensor(plan_of(4, 6, h, w, h, w, filter), flat.data(), made.data());
      CHECK(std::all_of(made.begin(), made.end(), [](float v) { return v == 201.0f; }));
    }
  // A crop shows the same numbers as the whole, and black around it.
  std::vector<float> whole(3 * 9 * 11), crop(3 * 3 * 5), padded(3 * 13 * 15);
  image_tensor(plan_of(4, 6, 9, 11, 9, 11, Filter::bicubic), x.data(), whole.data());
  image_tensor(plan_of(4, 6, 9, 11, 3, 5, Filter::bicubic), x.data(), crop.data());
  image_tensor(plan_of(4, 6, 9, 11, 13, 15, Filter::bicubic), x.data(), padded.data());
  for (int c = 0; c < 3; ++c) {
    for (int r = 0; r < 3; ++r)
      for (int k = 0; k < 5; ++k) CHECK(crop[(c * 3 + r) * 5 + k] == whole[(c * 9 + r + 3) * 11 + k + 3]);
    for (int r = 0; r < 13; ++r)
      for (int k = 0; k < 15; ++k) {
        const bool inside = r >= 2 && r < 11 && k >= 2 && k < 13;
        CHECK(padded[(c * 13 + r) * 15 + k] == (inside ? whole[(c * 9 + r - 2) * 11 + k - 2] : 0.0f));
      }
  }
}

}  // namespace

int main() {
  pcm();
  resampling();
  fft();
  mel();
  yuv();
  image();
  return check::finish();
}
