#include "media/mel.h"

#include <algorithm>
#include <cmath>

#include "media/fft.h"

namespace anymal::media {
namespace {

constexpr double kFloor = 1e-10;

// Slaney's scale is linear up to 1000 Hz = 15 mel and logarithmic above.
double to_mel(MelScale scale, double hz) {
  if (scale == MelScale::htk) return 2595.0 * std::log10(1.0 + hz / 700.0);
  return hz < 1000.0 ? 3.0 * hz / 200.0 : 15.0 + std::log(hz / 1000.0) * 27.0 / std::log(6.4);
}
double to_hz(MelScale scale, double mel) {
  if (scale == MelScale::htk) return 700.0 * (std::pow(10.0, mel / 2595.0) - 1.0);
  return mel < 15.0 ? 200.0 * mel / 3.0 : 1000.0 * std::exp(std::log(6.4) / 27.0 * (mel - 15.0));
}

// Position `i` of a signal that is mirrored at both ends, without repeating the end sample.
int64_t reflected(int64_t i, int64_t n) {
  if (n == 1) return 0;
  const int64_t period = 2 * (n - 1);
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

}  // namespace

std::vector<double> mel_filters(const MelPlan& p) {
  const int64_t n = p.fft / 2 + 1;
  const double low = to_mel(p.scale, p.frequency_min), high = to_mel(p.scale, p.frequency_max);
  std::vector<double> edges(p.bins + 2), filters(p.bins * n);
  for (int64_t i = 0; i < p.bins + 2; ++i) edges[i] = to_hz(p.scale, low + (high - low) * static_cast<double>(i) / static_cast<double>(p.bins + 1));
  for (int64_t b = 0; b < p.bins; ++b) {
    const double norm = p.scale == MelScale::slaney ? 2.0 / (edges[b + 2] - edges[b]) : 1.0;
    for (int64_t k = 0; k < n; ++k) {
      const double hz = static_cast<double>(p.sampling_rate / 2) * static_cast<double>(k) / static_cast<double>(n - 1);
      const double up = (hz - edges[b]) / (edges[b + 1] - edges[b]), down = (edges[b + 2] - hz) / (edges[b + 2] - edges[b + 1]);
      filters[b * n + k] = std::max(0.0, std::min(up, down)) * norm;
    }
  }
  return filters;
}

int64_t mel_frames(const MelPlan& p, int64_t samples) { return 1 + (samples + p.fft / 2 * 2 - p.fft) / p.hop; }

void log_mel(const MelPlan& p, const float* x, int64_t samples, float* y) {
  const int64_t frames = mel_frames(p, samples), n = p.fft / 2 + 1;
  const std::vector<double> filters = mel_filters(p);
  std::vector<int64_t> from(p.bins), until(p.bins);  // the non-zero part of each filter
  for (int64_t b = 0; b < p.bins; ++b) {
    const double* f = &filters[b * n];
    while (from[b] < n && f[from[b]] == 0.0) ++from[b];
    for (int64_t k = from[b]; k < n; ++k)
      if (f[k] != 0.0) until[b] = k + 1;
  }
  std::vector<double> window(p.fft);  // periodic Hann
  for (int64_t i = 0; i < p.fft; ++i)
    window[i] = 0.5 - 0.5 * std::cos(2.0 * 3.14159265358979323846 * static_cast<double>(i) / static_cast<double>(p.fft));

  Fft fft(p.fft);
  std::vector<Complex> in(p.fft), out(p.fft);
  std::vector<double> power(n);
  const auto sample = [&](int64_t frame, int64_t i) { return window[i] * x[reflected(frame * p.hop + i - p.fft / 2, samples)]; };
  // One complex transform serves two real frames a and b: of a + ib, A is the part that mirrors to its conjugate and iB the rest.
  for (int64_t pair = 0; pair < frames; pair += 2) {
    const int64_t members = std::min<int64_t>(2, frames - pair);
    for (int64_t i = 0; i < p.fft; ++i) in[i] = {sample(pair, i), members == 2 ? sample(pair + 1, i) : 0.0};
    fft.forward(in.data(), out.data());
    for (int64_t m = 0; m < members; ++m) {
      for (int64_t k = 0; k < n; ++k) {
        const Complex a = out[k], b = out[(p.fft - k) % p.fft];
        const double re = m == 0 ? (a.re + b.re) / 2 : (a.im + b.im) / 2, im = m == 0 ? (a.im - b.im) / 2 : (b.re - a.re) / 2;
        // The reference stores spectra as complex64.
        const double re32 = static_cast<float>(re), im32 = static_cast<float>(im);
        power[k] = re32 * re32 + im32 * im32;
      }
      for (int64_t b = 0; b < p.bins; ++b) {
        double sum = 0.0;
        for (int64_t k = from[b]; k < until[b]; ++k) sum += filters[b * n + k] * power[k];
        y[(pair + m) * p.bins + b] = static_cast<float>(10.0 * std::log10(std::max(sum, kFloor)));
      }
    }
  }
}

void mel_fusion(const float* x, int64_t frames, int64_t bins, int64_t chunk, const int64_t starts[3], float* y) {
  const double scale = static_cast<double>(frames) / static_cast<double>(chunk);
  for (int64_t t = 0; t < chunk; ++t) {
    const double place = std::max(0.0, (static_cast<double>(t) + 0.5) * scale - 0.5);
    const int64_t low = std::min(frames - 1, static_cast<int64_t>(place)), high = std::min(frames - 1, low + 1);
    const double mix = place - static_cast<double>(low);
    for (int64_t b = 0; b < bins; ++b) y[t * bins + b] = static_cast<float>((1.0 - mix) * x[low * bins + b] + mix * x[high * bins + b]);
  }
  for (int64_t c = 0; c < 3; ++c) std::copy_n(x + starts[c] * bins, chunk * bins, y + (c + 1) * chunk * bins);
}

}  // namespace anymal::media
