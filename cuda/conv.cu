// conv1d and conv2d with their gradients, as implicit matrix products: the loader gathers the patches, no patch matrix lies in memory.
//   y:   C(o, position) = sum over (channel, tap) of w(o, (channel, tap)) patch((channel, tap), position), positions of all images in a row
//   dw:  C(o, (channel, tap)) = sum over positions of dy(o, position) patch((channel, tap), position)
//   dx:  pixels whose coordinates have the same remainder by the stride meet the same taps, and dy at neighbouring places: each of these classes is
//        a convolution of dy with stride 1, so no product with a zero between strides is made.
#include <numeric>

#include "linear/gemm.cuh"

namespace anymal::cuda {
namespace {

using gemm::Eight;
using gemm::kPlanes;

// Along one axis: output `at` and tap `tap` meet input at * stride + shift + tap * step.
struct Axis {
  int size, outputs, taps, stride, shift, step;
};

// Row (channel, tap_y, tap_x), column (image, out_y, out_x); zeros in the padding.
template <class T>
struct Patches {
  const T* data;  // (images, channels, y.size, x.size)
  int channels;
  Axis y, x;
  int rows, cols;  // channels * taps, images * outputs

  using Raw = Eight<T>;
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    Raw raw;
    const int count = gemm::present(r, rows, c, cols);
    const int tap_x = r % x.taps, tap_y = r / x.taps % y.taps, channel = r / (x.taps * y.taps);
    int out_x = c % x.outputs, out_y = c / x.outputs % y.outputs;
    const int image = c / (x.outputs * y.outputs);
    const int dx = x.shift + tap_x * x.step, dy = y.shift + tap_y * y.step;
    const int64_t plane = static_cast<int64_t>(y.size) * x.size;
    const T* from = data + (static_cast<int64_t>(image) * channels + channel) * plane;
    // A run of eight neighbours inside of one line
    const int in_y = out_y * y.stride + dy, in_x = out_x + dx;
    if (x.stride == 1 && count == 8 && out_x + 8 <= x.outputs && in_y >= 0 && in_y < y.size && in_x >= 0 && in_x + 8 <= x.size) {
      const T* run = from + static_cast<int64_t>(in_y) * x.size + in_x;
      if (reinterpret_cast<uintptr_t>(run) % 16 == 0) {
        gemm::load(raw, run);
        return raw;
      }
    }
    gemm::gather(raw, [&](int i) {
      const int at_y = out_y * y.stride + dy, at_x = out_x * x.stride + dx;
      const bool inside = i < count && at_y >= 0 && at_y < y.size && at_x >= 0 && at_x < x.size;
      const T v = inside ? from[static_cast<int64_t>(at_y) * x.size + at_x] : T{};
      if (++out_x == x.outputs) {
        out_x = 0;
        if (++out_y == y.outputs) {
          out_y = 0;
          from += channels * plane;
        }
      }
      return v;
    });
    return raw;
  }
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    gemm::planes_of(raw, planes);
  }
};

// Of w (O,I,kh,kw): row = input channel, column (output channel, tap_y, tap_x) over the taps first + tap * step of one class of pixels.
template <class T>
struct ClassTaps {
  const T* data;
  int rows, cols;  // I, O * taps
  int taps_y, taps_x, first_y, first_x, step_y, step_x, kernel_h, kernel_w;

  using Raw = Eight<T>;
  __device__ __forceinline__ Raw fetch(int r, int c) const {
    Raw raw;
    const int count = gemm::present(r, rows, c, cols);
    const int taps = taps_y * taps_x;
    int tap_x = 0, tap_y = 0, channel = 0;
    if (count) tap_x = c % taps_x, tap_y = c / taps_x % taps_y, channel = c / taps;
    gemm::gather(raw, [&](int i) {
      const int64_t at = ((static_cast<int64_t>(channel) * rows + r) * kernel_h + first_y + tap_y * step_y) * kernel_w + first_x + tap_x * step_x;
      const T v = i < count ? data[at] : T{};
      if (++tap_x >= taps_x) {
        tap_x = 0;
        if (++tap_y >= taps_y) {
          tap_y = 0;
          ++channel;
        }
      }
      return v;
    });
    return raw;
  }
  template <int Planes>
  __device__ __forceinline__ void unpack(const Raw& raw, uint4 (&planes)[Planes]) const {
    gemm::planes_of(raw, planes);
  }
};

// C (channel, (image, y, x)) to images, at pixels first + stride * (y, x) of each.
struct Images {
  void* data;
  DType dtype;
  const void* bias;  // per channel
  int channels, height, width, outputs_y, outputs_x, first_y, first_x, stride_y, stride_x;
  bool pairs;

  __device__ __forceinline__ int64_t index(int m, int n) const {
    const int x = n % outputs_x, y = n / outputs_x % outputs_y, image = n / (outputs_x * outputs_y);
    return ((static_cast<int64_t>(image) * channels + m) * height + first_y + y * stride_y) * width + first_x + x * stride_x;
  }
  __device__ __forceinline__ float finished(int m, float v) const {
    if (bias) v += dtype == DType::bf16 ? to_float(static_cast<const bf16*>(bias)[m]) : static_cast<const float*>(bias)[m];
    return v;
  }
  __device__ __forceinline__ void one(int m, int n, float v) const {
    if (dtype == DType::bf16) static_cast<bf16*>(data)[index(m, n)] = from_float<bf16>(finished(m, v));
    else static_cast<float*>(data)[index(m, n)] = finished(m, v);
  }
  __device__ __forceinline__ void two(int m, int n, float v, float w) const {
    const int64_t at = index(m, n);
    v = finished(m, v);
    w = finished(m, w);
    if (dtype == DType::bf16) *reinterpret_cast<uint32_t*>(static_cast<bf16*>(data) + at) = ptx::cvt_bf16x2(v, w);
    else *reinterpret_cast<float2*>(static_cast<float*>(data) + at) = make_float2(v, w);
  }
};

// y and dx: a matrix against patches
// budget: 255 registers, 24 KiB shared, 0 spills
template <class Tile, class T, class Weight>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) conv_kernel(Weight weight, Patches<T> patches, gemm::Work w, Images c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [gemm::kSharedChunks<Tile, P, P>]);
  gemm::Sums<Tile> sums;
  gemm::multiply<P, P, false, true>(sums, shared, weight, patches, w.tile_m(Tile::kM), w.tile_n(Tile::kN), w.begin(), w.end());
  gemm::store(sums, w, c);
}

// budget: 255 registers, 24 KiB shared, 0 spills
template <class Tile, class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) conv_dw_kernel(Patches<T> dy, Patches<T> patches, gemm::Work w, gemm::Matrix c) {
  constexpr int P = kPlanes<T>;
  SHARED_ARRAY(uint4, shared, [gemm::kSharedChunks<Tile, P, P>]);
  gemm::Sums<Tile> sums;
  gemm::multiply<P, P, false, false>(sums, shared, dy, patches, w.tile_m(Tile::kM), w.tile_n(Tile::kN), w.begin(), w.end());
  gemm::store(sums, w, c);
}

// Sums of dy (B,O,outputs) per channel: a block sums one run of a channel's elements, then the runs are added in order.
template <class T>
__global__ void __launch_bounds__(kThreads)
    channel_sums_kernel(float* partial, const T* dy, int64_t images, int64_t channels, int64_t outputs, int64_t run) {
  const int64_t begin = blockIdx.y * run, all = images * outputs, end = begin + run < all ? begin + run : all;
  float sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) sum += to_float(dy[(i / outputs * channels + blockIdx.x) * outputs + i % outputs]);
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.y * channels + blockIdx.x] = sum;
}
__global__ void add_channel_sums_kernel(int64_t channels, float* db, const float* partial, int64_t runs) {
  for (int64_t c = first_index(); c < channels; c += index_stride()) {
    float sum = 0;
    for (int64_t r = 0; r < runs; ++r) sum += partial[r * channels + c];
    db[c] += sum;
  }
}

struct Geometry {
  int64_t images, in, out, height, width, kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, pad_h, pad_w, dilation;
  int64_t depth() const { return in * kernel_h * kernel_w; }
  int64_t outputs() const { return out_h * out_w; }
};

Axis axis(int64_t size, int64_t outputs, int64_t taps, int64_t stride, int64_t shift, int64_t step) {
  return {static_cast<int>(size),   static_cast<int>(outputs), static_cast<int>(taps),
          static_cast<int>(stride), static_cast<int>(shift),   static_cast<int>(step)};
}
template <class T>
Patches<T> patches_of(const void* data, int64_t images, int64_t channels, const Axis& y, const Axis& x) {
  return {static_cast<const T*>(data),
          static_cast<int>(channels),
          y,
          x,
          static_cast<int>(channels * y.taps * x.taps),
          static_cast<int>(images * y.outputs * x.outputs)};
}
template <class T>
Patches<T> input_patches(const Geometry& g, const View& x) {
  return patches_of<T>(x.data, g.images, g.in, axis(g.height, g.out_h, g.kernel_h, g.stride_h, -g.pad_h, g.dilation),
                       axis(g.width, g.out_w, g.kernel_w, g.stride_w, -g.pad_w, g.dilation));
}

void convolve(Stream& s, const Geometry& g, const View& y, const View& x, const View& w, const View& b) {
  if (y.size() == 0) return;
  const int P = static_cast<int>(g.outputs());
  // Positions of an image lie side by side in y.
  const bool pairs = P % 2 == 0 && reinterpret_cast<uintptr_t>(y.data) % (2 * dtype_bytes(y.dtype)) == 0;
  const Images to{y.data, y.dtype, b.data, static_cast<int>(g.out), 1, P, 1, P, 0, 0, 1, 1, pairs};
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    gemm::with_tile<T, true, false>(s, g.out, g.images * g.outputs(), [&](auto tile) {
      using Tile = decltype(tile);
      Scratch scratch(s);
      const gemm::Work work = gemm::plan<Tile>(s, scratch, g.out, g.images * g.outputs(), g.depth());
      launch<conv_kernel<Tile, T, gemm::Rows<T>>>(s, work.grid(), Tile::kThreads, 0, gemm::rows_of<T>(w.data, g.out, g.depth(), g.depth()),
                                                  input_patches<T>(g, x), work, to);
      gemm::add_splits(s, work, to);
    });
  });
}

// One axis of a class of pixels: those at first, first + stride, ...; taps k0, k0 + step, ... reach dy at pixel + shift - tap * back.
struct PixelClass {
  int64_t pixels, first_tap, tap_step, taps, shift, back;
  PixelClass(int64_t first, int64_t size, int64_t stride, int64_t padding, int64_t dilation, int64_t kernel) {
    pixels = (size - first + stride - 1) / stride;
    const int64_t common = std::gcd(stride, dilation);
    tap_step = stride / common;
    back = dilation / common;
    first_tap = 0;
    while (first_tap < tap_step && (first + padding - first_tap * dilation) % stride != 0) ++first_tap;
    taps = first_tap < tap_step && first_tap < kernel ? (kernel - first_tap + tap_step - 1) / tap_step : 0;
    shift = taps ? (first + padding - first_tap * dilation) / stride : 0;
  }
};

template <class T>
void convolve_dx(Stream& s, const Geometry& g, const View& dx, const View& dy, const View& w) {
  for (int64_t first_y = 0; first_y < g.stride_h && first_y < g.height; ++first_y)
    for (int64_t first_x = 0; first_x < g.stride_w && first_x < g.width; ++first_x) {
      const PixelClass cy(first_y, g.height, g.stride_h, g.pad_h, g.dilation, g.kernel_h);
      const PixelClass cx(first_x, g.width, g.stride_w, g.pad_w, g.dilation, g.kernel_w);
      const auto i = [](int64_t v) { return static_cast<int>(v); };
      const int64_t taps = cy.taps * cx.taps, pixels = cy.pixels * cx.pixels;
      // Without taps the sum is empty: zeros.
      const Patches<T> from = patches_of<T>(dy.data, g.images, g.out, axis(g.out_h, cy.pixels, taps ? cy.taps : 1, 1, cy.shift, -cy.back),
                                            axis(g.out_w, cx.pixels, taps ? cx.taps : 1, 1, cx.shift, -cx.back));
      const ClassTaps<T> weight{w.as<T>(),       i(g.in),        i(g.out * taps), i(cy.taps),    i(cx.taps),   i(cy.first_tap),
                                i(cx.first_tap), i(cy.tap_step), i(cx.tap_step),  i(g.kernel_h), i(g.kernel_w)};
      const bool whole = g.stride_h == 1 && g.stride_w == 1, even = whole && (g.height * g.width) % 2 == 0;
      Images to{dx.data,      dx.dtype,   nullptr,    i(g.in),       i(g.height),   i(g.width), i(cy.pixels),
                i(cx.pixels), i(first_y), i(first_x), i(g.stride_h), i(g.stride_w), false};
      if (whole) to.height = to.outputs_y = to.stride_y = 1, to.width = to.outputs_x = i(pixels);
      to.pairs = even && reinterpret_cast<uintptr_t>(dx.data) % (2 * dtype_bytes(dx.dtype)) == 0;
      gemm::with_tile<T, true, false>(s, g.in, g.images * pixels, [&](auto tile) {
        using Tile = decltype(tile);
        Scratch scratch(s);
        const gemm::Work work = gemm::plan<Tile>(s, scratch, g.in, g.images * pixels, g.out * taps);
        launch<conv_kernel<Tile, T, ClassTaps<T>>>(s, work.grid(), Tile::kThreads, 0, weight, from, work, to);
        gemm::add_splits(s, work, to);
      });
    }
}

template <class T>
void convolve_dw(Stream& s, const Geometry& g, const View& dw, const View& dy, const View& x) {
  const int64_t P = g.outputs();
  const Patches<T> rows = patches_of<T>(dy.data, g.images, g.out, axis(1, 1, 1, 1, 0, 0), axis(P, P, 1, 1, 0, 0));
  const gemm::Matrix to = gemm::matrix_of(dw, g.depth(), View{}, true);
  gemm::with_tile<T, true, false>(s, g.out, g.depth(), [&](auto tile) {
    using Tile = decltype(tile);
    Scratch scratch(s);
    const gemm::Work work = gemm::plan<Tile>(s, scratch, g.out, g.depth(), g.images * P);
    launch<conv_dw_kernel<Tile, T>>(s, work.grid(), Tile::kThreads, 0, rows, input_patches<T>(g, x), work, to);
    gemm::add_splits(s, work, to);
  });
}

template <class T>
void convolve_db(Stream& s, const Geometry& g, const View& db, const View& dy) {
  Scratch scratch(s);
  const int64_t all = g.images * g.outputs(), runs = all < 64 * 4096 ? (all + 4095) / 4096 : 64;
  if (g.out == 0 || runs == 0) return;
  float* partial = scratch.take<float>(runs * g.out);
  launch<channel_sums_kernel<T>>(s, grid_of(g.out, runs), kThreads, 0, partial, dy.as<T>(), g.images, g.out, g.outputs(), (all + runs - 1) / runs);
  launch_items<add_channel_sums_kernel>(s, g.out, db.as<float>(), partial, runs);
}

void convolve_backward(Stream& s, const Geometry& g, const View& dx, const View& dw, const View& db, const View& dy, const View& x, const View& w) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (dx && dx.size()) convolve_dx<T>(s, g, dx, dy, w);
    if (dw && dw.size() && dy.size()) convolve_dw<T>(s, g, dw, dy, x);
    if (db) convolve_db<T>(s, g, db, dy);
  });
}

Geometry geometry1d(const View& x, const View& w, const View& y, int64_t stride, int64_t padding, int64_t dilation) {
  return {x.dim(0), x.dim(1), w.dim(0), 1, x.dim(2), 1, w.dim(2), 1, y.dim(2), 1, stride, 0, padding, dilation};
}
Geometry geometry2d(const View& x, const View& w, const View& y, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w) {
  return {x.dim(0), x.dim(1), w.dim(0), x.dim(2), x.dim(3), w.dim(2), w.dim(3), y.dim(2), y.dim(3), stride_h, stride_w, padding_h, padding_w, 1};
}

}  // namespace

void conv1d(Stream& s, Out y, In x, In w, InOpt b, int64_t stride, int64_t padding, int64_t dilation) {
  convolve(s, geometry1d(x, w, y, stride, padding, dilation), y, x, w, b);
}
void conv1d_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, In w, int64_t stride, int64_t padding, int64_t dilation) {
  convolve_backward(s, geometry1d(x, w, dy, stride, padding, dilation), dx, dw, db, dy, x, w);
}
void conv2d(Stream& s, Out y, In x, In w, InOpt b, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w) {
  convolve(s, geometry2d(x, w, y, stride_h, stride_w, padding_h, padding_w), y, x, w, b);
}
void conv2d_backward(Stream& s, OutOpt dx, Acc dw, Acc db, In dy, In x, In w, int64_t stride_h, int64_t stride_w, int64_t padding_h,
                     int64_t padding_w) {
  convolve_backward(s, geometry2d(x, w, dy, stride_h, stride_w, padding_h, padding_w), dx, dw, db, dy, x, w);
}

}  // namespace anymal::cuda
