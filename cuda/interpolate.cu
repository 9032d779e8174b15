// Bicubic resampling of feature maps and position tables, equal to torch.nn.functional.interpolate(mode="bicubic"): a = -0.75 with clamped
// borders, or with antialias a = -0.5 and a filter that widens with the reduction, as PIL's. Source coordinates and weights are f64. First every
// axis gets its table of taps, then one axis is resampled after the other, f32 between them.
#include "common.cuh"

namespace anymal::cuda {
namespace {

// Output i of one axis = sum over its taps of weight * input[index].
struct Axis {
  int64_t in, out, taps;
  bool align_corners, antialias;
  int32_t* index;        // (out, taps)
  float* weight;         // (out, taps)
  int32_t *begin, *end;  // (in): the outputs that have input j among their taps lie in [begin[j], end[j])
};

__device__ double cubic(double x, double a) {
  x = x < 0 ? -x : x;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}
__host__ __device__ double step(int64_t in, int64_t out, bool align_corners) {
  if (align_corners) return out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0.0;
  return static_cast<double>(in) / static_cast<double>(out);
}

__device__ void plain_taps(const Axis& a, int64_t i, double scale) {
  const double at = a.align_corners ? scale * static_cast<double>(i) : scale * (static_cast<double>(i) + 0.5) - 0.5;
  const double base = floor(at);
  for (int64_t k = 0; k < 4; ++k) {
    const int64_t j = static_cast<int64_t>(base) + k - 1;
    a.index[i * 4 + k] = static_cast<int32_t>(j < 0 ? 0 : j >= a.in ? a.in - 1 : j);
    a.weight[i * 4 + k] = static_cast<float>(cubic(at - base - static_cast<double>(k - 1), -0.75));
  }
}
__device__ void widened_taps(const Axis& a, int64_t i, double scale) {
  const double support = scale > 1 ? 2 * scale : 2.0, shrink = scale > 1 ? 1 / scale : 1.0, centre = scale * (static_cast<double>(i) + 0.5);
  int64_t first = static_cast<int64_t>(centre - support + 0.5), last = static_cast<int64_t>(centre + support + 0.5);
  first = first < 0 ? 0 : first;
  last = last > a.in ? a.in : last;
  const int64_t n = last - first < a.taps ? last - first : a.taps;
  double total = 0;
  for (int64_t k = 0; k < n; ++k) total += cubic((static_cast<double>(k + first) - centre + 0.5) * shrink, -0.5);
  for (int64_t k = 0; k < a.taps; ++k) {  // those that are too many stay beside the others and weigh nothing
    a.index[i * a.taps + k] = static_cast<int32_t>(first + (k < n ? k : n - 1));
    a.weight[i * a.taps + k] = k < n ? static_cast<float>(cubic((static_cast<double>(k + first) - centre + 0.5) * shrink, -0.5) / total) : 0.0f;
  }
}
__global__ void taps_kernel(int64_t n, Axis a) {
  const double scale = step(a.in, a.out, a.align_corners);
  for (int64_t i = first_index(); i < n; i += index_stride()) a.antialias ? widened_taps(a, i, scale) : plain_taps(a, i, scale);
}
// Taps ascend with the output, so those of input j are found by bisection: begin, the first output whose last tap reaches j; end, the first whose
// first tap is beyond it.
__global__ void reach_kernel(int64_t n, Axis a) {
  for (int64_t j = first_index(); j < n; j += index_stride()) {
    int64_t low = 0, high = a.out;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (a.index[middle * a.taps + a.taps - 1] < j) low = middle + 1;
      else high = middle;
    }
    a.begin[j] = static_cast<int32_t>(low);
    high = a.out;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (a.index[middle * a.taps] <= j) low = middle + 1;
      else high = middle;
    }
    a.end[j] = static_cast<int32_t>(low);
  }
}

// y (outer, out, inner) <- x (outer, in, inner)
template <class To, class From>
__global__ void resample_kernel(int64_t items, To* y, const From* x, Axis a, int64_t inner) {
  for (int64_t item = first_index(); item < items; item += index_stride()) {
    const int64_t row = item / inner, c = item - row * inner, o = row / a.out, i = row - o * a.out;
    float sum = 0;
    for (int64_t k = i * a.taps; k < (i + 1) * a.taps; ++k) sum += a.weight[k] * to_float(x[(o * a.in + a.index[k]) * inner + c]);
    y[item] = from_float<To>(sum);
  }
}
// dx (outer, in, inner) <- dy (outer, out, inner): an input gathers from the outputs that it went to, in their order.
template <class To, class From>
__global__ void resample_backward_kernel(int64_t items, To* dx, const From* dy, Axis a, int64_t inner) {
  for (int64_t item = first_index(); item < items; item += index_stride()) {
    const int64_t row = item / inner, c = item - row * inner, o = row / a.in, j = row - o * a.in;
    float sum = 0;
    for (int64_t i = a.begin[j]; i < a.end[j]; ++i)
      for (int64_t k = i * a.taps; k < (i + 1) * a.taps; ++k)
        if (a.index[k] == j) sum += a.weight[k] * to_float(dy[(o * a.out + i) * inner + c]);
    dx[item] = from_float<To>(sum);
  }
}

Axis make_axis(Stream& s, Scratch& scratch, int64_t in, int64_t out, bool align_corners, bool antialias) {
  const double scale = step(in, out, align_corners);
  const int64_t taps = antialias ? static_cast<int64_t>(std::ceil(scale > 1 ? 2 * scale : 2.0)) * 2 + 1 : 4;
  const Axis a{in,
               out,
               taps,
               align_corners,
               antialias,
               scratch.take<int32_t>(out * taps),
               scratch.take<float>(out * taps),
               scratch.take<int32_t>(in),
               scratch.take<int32_t>(in)};
  launch_items<taps_kernel>(s, out, a);
  launch_items<reach_kernel>(s, in, a);
  return a;
}

}  // namespace

void interpolate_bicubic(Stream& s, Out y, In x, int64_t out_h, int64_t out_w, bool align_corners, bool antialias) {
  const int64_t H = x.dim(2), W = x.dim(3), planes = x.dim(0) * x.dim(1);
  if (planes == 0) return;
  Scratch scratch(s);
  const Axis down = make_axis(s, scratch, H, out_h, align_corners, antialias), across = make_axis(s, scratch, W, out_w, align_corners, antialias);
  float* rows = scratch.take<float>(planes * H * out_w);
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    launch_items<resample_kernel<float, T>>(s, planes * H * out_w, rows, x.as<T>(), across, 1);
    launch_items<resample_kernel<T, float>>(s, planes * out_h * out_w, y.as<T>(), rows, down, out_w);
  });
}

void interpolate_bicubic_backward(Stream& s, Out dx, In dy, int64_t in_h, int64_t in_w, bool align_corners, bool antialias) {
  const int64_t out_h = dy.dim(2), out_w = dy.dim(3), planes = dy.dim(0) * dy.dim(1);
  if (planes == 0) return;
  Scratch scratch(s);
  const Axis down = make_axis(s, scratch, in_h, out_h, align_corners, antialias),
             across = make_axis(s, scratch, in_w, out_w, align_corners, antialias);
  float* rows = scratch.take<float>(planes * in_h * out_w);
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    launch_items<resample_backward_kernel<float, T>>(s, planes * in_h * out_w, rows, dy.as<T>(), down, out_w);
    launch_items<resample_backward_kernel<T, float>>(s, planes * in_h * in_w, dx.as<T>(), rows, across, 1);
  });
}

}  // namespace anymal::cuda
