// Another sample rate: a polyphase filter, windowed sinc.
#pragma once
#include <cstdint>

namespace anymal::media {

// Samples that `frames` at rate `from` become at rate `to`.
int64_t resampled_length(int64_t frames, int64_t from, int64_t to);
// y (resampled_length) from x (frames). Zero phase: sample 0 stays at time 0. Silence is assumed before and after.
void resample(int64_t from, int64_t to, int64_t frames, const float* x, float* y);

}  // namespace anymal::media
