// With g = gcd(from, to), L = to/g, M = from/g: output n lies at input time n·M/L, whole part i and phase (n·M mod L)/L. Each phase has its
// own row of taps h(k - phase), h = Kaiser-windowed sinc cut off between the pass band and the lower of the two Nyquist rates.
#include "media/resample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace anymal::media {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kPassBand = 0.913;     // of the lower Nyquist rate; nothing above that rate survives
constexpr double kAttenuation = 120.0;  // dB
constexpr double kMaxPhases = 2048.0;   // beyond, two neighbouring rows are mixed: 140 dB below the signal

double bessel_i0(double x) {
  double sum = 1.0, term = 1.0;
  for (int k = 1; term > sum * 1e-17; ++k) {
    term *= (x / (2 * k)) * (x / (2 * k));
    sum += term;
  }
  return sum;
}

struct Filter {
  int64_t half;              // taps on each side
  int64_t phases;            // rows, and one more that is row 0 one sample later
  std::vector<double> rows;  // (phases + 1, 2·half)

  Filter(int64_t from, int64_t to, int64_t wanted_phases) : phases(wanted_phases) {
    const double ratio = std::min(1.0, static_cast<double>(to) / static_cast<double>(from));
    const double cutoff = ratio * (1.0 + kPassBand) / 2, transition = ratio * (1.0 - kPassBand) * kPi;
    const double beta = 0.1102 * (kAttenuation - 8.7), width = (kAttenuation - 8.0) / (2.285 * transition) / 2;
    half = static_cast<int64_t>(std::ceil(width));
    rows.resize((phases + 1) * 2 * half);
    for (int64_t p = 0; p <= phases; ++p) {
      double *row = &rows[p * 2 * half], sum = 0.0;
      for (int64_t k = 0; k < 2 * half; ++k) {
        // Tap k reads input i - half + 1 + k.
        const double t = static_cast<double>(k - half + 1) - static_cast<double>(p) / static_cast<double>(phases), u = t / width;
        if (std::abs(u) >= 1.0) continue;
        const double x = kPi * cutoff * t;
        row[k] = (x == 0.0 ? 1.0 : std::sin(x) / x) * bessel_i0(beta * std::sqrt(1.0 - u * u));
        sum += row[k];
      }
      for (int64_t k = 0; k < 2 * half; ++k) row[k] /= sum;  // a constant stays that constant
    }
  }
};

// Four sums keep the adder busy; without them each product waits for the last.
double dot(const double* a, const float* b, int64_t n) {
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    s0 += a[i] * b[i];
    s1 += a[i + 1] * b[i + 1];
    s2 += a[i + 2] * b[i + 2];
    s3 += a[i + 3] * b[i + 3];
  }
  for (; i < n; ++i) s0 += a[i] * b[i];
  return (s0 + s1) + (s2 + s3);
}

}  // namespace

int64_t resampled_length(int64_t frames, int64_t from, int64_t to) {
  const int64_t g = std::gcd(from, to), up = to / g, down = from / g;
  return (frames * up + down - 1) / down;
}

void resample(int64_t from, int64_t to, int64_t frames, const float* x, float* y) {
  if (from == to) {
    std::copy_n(x, frames, y);
    return;
  }
  const int64_t g = std::gcd(from, to), up = to / g, down = from / g, n = resampled_length(frames, from, to);
  // The lower the cut-off, the smoother the filter, and the fewer rows serve.
  const double enough = std::max(32.0, std::ceil(kMaxPhases * std::min(1.0, static_cast<double>(to) / static_cast<double>(from))));
  const Filter filter(from, to, std::min(up, static_cast<int64_t>(enough)));
  const int64_t width = 2 * filter.half;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = i * down / up, phase = i * down % up;
    const int64_t first = at - filter.half + 1, skip = std::max<int64_t>(0, -first), end = std::min(width, frames - first);
    const auto value = [&](int64_t row) { return dot(&filter.rows[row * width + skip], x + first + skip, end - skip); };
    if (filter.phases == up) {
      y[i] = static_cast<float>(value(phase));
    } else {
      const double place = static_cast<double>(phase) / static_cast<double>(up) * static_cast<double>(filter.phases);
      const int64_t row = static_cast<int64_t>(place);
      const double mix = place - static_cast<double>(row);
      y[i] = static_cast<float>((1.0 - mix) * value(row) + mix * value(row + 1));
    }
  }
}

}  // namespace anymal::media
