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

// to = the sum of the rows of dy that `from` counts, in its order
template <class T>
void sum_rows(T* to, const T* dy, const int32_t* from, int64_t count, int64_t cols, float* room) {
  if (count == 0) std::memset(static_cast<void*>(to), 0, static_cast<size_t>(cols) * sizeof(T));
  if (count == 1) std::memcpy(static_cast<void*>(to), dy + from[0] * cols, static_cast<size_t>(cols) * sizeof(T));
  if (count < 2) return;
  std::memset(room, 0, static_cast<size_t>(cols) * 4);
  for (int64_t i = 0; i < count; ++i) {
    const T* row = dy + from[i] * cols;
    along(cols, [&](auto as, int64_t j) { as.template write_beside<T>(room + j, as.template read_beside<T>(room + j) + as.read(row + j)); });
  }
  along(cols, [&](auto as, int64_t j) { as.write(to + j, as.template read_beside<T>(room + j)); });
}

// out (rows,C) of T = the scattered sum. The index is turned round first, so that each row of dy is read, and each of `out` written, once.
template <class T>
void scatter(Stream& s, const View& out, const View& dy, const View& index, int64_t base) {
  const int64_t rows = out.rows(), cols = out.cols(), n = index.size();
  const int32_t* at = index.as<int32_t>();
  int32_t* end = static_cast<int32_t*>(s.shared.get(static_cast<size_t>(rows + n) * 4 + 4));  // where the list of each row ends
  int32_t* order = end + rows;
  const auto each = [&](const auto& f) {
    for (int64_t i = 0; i < n; ++i)
      if (at[i] >= base && at[i] < base + rows) f(at[i] - base, i);
  };
  std::memset(end, 0, static_cast<size_t>(rows) * 4);
  each([&](int64_t r, int64_t) { ++end[r]; });
  int32_t before = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t count = end[r];
    end[r] = before;
    before += count;
  }
  each([&](int64_t r, int64_t i) { order[end[r]++] = static_cast<int32_t>(i); });
  parallel_range(s, rows, 2 * cols, [&](int64_t first, int64_t last, int thread) {
    float* room = static_cast<float*>(s.scratch[static_cast<size_t>(thread)].get(static_cast<size_t>(cols) * 4 + 4));
    for (int64_t r = first; r < last; ++r) {
      const int32_t start = r ? end[r - 1] : 0;
      sum_rows(out.as<T>() + r * cols, dy.as<T>(), order + start, end[r] - start, cols, room);
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
