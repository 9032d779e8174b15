// copy, fill, cast, concat, slices, transpose: the only movers. They move bytes, so one instantiation per element size serves all dtypes.
#include <bit>

#include "cpu/lanes.h"
#include "cpu/linear/transpose.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// f(element) with an unsigned type of the dtype's size.
template <class F>
void by_size(DType t, const F& f) {
  if (dtype_bytes(t) == 4) f(uint32_t{});
  else if (dtype_bytes(t) == 2) f(uint16_t{});
  else f(uint8_t{});
}

void copy_bytes(Stream& s, void* to, const void* from, int64_t bytes) {
  parallel_range(s, bytes, 1, [&](int64_t begin, int64_t end, int) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin, static_cast<size_t>(end - begin));
  });
}

// A tensor around dim d as (outer, n, inner).
struct Around {
  int64_t outer = 1, n, inner = 1;
  Around(const View& v, int64_t d) : n(v.shape[d]) {
    for (int64_t i = 0; i < d; ++i) outer *= v.shape[i];
    for (int64_t i = d + 1; i < v.rank; ++i) inner *= v.shape[i];
  }
};

// Copies `outer` runs of `bytes`, each `from_step` and `to_step` bytes after the one before.
void copy_runs(Stream& s, char* to, int64_t to_step, const char* from, int64_t from_step, int64_t outer, int64_t bytes) {
  parallel_range(s, outer, bytes, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) std::memcpy(to + i * to_step, from + i * from_step, static_cast<size_t>(bytes));
  });
}

// to[j * to_step + i] <- from[i * from_step + j] for i < count <= kLines and j < n. What fills no registers goes one by one. Past: lines of `to` go
// to memory as they are, without being read before; they are aligned, and all registers of a line follow each other.
template <class T>
struct Turn {
  using Vector = Transpose::Vector;
  static constexpr int kLanes = Transpose::kLanes, kPieces = (Transpose::kPieces + 1) / 2;
  static constexpr int64_t kLines = 2 * kLanes;
  static constexpr int64_t kWide = kLines * static_cast<int64_t>(sizeof(T));  // bytes of a row of `to`
  template <bool Past>
  static void run(T* to, int64_t to_step, const T* from, int64_t from_step, int64_t count, int64_t n) {
    constexpr int64_t size = sizeof(T), width = 16 * kPieces / size;  // elements of a line at a time
    int64_t j = 0;
    for (; count == kLines && j + width <= n; j += width) {
      T* at = to + j * to_step;
      Vector v[kPieces][4], w[kPieces][4];
      const auto lines = [&](Vector(&of)[kPieces][4], int64_t first, int64_t step) {
        Transpose::columns<true, kPieces>(of, reinterpret_cast<const char*>(from + first * from_step + j), step * from_step * size, kLanes);
      };
      const auto put = [&](int64_t row, int64_t i, Vector x) {
        if constexpr (Past) store_past(at + row * to_step + i, x);
        else std::memcpy(at + row * to_step + i, &x, sizeof x);
      };
      if constexpr (size == 4) {
        lines(v, 0, 1);
        lines(w, kLanes, 1);
#pragma GCC unroll 8
        for (int u = 0; u < 4 * kPieces; ++u) {
          put(u, 0, v[u / 4][u % 4]);
          put(u, kLanes, w[u / 4][u % 4]);
        }
      } else {  // units of two neighbours in a line; those of lines of even and of odd number are dealt out in turns
        lines(v, 0, 2);
        lines(w, 1, 2);
#pragma GCC unroll 8
        for (int u = 0; u < 4 * kPieces; ++u) {
          const Vector x = v[u / 4][u % 4], y = w[u / 4][u % 4];
          put(2 * u, 0, (x & 0xffffu) | (y << 16));
          put(2 * u + 1, 0, (x >> 16) | (y & 0xffff0000u));
        }
      }
    }
    for (; j < n; ++j)
      for (int64_t i = 0; i < count; ++i) to[j * to_step + i] = from[i * from_step + j];
  }

 private:
  static void store_past(T* to, Vector x) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(x));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(x));
#else
    std::memcpy(to, &x, sizeof x);
#endif
  }
};
// Before others look at what was written so.
inline void fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

template <class To, class From, class F>
void convert_all(Stream& s, void* y, const void* x, int64_t n, const F& f) {
  To* to = static_cast<To*>(y);
  const From* from = static_cast<const From*>(x);
  parallel_range(s, n, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) to[i] = f(from[i]);
  });
}

}  // namespace

void copy(Stream& s, Out y, In x) { copy_bytes(s, y.data, x.data, x.size() * static_cast<int64_t>(dtype_bytes(x.dtype))); }

void fill(Stream& s, InOut y, double value) {
  uint32_t bits = 0;
  if (y.dtype == DType::f32) bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  else if (y.dtype == DType::bf16) bits = to_bf16(static_cast<float>(value)).bits;
  else if (y.dtype == DType::i32) bits = static_cast<uint32_t>(static_cast<int32_t>(value));
  else bits = static_cast<uint8_t>(value);
  if (bits == 0) {  // a line that is set whole need not be read first
    parallel_range(s, y.size() * static_cast<int64_t>(dtype_bytes(y.dtype)), 1,
                   [&](int64_t begin, int64_t end, int) { std::memset(y.as<char>() + begin, 0, static_cast<size_t>(end - begin)); });
    return;
  }
  by_size(y.dtype, [&](auto t) {
    using T = decltype(t);
    T* to = y.as<T>();
    const T v = static_cast<T>(bits);
    parallel_range(s, y.size(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) to[i] = v;
    });
  });
}

void cast(Stream& s, Out y, In x) {
  const int64_t n = x.size();
  const DType to = y.dtype, from = x.dtype;
  if (to == from) return copy_bytes(s, y.data, x.data, n * static_cast<int64_t>(dtype_bytes(to)));
  if (from == DType::f32 && to == DType::bf16) convert_all<bf16, float>(s, y.data, x.data, n, [](float v) { return to_bf16(v); });
  else if (from == DType::bf16 && to == DType::f32) convert_all<float, bf16>(s, y.data, x.data, n, [](bf16 v) { return to_float(v); });
  else if (from == DType::i32 && to == DType::f32) convert_all<float, int32_t>(s, y.data, x.data, n, [](int32_t v) { return static_cast<float>(v); });
  else if (from == DType::f32 && to == DType::i32) convert_all<int32_t, float>(s, y.data, x.data, n, [](float v) { return static_cast<int32_t>(v); });
  else if (from == DType::u8 && to == DType::f32) convert_all<float, uint8_t>(s, y.data, x.data, n, [](uint8_t v) { return static_cast<float>(v); });
  else convert_all<int32_t, uint8_t>(s, y.data, x.data, n, [](uint8_t v) { return static_cast<int32_t>(v); });
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
  const int64_t element = static_cast<int64_t>(dtype_bytes(x.dtype)), unit = all.inner * element;
  copy_runs(s, y.as<char>(), length * unit, x.as<char>() + start * unit, all.n * unit, all.outer, length * unit);
}

void slice_place(Stream& s, Out y, In x, int64_t dim, int64_t start, int64_t full) {
  const Around part(x, dim);
  const int64_t element = static_cast<int64_t>(dtype_bytes(x.dtype)), unit = part.inner * element;
  const int64_t before = start * unit, bytes = part.n * unit, row = full * unit;
  char* to = y.as<char>();
  const char* from = x.as<char>();
  parallel_range(s, part.outer, row, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      char* line = to + i * row;
      std::memset(line, 0, static_cast<size_t>(before));
      std::memcpy(line + before, from + i * bytes, static_cast<size_t>(bytes));
      std::memset(line + before + bytes, 0, static_cast<size_t>(row - before - bytes));
    }
  });
}

constexpr int64_t kPastCaches = 16 << 20;  // bytes of a result that nobody finds in a cache

// As (outer, n0, middle, n1, inner) -> (outer, n1, middle, n0, inner). With inner = 1 strips of lines turn in registers, or, of bytes, by tiles; else
// rows of `inner` are copied.
void transpose_copy(Stream& s, Out y, In x, int64_t dim0, int64_t dim1) {
  const int64_t lo = dim0 < dim1 ? dim0 : dim1, hi = dim0 < dim1 ? dim1 : dim0;
  if (lo == hi) return copy_bytes(s, y.data, x.data, x.size() * static_cast<int64_t>(dtype_bytes(x.dtype)));
  int64_t outer = 1, middle = 1, inner = 1;
  for (int64_t i = 0; i < lo; ++i) outer *= x.shape[i];
  for (int64_t i = lo + 1; i < hi; ++i) middle *= x.shape[i];
  for (int64_t i = hi + 1; i < x.rank; ++i) inner *= x.shape[i];
  const int64_t n0 = x.shape[lo], n1 = x.shape[hi];
  by_size(x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* from = x.as<T>();
    T* to = y.as<T>();
    if (inner > 1) {
      parallel_range(s, outer * n1 * middle, n0 * inner, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t m = r % middle, j = r / middle % n1, o = r / middle / n1;
          for (int64_t i = 0; i < n0; ++i)
            std::memcpy(to + (r * n0 + i) * inner, from + (((o * n0 + i) * middle + m) * n1 + j) * inner, static_cast<size_t>(inner) * sizeof(T));
        }
      });
      return;
    }
    if constexpr (sizeof(T) != 1) {
      constexpr int64_t lines = Turn<T>::kLines;
      const int64_t strips = (n0 + lines - 1) / lines;
      const bool past = y.size() * static_cast<int64_t>(sizeof(T)) >= kPastCaches && Turn<T>::kWide >= 64 &&
                        reinterpret_cast<uintptr_t>(to) % 64 == 0 && n0 * static_cast<int64_t>(sizeof(T)) % 64 == 0;
      parallel_range(s, outer * middle * strips, n1 * lines, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t i0 = r % strips * lines, m = r / strips % middle, o = r / strips / middle;
          const auto turn = past ? Turn<T>::template run<true> : Turn<T>::template run<false>;
          turn(to + (o * n1 * middle + m) * n0 + i0, middle * n0, from + ((o * n0 + i0) * middle + m) * n1, middle * n1,
               n0 - i0 < lines ? n0 - i0 : lines, n1);
        }
        if (past) fence();
      });
      return;
    }
    constexpr int64_t tile = 32;
    const int64_t tiles = (n1 + tile - 1) / tile;
    parallel_range(s, outer * middle * tiles, n0 * tile, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t j0 = r % tiles * tile, m = r / tiles % middle, o = r / tiles / middle;
        const int64_t j1 = j0 + tile < n1 ? j0 + tile : n1;
        for (int64_t i0 = 0; i0 < n0; i0 += tile) {
          const int64_t i1 = i0 + tile < n0 ? i0 + tile : n0;
          for (int64_t j = j0; j < j1; ++j)
            for (int64_t i = i0; i < i1; ++i) to[((o * n1 + j) * middle + m) * n0 + i] = from[((o * n0 + i) * middle + m) * n1 + j];
        }
      }
    });
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
