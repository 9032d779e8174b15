#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

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

// The reference's bisection: it ends on a pivot next to x, and on an exact tie the pivot wins.
int search(float x, const float* map) {
  int pivot = 127, lower = 0, upper = 255;
  for (int step = 64; step > 0; step >>= 1) {
    const bool right = x > map[pivot];
    (right ? lower : upper) = pivot;
    pivot += right ? step : -step;
  }
  const bool right = x > map[pivot];
  const int other = right ? upper : lower;
  const float middle = (map[other] + map[pivot]) * 0.5f;
  return (right ? x > middle : x < middle) ? other : pivot;
}

// The floats without NaN, -infinity to infinity, in the order of their size.
constexpr uint32_t kLowest = 0x007fffff, kHighest = 0xff800000;
float nth(uint32_t n) { return std::bit_cast<float>(n >> 31 ? n & 0x7fffffffu : ~n); }
uint32_t rank(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

std::unique_ptr<DynamicCodes> make_codes(const float* map) {
  auto codes = std::make_unique<DynamicCodes>();
  for (int c = 0; c < 256; ++c) {
    uint32_t low = kLowest, high = kHighest;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (search(nth(middle), map) >= c) high = middle;
      else low = middle + 1;
    }
    codes->first[c] = nth(low);
  }
  codes->first[256] = std::numeric_limits<float>::quiet_NaN();
  for (uint32_t key = 0; key < 1u << 17; ++key) {
    // The lowest of the floats: of negative ones the last by their bits. Those with infinity among them are infinite or NaN.
    const float x = std::bit_cast<float>(key >> 16 && (key & 0xff00) != 0xff00 ? key << 15 | 0x7fff : key << 15);
    const auto above = std::upper_bound(codes->first, codes->first + 256, x, [](float a, float b) { return rank(a) < rank(b); });
    codes->least[key / 4] |= static_cast<uint32_t>(above - codes->first - 1) << key % 4 * 8;
  }
  return codes;
}

}  // namespace

const DynamicCodes& dynamic_codes(bool is_signed) {
  static const auto with_sign = make_codes(dynamic_map(true)), without = make_codes(dynamic_map(false));
  return is_signed ? *with_sign : *without;
}

const float* dynamic_map(bool is_signed) {
  static const std::array<float, 256> with_sign = make_map(true), without = make_map(false);
  return (is_signed ? with_sign : without).data();
}

}  // namespace anymal::quant
