// copy, fill, cast, concat, slice_copy, slice_place, transpose_copy: the movers that need no index. They move bytes: one kernel per width of a
// move serves all dtypes.
#include <cstring>

#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

template <class U>
__global__ void fill_kernel(int64_t n, U* y, U value) {
  for (int64_t i = first_index(); i < n; i += index_stride()) y[i] = value;
}
template <class U>
void fill_units(Stream& s, const View& y, U value) {
  launch_items<fill_kernel<U>>(s, y.size(), y.as<U>(), value);
}

template <class To, class From>
struct Cast {
  To* y;
  const From* x;
  template <int W>
  __device__ void at(int64_t i) const {
    if constexpr (std::is_same_v<To, bf16> || std::is_same_v<From, bf16>) {
      float v[W];
      load<W>(v, x + i);
      store<W>(y + i, v);
    } else {
      for (int k = 0; k < W; ++k) y[i + k] = static_cast<To>(x[i + k]);
    }
  }
};
template <class To, class From>
void cast_all(Stream& s, const View& y, const View& x) {
  constexpr bool halves = std::is_same_v<To, bf16> || std::is_same_v<From, bf16>;
  for_each_element<halves ? 8 : 1>(s, x.size(), aligned16({y.data, x.data}), Cast<To, From>{y.as<To>(), x.as<From>()});
}

// A tensor around dim d as (outer, n, inner).
struct Around {
  int64_t outer = 1, n, inner = 1;
  Around(const View& v, int64_t d) : n(v.shape[d]) {
    for (int64_t i = 0; i < d; ++i) outer *= v.shape[i];
    for (int64_t i = d + 1; i < v.rank; ++i) inner *= v.shape[i];
  }
};

// The widest unit that divides all of these sizes and addresses, in bytes.
template <class... A>
int64_t unit_of(const void* a, const void* b, A... bytes) {
  const uint64_t all = reinterpret_cast<uint64_t>(a) | reinterpret_cast<uint64_t>(b) | (static_cast<uint64_t>(bytes) | ...);
  return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : all % 2 == 0 ? 2 : 1;
}
template <class F>
void by_unit(int64_t unit, const F& f) {
  if (unit == 16) f(uint4{});
  else if (unit == 4) f(uint32_t{});
  else if (unit == 2) f(uint16_t{});
  else f(uint8_t{});
}

// `rows` runs of `run` units, each to_step and from_step units after the one before.
template <class U>
__global__ void runs_kernel(int64_t n, int64_t run, U* to, int64_t to_step, const U* from, int64_t from_step) {
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const int64_t row = i / run, at = i - row * run;
    to[row * to_step + at] = from[row * from_step + at];
  }
}
void copy_runs(Stream& s, char* to, int64_t to_step, const char* from, int64_t from_step, int64_t rows, int64_t bytes) {
  if (bytes == 0) return;
  const int64_t unit = unit_of(to, from, to_step, from_step, bytes);
  by_unit(unit, [&](auto u) {
    using U = decltype(u);
    launch_items<runs_kernel<U>>(s, rows * (bytes / unit), bytes / unit, reinterpret_cast<U*>(to), to_step / unit, reinterpret_cast<const U*>(from),
                                 from_step / unit);
  });
}

template <class U>
__global__ void place_kernel(int64_t n, U* y, const U* x, int64_t row_units, int64_t before, int64_t run) {
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const int64_t row = i / row_units, at = i - row * row_units - before;
    y[i] = at >= 0 && at < run ? x[row * run + at] : U{};
  }
}

// y (outer, n1, middle, n0) <- x (outer, n0, middle, n1): planes by tiles of 32 x 32, read and written along the rows of each.
constexpr int kTile = 32;
struct Planes {
  int64_t n0, n1, middle;
};
template <class U>
__global__ void transpose_kernel(int64_t tiles, U* y, const U* x, Planes p) {
  SHARED_ARRAY(U, tile, [kTile][kTile + 4 / sizeof(U)]);  // rows begin in different banks
  const int tx = threadIdx.x % kTile, ty = threadIdx.x / kTile;
  const int64_t across = (p.n1 + kTile - 1) / kTile, down = (p.n0 + kTile - 1) / kTile;
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t j0 = t % across * kTile, i0 = t / across % down * kTile, plane = t / across / down;
    const int64_t m = plane % p.middle, o = plane / p.middle;
    for (int k = ty; k < kTile; k += kThreads / kTile) {
      const int64_t i = i0 + k, j = j0 + tx;
      if (i < p.n0 && j < p.n1) tile[k][tx] = x[((o * p.n0 + i) * p.middle + m) * p.n1 + j];
    }
    __syncthreads();
    for (int k = ty; k < kTile; k += kThreads / kTile) {
      const int64_t i = i0 + tx, j = j0 + k;
      if (i < p.n0 && j < p.n1) y[((o * p.n1 + j) * p.middle + m) * p.n0 + i] = tile[tx][k];
    }
    __syncthreads();
  }
}

// y (outer, n1, middle, n0, inner) <- x (outer, n0, middle, n1, inner), inner in units. I: 32 bits where they do, for divisions of 64 bits would
// take longer than memory does.
template <class U, class I>
__global__ void swap_kernel(int64_t n, U* y, const U* x, I n0, I n1, I middle, I inner) {
  for (int64_t at = first_index(); at < n; at += index_stride()) {
    const I row = static_cast<I>(at) / inner, c = static_cast<I>(at) - row * inner;  // row = ((o * n1 + j) * middle + m) * n0 + i
    const I above = row / n0, i = row - above * n0, top = above / middle, m = above - top * middle, o = top / n1, j = top - o * n1;
    y[at] = x[static_cast<int64_t>(((o * n0 + i) * middle + m) * n1 + j) * inner + c];
  }
}
template <class U, class I>
void swap(Stream& s, int64_t n, U* y, const U* x, Planes p, int64_t inner) {
  launch_items<swap_kernel<U, I>>(s, n, y, x, static_cast<I>(p.n0), static_cast<I>(p.n1), static_cast<I>(p.middle), static_cast<I>(inner));
}

}  // namespace

void copy(Stream& s, Out y, In x) {
  const size_t bytes = static_cast<size_t>(x.size()) * dtype_bytes(x.dtype);
  if (bytes) check(cudaMemcpyAsync(y.data, x.data, bytes, cudaMemcpyDeviceToDevice, s.stream), "copy");
}

void fill(Stream& s, InOut y, double value) {
  if (value == 0 && !std::signbit(value)) {
    clear(s, y.data, y.size() * static_cast<int64_t>(dtype_bytes(y.dtype)));
    return;
  }
  const float f = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (y.dtype == DType::f32) fill_units(s, y, bits);
  else if (y.dtype == DType::bf16) fill_units(s, y, static_cast<uint16_t>(f == f ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : 0x7fc0u));
  else if (y.dtype == DType::i32) fill_units(s, y, static_cast<int32_t>(value));
  else fill_units(s, y, static_cast<uint8_t>(value));
}

void cast(Stream& s, Out y, In x) {
  const DType to = y.dtype, from = x.dtype;
  if (to == from) copy(s, y, x);
  else if (from == DType::f32 && to == DType::bf16) cast_all<bf16, float>(s, y, x);
  else if (from == DType::bf16) cast_all<float, bf16>(s, y, x);
  else if (from == DType::i32) cast_all<float, int32_t>(s, y, x);
  else if (from == DType::f32) cast_all<int32_t, float>(s, y, x);
  else if (to == DType::f32) cast_all<float, uint8_t>(s, y, x);
  else cast_all<int32_t, uint8_t>(s, y, x);
}

void concat(Stream& s, Out y, InList xs, int64_t dim) {
  const Around all(y, dim);
  const int64_t element = static_cast<int64_t>(dtype_bytes(y.dtype)), row = all.n * all.inner * element;
  char* to = y.as<char>();
  for (int64_t i = 0; i < xs.count; ++i) {
    const Around part(xs.items[i], dim);
    const int64_t bytes = part.n * part.inner * element;
    copy_runs(s, to, row, xs.items[i].as<char>(), bytes, part.outer, bytes);
    to += bytes;
  }
}

void slice_copy(Stream& s, Out y, In x, int64_t dim, int64_t start, int64_t length) {
  const Around all(x, dim);
  const int64_t unit = all.inner * static_cast<int64_t>(dtype_bytes(x.dtype));
  copy_runs(s, y.as<char>(), length * unit, x.as<char>() + start * unit, all.n * unit, all.outer, length * unit);
}

void slice_place(Stream& s, Out y, In x, int64_t dim, int64_t start, int64_t full) {
  const Around part(x, dim);
  const int64_t step = part.inner * static_cast<int64_t>(dtype_bytes(x.dtype)), row = full * step;
  if (row == 0) return;
  const int64_t unit = unit_of(y.data, x.data, row, start * step, part.n * step);
  by_unit(unit, [&](auto u) {
    using U = decltype(u);
    launch_items<place_kernel<U>>(s, part.outer * (row / unit), y.as<U>(), x.as<U>(), row / unit, start * step / unit, part.n * step / unit);
  });
}

void transpose_copy(Stream& s, Out y, In x, int64_t dim0, int64_t dim1) {
  const int64_t lo = dim0 < dim1 ? dim0 : dim1, hi = dim0 < dim1 ? dim1 : dim0;
  if (lo == hi) return copy(s, y, x);
  if (x.size() == 0) return;
  int64_t outer = 1, middle = 1, inner = 1;
  for (int64_t i = 0; i < lo; ++i) outer *= x.shape[i];
  for (int64_t i = lo + 1; i < hi; ++i) middle *= x.shape[i];
  for (int64_t i = hi + 1; i < x.rank; ++i) inner *= x.shape[i];
  const Planes p{x.shape[lo], x.shape[hi], middle};
  const int64_t bytes = inner * static_cast<int64_t>(dtype_bytes(x.dtype)), unit = unit_of(y.data, x.data, bytes);
  by_unit(unit, [&](auto u) {
    using U = decltype(u);
    if (bytes == unit) {  // elements: both sides by tiles
      const int64_t tiles = outer * middle * ((p.n0 + kTile - 1) / kTile) * ((p.n1 + kTile - 1) / kTile), most = int64_t{8} * s.multiprocessors;
      launch<transpose_kernel<U>>(s, grid_of(tiles < most ? tiles : most), kThreads, 0, tiles, y.as<U>(), x.as<U>(), p);
    } else {
      const int64_t n = x.size() / inner * (bytes / unit);
      if (n <= INT32_MAX) swap<U, uint32_t>(s, n, y.as<U>(), x.as<U>(), p, bytes / unit);
      else swap<U, int64_t>(s, n, y.as<U>(), x.as<U>(), p, bytes / unit);
    }
  });
}

}  // namespace anymal::cuda
