#include <algorithm>
#include <array>
#include <cmath>

#include "quant/tables.h"

namespace anymal::quant {
namespace {

// Seven decades; decade i holds the midpoints of 2^i (signed) or 2^(i+1) (unsigned) equal intervals of [0.1, 1], times 10^(i-6). Each edge is
// rounded once, the first half counted from 0.1 and the second from 1: then all entries are bit-equal to the reference.
std::array<float, 256> make_map(bool is_signed) {
  std::array<float, 256> map;
  size_t n = 0;
  map[n++] = 0.0f;
  map[n++] = 1.0f;
  for (int i = 0; i < 7; ++i) {
    const int k = is_signed ? 1 << i : 1 << (i + 1);
    const double step = static_cast<double>((1.0f - 0.1f) / static_cast<float>(k));
    const auto edge = [&](int j) { return static_cast<float>(j < (k + 1) / 2 ? static_cast<double>(0.1f) + step * j : 1.0 - step * (k - j)); };
    const float decade = static_cast<float>(std::pow(10.0, i - 6));
    for (int j = 0; j < k; ++j) {
      const float value = (edge(j) + edge(j + 1)) / 2.0f * decade;
      map[n++] = value;
      if (is_signed) map[n++] = -value;
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

}  // namespace

const float* dynamic_map(bool is_signed) {
  static const std::array<float, 256> with_sign = make_map(true), without = make_map(false);
  return (is_signed ? with_sign : without).data();
}

}  // namespace anymal::quant
