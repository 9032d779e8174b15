// Discrete Fourier transform in f64, any length; fast where the length has small prime factors.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace anymal::media {

struct Complex {
  double re, im;
};

class Fft {
 public:
  explicit Fft(int64_t n);
  int64_t size() const { return n_; }
  void forward(const Complex* x, Complex* y);  // y (n) ← x (n); not in place

 private:
  void pass(const Complex* x, int64_t stride, Complex* y, int64_t n, size_t level);
  int64_t n_;
  std::vector<int64_t> factors_;
  std::vector<Complex> roots_;    // e^(-2πi k/n)
  std::vector<Complex> scratch_;  // one butterfly of the largest factor
};

}  // namespace anymal::media
