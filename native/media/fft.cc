// Decimation in time: a transform of n = p·m is p transforms of length m over every p-th input, then m butterflies of size p.
#include "media/fft.h"

#include <algorithm>
#include <cmath>

namespace anymal::media {
namespace {

Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }

}  // namespace

Fft::Fft(int64_t n) : n_(n), roots_(n) {
  for (int64_t k = 0; k < n; ++k) {
    const double angle = -2.0 * 3.14159265358979323846 * static_cast<double>(k) / static_cast<double>(n);
    roots_[k] = {std::cos(angle), std::sin(angle)};
  }
  for (int64_t p = 4, rest = n; rest > 1; rest /= p) {
    while (rest % p) p = p == 4 ? 2 : p == 2 ? 3 : p * p > rest ? rest : p + 2;
    factors_.push_back(p);
    scratch_.resize(std::max<size_t>(scratch_.size(), p));
  }
}

void Fft::forward(const Complex* x, Complex* y) {
  if (n_ == 1) y[0] = x[0];
  else pass(x, 1, y, n_, 0);
}

void Fft::pass(const Complex* x, int64_t stride, Complex* y, int64_t n, size_t level) {
  const int64_t p = factors_[level], m = n / p;
  if (m == 1)
    for (int64_t q = 0; q < p; ++q) y[q] = x[q * stride];
  else
    for (int64_t q = 0; q < p; ++q) pass(x + q * stride, stride * p, y + q * m, m, level + 1);

  for (int64_t k = 0; k < m; ++k) {
    if (p == 2) {
      const Complex a = y[k], b = y[k + m] * roots_[k * stride];
      y[k] = a + b;
      y[k + m] = a - b;
    } else if (p == 4) {
      const Complex a = y[k], b = y[k + m] * roots_[k * stride], c = y[k + 2 * m] * roots_[2 * k * stride], d = y[k + 3 * m] * roots_[3 * k * stride];
      const Complex e = a + c, f = a - c, g = b + d, h = b - d;
      y[k] = e + g;
      y[k + m] = {f.re + h.im, f.im - h.re};
      y[k + 2 * m] = e - g;
      y[k + 3 * m] = {f.re - h.im, f.im + h.re};
    } else {
      for (int64_t q = 0; q < p; ++q) scratch_[q] = y[k + q * m];
      for (int64_t r = 0; r < p; ++r) {
        Complex sum = scratch_[0];
        int64_t turn = 0;
        for (int64_t q = 1; q < p; ++q) {
          turn = (turn + (k + r * m) * stride) % n_;
          sum = sum + scratch_[q] * roots_[turn];
        }
        y[k + r * m] = sum;
      }
    }
  }
}

}  // namespace anymal::media
