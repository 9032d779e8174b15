// The front end of CLAP: log-mel spectrograms as ClapFeatureExtractor makes them, and the four-channel fusion input of long clips.
#pragma once
#include <cstdint>
#include <vector>

namespace anymal::media {

enum class MelScale { htk, slaney };  // slaney: with area normalisation; what CLAP uses with and without fusion

struct MelPlan {
  int64_t sampling_rate, fft, hop, bins;
  double frequency_min, frequency_max;
  MelScale scale;
};

int64_t mel_frames(const MelPlan& plan, int64_t samples);
// y (mel_frames, bins) in dB ← x (samples)
void log_mel(const MelPlan& plan, const float* x, int64_t samples, float* y);
// y (4, chunk, bins) ← x (frames, bins): the whole clip shrunk to `chunk` frames, then the three chunks that start at `starts`.
void mel_fusion(const float* x, int64_t frames, int64_t bins, int64_t chunk, const int64_t starts[3], float* y);
// (bins, fft/2 + 1)
std::vector<double> mel_filters(const MelPlan& plan);

}  // namespace anymal::media
