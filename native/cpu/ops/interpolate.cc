// Bicubic resampling of feature maps and position tables, equal to torch.nn.functional.interpolate(mode="bicubic"): a = -0.75 with clamped
// borders, or with antialias a = -0.5 and a filter that widens with the reduction, as PIL's. Source coordinates and weights are f64.
#include "cpu/kernel.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

double cubic(double x, double a) {
  x = x < 0 ? -x : x;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Output i of one axis = sum over its taps of weight * input[index].
struct Axis {
  int64_t in, out, taps;
  int32_t* index;  // (out, taps)
  float* weight;   // (out, taps)

  static double step(int64_t in, int64_t out, bool align_corners) {
    if (align_corners) return out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0.0;
    return static_cast<double>(in) / static_cast<double>(out);
  }
  static int64_t count_taps(int64_t in, int64_t out, bool align_corners, bool antialias) {
    if (!antialias) return 4;
    const double scale = step(in, out, align_corners);
    return static_cast<int64_t>(std::ceil(scale > 1 ? 2 * scale : 2.0)) * 2 + 1;
  }
  static int64_t bytes(int64_t in, int64_t out, bool align_corners, bool antialias) {
    return out * count_taps(in, out, align_corners, antialias) * 8;
  }

  Axis(int64_t in_, int64_t out_, bool align_corners, bool antialias, char* room)
      : in(in_), out(out_), taps(count_taps(in_, out_, align_corners, antialias)) {
    index = reinterpret_cast<int32_t*>(room);
    weight = reinterpret_cast<float*>(index + out * taps);
    const double scale = step(in, out, align_corners);
    for (int64_t i = 0; i < out; ++i) antialias ? widened(i, scale) : plain(i, scale, align_corners);
  }

 private:
  void plain(int64_t i, double scale, bool align_corners) {
    const double at = align_corners ? scale * static_cast<double>(i) : scale * (static_cast<double>(i) + 0.5) - 0.5;
    const double base = std::floor(at);
    for (int64_t k = 0; k < 4; ++k) {
      const int64_t j = static_cast<int64_t>(base) + k - 1;
      index[i * taps + k] = static_cast<int32_t>(j < 0 ? 0 : j >= in ? in - 1 : j);
      weight[i * taps + k] = static_cast<float>(cubic(at - base - static_cast<double>(k - 1), -0.75));
    }
  }
  void widened(int64_t i, double scale) {
    const double support = scale > 1 ? 2 * scale : 2.0, shrink = scale > 1 ? 1 / scale : 1.0, centre = scale * (static_cast<double>(i) + 0.5);
    int64_t first = static_cast<int64_t>(centre - support + 0.5), last = static_cast<int64_t>(centre + support + 0.5);
    first = first < 0 ? 0 : first;
    last = last > in ? in : last;
    const int64_t n = last - first < taps ? last - first : taps;
    double total = 0;
    for (int64_t k = 0; k < n; ++k) total += cubic((static_cast<double>(k + first) - centre + 0.5) * shrink, -0.5);
    for (int64_t k = 0; k < taps; ++k) {
      index[i * taps + k] = static_cast<int32_t>(k < n ? first + k : 0);
      weight[i * taps + k] = k < n ? static_cast<float>(cubic((static_cast<double>(k + first) - centre + 0.5) * shrink, -0.5) / total) : 0.0f;
    }
  }
};

struct Axes {
  Axis y, x;
};
Axes make_axes(Stream& s, int64_t in_h, int64_t in_w, int64_t out_h, int64_t out_w, bool align_corners, bool antialias) {
  const int64_t first = (Axis::bytes(in_h, out_h, align_corners, antialias) + 63) / 64 * 64;
  char* room = static_cast<char*>(s.shared.get(static_cast<size_t>(first + Axis::bytes(in_w, out_w, align_corners, antialias)) + 64));
  return {Axis(in_h, out_h, align_corners, antialias, room), Axis(in_w, out_w, align_corners, antialias, room + first)};
}

}  // namespace

void interpolate_bicubic(Stream& s, Out y, In x, int64_t out_h, int64_t out_w, bool align_corners, bool antialias) {
  const int64_t H = x.dim(2), W = x.dim(3), planes = x.dim(0) * x.dim(1);
  const Axes axes = make_axes(s, H, W, out_h, out_w, align_corners, antialias);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, planes, H * out_w * axes.x.taps + out_h * out_w * axes.y.taps, [&](int64_t begin, int64_t end, int thread) {
      float* rows = static_cast<float*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>((H + 1) * out_w) * 4 + 64));  // (H, out_w)
      float* line = rows + H * out_w;
      for (int64_t p = begin; p < end; ++p) {
        const T* from = x.as<T>() + p * H * W;
        for (int64_t r = 0; r < H; ++r)
          for (int64_t c = 0; c < out_w; ++c) {
            float sum = 0;
            for (int64_t k = c * axes.x.taps; k < (c + 1) * axes.x.taps; ++k) sum += axes.x.weight[k] * to_float(from[r * W + axes.x.index[k]]);
            rows[r * out_w + c] = sum;
          }
        T* to = y.as<T>() + p * out_h * out_w;
        for (int64_t r = 0; r < out_h; ++r) {
          std::memset(line, 0, static_cast<size_t>(out_w) * 4);
          for (int64_t k = r * axes.y.taps; k < (r + 1) * axes.y.taps; ++k)
            for (int64_t c = 0; c < out_w; ++c) line[c] += axes.y.weight[k] * rows[axes.y.index[k] * out_w + c];
          for (int64_t c = 0; c < out_w; ++c) to[r * out_w + c] = from_float<T>(line[c]);
        }
      }
    });
  });
}

void interpolate_bicubic_backward(Stream& s, Out dx, In dy, int64_t in_h, int64_t in_w, bool align_corners, bool antialias) {
  const int64_t out_h = dy.dim(2), out_w = dy.dim(3), planes = dy.dim(0) * dy.dim(1);
  const Axes axes = make_axes(s, in_h, in_w, out_h, out_w, align_corners, antialias);
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, planes, in_h * out_w * axes.x.taps + out_h * out_w * axes.y.taps, [&](int64_t begin, int64_t end, int thread) {
      float* rows =
          static_cast<float*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>((in_h + 1) * out_w + in_w) * 4 + 64));  // (in_h, out_w)
      float* line = rows + in_h * out_w;
      for (int64_t p = begin; p < end; ++p) {
        const T* from = dy.as<T>() + p * out_h * out_w;
        std::memset(rows, 0, static_cast<size_t>(in_h * out_w) * 4);
        for (int64_t r = 0; r < out_h; ++r)
          for (int64_t k = r * axes.y.taps; k < (r + 1) * axes.y.taps; ++k)
            for (int64_t c = 0; c < out_w; ++c) rows[axes.y.index[k] * out_w + c] += axes.y.weight[k] * to_float(from[r * out_w + c]);
        T* to = dx.as<T>() + p * in_h * in_w;
        for (int64_t r = 0; r < in_h; ++r) {
          std::memset(line, 0, static_cast<size_t>(in_w) * 4);
          for (int64_t c = 0; c < out_w; ++c)
            for (int64_t k = c * axes.x.taps; k < (c + 1) * axes.x.taps; ++k) line[axes.x.index[k]] += axes.x.weight[k] * rows[r * out_w + c];
          for (int64_t c = 0; c < in_w; ++c) to[r * in_w + c] = from_float<T>(line[c]);
        }
      }
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
