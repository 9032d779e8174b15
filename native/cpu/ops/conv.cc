// conv1d and conv2d with their gradients: image by image, the patches become the columns of a matrix (im2col) and meet the weight (O, I.kh.kw).
// The gradient goes the same way back: dcols = w^T.dy is added into the image, dw += dy.cols^T.
#include "cpu/kernel.h"
#include "cpu/linear/gemm.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

struct Geometry {
  int64_t B, I, H, W, O, kh, kw, oh, ow, stride_h, stride_w, pad_h, pad_w, dilation;
  int64_t depth() const { return I * kh * kw; }
  int64_t out() const { return oh * ow; }
};

// Row r = (channel, ky, kx) of the patch matrix: output column -> input position, or -1 in the padding.
struct Row {
  int64_t channel, ky, kx;
  Row(const Geometry& g, int64_t r) : channel(r / (g.kh * g.kw)), ky(r / g.kw % g.kh), kx(r % g.kw) {}
  int64_t y(const Geometry& g, int64_t oy) const { return oy * g.stride_h - g.pad_h + ky * g.dilation; }
  // Outputs ox for which the input column is inside the image.
  void inside(const Geometry& g, int64_t& begin, int64_t& end) const {
    const int64_t shift = g.pad_w - kx * g.dilation;
    begin = shift > 0 ? (shift + g.stride_w - 1) / g.stride_w : 0;
    const int64_t last = g.W - 1 + shift;
    end = last < 0 ? 0 : last / g.stride_w + 1;
    end = end < g.ow ? end : g.ow;
    begin = begin < end ? begin : end;
  }
};

template <class T>
void image_to_columns(Stream& s, const Geometry& g, const T* image, T* columns) {
  parallel_range(s, g.depth(), g.out(), [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      const Row row(g, r);
      int64_t begin, end;
      row.inside(g, begin, end);
      T* to = columns + r * g.out();
      for (int64_t oy = 0; oy < g.oh; ++oy, to += g.ow) {
        const int64_t y = row.y(g, oy);
        if (y < 0 || y >= g.H) {
          std::memset(static_cast<void*>(to), 0, static_cast<size_t>(g.ow) * sizeof(T));
          continue;
        }
        const T* from = image + (row.channel * g.H + y) * g.W - g.pad_w + row.kx * g.dilation;
        for (int64_t x = 0; x < begin; ++x) to[x] = from_float<T>(0.0f);
        for (int64_t x = begin; x < end; ++x) to[x] = from[x * g.stride_w];
        for (int64_t x = end; x < g.ow; ++x) to[x] = from_float<T>(0.0f);
      }
    }
  });
}

// Channel by channel: an image channel is written by one thread, in the order of the rows.
template <class T>
void columns_to_image(Stream& s, const Geometry& g, const float* columns, T* image) {
  const int64_t taps = g.kh * g.kw;
  parallel_range(s, g.I, taps * g.out() + g.H * g.W, [&](int64_t first, int64_t last, int thread) {
    float* sum = static_cast<float*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>(g.H * g.W) * 4 + 4));
    for (int64_t c = first; c < last; ++c) {
      std::memset(sum, 0, static_cast<size_t>(g.H * g.W) * 4);
      for (int64_t r = c * taps; r < (c + 1) * taps; ++r) {
        const Row row(g, r);
        int64_t begin, end;
        row.inside(g, begin, end);
        for (int64_t oy = 0; oy < g.oh; ++oy) {
          const int64_t y = row.y(g, oy);
          if (y < 0 || y >= g.H) continue;
          float* to = sum + y * g.W - g.pad_w + row.kx * g.dilation;
          const float* from = columns + r * g.out() + oy * g.ow;
          for (int64_t x = begin; x < end; ++x) to[x * g.stride_w] += from[x];
        }
      }
      for (int64_t i = 0; i < g.H * g.W; ++i) image[c * g.H * g.W + i] = from_float<T>(sum[i]);
    }
  });
}

void convolve(Stream& s, const Geometry& g, const View& y, const View& x, const View& w, const View& b) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    T* columns = static_cast<T*>(s.shared.get(static_cast<size_t>(g.depth() * g.out()) * sizeof(T) + 64));
    for (int64_t i = 0; i < g.B; ++i) {
      T* to = y.as<T>() + i * g.O * g.out();
      image_to_columns(s, g, x.as<T>() + i * g.I * g.H * g.W, columns);
      linear::gemm(s, g.O, g.out(), g.depth(), {w.data, x.dtype, g.depth(), 1}, {columns, x.dtype, g.out(), 1}, {to, x.dtype, g.out()});
      if (!b) continue;
      parallel_range(s, g.O, g.out(), [&](int64_t begin, int64_t end, int) {
        for (int64_t o = begin; o < end; ++o) {
          const float bias = to_float(b.as<T>()[o]);
          for (int64_t j = o * g.out(); j < (o + 1) * g.out(); ++j) to[j] = from_float<T>(to_float(to[j]) + bias);
        }
      });
    }
  });
}

void convolve_backward(Stream& s, const Geometry& g, const View& dx, const View& dw, const View& db, const View& dy, const View& x, const View& w) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    float* gradient = static_cast<float*>(s.shared.get(static_cast<size_t>(g.depth() * g.out()) * (4 + sizeof(T)) + 64));
    T* columns = reinterpret_cast<T*>(gradient + g.depth() * g.out());
    for (int64_t i = 0; i < g.B; ++i) {
      const T* from = dy.as<T>() + i * g.O * g.out();
      if (dx) {
        linear::gemm(s, g.depth(), g.out(), g.O, {w.data, x.dtype, 1, g.depth()}, {from, x.dtype, g.out(), 1}, {gradient, DType::f32, g.out()});
        columns_to_image(s, g, gradient, dx.as<T>() + i * g.I * g.H * g.W);
      }
      if (dw) {
        image_to_columns(s, g, x.as<T>() + i * g.I * g.H * g.W, columns);
        linear::gemm(s, g.O, g.depth(), g.out(), {from, x.dtype, g.out(), 1}, {columns, x.dtype, 1, g.out()}, {dw.data, DType::f32, g.depth()},
                     {.accumulate = true});
      }
      if (db)
        parallel_range(s, g.O, g.out(), [&](int64_t begin, int64_t end, int) {
          for (int64_t o = begin; o < end; ++o) {
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = o * g.out(); j < (o + 1) * g.out(); ++j) sum += to_float(from[j]);
            db.as<float>()[o] += sum;
          }
        });
    }
  });
}

Geometry geometry1d(const View& x, const View& w, const View& y, int64_t stride, int64_t padding, int64_t dilation) {
  return {x.dim(0), x.dim(1), 1, x.dim(2), w.dim(0), 1, w.dim(2), 1, y.dim(2), 1, stride, 0, padding, dilation};
}
Geometry geometry2d(const View& x, const View& w, const View& y, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w) {
  return {x.dim(0), x.dim(1), x.dim(2), x.dim(3), w.dim(0), w.dim(2), w.dim(3), y.dim(2), y.dim(3), stride_h, stride_w, padding_h, padding_w, 1};
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

}  // namespace anymal::cpu::ANYMAL_LEVEL
