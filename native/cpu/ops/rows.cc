// Rows moved by an index: gather_rows (Swin's windows, patch merging), splice_rows (media tokens between text tokens), embedding.
// The index comes from data, so it is checked here; a bad one is an error that says which.
#include <cstdio>
#include <stdexcept>

#include "cpu/lanes.h"
#include "cpu/ops.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

[[noreturn]] void bad_index(const char* what, int64_t at, int64_t got, int64_t low, int64_t high) {
  char text[160];
  std::snprintf(text, sizeof text, "%s %lld at position %lld is outside [%lld, %lld)", what, static_cast<long long>(got), static_cast<long long>(at),
                static_cast<long long>(low), static_cast<long long>(high));
  throw std::out_of_range(text);
}

void check(const char* what, const int32_t* index, int64_t n, int64_t low, int64_t high) {
  for (int64_t i = 0; i < n; ++i)
    if (index[i] < low || index[i] >= high) bad_index(what, i, index[i], low, high);
}

int64_t row_bytes(const View& v) { return v.cols() * static_cast<int64_t>(dtype_bytes(v.dtype)); }

// to row i <- source(i), or zeros where it gives null.
template <class Source>
void copy_rows(Stream& s, void* to, int64_t rows, int64_t bytes, const Source& source) {
  parallel_range(s, rows, bytes / 4 + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      char* row = static_cast<char*>(to) + i * bytes;
      const char* from = source(i);
      if (from) std::memcpy(row, from, static_cast<size_t>(bytes));
      else std::memset(row, 0, static_cast<size_t>(bytes));
    }
  });
}

// to (rows,C) f32 += dy (n,C) by index - base, in the order of dy's rows; indices outside [0, rows) are another table's. Parallel over columns,
// so that no two threads add to one element.
template <class T>
void scatter_add(Stream& s, float* to, int64_t rows, const T* dy, const int32_t* index, int64_t n, int64_t cols, int64_t base) {
  constexpr int64_t strip = 64;
  parallel_range(s, (cols + strip - 1) / strip, n * strip, [&](int64_t begin, int64_t end, int) {
    const int64_t c0 = begin * strip, c1 = end * strip < cols ? end * strip : cols;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t r = index[i] - base;
      if (r < 0 || r >= rows) continue;
      float* row = to + r * cols;
      const T* from = dy + i * cols;
      for (int64_t c = c0; c < c1; ++c) row[c] += to_float(from[c]);
    }
  });
}

// out (rows,C) of T = the scattered sum, a strip of columns at a time: its sums stay in f32, and in the cache, until all of dy's rows are in.
template <class T>
void scatter(Stream& s, const View& out, const View& dy, const View& index, int64_t base) {
  constexpr int64_t strip = 64;
  const int64_t rows = out.rows(), cols = out.cols(), n = index.size();
  const int32_t* at = index.as<int32_t>();
  parallel_range(s, (cols + strip - 1) / strip, (n + rows) * strip, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t c0 = begin * strip; c0 < end * strip && c0 < cols; c0 += strip) {
      const int64_t width = c0 + strip < cols ? strip : cols - c0;
      float* sum = static_cast<float*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>(rows * width) * 4 + 4));
      std::memset(sum, 0, static_cast<size_t>(rows * width) * 4);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t r = at[i] - base;
        if (r < 0 || r >= rows) continue;
        float* row = sum + r * width;
        const T* from = dy.as<T>() + i * cols + c0;
        along(width, [&](auto as, int64_t j) { as.template write_beside<T>(row + j, as.template read_beside<T>(row + j) + as.read(from + j)); });
      }
      for (int64_t r = 0; r < rows; ++r) {
        T* to = out.as<T>() + r * cols + c0;
        along(width, [&](auto as, int64_t j) { as.write(to + j, as.template read_beside<T>(sum + r * width + j)); });
      }
    }
  });
}

}  // namespace

void gather_rows(Stream& s, Out y, In x, In index) {
  const int32_t* at = index.as<int32_t>();
  check("row index", at, index.size(), -1, x.rows());
  const int64_t bytes = row_bytes(x);
  copy_rows(s, y.data, index.size(), bytes, [&](int64_t i) { return at[i] < 0 ? nullptr : x.as<char>() + at[i] * bytes; });
}

void gather_rows_backward(Stream& s, Out dx, In dy, In index, int64_t rows) {
  check("row index", index.as<int32_t>(), index.size(), -1, rows);
  by_dtype(dy.dtype, [&](auto t) { scatter<decltype(t)>(s, dx, dy, index, 0); });
}

void splice_rows(Stream& s, Out y, In text, In media, In index) {
  const int32_t* at = index.as<int32_t>();
  const int64_t n = text.rows(), bytes = row_bytes(text);
  check("splice index", at, index.size(), -1, n + media.rows());
  copy_rows(s, y.data, index.size(), bytes, [&](int64_t i) {
    return at[i] < 0 ? nullptr : at[i] < n ? text.as<char>() + at[i] * bytes : media.as<char>() + (at[i] - n) * bytes;
  });
}

void splice_rows_backward(Stream& s, OutOpt dtext, OutOpt dmedia, In dy, In index, int64_t text_rows, int64_t media_rows) {
  check("splice index", index.as<int32_t>(), index.size(), -1, text_rows + media_rows);
  by_dtype(dy.dtype, [&](auto t) {
    if (dtext) scatter<decltype(t)>(s, dtext, dy, index, 0);
    if (dmedia) scatter<decltype(t)>(s, dmedia, dy, index, text_rows);
  });
}

void embedding(Stream& s, Out y, In ids, In w) {
  const int32_t* at = ids.as<int32_t>();
  check("token id", at, ids.size(), 0, w.dim(0));
  const int64_t bytes = row_bytes(w);
  copy_rows(s, y.data, ids.size(), bytes, [&](int64_t i) { return w.as<char>() + at[i] * bytes; });
}

void embedding_backward(Stream& s, Acc dw, In dy, In ids) {
  if (!dw) return;
  check("token id", ids.as<int32_t>(), ids.size(), 0, dw.dim(0));
  by_dtype(dy.dtype, [&](auto t) { scatter_add(s, dw.as<float>(), dw.dim(0), dy.as<decltype(t)>(), ids.as<int32_t>(), ids.size(), dw.cols(), 0); });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
