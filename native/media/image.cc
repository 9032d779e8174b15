#include "media/image.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace anymal::media {
namespace {

constexpr double kPi = 3.14159265358979323846;
// Pillow's fixed point for 8-bit pixels: weights are rounded to 22 bits, and each pass rounds to a byte.
constexpr int kWeightBits = 32 - 8 - 2;

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(x * kPi) / (x * kPi); }

double weight_at(Filter filter, double x) {
  x = std::abs(x);
  switch (filter) {
    case Filter::lanczos:
      return x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
    case Filter::bilinear:
      return x < 1.0 ? 1.0 - x : 0.0;
    case Filter::bicubic: {
      constexpr double a = -0.5;
      if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
      return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
    }
    case Filter::hamming:
      return x < 1.0 ? sinc(x) * (0.54 + 0.46 * std::cos(x * kPi)) : 0.0;
    default:
      return 0.0;  // box is one-sided and handled by its caller; nearest has no weights
  }
}

double support_of(Filter filter) {
  switch (filter) {
    case Filter::lanczos:
      return 3.0;
    case Filter::bicubic:
      return 2.0;
    case Filter::box:
      return 0.5;
    default:
      return 1.0;
  }
}

// For each of the outputs [first, first + count) of one axis: the inputs it reads and their weights.
struct Taps {
  std::vector<int64_t> start, length;
  std::vector<int32_t> weights;
  int64_t stride = 0;
};

Taps taps_of(Filter filter, int64_t in, int64_t out, int64_t first, int64_t count) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  Taps taps;
  taps.start.resize(count);
  taps.length.resize(count);
  if (filter == Filter::nearest) {
    taps.stride = 1;
    taps.weights.assign(count, 1 << kWeightBits);
    for (int64_t i = 0; i < count; ++i) {
      taps.start[i] = std::min(in - 1, static_cast<int64_t>((static_cast<double>(first + i) + 0.5) * scale));
      taps.length[i] = 1;
    }
    return taps;
  }
  const double spread = std::max(scale, 1.0);  // shrinking widens the filter: that is the antialiasing
  const double support = support_of(filter) * spread;
  taps.stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  taps.weights.assign(count * taps.stride, 0);
  std::vector<double> w(taps.stride);
  for (int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(first + i) + 0.5) * scale;
    const int64_t from = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t to = std::min<int64_t>(in, static_cast<int64_t>(center + support + 0.5));
    double sum = 0.0;
    for (int64_t k = 0; k < to - from; ++k) {
      const double x = (static_cast<double>(k + from) - center + 0.5) / spread;
      w[k] = filter == Filter::box ? (x > -0.5 && x <= 0.5 ? 1.0 : 0.0) : weight_at(filter, x);
      sum += w[k];
    }
    for (int64_t k = 0; k < to - from; ++k) {
      const double scaled = (sum != 0.0 ? w[k] / sum : w[k]) * (1 << kWeightBits);
      taps.weights[i * taps.stride + k] = static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    taps.start[i] = from;
    taps.length[i] = to - from;
  }
  return taps;
}

uint8_t to_byte(int64_t sum) { return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kWeightBits, 0, 255)); }

// The part of one axis of the resized picture that the crop shows: resized [first, first + count) lands at crop position `at`.
struct Span {
  int64_t first, count, at;
};
Span shown(int64_t resized, int64_t crop) {
  const int64_t d = resized - crop;
  const int64_t top = d >= 0 ? d / 2 : -((1 - d) / 2);  // rounds down, as the reference's integer division does
  const int64_t first = std::max<int64_t>(0, top);
  return {first, std::min(resized, top + crop) - first, std::max<int64_t>(0, -top)};
}

// y (rows, columns.count, 3) from x (rows, width, 3)
void resize_rows(const Taps& taps, const uint8_t* x, int64_t rows, int64_t width, int64_t columns, uint8_t* y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const uint8_t* from = x + (r * width + taps.start[c]) * 3;
      const int32_t* w = &taps.weights[c * taps.stride];
      int64_t sum[3] = {1 << (kWeightBits - 1), 1 << (kWeightBits - 1), 1 << (kWeightBits - 1)};
      for (int64_t k = 0; k < taps.length[c]; ++k)
        for (int64_t i = 0; i < 3; ++i) sum[i] += static_cast<int64_t>(from[k * 3 + i]) * w[k];
      for (int64_t i = 0; i < 3; ++i) y[(r * columns + c) * 3 + i] = to_byte(sum[i]);
    }
}

// y (count, row) from x (…, row): each output row is a weighted sum of input rows.
void resize_columns(const Taps& taps, const uint8_t* x, int64_t offset, int64_t row, int64_t count, uint8_t* y) {
  std::vector<int64_t> sum(row);
  for (int64_t r = 0; r < count; ++r) {
    std::fill(sum.begin(), sum.end(), 1 << (kWeightBits - 1));
    for (int64_t k = 0; k < taps.length[r]; ++k) {
      const uint8_t* from = x + (taps.start[r] + k - offset) * row;
      const int64_t w = taps.weights[r * taps.stride + k];
      for (int64_t i = 0; i < row; ++i) sum[i] += from[i] * w;
    }
    for (int64_t i = 0; i < row; ++i) y[r * row + i] = to_byte(sum[i]);
  }
}

}  // namespace

void image_tensor(const ImagePlan& p, const uint8_t* x, float* y) {
  const Span rows = shown(p.resized_height, p.crop_height), columns = shown(p.resized_width, p.crop_width);
  const bool wide = p.resized_width != p.width, high = p.resized_height != p.height;

  Taps vertical;
  int64_t from = rows.first, until = rows.first + rows.count;  // source rows that anything shown reads
  if (high) {
    vertical = taps_of(p.filter, p.height, p.resized_height, rows.first, rows.count);
    from = p.height;
    until = 0;
    for (int64_t r = 0; r < rows.count; ++r) {
      from = std::min(from, vertical.start[r]);
      until = std::max(until, vertical.start[r] + vertical.length[r]);
    }
  }
  // Rows of the source's width to the shown columns.
  const auto narrowed = [&](const uint8_t* source, int64_t count) {
    std::vector<uint8_t> narrow(count * columns.count * 3);
    if (wide) {
      resize_rows(taps_of(p.filter, p.width, p.resized_width, columns.first, columns.count), source, count, p.width, columns.count, narrow.data());
    } else {
      for (int64_t r = 0; r < count; ++r) std::copy_n(source + (r * p.width + columns.first) * 3, columns.count * 3, &narrow[r * columns.count * 3]);
    }
    return narrow;
  };
  const auto lowered = [&](const uint8_t* source, int64_t width) {
    std::vector<uint8_t> low(rows.count * width * 3);
    resize_columns(vertical, source, from, width * 3, rows.count, low.data());
    return low;
  };
  // Pillow's order, and its rounding to bytes in between: the width first, but of a strip that gets lower the height.
  const uint8_t* read = x + from * p.width * 3;
  std::vector<uint8_t> pixels;
  if (p.height > 100 * p.width && p.resized_height < p.height) {
    pixels = narrowed(lowered(read, p.width).data(), rows.count);
  } else {
    pixels = narrowed(read, until - from);
    if (high) pixels = lowered(pixels.data(), columns.count);
  }

  for (int64_t c = 0; c < 3; ++c) {
    float value[256];  // each step rounds to f32, as the reference's does
    for (int i = 0; i < 256; ++i) value[i] = (static_cast<float>(i * p.rescale) - static_cast<float>(p.mean[c])) / static_cast<float>(p.std[c]);
    float* plane = y + c * p.crop_height * p.crop_width;
    std::fill_n(plane, p.crop_height * p.crop_width, value[0]);
    for (int64_t r = 0; r < rows.count; ++r)
      for (int64_t k = 0; k < columns.count; ++k)
        plane[(rows.at + r) * p.crop_width + columns.at + k] = value[pixels[(r * columns.count + k) * 3 + c]];
  }
}

}  // namespace anymal::media
