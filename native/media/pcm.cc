#include "media/pcm.h"

#include <cstring>

namespace anymal::media {
namespace {

template <class T>
T load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// G.711: a sign, a 3-bit exponent and a 4-bit mantissa.
int expand_mulaw(uint8_t code) {
  const int u = ~code & 0xff, magnitude = ((((u & 0x0f) << 3) + 0x84) << ((u & 0x70) >> 4)) - 0x84;
  return u & 0x80 ? -magnitude : magnitude;
}
int expand_alaw(uint8_t code) {
  const int a = code ^ 0x55, exponent = (a & 0x70) >> 4;
  int magnitude = ((a & 0x0f) << 4) + 8;
  if (exponent) magnitude = (magnitude + 0x100) << (exponent - 1);
  return a & 0x80 ? magnitude : -magnitude;
}

template <class Read>
void mean(int64_t channels, int64_t frames, int64_t bytes, const uint8_t* x, float* y, const Read& read) {
  const double scale = 1.0 / static_cast<double>(channels);
  for (int64_t f = 0; f < frames; ++f) {
    double sum = 0.0;
    for (int64_t c = 0; c < channels; ++c) sum += read(x + (f * channels + c) * bytes);
    y[f] = static_cast<float>(sum * scale);
  }
}

}  // namespace

int64_t sample_bytes(Encoding encoding) {
  constexpr int64_t bytes[] = {1, 2, 3, 4, 4, 8, 1, 1};
  return bytes[static_cast<int>(encoding)];
}

void pcm_mono(Encoding encoding, int64_t channels, int64_t frames, const uint8_t* x, float* y) {
  const auto run = [&](const auto& read) { mean(channels, frames, sample_bytes(encoding), x, y, read); };
  switch (encoding) {
    case Encoding::u8:
      return run([](const uint8_t* p) { return (*p - 128) / 128.0; });
    case Encoding::s16:
      return run([](const uint8_t* p) { return load<int16_t>(p) / 32768.0; });
    case Encoding::s24:
      return run([](const uint8_t* p) { return static_cast<int32_t>(p[0] << 8 | p[1] << 16 | static_cast<uint32_t>(p[2]) << 24) / 2147483648.0; });
    case Encoding::s32:
      return run([](const uint8_t* p) { return load<int32_t>(p) / 2147483648.0; });
    case Encoding::f32:
      return run([](const uint8_t* p) { return static_cast<double>(load<float>(p)); });
    case Encoding::f64:
      return run([](const uint8_t* p) { return load<double>(p); });
    case Encoding::alaw:
      return run([](const uint8_t* p) { return expand_alaw(*p) / 32768.0; });
    case Encoding::mulaw:
      return run([](const uint8_t* p) { return expand_mulaw(*p) / 32768.0; });
  }
}

}  // namespace anymal::media
