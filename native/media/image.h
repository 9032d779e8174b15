// Pictures as encoders want them: resized as Pillow does it on 8-bit pixels, cropped or padded about the centre, rescaled and normalised.
#pragma once
#include <cstdint>

namespace anymal::media {

enum class Filter { nearest, lanczos, bilinear, bicubic, box, hamming };  // Pillow's numbers

struct ImagePlan {
  int64_t height, width;                  // of the source
  int64_t resized_height, resized_width;  // equal to the source: no resize
  Filter filter;
  int64_t crop_height, crop_width;  // of the result, cut from the middle; black where the picture is smaller
  double rescale;
  double mean[3], std[3];
};

// y (3, crop_height, crop_width) from x (height, width, 3). Only what the crop shows is computed, so a very long picture costs no more.
void image_tensor(const ImagePlan& plan, const uint8_t* x, float* y);

}  // namespace anymal::media
