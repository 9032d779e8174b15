#include "media/yuv.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace anymal::media {
namespace {

struct Mix {  // chroma samples low and high around one luma sample, and the part of high
  int64_t low, high;
  float part;
};
std::vector<Mix> mixes(int64_t luma, int64_t chroma, int64_t step, double offset) {
  std::vector<Mix> all(luma);
  for (int64_t i = 0; i < luma; ++i) {
    const double place = std::clamp((static_cast<double>(i) - offset) / static_cast<double>(step), 0.0, static_cast<double>(chroma - 1));
    const int64_t low = static_cast<int64_t>(place);
    all[i] = {low, std::min(chroma - 1, low + 1), static_cast<float>(place - static_cast<double>(low))};
  }
  return all;
}

uint8_t to_byte(float v) { return static_cast<uint8_t>(std::lrint(std::clamp(v, 0.0f, 255.0f))); }

}  // namespace

void yuv_to_rgb(const YuvPlan& p, const uint8_t* x, uint8_t* y) {
  const float black = p.full_range ? 0.0f : 16.0f, luma = p.full_range ? 1.0f : 255.0f / 219.0f, chroma = p.full_range ? 1.0f : 255.0f / 224.0f;
  if (!p.chroma_width) {
    for (int64_t i = 0; i < p.width * p.height; ++i) std::fill_n(y + 3 * i, 3, to_byte((x[i] - black) * luma));
    return;
  }
  const uint8_t* u = x + p.width * p.height;
  const uint8_t* v = u + p.chroma_width * p.chroma_height;
  const std::vector<Mix> columns = mixes(p.width, p.chroma_width, p.step_x, p.offset_x);
  const std::vector<Mix> rows = mixes(p.height, p.chroma_height, p.step_y, p.offset_y);
  std::vector<float> line(2 * p.chroma_width);  // U and V between two chroma rows
  for (int64_t r = 0; r < p.height; ++r) {
    const Mix& m = rows[r];
    for (int64_t c = 0; c < p.chroma_width; ++c) {
      const int64_t low = m.low * p.chroma_width + c, high = m.high * p.chroma_width + c;
      line[c] = (1 - m.part) * u[low] + m.part * u[high] - 128.0f;
      line[p.chroma_width + c] = (1 - m.part) * v[low] + m.part * v[high] - 128.0f;
    }
    const float* lu = line.data();
    const float* lv = lu + p.chroma_width;
    for (int64_t c = 0; c < p.width; ++c) {
      const Mix& k = columns[c];
      const float l = (x[r * p.width + c] - black) * luma;
      const float cb = ((1 - k.part) * lu[k.low] + k.part * lu[k.high]) * chroma, cr = ((1 - k.part) * lv[k.low] + k.part * lv[k.high]) * chroma;
      uint8_t* out = y + 3 * (r * p.width + c);
      out[0] = to_byte(l + 1.402f * cr);
      out[1] = to_byte(l - 0.344136f * cb - 0.714136f * cr);
      out[2] = to_byte(l + 1.772f * cb);
    }
  }
}

}  // namespace anymal::media
