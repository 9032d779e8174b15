// Raw video planes as RGB.
#pragma once
#include <cstdint>

namespace anymal::media {

struct YuvPlan {
  int64_t width, height;
  int64_t chroma_width, chroma_height;  // 0: no chroma planes, grey
  int64_t step_x, step_y;               // luma samples per chroma sample: 1, 2 or 4
  double offset_x, offset_y;            // place of the first chroma sample, in luma samples from the first luma sample
  bool full_range;                      // luma 0…255 instead of 16…235
};

// y (height, width, 3) from the planes Y, U, V, one after the other. BT.601, as files without a colour description are read.
void yuv_to_rgb(const YuvPlan& plan, const uint8_t* x, uint8_t* y);

}  // namespace anymal::media
