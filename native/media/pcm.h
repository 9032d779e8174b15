// Samples as they lie in files, and the mean of their channels.
#pragma once
#include <cstddef>
#include <cstdint>

namespace anymal::media {

enum class Encoding { u8, s16, s24, s32, f32, f64, alaw, mulaw };

int64_t sample_bytes(Encoding encoding);
// y (frames): the mean of the channels of x (frames, channels), little-endian; integers are divided by their full scale (32768 for s16).
void pcm_mono(Encoding encoding, int64_t channels, int64_t frames, const uint8_t* x, float* y);

}  // namespace anymal::media
